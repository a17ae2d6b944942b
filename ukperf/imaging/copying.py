"""Copies many files into one, fast and with little memory: what an image writer spends its time on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import descriptor_of, reason
from ukperf.imaging.tree import Entry

SMALL = 128 << 10  # bytes: below, files are read and gathered; above, the kernel copies them
GATHER = 1 << 20  # bytes gathered before they are written
IOV_MAX = 1000  # buffers in one write; Linux takes 1,024
CHUNK = 1 << 20  # bytes read at once where the kernel cannot copy
# The kernel has no copy between these two files (other file systems, old kernels): read and write then.
_CANNOT_COPY = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}


@dataclass(frozen=True, slots=True)
class Item:
    """One file's bytes and the offset where they go."""

    offset: int
    entry: Entry


@dataclass
class _Gathered:
    """Small files next to each other, written in one call."""

    out: int
    start: int = 0
    length: int = 0
    parts: list[bytes] = field(default_factory=list)

    def add(self, offset: int, data: bytes) -> None:
        gap = offset - (self.start + self.length)
        full = self.length + len(data) > GATHER or len(self.parts) >= IOV_MAX - 1
        if not self.parts or full or not 0 <= gap < 4096:
            self.flush()
            self.start = offset
            gap = 0
        if gap:
            self.parts.append(bytes(gap))
        self.parts.append(data)
        self.length += gap + len(data)

    def flush(self) -> None:
        if self.parts:
            written = os.pwritev(self.out, self.parts, self.start)
            if written != self.length:  # a signal, or a disk that is nearly full: the slow way says which
                _write_all(self.out, b"".join(self.parts)[written:], self.start + written)
        self.parts, self.length = [], 0


def copy_out(out: int, items: Iterable[Item], base: int = 0) -> None:
    """Writes each item's bytes at base + its offset of the open file `out`; what is between stays as it is.

    Raises UkperfError when a source cannot be read or has not the size that its entry says. Zeros that the source
    keeps as holes stay holes. OSError of the target (a full disk) goes to the caller.
    """
    gathered = _Gathered(out)
    for item in items:
        entry, offset = item.entry, base + item.offset
        if entry.source is None:
            gathered.add(offset, entry.data)
        else:
            source = _open(entry)
            try:
                if entry.size <= SMALL:
                    gathered.add(offset, _read(source, entry))
                else:
                    gathered.flush()
                    _copy(source, out, offset, entry)
            finally:
                os.close(source)
    gathered.flush()


def _open(entry: Entry) -> int:
    assert entry.source is not None
    try:
        return descriptor_of(Path(entry.source))
    except OSError as error:
        raise UkperfError(f"Cannot read {entry.source}: {reason(error)}.") from error


def _read(source: int, entry: Entry) -> bytes:
    data = os.read(source, entry.size + 1)
    while 0 < len(data) < entry.size:
        more = os.read(source, entry.size + 1 - len(data))
        if not more:
            break
        data += more
    if len(data) != entry.size:
        raise _changed(entry)
    return data


def _copy(source: int, out: int, offset: int, entry: Entry) -> None:
    status = os.fstat(source)
    if status.st_size != entry.size:
        raise _changed(entry)
    if status.st_blocks * 512 >= entry.size:
        _copy_range(source, out, entry, begin=0, offset=offset, length=entry.size)
        return
    at = 0  # a file with holes: copy what is between them
    while at < entry.size:
        try:
            begin = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        at = min(os.lseek(source, begin, os.SEEK_HOLE), entry.size)
        _copy_range(source, out, entry, begin=begin, offset=offset + begin, length=at - begin)


def _copy_range(source: int, out: int, entry: Entry, *, begin: int, offset: int, length: int) -> None:
    done = 0
    while done < length:
        try:
            count = os.copy_file_range(source, out, length - done, begin + done, offset + done)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
            break
        if count == 0:
            break
        done += count
    while done < length:
        data = os.pread(source, min(CHUNK, length - done), begin + done)
        if not data:
            raise _changed(entry)
        _write_all(out, data, offset + done)
        done += len(data)


def _write_all(out: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(out, view, offset)
        view, offset = view[count:], offset + count


def _changed(entry: Entry) -> UkperfError:
    return UkperfError(
        f"{entry.source} changed while the image was being written.", hint="Build again when nothing writes to it."
    )
