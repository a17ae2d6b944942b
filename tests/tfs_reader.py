"""A reader of TFS for the tests: written from nanos's sources, with nothing in common with our writer.

It follows the log as the kernel does and checks what the kernel assumes: extents inside the disk, none overlapping.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTOR = 512


class Bad(Exception):
    """What nanos would halt on."""


@dataclass
class Cursor:
    data: bytes
    at: int = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise Bad("runs past the end")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        number = 0
        while True:
            byte = self.byte()
            number = number << 7 | byte & 0x7F
            if not byte & 0x80:
                return number

    def header(self) -> tuple[bool, int, int]:
        first = self.byte()
        number = first & 7
        if first & 8:
            while True:
                byte = self.byte()
                number = number << 7 | byte & 0x7F
                if not byte & 0x80:
                    break
        return bool(first & 0x80), first >> 4 & 7, number


@dataclass
class Decoder:
    known: dict[int, Any] = field(default_factory=dict)

    def _number(self, thing: Any) -> Any:
        self.known[len(self.known) + 1] = thing
        return thing

    def value(self, cursor: Cursor) -> Any:
        immediate, kind, number = cursor.header()
        if kind == 1:
            made: dict[bytes, Any] = self._number({}) if immediate else self.known[cursor.varint()]
            for _ in range(number):
                plain, _, length = cursor.header()
                name = self._number(cursor.take(length)) if plain else self.known[length]
                if name in made:
                    raise Bad(f"{name!r} twice")
                made[name] = self.value(cursor)
            return made
        if kind == 2:
            items: list[Any] = self._number([]) if immediate else self.known[cursor.varint()]
            items.extend(self.value(cursor) for _ in range(number))
            return items
        if kind == 3:
            return -cursor.varint() if number else cursor.varint()
        if kind == 4 and immediate:
            return cursor.take(number)
        raise Bad(f"type {kind}")


@dataclass
class Tfs:
    """A file system at byte `start` of a disk's bytes, `size` long."""

    disk: bytes
    start: int = 0
    size: int = 0
    label: bytes = b""
    identity: bytes = b""
    root: dict[bytes, Any] = field(default_factory=dict)
    taken: list[tuple[int, int]] = field(default_factory=list)  # byte ranges in use

    def __post_init__(self) -> None:
        self.size = self.size or len(self.disk) - self.start
        decoder, pending, missing = Decoder(), b"", 0
        where: tuple[int, int] | None = (0, SECTOR)
        while where is not None:
            offset, length = where
            self._take(offset, length)
            cursor = Cursor(self.disk[self.start + offset : self.start + offset + length])
            where = None
            if cursor.take(6) != b"NVMTFS" or cursor.varint() != 5 or cursor.varint() * SECTOR != length:
                raise Bad("log extension head")
            if offset == 0:
                self.identity = cursor.take(16)
                self.label = cursor.data[cursor.at : cursor.data.index(0, cursor.at)]
                cursor.at += len(self.label) + 1
            while (frame := cursor.byte()) != 1:
                if frame == 5:
                    where = (cursor.varint() * SECTOR, cursor.varint() * SECTOR)
                    break
                if frame == 2:
                    if missing:
                        raise Bad("a tuple inside a tuple")
                    missing = cursor.varint()
                elif frame != 3:
                    raise Bad(f"frame {frame}")
                piece = cursor.take(cursor.varint())
                pending, missing = pending + piece, missing - len(piece)
                if not missing:
                    whole = Cursor(pending)
                    value, pending = decoder.value(whole), b""
                    if whole.at != len(whole.data):
                        raise Bad("bytes behind a tuple")
                    self.root = self.root or value
        if missing:
            raise Bad("a tuple without its end")
        self._walk(self.root)

    def _take(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size:
            raise Bad(f"{offset}+{length} is outside the disk")
        for other, span in self.taken:
            if offset < other + span and other < offset + length:
                raise Bad(f"{offset}+{length} overlaps {other}+{span}")
        self.taken.append((offset, length))

    def _walk(self, node: dict[bytes, Any]) -> None:
        for extent in node.get(b"extents", {}).values():
            self._take(extent[b"offset"] * SECTOR, extent[b"allocated"] * SECTOR)
            assert extent[b"length"] <= extent[b"allocated"]
        for child in node.get(b"children", {}).values():
            self._walk(child)

    def read(self, node: dict[bytes, Any]) -> bytes:
        out = bytearray(node[b"filelength"])
        for block, extent in node[b"extents"].items():
            at = int(block) * SECTOR
            begin = self.start + extent[b"offset"] * SECTOR
            data = self.disk[begin : begin + extent[b"length"] * SECTOR]
            if any(data[len(out) - at :]):
                raise Bad("bytes behind a file's end")
            out[at : at + len(data)] = data[: len(out) - at]
        return bytes(out)

    def tree(self) -> dict[bytes, tuple[str, bytes]]:
        """path → (kind, contents or target)."""
        found: dict[bytes, tuple[str, bytes]] = {}
        todo = [(b"", self.root)]
        while todo:
            path, node = todo.pop()
            for name, child in node[b"children"].items():
                full = path + b"/" + name if path else name
                if b"children" in child:
                    found[full] = ("directory", b"")
                    todo.append((full, child))
                elif b"linktarget" in child:
                    found[full] = ("link", child[b"linktarget"])
                else:
                    found[full] = ("file", self.read(child))
        return found


def partitions(disk: bytes) -> list[tuple[int, int]]:
    """(start, length) in bytes of the MBR's partitions."""
    assert disk[510:512] == b"\x55\xaa"
    entries = [struct.unpack_from("<B3sB3sII", disk, 446 + 16 * index) for index in range(4)]
    return [(first * SECTOR, count * SECTOR) for _, _, kind, _, first, count in entries if kind]


def read_disk(path: Path) -> tuple[Tfs, Tfs]:
    """(boot file system, root file system)."""
    disk = path.read_bytes()
    (boot, boot_size), (root, root_size) = partitions(disk)
    assert root + root_size == len(disk)
    return Tfs(disk, boot, boot_size), Tfs(disk, root, root_size)
