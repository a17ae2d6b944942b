"""Writes cpio archives (format newc), which Linux and Unikraft unpack as their first file system.

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. The same entries give the same bytes:
in image order (tree.py), times and owners 0, inode numbers counted. Hard links are written as files of their own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging.copying import Item, copy_out
from ukperf.imaging.tree import Entry, Kind

_MAX_SIZE = 0xFFFFFFFF  # eight hex digits
_MAX_PATH = 4095  # bytes: PATH_MAX without its NUL; the kernel skips longer names without a word
_BLOCK = 512
_TRAILER = b"TRAILER!!!"
_TYPES = {Kind.DIRECTORY: stat.S_IFDIR, Kind.FILE: stat.S_IFREG, Kind.LINK: stat.S_IFLNK}


@dataclass(frozen=True, slots=True)
class Device:
    """A character device node, mode 0600: Linux's init needs /dev/console before it can mount anything."""

    path: bytes
    major: int
    minor: int


CONSOLE = Device(b"dev/console", 5, 1)
BASIC_DEVICES = (
    CONSOLE,
    Device(b"dev/null", 1, 3),
    Device(b"dev/zero", 1, 5),
    Device(b"dev/urandom", 1, 9),
)
"""What a C program expects of /dev."""


def write(target: Path, entries: Iterable[Entry], devices: Iterable[Device] = ()) -> int:
    """Writes an archive to the file `target` (replaced), padded to 512 bytes; returns its length in bytes.

    Parents that nobody named are made. Raises UkperfError for a name that is there twice, a name in something that is
    no directory, a name or file too long for the format (4,095 bytes, 4 GiB), and sources that cannot be read or change
    meanwhile. OSError of the target (a full disk) goes to the caller.
    """
    members = _ordered(entries, devices)
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        length = sum(_padded(len(_header(0, member))) + _padded(_size(member)) for member in members)
        trailer = _header(0, Entry(_TRAILER, Kind.FILE, 0), links=1, mode=0)
        total = -(-(length + _padded(len(trailer))) // _BLOCK) * _BLOCK
        os.ftruncate(out, total)  # the padding everywhere is what was never written: zeros
        copy_out(out, _items(members))
        copy_out(out, [_bytes(length, trailer)])
    finally:
        os.close(out)
    return total


def _ordered(entries: Iterable[Entry], devices: Iterable[Device]) -> list[Entry | Device]:
    """In image order, a directory before what is in it."""
    by_path: dict[bytes, Entry | Device] = {}
    members: Iterator[Entry | Device] = chain(entries, devices)
    for member in members:
        if member.path in by_path:
            raise UkperfError(f"{os.fsdecode(member.path)} is twice in one cpio archive.")
        _check(member)
        by_path[member.path] = member
    for path in list(by_path):
        parent = path.rpartition(b"/")[0]
        while parent and parent not in by_path:
            by_path[parent] = Entry(parent, Kind.DIRECTORY, 0o755)
            parent = parent.rpartition(b"/")[0]
        if parent and not _is_directory(by_path[parent]):
            raise UkperfError(f"{os.fsdecode(parent)} is no directory, so {os.fsdecode(path)} cannot be in it.")
    return sorted(by_path.values(), key=lambda member: member.path.split(b"/"))


def _is_directory(member: Entry | Device) -> bool:
    return isinstance(member, Entry) and member.kind is Kind.DIRECTORY


def _check(member: Entry | Device) -> None:
    name = os.fsdecode(member.path)
    if len(member.path) > _MAX_PATH:
        raise UkperfError(f"The path {name[:60]}… is too long for a cpio archive ({_MAX_PATH:,} bytes at most).")
    if member.path == _TRAILER:
        raise UkperfError("A cpio archive cannot hold a file named TRAILER!!! at its top: that name marks its end.")
    if _size(member) > _MAX_SIZE:
        raise UkperfError(
            f"{name} has {_size(member) / 2**30:.1f} GiB, and a file in a cpio archive must be smaller than 4 GiB.",
            hint="Leave it out, or use a guest that reads its files from a disk.",
        )


def _size(member: Entry | Device) -> int:
    if isinstance(member, Device) or member.kind is Kind.DIRECTORY:
        return 0
    return len(member.target) if member.kind is Kind.LINK else member.size


def _padded(length: int) -> int:
    return -(-length // 4) * 4


def _header(number: int, member: Entry | Device, *, links: int | None = None, mode: int | None = None) -> bytes:
    if isinstance(member, Device):
        kind, device = stat.S_IFCHR | 0o600, (member.major, member.minor)
    else:
        kind, device = _TYPES[member.kind] | member.mode, (0, 0)
    if links is None:
        links = 2 if _is_directory(member) else 1
    fields = (
        number,
        kind if mode is None else mode,
        *(0, 0),  # uid, gid
        links,
        0,  # mtime
        _size(member),
        *(0, 0),  # the device that holds it
        *device,
        len(member.path) + 1,
        0,  # checksum: none in newc
    )
    return b"070701" + b"".join(b"%08x" % value for value in fields) + member.path + b"\0"


def _bytes(offset: int, data: bytes) -> Item:
    return Item(offset, Entry(b"", Kind.FILE, size=len(data), data=data))


def _items(members: Iterable[Entry | Device]) -> Iterator[Item]:
    offset = 0
    for number, member in enumerate(members, start=1):
        header = _header(number, member)
        yield _bytes(offset, header)
        offset += _padded(len(header))
        if isinstance(member, Entry) and member.kind is Kind.LINK:
            yield _bytes(offset, member.target)
        elif isinstance(member, Entry) and member.kind is Kind.FILE and member.size:
            yield Item(offset, member)
        offset += _padded(_size(member))
