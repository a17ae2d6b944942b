"""What a Python consists of besides its distributions: interpreter and standard library. Lists, no copies."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.imaging.elf import LibrarySearch, read_elf

ROOTS = ("scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl", "pyperf")

PRUNED_STDLIB = frozenset({"test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "lib2to3", "ensurepip"})
PRUNED_STDLIB |= {"pydoc_data", "site-packages", "dist-packages", "__pycache__", "msilib", "venv", "__phello__"}
PRUNED_FILES = frozenset({"sitecustomize.py", "usercustomize.py", "turtle.py", "antigravity.py", "this.py"})
PRUNED_EXTENSIONS = re.compile(r"(_test|_xx|xx|_tkinter|_ctypes_test|_gdbm|_dbm|readline|_curses|nis|ossaudiodev)")
# What only compilers and people read.
PRUNED_SUFFIXES = frozenset({".pyi", ".pyx", ".pxd", ".pxi", ".h", ".hpp", ".hh", ".c", ".cc", ".cpp", ".cxx", ".f"})
PRUNED_SUFFIXES |= {".f90", ".a", ".lib", ".o", ".pyc", ".pyo", ".tp", ".build", ".ipynb", ".cmake", ".pc", ".exe"}


@dataclass(frozen=True)
class TreeFile:
    """One file of the environment: where it is here, and its path below the guest's library directory."""

    source: Path
    target: PurePosixPath


@dataclass(frozen=True)
class Interpreter:
    """The program that runs Python: its own file, or (launcher) a library that needs a main() around it."""

    executable: Path
    launcher: bool  # executable is libpython: compile workloads/python/launcher.c against it
    version: str  # "3.11"


@dataclass(frozen=True)
class Package:
    name: str
    version: str


def find_interpreter(executable: Path | None = None, search: LibrarySearch | None = None) -> Interpreter:
    """The running interpreter as guests can load it. Raises UkperfError where it has a fixed address and there is no
    libpython to put a launcher before."""
    path = (executable or Path(sys.executable)).resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    info = read_elf(path)
    if not info.fixed_address:
        return Interpreter(path, False, version)
    library = f"libpython{version}.so.1.0"
    search = search or LibrarySearch()
    base = Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix)
    search = LibrarySearch((str(base), str(Path(sys.base_prefix) / "lib"), *search.environment), search.system)
    library_path = search.find(library, path, info)
    if library_path is None:
        raise UkperfError(
            f"{path} is not position independent, so Unikraft cannot load it, and there is no {library} beside it.",
            hint=f"{hints.packages(f'libpython{version}')}; or run ukperf with another Python.",
        )
    return Interpreter(library_path, True, version)


def stdlib_files() -> Iterator[TreeFile]:
    """The standard library's modules without tests, GUIs and installers, extension modules beside the rest: one
    directory, so that the guest's importer looks in one place."""
    roots = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    base = {p.replace(sys.prefix, sys.base_prefix, 1) if p.startswith(sys.prefix) else p for p in roots}
    seen: set[PurePosixPath] = set()
    for root in sorted(Path(p) for p in base):
        for path in _walk(root):
            relative = PurePosixPath(path.relative_to(root).as_posix())
            if path.suffix == ".so":
                relative = PurePosixPath(path.name)
            if relative not in seen and not _pruned_stdlib(relative):
                seen.add(relative)
                yield TreeFile(path, relative)


def _walk(directory: Path) -> Iterator[Path]:
    for item in sorted(directory.iterdir()):
        if item.is_dir():
            if item.name not in PRUNED_STDLIB and not item.name.startswith("config-") and not item.is_symlink():
                yield from _walk(item)
        elif item.suffix in (".py", ".so") and item.is_file():
            yield item


def _pruned_stdlib(relative: PurePosixPath) -> bool:
    if relative.suffix == ".so":
        return PRUNED_EXTENSIONS.match(relative.name) is not None
    return relative.name in PRUNED_FILES
