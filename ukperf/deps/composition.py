"""What a program or an installed Python package is made of: files, who asks for whom, and what was linked into them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from ukperf.deps.libraries import BY_NAME, KNOWN, PAPER, Fate, KnownLibrary, PaperDependency
from ukperf.files import read_bytes
from ukperf.imaging.distributions import Site, distribution_files, resolve, wanted_packages
from ukperf.imaging.elf import LibrarySearch, asked_libraries, is_loadable
from ukperf.imaging.elfmarks import ElfNames, Where
from ukperf.imaging.executable import Executable, find_executable
from ukperf.text import clean

NOTICES_MAX = 400  # licence files of one package
NOTICE_MAX = 4 << 20  # bytes of one
EVIDENCE_MAX = 4  # of one library: the surest are kept
_NOTICE = re.compile(r"licen[cs]e|notice|third.?party|copying", re.IGNORECASE)
_EXTENSION = re.compile(r"\.(cpython-[\w-]+|abi3)\.so$")
_LOCK = ("pthread_create", "GOMP_parallel", "__kmpc_fork_call", "_ZNSt6thread15_M_start_threadE")


class FileKind(StrEnum):
    PROGRAM = "program"
    EXTENSION = "extension module"
    BUNDLED = "bundled library"
    SYSTEM = "system library"


@dataclass(frozen=True)
class File:
    """An ELF file. needs: the names of those that it asks for; missing: of those that are nowhere. size: bytes."""

    name: str
    path: Path
    kind: FileKind
    size: int
    needs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """how: "is", "defines", "asks for", "says", "names", and of the runtime itself "is built with". where: the file."""

    how: str
    where: str
    what: str

    def __str__(self) -> str:
        where = self.where if self.how == "names" else PurePosixPath(self.where).name
        return where if self.how == "is" else f"{where} {self.how} {self.what}"


@dataclass(frozen=True)
class Library:
    """A known library that is there in some form. linked: into a file, not a file of its own."""

    name: str
    purpose: str
    evidence: tuple[Evidence, ...]

    @property
    def linked(self) -> bool:
        return not any(item.how == "is" for item in self.evidence)


@dataclass(frozen=True)
class DependencyFate:
    """A dependency that the paper names. why: the evidence; by: what does its work where it is replaced."""

    name: str
    of: tuple[str, ...]
    fate: Fate
    by: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Composition:
    """requires: other packages, with versions. threads: what shows that it can start some. own_word: lines in which the
    runtime says how it was built. notes: sentences."""

    subject: str
    version: str
    files: tuple[File, ...]
    libraries: tuple[Library, ...]
    paper: tuple[DependencyFate, ...]
    requires: tuple[tuple[str, str], ...] = ()
    threads: tuple[Evidence, ...] = ()
    own_word: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def roots(self) -> list[File]:
        """Files that no other one asks for, the largest first."""
        asked = {name for file in self.files for name in file.needs}
        return sorted((f for f in self.files if f.name not in asked), key=lambda file: (-file.size, file.name))


@dataclass
class _Clues:
    """Evidence by libraries' names, in the order in which it was found."""

    of: dict[str, list[Evidence]] = field(default_factory=dict)

    def add(self, name: str, evidence: Evidence) -> None:
        self.of.setdefault(name, []).append(evidence)

    def libraries(self) -> tuple[Library, ...]:
        order = ("is", "defines", "says", "is built with", "names")
        return tuple(
            Library(known.name, known.purpose, tuple(sorted(clues, key=lambda e: order.index(e.how))[:EVIDENCE_MAX]))
            for known in KNOWN
            if (clues := self.of.get(known.name)) and any(_counts(known, clue) for clue in clues)
        )


def _counts(known: KnownLibrary, clue: Evidence) -> bool:
    """Licence files name also what was left out in this build."""
    return clue.how != "names" or known.unseen


def program_composition(words: Sequence[str], path: str, search: LibrarySearch | None = None) -> Composition:
    """Of a program, as a shell looks it up; of a script its interpreter. Raises UkperfError as `run` does."""
    located: Executable = find_executable(words[0], path)
    file = located.program.file
    names = {file: file.name}
    notes = [f"{words[0]} is a script; what is shown is its interpreter {file}."] if located.words else []
    return _composed(words[0], "", [file], names, FileKind.PROGRAM, search or LibrarySearch(), notes=notes)


def package_composition(
    requirement: str, site: Site, own_word: Sequence[str] = (), search: LibrarySearch | None = None
) -> Composition:
    """Of an installed distribution. own_word: what it says itself. Raises UkperfError where it is not there."""
    resolved = resolve(wanted_packages([requirement]), site)
    name = wanted_packages([requirement])[0].requirement.name
    dist = next(d for d in resolved.distributions if _plain(d.metadata["Name"]) == _plain(name))
    inside = {f.source: str(f.target) for f in distribution_files(dist) if ".so" in f.target.name}
    elf = [path for path in inside if is_loadable(path)]
    asking = [path for path in elf if not PurePosixPath(inside[path]).parts[0].endswith(".libs")]
    requires = tuple((d.metadata["Name"], d.version) for d in resolved.distributions if d is not dist)
    return _composed(
        dist.metadata["Name"],
        dist.version,
        asking,
        {path: inside[path] for path in elf},
        FileKind.BUNDLED,
        search or LibrarySearch(),
        dist=dist,
        own_word=own_word,
        requires=requires,
        notes=[] if elf else [f"{name} has no files but Python's own."],
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _composed(
    subject: str,
    version: str,
    asking: Sequence[Path],
    own: dict[Path, str],
    kind: FileKind,
    search: LibrarySearch,
    *,
    dist: Distribution | None = None,
    own_word: Sequence[str] = (),
    requires: tuple[tuple[str, str], ...] = (),
    notes: Sequence[str] = (),
) -> Composition:
    files = _files(asking, own, kind, search)
    clues = _Clues()
    threads: list[Evidence] = []
    imports: dict[str, Evidence] = {}
    for file in files:
        for known in KNOWN:
            if known.is_file(Path(file.name).name):
                clues.add(known.name, Evidence("is", file.name, file.name))
        if file.kind is not FileKind.SYSTEM:
            _look_into(file, clues, threads, imports)
    for where, text in _notices(dist):
        for known in KNOWN:
            if match := known.notice().search(text):
                clues.add(known.name, Evidence("names", where, match[0]))
    for known in KNOWN:
        line = next((line for line in own_word if known.notice().search(line)), "")
        if line:
            clues.add(known.name, Evidence("is built with", subject, clean(line.strip(" -"), 80)))
    libraries = clues.libraries()
    paper = tuple(_fate_of(named, libraries, clues, imports) for named in PAPER)
    lost = [
        f"{PurePosixPath(f.name).name} asks for what is not on this machine: {', '.join(f.missing)}."
        for f in files
        if f.missing
    ]
    return Composition(
        subject, version, files, libraries, paper, requires, tuple(threads), tuple(own_word), (*notes, *lost)
    )


def _files(asking: Sequence[Path], own: dict[Path, str], kind: FileKind, search: LibrarySearch) -> tuple[File, ...]:
    """All files with their edges; a library that is asked for in vain is the one that another file brought."""
    asked = list(asked_libraries(asking, search))
    by_soname = {path.name: path for path in own}
    for _, soname, path in asked:
        if path is not None:
            by_soname.setdefault(soname, path)  # one file may be reached by several folders
    names = dict(own)
    for path in by_soname.values():
        names.setdefault(path, path.name)
    needs: dict[Path, dict[str, None]] = {path: {} for path in names}
    missing: dict[Path, dict[str, None]] = {path: {} for path in names}
    for file, soname, path in asked:
        asker = file if file in names else by_soname[file.name]
        there = path if path in own else by_soname.get(soname)
        if there is None:
            missing[asker][soname] = None
        elif there != asker:
            needs[asker][names[there]] = None
    files = []
    for path, name in names.items():
        what = kind if path in own else FileKind.SYSTEM
        if path in own and _EXTENSION.search(name):
            what = FileKind.EXTENSION
        files.append(File(name, path, what, path.stat().st_size, tuple(needs[path]), tuple(missing[path])))
    return tuple(sorted(files, key=lambda f: (list(FileKind).index(f.kind), -f.size, f.name)))


def _look_into(file: File, clues: _Clues, threads: list[Evidence], imports: dict[str, Evidence]) -> None:
    names = ElfNames(file.path)
    marks = {mark: known for known in KNOWN for mark in known.marks}
    for mark, seen in names.look_for(marks).items():
        if seen.where is not Where.IMPORTED:
            clues.add(marks[mark].name, Evidence(seen.where.value, file.name, seen.name))
    if names.imported & {"PyModule_Create2", "PyModuleDef_Init", "PyErr_SetString", "PyLong_FromLong"}:
        clues.add("python", Evidence("says", file.name, "that Python loads it (it asks for PyErr_SetString)"))
    threads += [Evidence("asks for", file.name, name) for name in _LOCK if name in names.imported]
    for name in names.imported:
        imports.setdefault(name, Evidence("asks for", file.name, name))


def _notices(dist: Distribution | None) -> Iterable[tuple[str, str]]:
    """(name, text) of a package's licence files; their paths are part of the text: …/third_party/FXdiv/LICENSE."""
    entries = [entry for entry in (dist.files or ()) if _NOTICE.search(str(entry))] if dist is not None else []
    for entry in entries[:NOTICES_MAX]:
        if entry.suffix in (".py", ".pyc", ".so", ".h", ".hpp"):
            continue
        try:
            text = read_bytes(Path(str(entry.locate())), NOTICE_MAX).decode("utf-8", "replace")
        except OSError:
            continue
        yield str(entry), f"{entry}\n{text}"


def _fate_of(
    named: PaperDependency, libraries: Sequence[Library], clues: _Clues, imports: dict[str, Evidence]
) -> DependencyFate:
    there = {library.name: library for library in libraries}
    if named.library in there:
        return DependencyFate(named.name, named.of, Fate.SEEN, why=str(there[named.library].evidence[0]))
    noticed = [clue for clue in clues.of.get(named.library, ()) if clue.how == "names"]
    but = f"; {noticed[0].where} names it" if noticed else ""
    by = tuple(name for name in named.instead if name in there)
    asks = [imports[name] for name in named.imports if name in imports]
    if by and not (named.otherwise and asks):
        why = "; ".join(str(there[name].evidence[0]) for name in by[:2])
        return DependencyFate(named.name, named.of, Fate.REPLACED, by, why + but)
    if asks:
        who = (f"{named.otherwise} ({', '.join(by)})" if by else named.otherwise,)
        return DependencyFate(named.name, named.of, Fate.REPLACED, who, str(asks[0]) + but)
    purpose = BY_NAME[named.library].purpose
    return DependencyFate(named.name, named.of, Fate.GONE, why=f"nothing of it, nor of another for {purpose}{but}")
