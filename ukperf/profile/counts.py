"""The counts of one boot: how often each translation block began, as workloads/profile/plugin.c writes them.

The plugin's file is a mapping of fixed size, mostly holes. What is kept of it has the same layout without the room that
nothing is in, its blocks in the order of their addresses, compressed: boots that did the same have the same bytes. It
has one thing more, the names of the windows.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ukperf.files import open_regular, write_atomically
from ukperf.text import clean

MAGIC = b"ukcounts"
VERSION = 1
HEADER = 4096
BLOCKS, WINDOWS, ENTRIES = 1 << 19, 512, 7 << 19  # as the plugin has them
CELLS = 1 << 24  # a count for each block and window, at most: 128 MiB
NAME = 160  # characters of a window's name
_MORE = 1 << 20  # bytes of names and ticks
_SLOT_BITS = 19
# magic, version, header's bytes, room for blocks, windows and entries, blocks and windows in use, vCPUs, plugin API,
# more, lost, marks
_HEADER = struct.Struct("<8s10I2Q")
_BLOCK = np.dtype([("address", "<u8"), ("digest", "<u4"), ("instructions", "<u2"), ("size", "<u2"), ("code", "u1", 16)])
_MOST = 1 << 62  # instructions: more have never been executed by anything


@dataclass(frozen=True)
class Counts:
    """What one boot executed. Arrays have a place for each block; `executed` a row for each window.

    windows: their names, the first "": until the first marker. lost: translations of blocks that found no slot any
    more, whose instructions are in `rest`. total: all instructions of a window. marks: markers that were executed; with
    more than there are windows, the last window has what came after.
    """

    address: NDArray[np.uint64]
    instructions: NDArray[np.uint32]
    size: NDArray[np.uint32]  # bytes of code
    code: NDArray[np.uint8]  # the first 16 of them
    windows: tuple[str, ...]
    executed: NDArray[np.uint64]  # how often a block began
    lost: int
    rest: NDArray[np.uint64]
    total: NDArray[np.uint64]
    marks: int = 0
    vcpus: int = 1
    ticks: tuple[int, ...] = ()  # the guest's own counter where each window begins, 0: not known

    def named(self, names: Sequence[str], ticks: Sequence[int] = ()) -> Counts:
        """With names for the windows that markers began, the first of them first; names that are there already get a
        number. What has no name is a frame of that number. The last one has all that followed, if there were more
        markers than windows. ticks: the guest's counter at those markers."""
        given: list[str] = [""]
        for i in range(1, len(self.windows)):
            name = clean(names[i - 1], NAME - 8) if i <= len(names) else f"frame {i}"
            if i == len(self.windows) - 1 and i < self.marks:
                name = f"{name.partition(' →')[0]} → the end"
            name, number = name or f"frame {i}", 2
            while (unique := name if number == 2 and name not in given else f"{name} ({number})") in given:
                number += 1
            given.append(unique)
        known = (0, *ticks, *(0 for _ in self.windows))[: len(self.windows)]
        return replace(self, windows=tuple(given), ticks=tuple(t if 0 <= t < 1 << 63 else 0 for t in known))


def read_counts(path: Path) -> Counts:
    """The counts in a file that the plugin or `write_counts` wrote.

    Raises ValueError for what neither wrote, OSError for what is no regular file or cannot be read.
    """
    with open_regular(path) as file:
        packed = file.read(2)
        file.seek(0)
        return _decoded(_unpacked(file.read(_ROOM + 1)) if packed == b"\x1f\x8b" else file.read(_ROOM + 1))


_ROOM = HEADER + BLOCKS * (_BLOCK.itemsize + 8) + 8 * (WINDOWS + ENTRIES) + _MORE


def _unpacked(data: bytes) -> bytes:
    try:
        inflating = zlib.decompressobj(wbits=31)
        text = inflating.decompress(data, _ROOM + 1)
    except zlib.error as error:
        raise ValueError(f"they are damaged: {error}") from error
    if not inflating.eof:
        raise ValueError("they are cut short, or too large")
    return text


@dataclass(frozen=True)
class _Numbers:
    """The header of a file. room: blocks, windows, entries of the log."""

    room: tuple[int, int, int]
    blocks: int
    windows: int
    vcpus: int
    more: int
    lost: int
    marks: int


def _decoded(data: bytes) -> Counts:
    numbers = _numbers(data)
    room, windows_room, entries_room = numbers.room
    at = HEADER
    blocks = np.frombuffer(data, _BLOCK, numbers.blocks, at)
    at += room * _BLOCK.itemsize
    begun = np.frombuffer(data, "<u8", numbers.blocks, at)
    at += room * 8
    ends = np.frombuffer(data, "<u8", numbers.windows - 1, at)
    at += windows_room * 8
    log = np.frombuffer(data, "<u8", entries_room, at)
    more = data[at + entries_room * 8 :]
    instructions = blocks["instructions"].astype(np.uint64)
    if not instructions[:2].all() or blocks["address"][0] or instructions[0] != 1:
        raise ValueError("a block without instructions cannot be")
    if float(begun.astype(np.float64) @ instructions) > _MOST:
        raise ValueError("more instructions are counted than any machine executes")
    executed = _executed(begun, ends, log)
    windows, ticks = _texts(more, len(executed))
    blocks, executed = _once(blocks, executed)
    instructions = blocks["instructions"].astype(np.uint64)
    return Counts(
        address=blocks["address"][1:].astype(np.uint64),
        instructions=instructions[1:].astype(np.uint32),
        size=blocks["size"][1:].astype(np.uint32),
        code=np.array(blocks["code"][1:]),
        windows=windows,
        executed=executed[:, 1:],
        lost=numbers.lost,
        rest=executed[:, 0],
        total=executed @ instructions,
        marks=numbers.marks,
        vcpus=numbers.vcpus,
        ticks=ticks,
    )


def _numbers(data: bytes) -> _Numbers:
    if len(data) < HEADER or len(data) > _ROOM:
        raise ValueError(f"{len(data)} bytes are no counts of a boot")
    magic, version, header, *rest, lost, marks = _HEADER.unpack_from(data)
    room, windows_room, entries_room, used, windows, vcpus, _, more = rest
    if magic != MAGIC or version != VERSION or header != HEADER:
        raise ValueError("they are not of the plugin's format")
    rooms = room <= BLOCKS and windows_room <= WINDOWS and entries_room <= ENTRIES and more <= _MORE
    if not (rooms and 0 < used <= room and 0 < windows <= windows_room):
        raise ValueError(f"{used} blocks and {windows} windows cannot be")
    if len(data) != HEADER + room * (_BLOCK.itemsize + 8) + 8 * (windows_room + entries_room) + more:
        raise ValueError("their length is not what their beginning says")
    return _Numbers((room, windows_room, entries_room), used, windows, vcpus, more, lost, marks)


def _executed(begun: NDArray[np.uint64], ends: NDArray[np.uint64], log: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """How often each block began in each window. What stands in none that has ended is the last one's; windows that are
    too many for so many blocks are one with the last."""
    if (len(ends) and (ends > len(log)).any()) or (np.diff(ends.astype(np.int64)) < 0).any():
        raise ValueError("their windows do not follow each other")
    ended = min(len(ends), max(1, CELLS // len(begun)) - 1)
    executed = np.zeros((ended + 1, len(begun)), np.uint64)
    spent = np.zeros(len(begun), np.float64)
    first = 0
    for window in range(ended):
        entries = log[first : (first := int(ends[window]))]
        slots, counts = entries & np.uint64((1 << _SLOT_BITS) - 1), entries >> np.uint64(_SLOT_BITS)
        if (slots >= len(begun)).any():
            raise ValueError("their windows count blocks that are not there")
        np.add.at(executed[window], slots.astype(np.int64), counts)
        np.add.at(spent, slots.astype(np.int64), counts.astype(np.float64))
    if (spent > begun.astype(np.float64) * (1 + 1e-9)).any() or (begun < executed.sum(axis=0)).any():
        raise ValueError("their windows have more than all of them")
    executed[-1] = begun - executed.sum(axis=0)
    return executed


def _once(blocks: NDArray[np.void], executed: NDArray[np.uint64]) -> tuple[NDArray[np.void], NDArray[np.uint64]]:
    """Each instruction counted once, and no places but blocks'.

    A block of one instruction has two places behind it, without instructions: its reads and writes. Where there were
    some of a block that never began, QEMU executed the instruction again that it had broken a block off at. What it
    went on with, behind that instruction, had been counted with the block already, and is taken off.
    """
    alone = np.flatnonzero(blocks["instructions"] == 0)
    whole = blocks["instructions"] != 0
    if not len(alone):
        return blocks, executed
    executed = np.array(executed)
    reads = alone[::2]
    if len(alone) % 2 or (alone[1::2] != reads + 1).any() or (blocks["instructions"][reads - 1] != 1).any():
        raise ValueError("a block without instructions cannot be")
    again = np.maximum(executed[:, reads], executed[:, reads + 1])
    again[:, executed[:, reads - 1].any(axis=0)] = 0  # it is a block, and what it accessed does not matter
    order = np.argsort(blocks["address"], kind="stable")
    order = order[whole[order]]
    addresses = blocks["address"][order]
    behind = blocks["address"][reads] + blocks["size"][reads].astype(np.uint64)
    first, last = np.searchsorted(addresses, behind), np.searchsorted(addresses, behind, "right")
    for i in np.flatnonzero(again.any(axis=0)):
        for block in order[first[i] : last[i]]:
            off = np.minimum(again[:, i], executed[:, block])
            executed[:, block] -= off
            again[:, i] -= off
    kept = whole & (executed.any(axis=0) | (np.arange(len(blocks)) == 0))
    return blocks[kept], executed[:, kept]


def _texts(more: bytes, windows: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ticks of windows, where they are kept. Raises ValueError."""
    if not more:
        return ("", *(f"frame {i}" for i in range(1, windows))), ()
    said = json.loads(more)
    names, ticks = (said.get(key) for key in ("windows", "ticks")) if isinstance(said, dict) else (None, None)
    if not isinstance(names, list) or not isinstance(ticks, list) or len(names) != windows or len(ticks) > windows:
        raise ValueError("the names of their windows are damaged")
    if not all(isinstance(name, str) for name in names) or len(set(names)) != windows or names[0] != "":
        raise ValueError("the names of their windows are damaged")
    if not all(isinstance(tick, int) and 0 <= tick < 1 << 63 for tick in ticks):
        raise ValueError("the ticks of their windows are damaged")
    return tuple(clean(name, NAME) for name in names), tuple(ticks)


def write_counts(counts: Counts, path: Path) -> None:
    """Keeps counts, a few hundred KiB a boot, the same bytes for the same counts whatever the order of their blocks."""
    write_atomically(path, encoded(counts))


def encoded(counts: Counts) -> bytes:
    """The bytes of that file. Raises ValueError for more blocks or windows than there may be."""
    windows, blocks = counts.executed.shape
    if windows > WINDOWS or blocks >= BLOCKS or windows != len(counts.windows):
        raise ValueError(f"{blocks} blocks and {windows} windows cannot be kept")
    keys = [*reversed(counts.executed), *reversed(counts.code.T), counts.size, counts.instructions, counts.address]
    order = np.lexsort(keys)
    table = np.zeros(blocks + 1, _BLOCK)
    table["instructions"][0] = 1
    for name in ("address", "instructions", "size", "code"):
        table[name][1:] = getattr(counts, name)[order]
    rows = np.concatenate([counts.rest[:, None].astype(np.uint64), counts.executed[:, order]], axis=1)
    ends, log = [], [np.zeros(0, np.uint64)]
    for row in rows[:-1]:
        log.append(_entries(row))
        ends.append(sum(map(len, log)))
    entries = np.concatenate(log)
    if len(entries) > ENTRIES:
        raise ValueError(f"{len(entries)} counts of windows cannot be kept")
    said = {"windows": counts.windows, "ticks": counts.ticks}
    more = json.dumps(said, separators=(",", ":")).encode()
    numbers = (blocks + 1, windows, len(entries), blocks + 1, windows, counts.vcpus, 0, len(more))
    head = _HEADER.pack(MAGIC, VERSION, HEADER, *numbers, counts.lost, counts.marks).ljust(HEADER, b"\0")
    arrays = (table, rows.sum(axis=0).astype("<u8"), np.array([*ends, 0], "<u8"), entries.astype("<u8"))
    return gzip.compress(head + b"".join(array.tobytes() for array in arrays) + more, 6, mtime=0)


def _entries(row: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A window's counts as its log has them."""
    slots = np.flatnonzero(row).astype(np.uint64)
    most = np.uint64((1 << (64 - _SLOT_BITS)) - 1)
    parts = []
    left = row[slots.astype(np.int64)]
    while len(slots):
        parts.append(np.minimum(left, most) << np.uint64(_SLOT_BITS) | slots)
        more = left > most
        slots, left = slots[more], left[more] - most
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
