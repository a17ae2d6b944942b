"""The Python tree: everything that `import sklearn` needs, in one directory that runs in a bare chroot.

    /prog/python            the interpreter (position independent)
    /prog/lib/python3.X/    standard library and wheels, in one directory: bytecode only, no sources
    /lib/...                the loader and the shared libraries of the system, where this machine's loader looks

The same files go into every guest. Their digest is the workload's identity, so it must not depend on when, where or
in which order the tree was made: bytecode carries no times, lists are sorted, modes are 0644 and 0755.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ukperf import hints
from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import copy, open_regular, reason
from ukperf.imaging import bytecode
from ukperf.imaging.distributions import Site, distribution_files, resolve, wanted_packages
from ukperf.imaging.elf import LibrarySearch, cut_to_loadable, is_elf, missing_library, needed_libraries, read_elf
from ukperf.imaging.python_env import (
    ROOTS,
    Interpreter,
    Package,
    TreeFile,
    find_interpreter,
    stdlib_files,
)

PREFIX = "prog"  # the directory of the program in every guest
PYTHON = f"/{PREFIX}/python"
DLOPENED = ("libgcc_s.so.1",)  # glibc loads it by name when a thread ends
HASHED_AT_ONCE = 4  # files
FORMAT = 1  # raise when the same inputs give another tree
_DESCRIBED = 1  # format of the description


@dataclass(frozen=True)
class PythonTree:
    """A directory that is a root file system with a Python in it. digest: sha256 over paths, modes and contents."""

    root: Path
    digest: str
    size: int  # bytes of all files
    files: int
    version: str  # "3.11"
    packages: tuple[Package, ...]
    left_out: tuple[str, ...]  # what the environment has and the tree has not, with the reason

    @property
    def home(self) -> Path:
        """The directory of modules, on this machine."""
        return self.root / PREFIX / "lib" / f"python{self.version}"


@dataclass(frozen=True)
class Pruning:
    """What becomes of the files of distributions, by patterns of their paths as fnmatch has them (`*` goes over `/`).

    leave_out: those that nobody needs. keep_sources: modules whose source stays beside its bytecode, for who reads it.
    optional: extensions that are left out, and said, where a library that they ask for is missing.
    """

    leave_out: tuple[str, ...] = ()
    keep_sources: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


NO_PRUNING = Pruning()


@dataclass(frozen=True)
class Inputs:
    """Everything that a tree is made of, found but not read. sources: modules whose source stays."""

    interpreter: Interpreter
    modules: tuple[TreeFile, ...]
    libraries: tuple[TreeFile, ...]  # targets from the root
    packages: tuple[Package, ...]
    left_out: tuple[str, ...]
    sources: frozenset[PurePosixPath] = frozenset()


def collect(
    roots: Iterable[str] = ROOTS,
    search: LibrarySearch | None = None,
    site: Site | None = None,
    pruning: Pruning = NO_PRUNING,
) -> Inputs:
    """Find all inputs: roots are distributions (`numpy`, `numpy>=2`) in `site`, default ukperf's own environment.

    Raises UkperfError for one that is not there, and where a wheel needs a library that is nowhere.
    """
    search = search or LibrarySearch()
    interpreter = find_interpreter(search=search)
    resolved = resolve(wanted_packages(roots), site)
    dists = resolved.distributions
    wheels = [f for dist in dists for f in distribution_files(dist) if not _matches(f, pruning.leave_out)]
    optional = [f for f in wheels if _matches(f, pruning.optional)]
    kept, more_needed, absent = _with_libraries(optional, search)
    lost = {f.source for f in optional} - {f.source for f in kept}
    wheels = [f for f in wheels if f.source not in lost]
    stdlib = list(stdlib_files())
    own = {f.source for f in wheels + stdlib}
    # auditwheel's libraries have no search path of their own: they are found through the extension that asks for them.
    extensions = [f.source for f in wheels if _elf(f) and not f.target.parts[0].endswith(".libs")]
    needed, missing = needed_libraries([interpreter.executable, *extensions], search)
    if missing:
        raise missing_library(missing[0])
    stdlib, more, left_out = _with_libraries(stdlib, search)
    needed = {**more, **more_needed, **needed}
    for name in DLOPENED:
        library = search.find(name, interpreter.executable, read_elf(interpreter.executable))
        if library is not None:
            needed.setdefault(name, library)
    libc = needed.get("libc.so.6")
    if libc is None:
        raise UkperfError(f"{interpreter.executable} does not use glibc.", hint="Use a Python built for glibc.")
    loader = _loader(interpreter, libc)
    libraries = [TreeFile(Path(loader), PurePosixPath(loader))]
    libraries += [
        TreeFile(path, PurePosixPath(str(libc.parent)) / name)
        for name, path in sorted(needed.items())
        if path not in own and name != Path(loader).name
    ]
    packages = tuple(Package(d.metadata["Name"], d.version) for d in dists)
    left_out += (*resolved.absent, *absent)
    sources = frozenset(f.target for f in wheels if f.target.suffix == ".py" and _matches(f, pruning.keep_sources))
    return Inputs(interpreter, _unique([*stdlib, *wheels]), tuple(libraries), packages, tuple(left_out), sources)


def _matches(f: TreeFile, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(str(f.target), pattern) for pattern in patterns)


def _elf(f: TreeFile) -> bool:
    return ".so" in f.target.name and is_elf(f.source)


def _with_libraries(files: list[TreeFile], search: LibrarySearch) -> tuple[list[TreeFile], dict[str, Path], list[str]]:
    """Leave out extension modules whose libraries this machine has not: nothing here could import them either."""
    needed: dict[str, Path] = {}
    left_out = []
    kept = []
    for f in files:
        if _elf(f):
            more, missing = needed_libraries([f.source], search)
            if missing:
                left_out.append(f"{f.target.name}: {missing[0].name} is not on this machine")
                continue
            needed.update(more)
        kept.append(f)
    return kept, needed, left_out


def _loader(interpreter: Interpreter, libc: Path) -> str:
    name = read_elf(interpreter.executable).interpreter or read_elf(libc).interpreter
    if not name or not Path(name).exists():
        raise UkperfError(f"{interpreter.executable} names no program loader that exists here ({name or 'none'}).")
    return name


def _unique(files: list[TreeFile]) -> tuple[TreeFile, ...]:
    first: dict[PurePosixPath, TreeFile] = {}
    for f in files:
        first.setdefault(f.target, f)
    return tuple(first[target] for target in sorted(first))


def input_key(inputs: Inputs) -> str:
    """A quick identity of the inputs: paths, sizes and times of change, and this builder itself."""
    digest = hashlib.sha256(f"{FORMAT} {sys.version}\n".encode())
    for f in (*inputs.modules, *inputs.libraries, TreeFile(inputs.interpreter.executable, PurePosixPath("/"))):
        status = f.source.stat()
        line = f"{f.target}\0{f.source}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(os.fsencode(line))  # a path may have bytes that are no UTF-8
    for target in sorted(inputs.sources):
        digest.update(f"source {target}\n".encode())
    return digest.hexdigest()


def build(inputs: Inputs, root: Path, launcher_source: Path) -> PythonTree:
    """Write the tree into root, an empty directory. launcher_source: workloads/python/launcher.c, compiled only where
    the interpreter has a fixed address."""
    home = root / PREFIX / "lib" / f"python{inputs.interpreter.version}"
    for parent in sorted({(home / f.target).parent for f in inputs.modules}):
        parent.mkdir(parents=True, exist_ok=True)
    sources = [f for f in inputs.modules if f.source.suffix == ".py"]
    # Largest first, dealt out in turn: the compilers end at about the same time.
    sources.sort(key=lambda f: (-f.source.stat().st_size, f.target))
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        compilers = [pool.submit(_compile, sources[i::workers], home, inputs.sources) for i in range(workers)]
        for f in inputs.modules:
            if f.source.suffix != ".py" or f.target in inputs.sources:
                _copy(f.source, home / f.target)
        for f in inputs.libraries:
            target = root / str(f.target).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(f.source, target, 0o755)
        if inputs.interpreter.launcher:
            _build_launcher(launcher_source, inputs, root)
        else:
            _copy(inputs.interpreter.executable, root / PREFIX / "python", 0o755)
        bad = sorted(str(PurePosixPath(b).name) for c in compilers for b in c.result())
    left_out = (*inputs.left_out, *(f"{name}: not valid for this Python" for name in bad))
    digest, size, count = tree_digest(root)
    return PythonTree(root, digest, size, count, inputs.interpreter.version, inputs.packages, left_out)


def _compile(files: list[TreeFile], home: Path, sources: frozenset[PurePosixPath]) -> list[str]:
    """Bytecode stands in its source's place; beside one that stays it is where the importer looks for it."""
    guest = PurePosixPath("/") / PREFIX / "lib" / home.name
    jobs = []
    for f in files:
        target = home / f.target.with_suffix(".pyc")
        if f.target in sources:
            target = target.parent / "__pycache__" / f"{target.stem}.{sys.implementation.cache_tag}.pyc"
            target.parent.mkdir(exist_ok=True)
        jobs.append((str(f.source), str(target), str(guest / f.target)))
    done = subprocess.run(
        [sys.executable, "-I", "-S", bytecode.__file__],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UkperfError(f"Compiling the Python tree failed: {last}.")
    bad: list[str] = json.loads(done.stdout)
    return bad


def _copy(source: Path, target: Path, mode: int = 0o644) -> None:
    """The kernel copies it; of what is loaded, what no loader reads is cut off behind."""
    try:
        copy(source, target)
    except OSError as e:
        raise UkperfError(f"{source} cannot be read: {reason(e)}.") from e
    if (".so" in source.name or mode == 0o755) and is_elf(target):
        cut_to_loadable(target)
    target.chmod(mode)


def _build_launcher(source: Path, inputs: Inputs, root: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UkperfError(
            f"{sys.executable} is not position independent, and there is no C compiler for a launcher around it.",
            hint=f"{hints.setup('gcc', 'libc6-dev')}; or run ukperf with another Python.",
        )
    target = root / PREFIX / "python"
    command = [compiler, "-O2", "-fPIE", "-pie", "-s", "-Wl,--build-id=none", "-o", str(target), str(source)]
    command.append(str(inputs.interpreter.executable))
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise UkperfError(f"The launcher for Python did not compile: {done.stderr.strip().splitlines()[-1]}.")
    library = read_elf(inputs.interpreter.executable)
    name = library.soname or inputs.interpreter.executable.name
    libc = next(f for f in inputs.libraries if f.target.name == "libc.so.6")
    _copy(inputs.interpreter.executable, root / str(libc.target.parent).lstrip("/") / name, 0o755)
    target.chmod(0o755)


def tree_digest(root: Path) -> tuple[str, int, int]:
    """(sha256 over path, mode and content of every file in the order of paths, bytes, number of files)."""
    paths = sorted(p for p in root.rglob("*") if p.is_file())
    total, size = hashlib.sha256(), 0
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        for path, (mode, length, content) in zip(paths, pool.map(_facts, paths), strict=True):
            size += length
            total.update(f"{path.relative_to(root)}\0{mode:o}\0{content}\n".encode())
    return total.hexdigest(), size, len(paths)


def _facts(path: Path) -> tuple[int, int, str]:
    """(mode, bytes, sha256) of a file of a tree."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        return (
            0o755 if status.st_mode & 0o100 else 0o644,
            status.st_size,
            hashlib.file_digest(file, "sha256").hexdigest(),
        )


def describe(tree: PythonTree) -> str:
    """The tree's facts as JSON, to be kept beside it; read back by from_description."""
    facts = encode(tree, _DESCRIBED)
    del facts["root"]
    return json.dumps(facts, indent=1, sort_keys=True)


def from_description(root: Path, text: str) -> PythonTree:
    """The inverse of describe. Raises UkperfError where the text is none of ours."""
    try:
        return decode_stored(PythonTree, {**json.loads(text), "root": str(root)}, _DESCRIBED)
    except (ValueError, TypeError) as e:
        raise UkperfError(
            f"The description of {root} cannot be read: {reason(e)}.", hint="Remove it; it will be built again."
        ) from e
