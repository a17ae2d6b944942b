"""The counts of one boot: how often each translation block began, as workloads/profile/plugin.c writes them.

The plugin's file is a mapping of fixed size, mostly holes. What is kept of it has the same layout without the room that
nothing is in, its blocks in the order of their addresses, compressed: boots that did the same have the same bytes.
"""

from __future__ import annotations

import gzip
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
BLOCKS, WINDOWS = 1 << 18, 24  # as the plugin has them
NAME = 144  # bytes of a window's name in the header
_NAMES_AT, _TICKS_AT = 128, 128 + 24 * 144  # names, and the guest's counter where each window begins
# magic, version, header's bytes, room for blocks and windows, both in use, lost, marks, vCPUs, plugin API
_HEADER = struct.Struct("<8s6I2Q2I")
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
        number. What has no name is a frame of that number. ticks: the guest's counter at those markers."""
        given: list[str] = [""]
        for i in range(1, len(self.windows)):
            name = clean(names[i - 1], NAME // 2) if i <= len(names) else f"frame {i}"
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


_ROOM = HEADER + BLOCKS * (_BLOCK.itemsize + 8 * (1 + WINDOWS))


def _unpacked(data: bytes) -> bytes:
    try:
        inflating = zlib.decompressobj(wbits=31)
        text = inflating.decompress(data, _ROOM + 1)
    except zlib.error as error:
        raise ValueError(f"they are damaged: {error}") from error
    if not inflating.eof:
        raise ValueError("they are cut short, or too large")
    return text


def _decoded(data: bytes) -> Counts:
    if len(data) < HEADER or len(data) > _ROOM:
        raise ValueError(f"{len(data)} bytes are no counts of a boot")
    magic, version, header, room, windows_room, used, windows, lost, marks, vcpus, _ = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or header != HEADER:
        raise ValueError("they are not of the plugin's format")
    if not (0 < used <= room <= BLOCKS and 0 < windows <= windows_room <= WINDOWS):
        raise ValueError(f"{used} blocks and {windows} windows cannot be")
    if len(data) != HEADER + room * (_BLOCK.itemsize + 8 * (1 + windows_room)):
        raise ValueError("their length is not what their beginning says")
    blocks = np.frombuffer(data, _BLOCK, used, HEADER)
    at = HEADER + room * _BLOCK.itemsize
    begun = np.frombuffer(data, "<u8", used, at)
    before = np.frombuffer(data, "<u8", windows_room * room, at + 8 * room).reshape(windows_room, room)[:, :used]
    return _counts(blocks, begun, before, data, (windows, lost, marks, vcpus))


def _counts(
    blocks: NDArray[np.void],
    begun: NDArray[np.uint64],
    before: NDArray[np.uint64],
    data: bytes,
    numbers: tuple[int, int, int, int],
) -> Counts:
    """begun: in all windows; before: in each that has ended. What is in none of them is the last one's: of a QEMU that
    was killed while a window ended, too."""
    windows, lost, marks, vcpus = numbers
    instructions = blocks["instructions"].astype(np.uint32)
    if not instructions.all() or blocks["address"][0] or instructions[0] != 1:
        raise ValueError("a block without instructions cannot be")
    if float(begun.astype(np.float64) @ instructions) > _MOST or before.max(initial=0) > _MOST:
        raise ValueError("more instructions are counted than any machine executes")
    executed = before[:windows].astype(np.uint64)
    spent = executed.astype(np.float64).sum(axis=0)
    if (spent > begun.astype(np.float64) * (1 + 1e-9)).any() or (begun < executed.sum(axis=0)).any():
        raise ValueError("their windows have more than all of them")
    executed[-1] += begun - executed.sum(axis=0)
    total = executed @ instructions.astype(np.uint64)
    return Counts(
        address=blocks["address"][1:].astype(np.uint64),
        instructions=instructions[1:],
        size=blocks["size"][1:].astype(np.uint32),
        code=np.array(blocks["code"][1:]),
        windows=_names(data, windows),
        executed=executed[:, 1:],
        lost=lost,
        rest=executed[:, 0] * np.uint64(instructions[0]),
        total=total,
        marks=marks,
        vcpus=vcpus,
        ticks=struct.unpack_from(f"<{windows}Q", data, _TICKS_AT),
    )


def _names(data: bytes, windows: int) -> tuple[str, ...]:
    names = [""]
    for i in range(1, windows):
        raw = data[_NAMES_AT + i * NAME :][:NAME].partition(b"\0")[0]
        name = clean(raw.decode("utf-8", "replace"), NAME)
        names.append(name if name and name not in names else f"frame {i}")
    return tuple(names)


def write_counts(counts: Counts, path: Path) -> None:
    """Keeps counts, a few hundred KiB a boot, the same bytes for the same counts whatever the order of their blocks."""
    write_atomically(path, encoded(counts))


def encoded(counts: Counts) -> bytes:
    """The bytes of that file. Raises ValueError for more blocks or windows than there may be."""
    windows, blocks = counts.executed.shape
    if windows > WINDOWS or blocks >= BLOCKS or windows != len(counts.windows):
        raise ValueError(f"{blocks} blocks and {windows} windows cannot be kept")
    first = counts.executed.astype(np.uint64)
    keys = [*reversed(first), *reversed(counts.code.T), counts.size, counts.instructions, counts.address]
    order = np.lexsort(keys)
    table = np.zeros(blocks + 1, _BLOCK)
    table["instructions"][0] = 1
    table["address"][1:] = counts.address[order]
    table["instructions"][1:] = counts.instructions[order]
    table["size"][1:] = counts.size[order]
    table["code"][1:] = counts.code[order]
    rows = np.concatenate([counts.rest[:, None].astype(np.uint64), first[:, order]], axis=1)
    head = bytearray(HEADER)
    numbers = (blocks + 1, windows, blocks + 1, windows, counts.lost, counts.marks, counts.vcpus, 0)
    _HEADER.pack_into(head, 0, MAGIC, VERSION, HEADER, *numbers)
    for i, name in enumerate(counts.windows):
        raw = name.encode()[: NAME - 1].decode(errors="ignore").encode()  # no half characters
        head[_NAMES_AT + i * NAME : _NAMES_AT + i * NAME + len(raw)] = raw
    struct.pack_into(f"<{len(counts.ticks)}Q", head, _TICKS_AT, *counts.ticks)
    begun = rows.sum(axis=0)
    body = b"".join((bytes(head), table.tobytes(), begun.astype("<u8").tobytes(), rows.astype("<u8").tobytes()))
    return gzip.compress(body, 6, mtime=0)
