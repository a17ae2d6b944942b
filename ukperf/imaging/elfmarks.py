"""What an ELF file says of libraries that were linked into it: names in its symbol tables and among its constants.

A library that is linked in leaves the names of its functions, unless they were stripped; the names of its C++ types,
which exceptions and virtual functions need (RTTI); and texts such as paths of sources. All are found as byte strings in
a few sections, of which a bounded part is read.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ukperf.errors import UkperfError
from ukperf.files import open_regular, reason
from ukperf.text import clean

SECTION_MAX = 256 << 20  # bytes that are looked at of one section; libtorch_cpu.so has 60 MB of constants
_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: st_name, st_info, st_other, st_shndx, st_value, st_size
_NAME_MAX = 56


class Where(StrEnum):
    """Where a mark was seen, the surest first."""

    DEFINED = "defines"  # the file has this function or object
    IMPORTED = "asks for"  # another file must have it
    TEXT = "says"  # among constants: a type's name, a text


@dataclass(frozen=True)
class Mark:
    """A byte string that was looked for. name: the whole name or text around it."""

    where: Where
    name: str


@dataclass
class _Symbols:
    """A string table with the offsets of names that are defined and of those that are imported, sorted."""

    strings: bytes
    defined: list[int] = field(default_factory=list)
    imported: list[int] = field(default_factory=list)


class ElfNames:
    """The names in one ELF file, read once. Raises UkperfError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.imported: frozenset[str] = frozenset()  # functions and objects that other files must have
        self._symbols: list[_Symbols] = []
        self._constants: list[bytes] = []
        try:
            with open_regular(path) as file:
                self._read(ELFFile(file), file)
        except (ELFError, OSError, ValueError, struct.error) as error:
            raise UkperfError(f"{path} cannot be read as an ELF file: {reason(error)}.") from error

    def _read(self, elf: ELFFile, file: BinaryIO) -> None:
        sections = list(elf.iter_sections())
        for section in sections:
            kind, name = section["sh_type"], section.name
            if kind in ("SHT_DYNSYM", "SHT_SYMTAB") and section["sh_link"] < len(sections):
                self._symbols.append(_symbols(_bytes(file, section), _bytes(file, sections[section["sh_link"]])))
            elif kind == "SHT_PROGBITS" and (name.startswith(".rodata") or name == ".comment"):
                self._constants.append(_bytes(file, section))
        self.imported = frozenset(
            _name_at(table.strings, offset) for table in self._symbols[:1] for offset in table.imported
        )

    def look_for(self, marks: Iterable[bytes]) -> dict[bytes, Mark]:
        """Those of the byte strings that are there, at the surest place."""
        return {mark: seen for mark in marks if (seen := self._seen(mark))}

    def _seen(self, mark: bytes) -> Mark | None:
        imported = None
        for table in self._symbols:
            at = table.strings.find(mark)
            if at < 0:
                continue
            start = table.strings.rfind(b"\0", 0, at + 1) + 1
            name = _name_at(table.strings, start)
            if _among(table.defined, start, start + len(name)):
                return Mark(Where.DEFINED, _short(name, mark))
            # the first name with it is imported, and a later one may be defined
            other = _other(table, mark, at)
            if other:
                return Mark(Where.DEFINED, _short(other, mark))
            if _among(table.imported, start, start + len(name)):
                imported = Mark(Where.IMPORTED, _short(name, mark))
        for constants in self._constants:
            at = constants.find(mark)
            if at >= 0:
                start = max(constants.rfind(b"\0", 0, at + 1) + 1, at - _NAME_MAX)
                return Mark(Where.TEXT, _short(_name_at(constants, start), mark))
        return imported


def _other(table: _Symbols, mark: bytes, at: int, tries: int = 2_000) -> str:
    """A defined name with the mark behind the first one."""
    for _ in range(tries):
        at = table.strings.find(mark, at + 1)
        if at < 0:
            return ""
        start = table.strings.rfind(b"\0", 0, at + 1) + 1
        if _among(table.defined, start, at + 1):
            return _name_at(table.strings, start)
    return ""


def _symbols(table: bytes, strings: bytes) -> _Symbols:
    whole = table[: len(table) // _SYMBOL.size * _SYMBOL.size]
    defined: list[int] = []
    imported: list[int] = []
    for name, _info, _visibility, section, _value, _size in _SYMBOL.iter_unpack(whole):
        if name:
            (defined if section else imported).append(name)
    return _Symbols(strings, sorted(defined), sorted(imported))


def _among(offsets: list[int], start: int, end: int) -> bool:
    """Does one lie in start … end? A name may be the end of a longer one (merged strings)."""
    at = bisect_right(offsets, start - 1)
    return at < len(offsets) and offsets[at] < max(end, start + 1)


def _name_at(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset, offset + 4_096)
    return strings[offset : end if end >= 0 else offset + 4_096].decode("latin-1")


def _short(name: str, mark: bytes) -> str:
    """The name, or as much of it as is needed to see the mark in it: those of C++ have thousands of letters."""
    if len(name) > _NAME_MAX:
        at = max(0, name.find(mark.strip(b"\0").decode("latin-1")) - 8)
        name = ("…" if at else "") + name[at:]
    return clean(name, _NAME_MAX)


def _bytes(file: BinaryIO, section: object) -> bytes:
    header = section.header  # type: ignore[attr-defined]
    file.seek(header["sh_offset"])
    return file.read(min(header["sh_size"], SECTION_MAX))
