"""Writes TFS, the file system of nanos: a log of tuples (names, links, where the bytes are) and the bytes themselves.

On disk, in sectors of 512 bytes from the file system's start: sector 0 is a first log extension with identity, label
and a link; from sector 1 a log extension of 512 KiB, as nanos's own tools make it; then file data, each file starting
on a 4 KiB boundary of the *disk*; then, for big trees, the rest of the log. The log holds one tuple, the root, cut into
pieces where an extension is full. Nothing depends on time or chance: same tree, same bytes. The tree is read twice,
names first, then contents in order, so memory holds names and places, never a whole file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ukperf.errors import UkperfError
from ukperf.imaging.copying import Item, copy_out
from ukperf.imaging.tfsvalues import Encoder, Value, varint
from ukperf.imaging.tree import Entry, Kind

SECTOR = 512
PAGE = 4096
MAGIC = b"NVMTFS"
VERSION = 5
EXTENSION_BYTES = 512 << 10  # what nanos itself makes; its boot time includes reading it
MAX_EXTENT_BYTES = 32 << 20  # one extent, nanos's own bound
LABEL_MAX = 31  # bytes, and a terminating zero

# Frames of the log.
_END, _TUPLE, _TUPLE_MORE, _LINK = 1, 2, 3, 5
_MAX_VARINT = 10
_LINK_BYTES = 1 + 2 * _MAX_VARINT
_FRAME_BYTES = 1 + 2 * _MAX_VARINT
# nanos wants this much room behind the last frame when it goes on writing to the log.
_RESERVE = _LINK_BYTES + _FRAME_BYTES + 32


@dataclass(frozen=True)
class DiskLayout:
    """Where everything goes, before a byte is written. Offsets and lengths in bytes from the file system's start."""

    log: tuple[tuple[int, bytes], ...]  # (offset, bytes) of each log extension's used part
    files: tuple[Item, ...]
    used: int  # up to the end of the last extent or extension


def plan(
    entries: Iterable[Entry], root: Mapping[str, Value], *, start: int = 0, label: str = "", free: int = 0
) -> DiskLayout:
    """Places a tree (in image order) and its root tuple's further keys (`program`, `arguments` …).

    start: the file system's own offset on the disk, for alignment; free: bytes to leave at the end for the guest's own
    writing. Raises UkperfError for a label that is too long.
    """
    name = label.encode()
    if len(name) > LABEL_MAX or b"\0" in name:
        raise UkperfError(f"The label {label!r} is longer than {LABEL_MAX} bytes.")
    listed = list(entries)
    first = _up(start + SECTOR + EXTENSION_BYTES, PAGE) - start
    items, places, end = _place(listed, first)
    metadata = _metadata(listed, places, root)
    log, end = _log(metadata, _up(end, SECTOR), name)
    return DiskLayout(log, tuple(items), _up(end, SECTOR) + free)


def write(out: int, layout: DiskLayout, start: int) -> None:
    """Writes a planned file system at byte `start` of the open file `out`, which must be empty from there on.

    Zeros are left as holes. Raises UkperfError when a source changed since the plan, or cannot be read.
    """
    for offset, data in layout.log:
        view = memoryview(data)
        while view:
            view = view[os.pwrite(out, view, start + offset + len(data) - len(view)) :]
    copy_out(out, layout.files, start)


def _place(entries: list[Entry], first: int) -> tuple[list[Item], dict[int, int], int]:
    """(what to copy where, position in entries → offset, the end) of the data that begins at `first`."""
    items: list[Item] = []
    places: dict[int, int] = {}
    end = first
    for index, entry in enumerate(entries):
        if entry.kind is Kind.FILE and entry.size:
            items.append(Item(end, entry))
            places[index] = end
            # `first` is on a page boundary of the disk, so adding whole pages keeps every file on one.
            end += _up(entry.size, PAGE)
    return items, places, end


def _metadata(entries: list[Entry], places: dict[int, int], root: Mapping[str, Value]) -> bytes:
    """The root tuple. Entries are depth first and tuples say how many pairs follow, so no nesting is needed here."""
    counts = _children(entries)
    encoder = Encoder()
    encoder.tuple(1 + len(root))
    for key, value in root.items():
        encoder.symbol(key.encode())
        encoder.value(value)
    encoder.symbol(b"children")
    encoder.tuple(counts[b""])
    for index, entry in enumerate(entries):
        encoder.symbol(entry.path.rpartition(b"/")[2])
        if entry.kind is Kind.DIRECTORY:
            encoder.tuple(1)
            encoder.symbol(b"children")
            encoder.tuple(counts[entry.path])
        elif entry.kind is Kind.LINK:
            encoder.tuple(1)
            encoder.symbol(b"linktarget")
            encoder.string(entry.target)
        else:
            encoder.tuple(2)
            encoder.symbol(b"extents")
            _extents(encoder, entry.size, places.get(index, 0))
            encoder.symbol(b"filelength")
            encoder.integer(entry.size)
    return bytes(encoder.out)


def _children(entries: list[Entry]) -> dict[bytes, int]:
    """Directory → how many names are in it. Raises UkperfError for entries out of order."""
    counts = {b"": 0}
    for entry in entries:
        parent = entry.path.rpartition(b"/")[0]
        if parent not in counts or entry.path in counts:
            raise UkperfError(f"The tree's entry {os.fsdecode(entry.path)!r} comes twice or before its directory.")
        counts[parent] += 1
        if entry.kind is Kind.DIRECTORY:
            counts[entry.path] = 0
    return counts


def _extents(encoder: Encoder, size: int, offset: int) -> None:
    encoder.tuple(-(-size // MAX_EXTENT_BYTES))
    for begin in range(0, size, MAX_EXTENT_BYTES):
        length = min(size - begin, MAX_EXTENT_BYTES)
        encoder.symbol(b"%d" % (begin // SECTOR))
        encoder.tuple(3)
        encoder.symbol(b"offset")
        encoder.integer((offset + begin) // SECTOR)
        encoder.symbol(b"length")
        encoder.integer(-(-length // SECTOR))
        encoder.symbol(b"allocated")
        encoder.integer(_up(length, PAGE) // SECTOR)


def _log(metadata: bytes, end: int, label: bytes) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """The log's extensions around `metadata`, the second and later ones from byte `end` on, and the new end."""
    room = EXTENSION_BYTES - len(_extension_head(EXTENSION_BYTES)) - _RESERVE - _FRAME_BYTES
    pieces = [metadata[at : at + room] for at in range(0, len(metadata), room)]
    offsets = [SECTOR, *(end + index * EXTENSION_BYTES for index in range(len(pieces) - 1))]
    # An identity that follows from what the file system says about itself.
    identity = hashlib.sha256(b"ukperf TFS\0" + label + b"\0" + metadata).digest()[:16]
    log = [(0, _extension_head(SECTOR) + identity + label + b"\0" + _link(SECTOR) + bytes((_END,)))]
    for index, piece in enumerate(pieces):
        body = _extension_head(EXTENSION_BYTES)
        body += bytes((_TUPLE_MORE,)) if index else bytes((_TUPLE,)) + varint(len(metadata))
        body += varint(len(piece)) + piece
        if index + 1 < len(pieces):
            body += _link(offsets[index + 1])
        log.append((offsets[index], body + bytes((_END,))))
    return tuple(log), end + (len(pieces) - 1) * EXTENSION_BYTES


def _extension_head(length: int) -> bytes:
    return MAGIC + varint(VERSION) + varint(length // SECTOR)


def _link(offset: int) -> bytes:
    return bytes((_LINK,)) + varint(offset // SECTOR) + varint(EXTENSION_BYTES // SECTOR)


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
