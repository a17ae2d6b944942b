"""The page of what something is made of: a tree of its files, what is linked in, and the paper's dependencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ukperf.deps.askpage import tried_parts
from ukperf.deps.composition import Composition, File, FileKind, Library
from ukperf.deps.libraries import Fate
from ukperf.deps.trying import Tried
from ukperf.reports import graph
from ukperf.reports.graph import Graph, Node
from ukperf.reports.jsonout import members
from ukperf.reports.page import SPACE, Cell, Column, Line, Page, Part, Table, Tone
from ukperf.reports.pictures import Graphic, Picture
from ukperf.text import many

ALIKE_MAX = 3  # files beside each other that need the same are one line where they are more
ALONE = 1 << 20  # bytes from which a file has a line of its own
_TONES = {Fate.SEEN: Tone.GOOD, Fate.REPLACED: Tone.ALIKE, Fate.GONE: Tone.DIM}
_GROUPS = {
    FileKind.PROGRAM.value: "g0",
    FileKind.EXTENSION.value: "g0",
    FileKind.BUNDLED.value: "g6",
    FileKind.SYSTEM.value: "g7",
    "linked in": "g2",
}


@dataclass(frozen=True)
class _Branch:
    """A line of the tree: some files that are alike, or one."""

    files: tuple[File, ...]

    @property
    def name(self) -> str:
        first = self.files[0]
        if len(self.files) == 1:
            return PurePosixPath(first.name).name
        kind = first.kind.value.removesuffix("library")
        kinds = f"{kind}libraries" if kind != first.kind.value else f"{kind}s"
        return f"{len(self.files)} {kinds} in {PurePosixPath(first.name).parts[0]}"


@dataclass(frozen=True)
class CompositionPage(Page):
    """everything: no files are put together on one line. tried: what its runs told, if there were any."""

    made: Composition
    everything: bool = False
    tried: Tried | None = None

    def body(self) -> Iterator[Part]:
        made = self.made
        version = f" {made.version}" if made.version else ""
        own = [f for f in made.files if f.kind is not FileKind.SYSTEM]
        size = sum(f.size for f in own)
        theirs = len(made.files) - len(own)
        rest = f", and {theirs} of the system" if theirs else ""
        yield Line(f"{made.subject}{version}: {many(len(own), 'ELF file')}, {_mib(size)}{rest}", Tone.STRONG)
        yield SPACE
        yield from self._tree()
        if made.requires:
            yield SPACE
            yield Line(f"requires: {', '.join(f'{name} {version}' for name, version in made.requires)}")
        yield from self._linked()
        yield from self._paper()
        if made.threads:
            yield SPACE
            by = Counter(item.where for item in made.threads)
            yield Line(f"can start threads: {', '.join(PurePosixPath(name).name for name in by)}")
        for note in made.notes:
            yield Line(note, Tone.UNSURE)
        if self.tried is not None:
            yield from tried_parts(self.tried)

    def said(self) -> object:
        run = members(self.tried) if self.tried is not None else {}
        return {**members(self.made), "size": self.made.size, **{name: run[name] for name in run if name != "notes"}}

    def pictures(self) -> Iterable[Picture]:
        made = self.made
        yield Graphic(graph.svg(composition_graph(made), f"What {made.subject} is made of"))

    # ---- parts ----

    def _tree(self) -> Iterator[Part]:
        made = self.made
        by_name = {file.name: file for file in made.files}
        rows: list[tuple[Cell, ...]] = []
        shown: set[str] = set()
        of_system = any(f.kind is FileKind.PROGRAM for f in made.files)

        def below(branch: _Branch) -> list[File]:
            needs = [by_name[name] for name in branch.files[0].needs]
            return sorted(
                (f for f in needs if f.kind is not FileKind.SYSTEM or of_system), key=lambda f: (-f.size, f.name)
            )

        def grow(branches: Sequence[_Branch], stem: str, top: bool) -> None:
            for i, branch in enumerate(branches):
                last = i == len(branches) - 1
                fork = "" if top else ("└─ " if last else "├─ ")
                first = branch.files[0]
                again = first.name in shown
                note = "see above" if again and first.needs else ""
                size = sum(f.size for f in branch.files)
                kind = first.kind.value if len(branch.files) == 1 else ""
                tone = Tone.DIM if again or first.kind is FileKind.SYSTEM else Tone.PLAIN
                rows.append((Cell(stem + fork + branch.name, tone), Cell(_mib(size)), Cell(note or kind, Tone.DIM)))
                shown.update(f.name for f in branch.files)
                if not again:
                    deeper = stem if top else stem + ("   " if last else "│  ")
                    grow(self._branches(below(branch)), deeper, False)

        roots = [f for f in made.roots() if f.kind is not FileKind.SYSTEM]
        grow(self._branches(roots), "", True)
        if rows:
            yield Table((Column("file", cuts=True), Column("size", right=True), Column("")), tuple(rows))
        if not of_system:
            yield from self._of_system()

    def _branches(self, files: Sequence[File]) -> list[_Branch]:
        """Files with the same needs together, where they are many."""
        if self.everything:
            return [_Branch((f,)) for f in files]
        theirs = {f.name for f in self.made.files if f.kind is FileKind.SYSTEM}
        alike: dict[tuple[object, ...], list[File]] = {}
        for f in files:
            own = frozenset(name for name in f.needs if name not in theirs)
            key = (f.kind, own, PurePosixPath(f.name).parts[0]) if f.size < ALONE else (f.name,)
            alike.setdefault(key, []).append(f)
        branches = [
            branch
            for group in alike.values()
            for branch in ([_Branch(tuple(group))] if len(group) > ALIKE_MAX else [_Branch((f,)) for f in group])
        ]
        order = list(FileKind)
        return sorted(branches, key=lambda b: (order.index(b.files[0].kind), -sum(f.size for f in b.files)))

    def _of_system(self) -> Iterator[Part]:
        askers = Counter(name for file in self.made.files for name in file.needs)
        rows = [
            (Cell(f.name), Cell(_mib(f.size)), Cell(str(askers[f.name])))
            for f in self.made.files
            if f.kind is FileKind.SYSTEM
        ]
        if rows:
            yield SPACE
            yield Table(
                (Column("of the system"), Column("size", right=True), Column("asked for by", right=True)), tuple(rows)
            )

    def _linked(self) -> Iterator[Part]:
        rows = tuple(
            (Cell(library.name), Cell(library.purpose), Cell(_evidence(library)))
            for library in self.made.libraries
            if library.linked and library.name != "python"
        )
        if rows:
            yield SPACE
            yield Table((Column("linked in"), Column("for"), Column("seen by", wraps=True)), rows)

    def _paper(self) -> Iterator[Part]:
        is_program = any(f.kind is FileKind.PROGRAM for f in self.made.files)
        rows = tuple(
            (
                Cell(named.name),
                Cell(named.fate.value, _TONES[named.fate]),
                Cell(f"{f'by {_and(named.by)}: ' if named.by else ''}{named.why}"),
            )
            for named in self.made.paper
            if named.fate is not Fate.GONE or not is_program
        )
        if rows:
            yield SPACE
            yield Table((Column("the paper names"), Column("here"), Column("", wraps=True)), rows)


def _and(words: Sequence[str]) -> str:
    return ", ".join(words)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 52_429 else f"{size / 1024:,.1f} KiB"


def _evidence(library: Library) -> str:
    """The surest, and another of another kind."""
    different = {item.how: item for item in reversed(library.evidence)}
    first, *more = sorted(different.values(), key=library.evidence.index)
    return "; ".join(map(str, (first, *more[:1])))


def composition_graph(made: Composition) -> Graph:
    """Files that need the same as one box, and what is linked in as boxes behind the files that have it."""
    box: dict[str, str] = {}
    alike: dict[tuple[object, ...], list[File]] = {}
    asked = {name for file in made.files for name in file.needs}
    for file in made.files:
        key: tuple[object, ...] = (file.name,) if file.name in asked else (file.kind, frozenset(file.needs))
        alike.setdefault(key, []).append(file)
    nodes = []
    for group in alike.values():
        first = group[0]
        box |= {file.name: first.name for file in group}
        label = PurePosixPath(first.name).name
        if len(group) > 1:
            label += f" and {len(group) - 1} more"
        note = "\n".join(f"{file.name}, {_mib(file.size)}" for file in group[:20])
        nodes.append(Node(first.name, label, first.kind.value, note))
    edges = [(box[file.name], box[name]) for file in made.files for name in file.needs]
    by_name = {file.name: file for file in made.files}
    largest = max((f for f in made.files if f.kind is not FileKind.SYSTEM), key=lambda f: f.size, default=None)
    for library in made.libraries:
        where = {box[item.where] for item in library.evidence if item.where in by_name}
        if library.linked and library.name != "python":
            nodes.append(
                Node(f"+{library.name}", library.name, "linked in", f"{library.purpose}\n{_evidence(library)}")
            )
            # what only a licence file tells of is drawn behind the largest file
            where = where or ({box[largest.name]} if largest is not None else set())
            edges += [(name, f"+{library.name}") for name in sorted(where)]
    used = {node.group for node in nodes}
    return Graph(tuple(nodes), tuple(edges), {name: css for name, css in _GROUPS.items() if name in used})
