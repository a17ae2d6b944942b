"""A Python script as a tree that every guest runs: the Python tree of its packages (pythontree.py), and what it needs.

    site = distributions.own_site()                      # or site_of(--interpreter)
    packed = pack_python(Path("bench.py"), ["--size", "10"], packages=["numpy"], requirements=Path("requirements.txt"))

A plain script is timed as any other program is (pack.py): the interpreter's start is part of its run. A script that
measures itself with pyperf.Runner runs as pyperf's worker (workloads/python/pyperf_worker.py):

    uses_pyperf(script)                                  # it imports pyperf and names its Runner
    packed = pack_python(script, worker=PyperfWorker(repetitions, instructions=accelerator is Accelerator.ICOUNT))

with loops, values and warm-ups for each benchmark that the host chose (workloads/calibrating.py). The interpreter and
its standard library are ukperf's own. It runs without the user's site packages (-s), writes no bytecode (-B), writes
what it prints at once (-u: else it depends on the console how often) and has UTF-8 whatever the locale.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ukperf.errors import UkperfError
from ukperf.files import SMALL, read_bytes, reason
from ukperf.imaging import tree
from ukperf.imaging.bytecode import bytecode
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import NO_PRUNING, PYTHON, Pruning, PythonTree
from ukperf.imaging.distributions import Site, read_requirements, resolve
from ukperf.imaging.elf import LibrarySearch
from ukperf.imaging.executable import absolute
from ukperf.imaging.guestpaths import is_reserved
from ukperf.imaging.pack import (
    FORMAT,
    STDIN,
    FileToPack,
    Packed,
    Packing,
    Timing,
    ToPack,
    packed_once,
    to_pack,
)
from ukperf.imaging.pythontree import environment, link_tree, python_tree
from ukperf.imaging.tree import Entry, Kind
from ukperf.model import Repetitions
from ukperf.resources import data
from ukperf.text import clean

OPTIONS = ("-s", "-B", "-u", "-X", "utf8")
_OURS = "/ukperf"  # the folder of what is ours in a tree
_WORKER = ("python/pyperf_worker.py", "common/ukperf_wire.py")
MAX_BENCHMARKS = 128  # of one pyperf script: their settings are on the guest's command line


@dataclass(frozen=True)
class PyperfWorker:
    """How a pyperf script runs. repetitions: by names of benchmarks, the others are calibrated; instructions: they are
    counted, by a time-stamp counter that counts them (icount), instead of timed."""

    repetitions: Mapping[str, Repetitions] = field(default_factory=dict)
    instructions: bool = False

    def words(self) -> list[str]:
        """What pyperf_worker.py is told. Raises UkperfError for more than MAX_BENCHMARKS benchmarks."""
        if len(self.repetitions) > MAX_BENCHMARKS:
            raise UkperfError(
                f"The script has {len(self.repetitions)} benchmarks, and {MAX_BENCHMARKS} are possible in one boot.",
                hint="Run it in parts, by its own options.",
            )
        settings = [
            f"{zlib.crc32(name.encode('utf-8', 'replace')):08x}={r.loops}:{r.values}:{r.warmups}"
            for name, r in sorted(self.repetitions.items())
        ]
        return ["instructions" if self.instructions else "seconds", ",".join(settings) or "-"]


@dataclass(frozen=True)
class _Source:
    """A script that was read: its bytes are what is packed."""

    content: bytes
    module: ast.Module


def pack_python(
    script: Path,
    args: Sequence[str] = (),
    *,
    packages: Iterable[str] = (),
    requirements: Path | None = None,
    site: Site | None = None,
    pruning: Pruning = NO_PRUNING,
    worker: PyperfWorker | None = None,
    files: Iterable[FileToPack] = (),
    env: Iterable[tuple[str, str]] = (),
    cwd: str = "/",
    stdin: Path | None = None,
    base: Path | None = None,
    cache: Cache | None = None,
) -> Packed:
    """A script and its arguments as a tree in the cache, found again in milliseconds while nothing of it has changed.

    packages: installed distributions (`numpy`, `numpy>=2`); requirements: a file of such; both with all that they
    require. site: where they are installed, default ukperf's own environment. pruning: what of their files is left
    out. worker: the script runs as pyperf's worker, whose tree has pyperf. The rest as in `pack`; modules of the
    script's own folder are `files`. Raises UkperfError, one sentence and a hint, for what cannot be packed.
    """
    cache = cache or Cache()
    request = to_pack([str(script), *args], files=files, env=env, cwd=cwd, stdin=stdin, base=base)
    source = _read(script, request.base)
    roots = _roots(packages, requirements and request.base / requirements, site, pyperf=worker is not None)
    python = python_tree(cache, roots, site, pruning)
    told = worker.words() if worker is not None else None
    search = LibrarySearch()
    question = ["python", FORMAT, str(request), python.digest, str(python.root), told, search.environment]
    return packed_once(question, cache, lambda: _PythonPacking(request, search, cache, python, source, told))


def uses_pyperf(script: Path, base: Path | None = None) -> bool:
    """Does the script import pyperf and name its Runner? Raises UkperfError for what is no Python."""
    nodes = list(ast.walk(_read(script, base or Path.cwd()).module))
    imported = {name.partition(".")[0] for node in nodes for name in _imported(node)}
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    named |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return "pyperf" in imported and "Runner" in named


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module


def _read(script: Path, base: Path) -> _Source:
    """A script that this Python can compile. Raises UkperfError with the line where it cannot."""
    try:
        content = read_bytes(base / script, SMALL)
    except OSError as error:
        raise UkperfError(f"The script {script} cannot be read: {reason(error)}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(content, script.name)
            compile(module, script.name, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise UkperfError(f"{script}{line} is no valid Python {version}: {clean(error.msg, 200)}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UkperfError(f"{script} is no valid Python: {clean(reason(error), 200)}.") from error
    return _Source(content, module)


def _roots(packages: Iterable[str], requirements: Path | None, site: Site | None, *, pyperf: bool) -> tuple[str, ...]:
    """Everything that is asked for, in one list. A requirements file is held against what is installed here, and with
    it goes the name of the file out of what the tree is."""
    roots = list(packages)
    if requirements is not None:
        wanted = read_requirements(requirements)
        resolve(wanted, site)  # its refusals name file and line
        roots += [_named(str(item.requirement)) for item in wanted]
    if pyperf:
        roots.append("pyperf")
    return tuple(dict.fromkeys(roots))


def _named(requirement: str) -> str:
    """Without its marker, which applies, and without the address that nobody downloads from."""
    return requirement.partition(";")[0].partition("@")[0].strip()


class _PythonPacking(Packing):
    """The Python tree as it is, and over it the script, files, and what times them."""

    def __init__(
        self,
        request: ToPack,
        search: LibrarySearch,
        cache: Cache,
        python: PythonTree,
        source: _Source,
        told: list[str] | None,
    ) -> None:
        super().__init__(request, search, cache)
        self.python, self.source, self.told = python, source, told

    def done(self) -> tuple[Packed, Iterable[str]]:
        request = self.request
        self.entries += tree.scan(self.python.root)
        self.looked_at[str(self.python.root)] = None
        script = self._put_script()
        optional = [path for file in request.files for path in self._put_files(file)]
        libraries = self._put_more_libraries(optional)
        before: list[str] = []
        if self.told is None:
            self._put_preload(Path(request.words[0]).name)
        else:
            before = self._put_worker(self.told)
        self._put_stdin()
        self._look_at_folders()
        self.left_out += self.python.left_out
        self._remark_imports()
        argv = (PYTHON, *OPTIONS, *before, script, *request.words[1:])
        own = dict(environment(self.python))
        env = tuple({**own, **dict(request.env)}.items())  # a name is there once: who asks gets the first
        timing = Timing.PRELOAD if self.told is None else Timing.WORKER
        return self._packed(argv, env, timing, libraries), self.looked_at

    def _put_script(self) -> str:
        """At its own path, a relative one in the working folder. Its path in the guest."""
        word = self.request.words[0]
        inside = word if word.startswith("/") else self._inside(Path(word).name if ".." in Path(word).parts else word)
        if is_reserved(inside):
            inside = f"/{Path(word).name}"
        host = absolute(self.request.base / word)
        self.looked_at[str(host)] = None
        return self._put_file(host, inside, content=self.source.content)

    def _put_worker(self, told: list[str]) -> list[str]:
        """The program that runs the script, and what stands before the script on its command line."""
        names = []
        for file in _WORKER:
            source = data("workloads", *file.split("/"))
            self.looked_at[str(source)] = None
            name = f"{_OURS}/{source.name}"
            names.append(self._put_file(source, f"{name}c", content=bytecode(read_bytes(source, SMALL), name)))
        return [names[0], *told, self._folder_word(), STDIN]

    def _put_more_libraries(self, optional: Sequence[Path]) -> tuple[str, ...]:
        """What extension modules and programs among the files need besides the tree's own."""
        there = {PurePosixPath(os.fsdecode(e.path)).name: e.path for e in self.entries if b".so" in e.path}
        folder = PurePosixPath("/", os.fsdecode(there["libc.so.6"])).parent
        needed = self._needed(self.askers, optional)
        for name, path in sorted(needed.items()):
            if name not in there:
                self._put_file(path, f"{folder}/{PurePosixPath(name).name}", executable=True)
                self.looked_at[str(path.parent)] = None
        return tuple(sorted({name for name in there if name.startswith(("lib", "ld-"))} | set(needed)))

    def _remark_imports(self) -> None:
        """Modules that the script cannot do without and that are nowhere in the tree are said before the guests do."""
        home = self.python.home
        packed = {PurePosixPath(os.fsdecode(part)).stem for entry in self.entries for part in entry.path.split(b"/")}
        for node in self.source.module.body:
            for name in dict.fromkeys(name.partition(".")[0] for name in _imported(node)):
                known = name in sys.stdlib_module_names or name in packed or (home / name).exists()
                if not known:
                    self.left_out.append(
                        f"{name}, which the script imports, is in no package and no file that is packed"
                    )

    def _unpack(self, entries: Sequence[Entry], root: Path) -> None:
        """The Python tree by hard links: it takes no space again."""
        link_tree(self.python.root, root)
        inside = f"{self.python.root}{os.sep}"
        own = (e for e in entries if e.source is None or not e.source.startswith(inside))
        new = (e for e in own if e.kind is not Kind.DIRECTORY or not (root / os.fsdecode(e.path)).is_dir())
        tree.unpack(new, root)
