"""ELF files: what the loader needs to know of one, and where it finds the libraries that a program asks for.

Sources: ld.so(8) for the search order, gabi 4.1 chapter 5 for DT_NEEDED, DT_RPATH and DT_RUNPATH.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_text, reason

MAGIC = b"\x7fELF"
DF_1_PIE = 0x08000000
SHOFF, SHENTSIZE = slice(0x28, 0x30), slice(0x3A, 0x40)  # ELF64 header: e_shoff; e_shentsize, e_shnum, e_shstrndx


@dataclass(frozen=True)
class ElfInfo:
    """What the dynamic loader reads of one 64-bit x86-64 file."""

    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    interpreter: str  # "" for a library or a static program
    soname: str
    fixed_address: bool  # ET_EXEC: no position-independent program
    pie: bool  # says of itself that it is a position-independent program, not a library
    load_end: int  # file offset behind the last byte that a segment loads


def is_elf(path: Path) -> bool:
    """Whether the file starts as an ELF file does; False where it cannot be read."""
    try:
        with open_regular(path) as f:
            return f.read(4) == MAGIC
    except OSError:
        return False


def is_position_independent(path: Path) -> bool:
    """Whether an ELF file may be loaded anywhere. Raises ValueError where it is none, and OSError."""
    try:
        with open_regular(path) as f:
            return str(ELFFile(f)["e_type"]) == "ET_DYN"
    except ELFError as error:
        raise ValueError(f"{path} is no ELF file") from error


def read_elf(path: Path) -> ElfInfo:
    """Read one ELF file. Raises UkperfError where it is none, or not for x86-64."""
    try:
        with open_regular(path) as f:
            return _info(ELFFile(f), path)
    except (ELFError, OSError, UnicodeDecodeError, ValueError) as e:
        raise UkperfError(f"{path} cannot be read as an ELF file: {reason(e)}.") from e


def _info(elf: ELFFile, path: Path) -> ElfInfo:
    if elf.elfclass != 64 or elf["e_machine"] != "EM_X86_64":
        raise UkperfError(f"{path} is not a 64-bit x86-64 file.")
    tags: dict[str, list[str]] = {"needed": [], "rpath": [], "runpath": [], "soname": []}
    interpreter = ""
    pie = False
    end = elf["e_phoff"] + elf["e_phnum"] * elf["e_phentsize"]
    for segment in elf.iter_segments():
        end = max(end, segment["p_offset"] + segment["p_filesz"])
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
        if isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                name = tag.entry.d_tag.removeprefix("DT_").lower() if isinstance(tag.entry.d_tag, str) else ""
                pie = pie or (name == "flags_1" and bool(tag.entry.d_val & DF_1_PIE))
                if name in tags:
                    tags[name].append(getattr(tag, name))
    return ElfInfo(
        needed=tuple(tags["needed"]),
        rpath=_paths(tags["rpath"]),
        runpath=_paths(tags["runpath"]),
        interpreter=interpreter,
        soname=next(iter(tags["soname"]), ""),
        fixed_address=elf["e_type"] == "ET_EXEC",
        pie=pie,
        load_end=end,
    )


def _paths(entries: list[str]) -> tuple[str, ...]:
    return tuple(p for entry in entries for p in entry.split(":") if p)


def loadable_bytes(data: bytes, info: ElfInfo) -> bytes:
    """The file without what is never loaded: debug information and section headers (a self-built libpython
    has 15 MB of it). Nothing that a loader reads changes but the three header fields that point to sections.
    """
    head = bytearray(data[: info.load_end])
    head[SHOFF] = bytes(8)
    head[SHENTSIZE] = bytes(6)
    return bytes(head)


def system_folders(conf: Path = Path("/etc/ld.so.conf")) -> tuple[str, ...]:
    """The folders of ld.so.conf and its includes, then glibc's defaults, each once."""
    defaults = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
    return tuple(dict.fromkeys([*_conf_folders(conf, 0), *defaults]))


def _conf_folders(conf: Path, depth: int) -> Iterator[str]:
    if depth > 4:  # a file that includes itself
        return
    try:
        lines = read_text(conf).splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in (x.partition("#")[0].strip() for x in lines):
        if line.startswith("include "):
            for pattern in line.split()[1:]:
                base = Path(pattern) if pattern.startswith("/") else conf.parent / pattern
                for included in sorted(base.parent.glob(base.name)):
                    yield from _conf_folders(included, depth + 1)
        elif line.startswith("/"):
            yield line


@dataclass
class LibrarySearch:
    """ld.so's search: RPATH or RUNPATH of the file that asks, LD_LIBRARY_PATH, ld.so.conf, the default folders."""

    environment: tuple[str, ...] = field(default_factory=lambda: _paths([os.environ.get("LD_LIBRARY_PATH", "")]))
    system: tuple[str, ...] = field(default_factory=system_folders)

    def find(self, name: str, asker: Path, info: ElfInfo, inherited: tuple[str, ...] = ()) -> Path | None:
        """The file that ld.so would load for `name` when `asker` (whose facts are `info`) needs it, or None.

        inherited: the RPATH folders of the files that made the loader load the asker; a RUNPATH switches them off.
        """
        if "/" in name:
            return Path(name) if is_elf(Path(name)) else None
        run = _expand(info.runpath, asker)
        before = () if run else (*_expand(info.rpath, asker), *inherited)
        folders = [*before, *self.environment, *run, *self.system]
        return next((p for p in (Path(f) / name for f in folders) if _loadable(p)), None)


def _expand(paths: tuple[str, ...], asker: Path) -> tuple[str, ...]:
    origin = str(asker.parent)
    return tuple(os.path.normpath(p.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)) for p in paths)


def is_loadable(path: Path) -> bool:
    """Is this a file that a guest's loader could load: ELF for x86-64?"""
    if not is_elf(path):
        return False
    try:
        read_elf(path)
    except UkperfError:
        return False
    return True


_loadable = cache(is_loadable)  # a search asks for the same libraries again and again


@dataclass(frozen=True)
class Missing:
    """A library that no folder has, and the file that asks for it."""

    name: str
    asker: Path


def missing_library(missing: Missing) -> UkperfError:
    """The refusal of a program whose library is not on this machine."""
    return UkperfError(
        f"{missing.asker} needs {missing.name}, which is in no folder that the loader searches.",
        hint="Install the system package that has it, then try again.",
    )


def asked_libraries(files: Iterable[Path], search: LibrarySearch) -> Iterator[tuple[Path, str, Path | None]]:
    """(who asks, the name, the file or None) for all libraries that the files need, and those that these need."""
    todo: list[tuple[Path, tuple[str, ...]]] = [(f, ()) for f in files]
    seen = {f for f, _ in todo}
    while todo:
        asker, inherited = todo.pop()
        info = read_elf(asker)
        handed_on = (*_expand(info.rpath, asker), *inherited)
        for name in info.needed:
            path = search.find(name, asker, info, inherited)
            yield asker, name, path
            if path is not None and path not in seen:
                seen.add(path)
                todo.append((path, handed_on))


def needed_libraries(files: Iterable[Path], search: LibrarySearch) -> tuple[dict[str, Path], list[Missing]]:
    """All libraries that the files need, and those that these need: {name asked for: file}, and what is missing."""
    libraries: dict[str, Path] = {}
    missing: list[Missing] = []
    for asker, name, path in asked_libraries(files, search):
        if path is None:
            missing.append(Missing(name, asker))
        else:
            libraries.setdefault(name, path)
    # The loader takes a library that is loaded already, whoever brought it.
    return libraries, [m for m in missing if m.name not in libraries]
