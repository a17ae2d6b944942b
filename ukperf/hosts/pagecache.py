"""Drops files from the page cache, as far as they are ours: what is read from them next comes from the disk.

Only clean pages go, and those that nobody has mapped (posix_fadvise(2)); what stayed is counted (mincore(2)).
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ukperf.files import descriptor_of

_PART = 1 << 30  # bytes that are looked at together


def drop(paths: Iterable[Path]) -> int:
    """Drop what files of this user hold in the page cache; how many bytes of all of them are there still."""
    left = 0
    for path in dict.fromkeys(paths):
        with suppress(OSError):
            descriptor = descriptor_of(path)
            try:
                status = os.fstat(descriptor)
                if status.st_uid == os.geteuid():
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                left += cached(descriptor, status.st_size)
            finally:
                os.close(descriptor)
    return left


def cached(descriptor: int, size: int) -> int:
    """Bytes of an open file that are in the page cache. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    total = 0
    for start in range(0, size, _PART):
        length = min(_PART, size - start)
        with mmap.mmap(descriptor, length, flags=mmap.MAP_PRIVATE, offset=start) as mapped:
            pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
            first = ctypes.c_char.from_buffer(mapped)
            try:
                if libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(length), pages):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                del first
            total += sum(page & 1 for page in bytes(pages)) * mmap.PAGESIZE
    return total
