"""The code and the names in an ELF file: what of it may be executed, and where its functions begin and end.

Both classes are read: Unikraft's kernel is 64-bit code in a 32-bit file, for boot loaders' sake. Names come from
.symtab and .dynsym; where a file was stripped, the unwind table (.eh_frame_hdr) still says where functions begin.

Sources: gabi 4.1 chapters 4 and 5; LSB core 10.6 (.eh_frame_hdr); GDB's manual, "Separate Debug Files".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_bytes, reason
from ukperf.profile.symbols import NO_SYMBOLS, Symbols, symbols_from

TEXT_MAX = 256 << 20  # bytes of code of one file; libtorch_cpu.so has 170 MiB
SYMBOLS_MAX = 4_000_000  # of one table
_DEBUG_MAX = 2 << 30  # bytes of a debug file that a .gnu_debuglink's checksum is computed of
_MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _NOTE, _EH_FRAME = 1, 2, 4, 0x6474E550  # p_type
_STRTAB_TAG, _SYMTAB_TAG, _STRSZ_TAG = 5, 6, 10  # d_tag
_EXECUTABLE = 1  # p_flags
_SYMTAB, _DYNSYM, _NOBITS = 2, 11, 8  # sh_type
_EXEC_SECTION = 4  # sh_flags
_FUNCTIONS = (0, 2, 10)  # st_type: NOTYPE (of assembler), FUNC, GNU_IFUNC
_HEADERS = {1: struct.Struct("<16xHHIIIIIHHHHHH"), 2: struct.Struct("<16xHHIQQQIHHHHHH")}
_SEGMENTS = {1: struct.Struct("<IIIIIIII"), 2: struct.Struct("<IIQQQQQQ")}
_SECTIONS = {1: struct.Struct("<IIIIIIIIII"), 2: struct.Struct("<IIQQQQIIQQ")}
_SYMBOL = {
    1: np.dtype([("name", "<u4"), ("value", "<u4"), ("size", "<u4"), ("info", "u1"), ("other", "u1"), ("at", "<u2")]),
    2: np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("at", "<u2"), ("value", "<u8"), ("size", "<u8")]),
}
_GNU_BUILD_ID = 3
_NOTES_MAX = 1 << 20  # bytes
# Where a program or library jumps to others' functions: linkers make them, and give them no symbols.
_STUBS, STUB = (b".plt", b".plt.got", b".plt.sec"), "@plt"
_PAGE = 0x1000
_INNER_MAX, _INNER_SIZE, _INNER_FILES = 64 << 20, 1 << 20, 8  # bytes of a kernel, and of the files in it that are read


@dataclass(frozen=True)
class Segment:
    """Bytes that may be executed. address: where the file says that they lie."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        return self.address + len(self.data)


@dataclass(frozen=True)
class ElfCode:
    """What was read of one file. build_id: hex, "" where it has none; link: name and checksum of its debug file."""

    segments: tuple[Segment, ...]
    symbols: Symbols
    build_id: str = ""
    link: tuple[str, int] | None = None


@dataclass(frozen=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


def read_code(path: Path) -> ElfCode:
    """Raises UkperfError for what cannot be read or is no x86 ELF file."""
    try:
        with open_regular(path) as file:
            return _ElfFile(file).read()
    except (OSError, ValueError, struct.error) as error:
        raise UkperfError(f"{path} cannot be read as an ELF file: {reason(error)}.") from error


def inner_code(path: Path) -> tuple[ElfCode, ...]:
    """The ELF files that lie in another one at whole pages, like the vDSO that a kernel maps for its programs; those
    that have code. Raises UkperfError for what cannot be read."""
    try:
        data = read_bytes(path, _INNER_MAX)
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {reason(error)}.") from error
    files: list[ElfCode] = []
    at = 0
    while (at := data.find(_MAGIC, at + 1)) >= 0 and len(files) < _INNER_FILES:
        if at % _PAGE == 0:
            with suppress(ValueError, struct.error):  # four bytes that look like one
                files.append(_ElfFile(BytesIO(data[at : at + _INNER_SIZE])).read())
    return tuple(code for code in files if code.segments)


class _ElfFile:
    """An open ELF file. Raises ValueError for what is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = self._bytes(0, 64)
        if head[:4] != _MAGIC or head[4] not in (1, 2) or head[5] != 1:
            raise ValueError("it does not begin as one")
        self._class = head[4]
        _, machine, _, _, first, sections, _, _, size, count, section_size, section_count, names = _HEADERS[
            self._class
        ].unpack_from(head)
        if machine not in (3, 62):
            raise ValueError("it is not for x86")
        self._segments = list(self._rows(_SEGMENTS[self._class], first, size, count))
        rows = self._rows(_SECTIONS[self._class], sections, section_size, section_count) if sections else ()
        self._sections = [_Section(row[0], row[1], row[2], row[3], row[4], row[5], row[6]) for row in rows]
        self._names = names

    def read(self) -> ElfCode:
        segments, unwinding, notes = [], None, []
        total = 0
        for row in self._segments:
            kind, flags, offset, address, size = self._segment(row)
            if kind == _LOAD and flags & _EXECUTABLE and size:
                total += size
                if total > TEXT_MAX:
                    raise ValueError(f"it has more than {TEXT_MAX >> 20} MiB of code")
                segments.append(Segment(address, self._bytes(offset, size)))
            if kind == _EH_FRAME:
                unwinding = offset, address, size
            if kind == _NOTE and size <= _NOTES_MAX:
                notes.append(self._bytes(offset, size))
        named = self._section_names()
        if unwinding is None and (section := named.get(b".eh_frame_hdr")) is not None:
            unwinding = section.offset, section.address, section.size
        limits = [(s.address, s.end) for s in segments] or self._code_sections()
        starts = self._unwound(*unwinding) if unwinding is not None else np.empty(0, np.uint64)
        return ElfCode(
            tuple(segments),
            self._symbols(limits, starts, [named[name] for name in _STUBS if name in named]),
            _build_id(notes, self._section(id_, _NOTES_MAX) if (id_ := named.get(b".note.gnu.build-id")) else b""),
            self._debug_link(named.get(b".gnu_debuglink")),
        )

    # ---- headers ----

    def _segment(self, row: tuple[int, ...]) -> tuple[int, int, int, int, int]:
        """(type, flags, offset, address, bytes in the file)."""
        if self._class == 1:
            kind, offset, address, _, size, _, flags, _ = row
        else:
            kind, flags, offset, address, _, size, _, _ = row
        return kind, flags, offset, address, size

    def _rows(self, layout: struct.Struct, first: int, size: int, count: int) -> Iterator[tuple[int, ...]]:
        if not count:
            return
        if size < layout.size:
            raise ValueError("its headers have no size that there is")
        table = self._bytes(first, size * count)
        for at in range(0, size * count, size):
            yield layout.unpack_from(table, at)

    def _section_names(self) -> dict[bytes, _Section]:
        if self._names >= len(self._sections):
            return {}
        strings = self._section(self._sections[self._names], 1 << 20)
        return {strings[s.name : s.name + 64].partition(b"\0")[0]: s for s in self._sections}

    def _code_sections(self) -> list[tuple[int, int]]:
        """Of debug files, whose segments are not in them."""
        return [(s.address, s.address + s.size) for s in self._sections if s.flags & _EXEC_SECTION and s.size]

    def _section(self, section: _Section, most: int) -> bytes:
        if section.kind == _NOBITS:
            return b""
        if section.size > most:
            raise ValueError("one of its sections is too large")
        return self._bytes(section.offset, section.size)

    # ---- names ----

    def _tables(self) -> Iterator[tuple[bytes, bytes]]:
        """(symbols, their names) of each table; of a file whose sections were cut off, what its loader is told of."""
        tables = [s for s in self._sections if s.kind in (_SYMTAB, _DYNSYM) and s.link < len(self._sections)]
        for table in tables:
            yield self._table(table), self._section(self._sections[table.link], 1 << 30)
        if not tables and self._class == 2:
            yield from self._dynamic()

    def _dynamic(self) -> Iterator[tuple[bytes, bytes]]:
        rows = [self._segment(row) for row in self._segments]
        for kind, _, offset, _, size in rows:
            if kind != _DYNAMIC or size > _NOTES_MAX:
                continue
            data = self._bytes(offset, size - size % 16)
            tags = dict(reversed(list(struct.iter_unpack("<qQ", data))))
            first, names = tags.get(_SYMTAB_TAG, 0), tags.get(_STRTAB_TAG, 0)
            # How many there are is said only by hash tables, but the names follow behind them, as linkers write it.
            if 0 < first < names and names - first <= SYMBOLS_MAX * 24:
                count = (names - first) // 24 * 24
                strings = min(tags.get(_STRSZ_TAG, 0), 1 << 30)
                with suppress(ValueError):  # another order of tables, as tools leave it that change files
                    yield self._at(rows, first, count), self._at(rows, names, strings)

    def _at(self, rows: Sequence[tuple[int, int, int, int, int]], address: int, count: int) -> bytes:
        for kind, _, offset, start, size in rows:
            if kind == _LOAD and start <= address and address + count <= start + size:
                return self._bytes(offset + address - start, count)
        raise ValueError("its symbols are in no segment")

    def _symbols(
        self, limits: Sequence[tuple[int, int]], unwound: NDArray[np.uint64], stubs: Sequence[_Section]
    ) -> Symbols:
        starts = [np.array([section.address for section in stubs], np.uint64)]
        sizes = [np.array([section.size for section in stubs], np.uint64)]
        ranks = [np.zeros(len(stubs), np.uint8)]
        names = [STUB] * len(stubs)
        for table, strings in self._tables():
            rows = np.frombuffer(table, _SYMBOL[self._class])
            kinds = rows["info"] & 15
            value = rows["value"].astype(np.uint64)
            inside = np.zeros(len(rows), bool)
            for low, high in limits:
                inside |= (value >= low) & (value < high)
            kept = rows[np.isin(kinds, _FUNCTIONS) & inside & (rows["at"] != 0)]
            starts.append(kept["value"].astype(np.uint64))
            sizes.append(kept["size"].astype(np.uint64))
            # where several begin at one address: functions before labels, global before weak before local ones
            binding = kept["info"] >> 4
            ranks.append(np.where(kept["info"] & 15 == 0, 4, 0).astype(np.uint8) + (2 - np.minimum(binding, 2)) % 3)
            names += [_text(strings, int(at)) for at in kept["name"]]
        if not names and not len(unwound):
            return NO_SYMBOLS
        return symbols_from(
            np.concatenate([*starts, np.empty(0, np.uint64)]),
            np.concatenate([*sizes, np.empty(0, np.uint64)]),
            names,
            limits,
            ranks=np.concatenate([*ranks, np.empty(0, np.uint8)]),
            unnamed=unwound,
        )

    def _table(self, table: _Section) -> bytes:
        size = _SYMBOL[self._class].itemsize
        if table.size > SYMBOLS_MAX * size:
            raise ValueError(f"it has more than {SYMBOLS_MAX:,} symbols")
        data = self._section(table, SYMBOLS_MAX * size)
        return data[: len(data) - len(data) % size]

    def _unwound(self, offset: int, address: int, size: int) -> NDArray[np.uint64]:
        """Where functions begin, by the table that unwinders search; nothing where it has another form than usual."""
        data = self._bytes(offset, min(size, SYMBOLS_MAX * 8))
        # version 1; the count as udata4; the table as sdata4 relative to its own beginning
        if len(data) < 12 or data[0] != 1 or data[2] != 0x03 or data[3] != 0x3B:
            return np.empty(0, np.uint64)
        count = min(int.from_bytes(data[8:12], "little"), (len(data) - 12) // 8)
        places = np.frombuffer(data, "<i4", count * 2, 12)[::2].astype(np.int64)
        return (places + address)[places + address >= 0].astype(np.uint64)

    def _debug_link(self, section: _Section | None) -> tuple[str, int] | None:
        data = self._section(section, 4096) if section is not None else b""
        name, end, _ = data.partition(b"\0")
        at = (len(name) + 4) // 4 * 4
        if not end or not name or b"/" in name or len(data) < at + 4:
            return None
        return name.decode("utf-8", "replace"), int.from_bytes(data[at : at + 4], "little")

    def _bytes(self, at: int, count: int) -> bytes:
        if at >= 1 << 62:
            raise ValueError("it is cut off")
        self._file.seek(at)
        data = self._file.read(count) if count <= TEXT_MAX * 4 else b""
        if len(data) < count:
            raise ValueError("it is cut off")
        return data


def _build_id(notes: Sequence[bytes], section: bytes) -> str:
    """Of all notes, the section's first."""
    for note in (section, *notes):
        at = 0
        while at + 12 <= len(note):
            name, size, kind = struct.unpack_from("<III", note, at)
            start = at + 12 + (name + 3) // 4 * 4
            if kind == _GNU_BUILD_ID and note[at + 12 : at + 16] == b"GNU\0":
                return note[start : start + min(size, 64)].hex()
            at = start + (size + 3) // 4 * 4
    return ""


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.find(b"\0", at, at + 4096)].decode("utf-8", "replace")


DEBUG = Path("/usr/lib/debug")


def debug_file(path: Path, code: ElfCode, root: Path = DEBUG) -> Path | None:
    """The separate debug file of an ELF file, where it is installed: by build id, else by the link in it, whose
    checksum must be that of the file."""
    if len(code.build_id) > 2:
        named = root / ".build-id" / code.build_id[:2] / f"{code.build_id[2:]}.debug"
        if named.is_file():
            return named
    if code.link is None:
        return None
    name, checksum = code.link
    beside = path.absolute().parent
    places = (beside / name, beside / ".debug" / name, root / str(beside).lstrip("/") / name)
    return next((place for place in places if place != path and _has_checksum(place, checksum)), None)


def _has_checksum(path: Path, checksum: int) -> bool:
    try:
        return path.is_file() and zlib.crc32(read_bytes(path, _DEBUG_MAX)) == checksum
    except OSError:
        return False


def with_debug_names(path: Path, code: ElfCode, root: Path = DEBUG) -> Symbols:
    """The names in an ELF file, and those of its debug file where there is one."""
    debug = debug_file(path, code, root)
    if debug is None:
        return code.symbols
    try:
        return read_code(debug).symbols.over(code.symbols)
    except UkperfError:  # somebody's damaged file takes nothing away
        return code.symbols
