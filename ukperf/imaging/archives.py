"""Reads single files out of tar archives of unknown origin.

Python's tarfile reads what an archive's own headers declare into memory: a name (GNU's long name) or attributes (a PAX
header) of gigabytes, which a few megabytes of gzip hold. So it is given a stream that unpacks no more than a bound
altogether, and hands out no more than a bound between two members.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from ukperf.errors import UkperfError
from ukperf.text import clean

MEMBERS_MAX = 10_000
UNPACKED_MAX = 512 << 20  # bytes of the whole archive
HEADER_MAX = 16 << 10  # bytes of one member's headers, long names among them
LONG_MAX = 1 << 20  # bytes of all headers but for the usual ones: some Pythons take a second for one of a few KiB
_USUAL = 1024
_GZIP = b"\x1f\x8b"
_CHUNK = 256 << 10

Read = Callable[[int], bytes]


def extract(data: bytes, wanted: Mapping[str, int], origin: str) -> dict[str, bytes]:
    """The wanted members' bytes (path → its greatest size) of a tar archive, plain or gzip; those that are there.

    Nothing is written to disk. Raises UkperfError for an archive that is damaged, in which any member has an absolute
    path or `..`, a wanted one is no plain file or comes twice, or sizes are declared that make no sense.
    """
    contents: dict[str, bytes] = {}
    source = _gunzip(data) if data[:2] == _GZIP else io.BytesIO(data).read
    for member, content in members(source, origin, UNPACKED_MAX):
        name = _checked(member, origin)
        if name not in wanted:
            continue
        if not member.isreg() or name in contents:
            raise UkperfError(f"{origin} is not trusted: {_short(name)} in it is no plain file, or is there twice.")
        if member.size > wanted[name]:
            raise UkperfError(f"{origin} declares {member.size:,} bytes for {_short(name)}: more than it can have.")
        contents[name] = content(member.size)
        if len(contents[name]) != member.size:
            raise UkperfError(f"{origin} ends in the middle of {_short(name)}.")
    return contents


def members(source: Read, origin: str, limit: int, most: int = MEMBERS_MAX) -> Iterator[tuple[tarfile.TarInfo, Read]]:
    """Each member of an uncompressed tar archive, and the function that reads its content while it is at hand.

    source: gives the next bytes, at most as many as are asked for. limit: bytes of the whole archive; most: members.
    Raises UkperfError for what is no sound tar archive, or holds more members, bytes or headers than that.
    """
    stream = _Forward(source, origin, limit)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
            for number, member in enumerate(archive):
                if number >= most or not 0 <= member.size <= limit:
                    raise UkperfError(f"{origin} declares more files or bytes than any release has: not unpacked.")
                end = member.offset_data + member.size

                def content(count: int, end: int = end, start: int = member.offset_data) -> bytes:
                    stream.seek(max(start, stream.at))
                    return stream.take(min(count, end - stream.at))

                yield member, content
                stream.next_member()
                archive.members = []  # it remembers them all, for those who look one up by its name
        while stream.take(min(_CHUNK, limit + 1 - stream.at)):
            pass  # what is behind the end too must unpack, or gzip's own check is not made
    except (tarfile.TarError, EOFError, OSError, struct.error, ValueError, OverflowError) as error:
        raise _unsound(origin, error) from error


class _Forward:
    """The reading end of a stream, as tarfile wants a file; only forward, and with bounds on headers."""

    def __init__(self, source: Read, origin: str, limit: int) -> None:
        self._source, self._origin, self._limit = source, origin, limit
        self.at = 0
        self._room, self._long = HEADER_MAX, LONG_MAX

    def next_member(self) -> None:
        self._long -= max(0, HEADER_MAX - self._room - _USUAL)
        self._room = min(HEADER_MAX, self._long)

    def read(self, count: int = -1) -> bytes:
        """For tarfile, which reads headers."""
        if not 0 <= count <= self._room:
            raise UkperfError(f"{self._origin} has headers larger than any release's: not unpacked.")
        self._room -= count
        return self.take(count)

    def take(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        if self.at + count > self._limit:
            raise UkperfError(f"{self._origin} unpacks to more than {self._limit >> 20} MiB: not unpacked.")
        parts = []
        try:
            while count > 0 and (part := self._source(min(count, _CHUNK))):
                parts.append(part)
                count -= len(part)
                self.at += len(part)
        except (zlib.error, EOFError, OSError) as error:
            raise _unsound(self._origin, error) from error
        return b"".join(parts)

    def seek(self, target: int, whence: int = 0) -> int:
        if whence != 0 or target < self.at:
            raise OSError("it goes backwards")
        while self.at < target and self.take(min(target - self.at, _CHUNK)):
            pass
        return self.at

    def tell(self) -> int:
        return self.at

    def close(self) -> None:
        """tarfile closes what it opened itself, which this is not."""


def _gunzip(data: bytes) -> Read:
    """Unpacks gzip (RFC 1952, several members too) as it is asked for. Raises zlib.error, and EOFError at a cut."""

    def parts() -> Iterator[bytes]:
        at = 0
        while data[at : at + 2] == _GZIP:  # what is behind the last member is padding
            unpacker = zlib.decompressobj(wbits=31)
            while not unpacker.eof:
                held = unpacker.unconsumed_tail
                if not held:
                    held = data[at : at + _CHUNK]
                    at += len(held)
                part = unpacker.decompress(held, _CHUNK)
                if not (held or part or unpacker.eof):
                    raise EOFError("its end is missing")
                yield part
            at -= len(unpacker.unused_data)

    source, left = parts(), b""

    def read(count: int) -> bytes:
        nonlocal left
        while not left:
            part = next(source, None)
            if part is None:
                return b""
            left = part
        given, left = left[:count], left[count:]
        return given

    return read


def _checked(member: tarfile.TarInfo, origin: str) -> str:
    """The member's path without `./`. Links and devices are refused wherever they are: releases have none."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UkperfError(f"{origin} is not trusted: it holds the path {_short(member.name)!r}.")
    if not (member.isreg() or member.isdir()) or member.sparse:
        raise UkperfError(f"{origin} is not trusted: {_short(member.name)!r} in it is a link or a device.")
    return str(path)


def _unsound(origin: str, error: Exception) -> UkperfError:
    return UkperfError(f"{origin} is no sound tar archive: {clean(str(error), 100) or 'its end is missing'}.")


def _short(name: str) -> str:
    return clean(name, 100)
