"""Which entries of the cache a running ukperf uses: a lock on one byte for each, all in one file.

Such locks are a process's own, cost one descriptor however many there are, and are freed by the kernel when the process
ends, however it does. They all go when *any* descriptor of the file is closed: so it is opened once, here, and stays
open.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ukperf.files import byte_alone, lock_byte, open_own

FILE = "in-use.lock"


@dataclass
class _Locks:
    """One process's locks in one cache."""

    descriptor: int
    held: set[str] = field(default_factory=set)


_locks: dict[tuple[int, Path], _Locks] = {}  # by process, since a fork's locks are its parent's


def hold(root: Path, name: str) -> None:
    """The entry `name` of the cache `root` is in use until this process ends. Waits where it is just being removed.

    Where nothing can be locked (a cache that cannot be written to, a file system without locks), nothing is: nothing
    is removed there either.
    """
    with suppress(OSError):
        locks = _of(root)
        if name not in locks.held:
            lock_byte(locks.descriptor, _byte(name))
            locks.held.add(name)


@contextmanager
def unused(root: Path, name: str) -> Iterator[bool]:
    """Whether nobody uses the entry, and nobody begins to while the block lasts. Raises OSError where nothing can be
    locked."""
    locks = _of(root)
    if name in locks.held:
        yield False
        return
    with byte_alone(locks.descriptor, _byte(name)) as alone:
        yield alone


def _of(root: Path) -> _Locks:
    key = (os.getpid(), root)
    if key not in _locks:
        _locks[key] = _Locks(open_own(root / FILE, os.O_RDWR | os.O_CREAT, 0o600))
    return _locks[key]


def _byte(name: str) -> int:
    """Its place in the file: one of 2^48, so that two entries do not meet."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")
