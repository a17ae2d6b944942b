"""Emptying the cache: entries that no running ukperf uses, those first whose last use is longest ago.

What is removed is told by its name: a folder, or a remembered fact's file, that is called by a sha256 in a folder of
the cache's. Whatever else is there stays: the key that plans are sealed with, locks, what runs at the moment, and what
is not ours.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import set_aside
from ukperf.imaging import inuse
from ukperf.imaging.cache import entry_name

_KEY = re.compile(r"[0-9a-f]{64}(\.json|\.tree)?")
_GONE = "gone"


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache. kind: what it is, by its folder; bytes: on the disk; used_ns: its last use, as far as
    ukperf noted it, in ns since 1970."""

    kind: str
    key: str
    path: Path
    bytes: int
    used_ns: int


@dataclass(frozen=True)
class Cleaned:
    """removed: in the order in which they went; in_use: what would have gone too; left_bytes: of all entries that are
    left."""

    removed: tuple[CacheEntry, ...]
    in_use: tuple[CacheEntry, ...]
    left_bytes: int


def entries(root: Path) -> list[CacheEntry]:
    """What of the cache can be removed, the longest unused first."""
    listed = [entry for kind in _folders(root) for entry in _of_kind(root, kind)]
    return sorted(listed, key=lambda entry: (entry.used_ns, entry.kind, entry.key))


def clean(root: Path, max_bytes: int = 0) -> Cleaned:
    """Remove entries until the rest takes at most max_bytes on the disk. What a running ukperf uses stays.

    Raises UkperfError where the cache cannot be written.
    """
    there = entries(root)
    left = sum(entry.bytes for entry in there)
    removed, in_use = [], []
    try:
        for entry in there:
            if left <= max_bytes:
                break
            if _remove(root, entry):
                removed.append(entry)
                left -= entry.bytes
            else:
                in_use.append(entry)
    except OSError as error:
        raise UkperfError(f"The cache {root} cannot be emptied: {error.strerror or error}.") from error
    return Cleaned(tuple(removed), tuple(in_use), left)


def size_of(path: Path) -> int:
    """Bytes on the disk of a file or folder with all that is in it; what cannot be read counts as nothing."""
    total = 0
    todo = [path]
    while todo:
        with suppress(OSError):
            item = todo.pop()
            status = item.lstat()
            total += status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                todo += [Path(inner.path) for inner in os.scandir(item)]
    return total


def _folders(root: Path) -> Iterator[str]:
    """Where entries are: in a folder of their kind, or in one more below it (images/LAYOUT, kernels/linux)."""
    for folder in _own_items(root):
        if not folder.is_dir():
            continue
        yield folder.name
        inner = (item for item in _own_items(folder) if item.is_dir() and not _KEY.fullmatch(item.name))
        yield from (f"{folder.name}/{item.name}" for item in inner)


def _of_kind(root: Path, kind: str) -> Iterator[CacheEntry]:
    for path in _own_items(root / kind):
        if _KEY.fullmatch(path.name):
            with suppress(OSError):
                yield CacheEntry(kind.partition("/")[0], path.name, path, size_of(path), path.lstat().st_mtime_ns)


def _own_items(folder: Path) -> list[Path]:
    """What is in a folder and belongs to this user; no links, no devices."""
    items = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            status = path.lstat()
            if status.st_uid == os.geteuid() and (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
                items.append(path)
    return items


def _remove(root: Path, entry: CacheEntry) -> bool:
    """False where a running ukperf uses it. Nobody sees half of it go."""
    if not entry.path.is_dir():
        entry.path.unlink(missing_ok=True)  # a remembered fact: read whole or not at all, and found out again
        return True
    name = entry_name(str(entry.path.parent.relative_to(root)), entry.key)
    aside = root / "tmp" / f"{_GONE}-{os.getpid()}-{name}"
    with inuse.unused(root, name) as unused:
        if not unused:
            return False
        set_aside(entry.path, aside)
    _remove_tree(aside)
    return True


def _remove_tree(path: Path) -> None:
    """A folder and all that is in it, also where a program that ran in a copy took our right to write there."""
    todo = [path]
    while todo:
        with suppress(OSError):
            folder = todo.pop()
            folder.chmod(0o700)
            todo += [Path(inner.path) for inner in os.scandir(folder) if inner.is_dir(follow_symlinks=False)]
    shutil.rmtree(path, ignore_errors=True)
