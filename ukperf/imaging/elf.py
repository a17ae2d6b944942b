"""ELF files: what the loader needs to know of one, and where it finds the libraries that a program asks for.

Sources: ld.so(8) for the search order, gabi 4.1 chapters 4 and 5 for headers, DT_NEEDED, DT_RPATH and DT_RUNPATH.
Headers are read by struct: a package of 60 extension modules takes pyelftools seconds, and this milliseconds.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BufferedReader
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import open_regular, patch_own, read_text, reason

MAGIC = b"\x7fELF"
DF_1_PIE = 0x08000000
_HEADER = struct.Struct("<4sBB10xHHIQQQIHHH")  # to e_phnum
_SEGMENT = struct.Struct("<IIQQQQQQ")
_TAG = struct.Struct("<qQ")
_EXEC, _DYN, _X86_64 = 2, 3, 62  # e_type, e_type, e_machine
_LOAD, _DYNAMIC, _INTERP = 1, 2, 3  # p_type
_NULL, _NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH, _FLAGS_1 = 0, 1, 5, 14, 15, 29, 0x6FFFFFFB  # d_tag
_TEXT_MAX = 4096  # bytes of a path
_TAGS_MAX = 1 << 20  # bytes of a dynamic segment; real ones have less than 2 KiB
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
    with open_regular(path) as f:
        return bool(_Reader(f).type == _DYN)


def read_elf(path: Path) -> ElfInfo:
    """Read one ELF file. Raises UkperfError where it is none, or not for x86-64."""
    try:
        with open_regular(path) as f:
            reader = _Reader(f)
            if not reader.is_ours:
                raise UkperfError(f"{path} is not a 64-bit x86-64 file.")
            return reader.info()
    except (OSError, ValueError) as e:
        raise UkperfError(f"{path} cannot be read as an ELF file: {reason(e)}.") from e


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int  # bytes in the file


class _Reader:
    """The parts of an open ELF file that a loader reads, each where another one says that it is. Raises ValueError."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        head = self._bytes(0, _HEADER.size)
        magic, width, order, kind, machine, _, _, first, _, _, _, size, count = _HEADER.unpack(head)
        if magic != MAGIC:
            raise ValueError("it does not begin as one")
        self.type = kind
        self.is_ours = (width, order, machine) == (2, 1, _X86_64)
        self._table = (first, size, count)

    def info(self) -> ElfInfo:
        first, size, count = self._table
        if count and size < _SEGMENT.size:
            raise ValueError("its segments have no size that there is")
        table = self._bytes(first, size * count)
        rows = [_SEGMENT.unpack_from(table, at) for at in range(0, size * count, size)] if count else []
        segments = [_Segment(row[0], row[2], row[3], row[5]) for row in rows]
        tags = [tag for segment in segments if segment.kind == _DYNAMIC for tag in self._tags(segment)]
        names = next((self._offset(segments, value) for tag, value in tags if tag == _STRTAB), 0)

        def texts(wanted: int) -> list[str]:
            return [self._text(names + value) for tag, value in tags if tag == wanted]

        return ElfInfo(
            needed=tuple(texts(_NEEDED)),
            rpath=_paths(texts(_RPATH)),
            runpath=_paths(texts(_RUNPATH)),
            interpreter=next((self._text(part.offset) for part in segments if part.kind == _INTERP), ""),
            soname=next(iter(texts(_SONAME)), ""),
            fixed_address=self.type == _EXEC,
            pie=any(tag == _FLAGS_1 and value & DF_1_PIE for tag, value in tags),
            load_end=max([first + size * count, *(part.offset + part.size for part in segments)]),
        )

    def _tags(self, segment: _Segment) -> Iterator[tuple[int, int]]:
        if segment.size > _TAGS_MAX:
            raise ValueError("its dynamic segment is too large")
        data = self._bytes(segment.offset, segment.size - segment.size % _TAG.size)
        for tag, value in _TAG.iter_unpack(data):
            if tag == _NULL:
                return
            yield tag, value

    def _offset(self, segments: Iterable[_Segment], address: int) -> int:
        """Where in the file what is at an address is."""
        for part in segments:
            if part.kind == _LOAD and part.address <= address < part.address + part.size:
                return address - part.address + part.offset
        raise ValueError("its names are in no segment")

    def _text(self, at: int) -> str:
        self._seek(at)
        text, end, _ = self._file.read(_TEXT_MAX).partition(b"\0")
        if not end:
            raise ValueError("one of its names has no end")
        return text.decode("utf-8")

    def _bytes(self, at: int, count: int) -> bytes:
        self._seek(at)
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError("it is cut off")
        return data

    def _seek(self, at: int) -> None:
        if at >= 1 << 62:  # more than a file can have
            raise ValueError("it is cut off")
        self._file.seek(at)


def _paths(entries: list[str]) -> tuple[str, ...]:
    return tuple(p for entry in entries for p in entry.split(":") if p)


def cut_to_loadable(path: Path) -> None:
    """Cut off of a file of ours what is never loaded: debug information and section headers (a self-built libpython
    has 15 MB of it). Nothing that a loader reads changes but the three header fields that point to sections.

    Raises UkperfError as `read_elf`; OSError goes to the caller.
    """
    end = min(read_elf(path).load_end, path.stat().st_size)
    patch_own(path, end, {part.start: bytes(part.stop - part.start) for part in (SHOFF, SHENTSIZE)})


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
