"""The files of a program of this machine: a copy of its tree in the cache, at each boot as it was packed.

Guests get their files anew with each boot. A process of this machine would write into the cache, and its next boot
would see what it wrote. So it runs in a copy of ours: made once, compared before each boot by what lstat(2) says of
each name, and mended where that has changed. A copy is one process's as long as that lives; the next one takes it over
if it is as it was made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ukperf.errors import HostError
from ukperf.files import copy, lock, open_own, reason
from ukperf.hosts.procfiles import text_of
from ukperf.model import Image

# Of everything in a copy: what is written to has another. The time of the files on linux's disks.
PACKED_AT_NS = 1_600_000_000 * 10**9
_MOST = 256  # processes that run one program at the same time
_BOOT = "/proc/sys/kernel/random/boot_id"

_Facts = tuple[int, ...]
_trees: dict[tuple[int, Path], OwnTree] = {}  # by process, since a fork's locks are its parent's


def as_packed(image: Image) -> Image:
    """The image, with a tree's files as they were packed: its words name our copy. To be called before a boot's clock
    starts. Raises HostError where there can be no copy."""
    if image.tree is None:
        return image
    try:
        key = (os.getpid(), image.tree)
        if key not in _trees:
            _trees[key] = OwnTree(image.tree)
        _trees[key].mend()
        return _moved(image, str(_trees[key].root))
    except OSError as error:
        raise HostError(
            f"The files of {image.guest}'s program cannot be made as they were packed: {reason(error)} "
            f"({error.filename or image.tree}).",
            hint="Make room there, or name another folder by UKPERF_CACHE_DIR.",
        ) from error


@lru_cache(maxsize=64)
def _moved(image: Image, root: str) -> Image:
    """The image with another path of its tree, wherever that is in a word."""
    packed = str(image.tree)
    return image.with_words(lambda word: word.replace(packed, root))


class OwnTree:
    """A copy of the folder `packed` that no other process uses. Raises OSError, as `mend` does."""

    def __init__(self, packed: Path) -> None:
        self._packed = packed
        self._known: dict[str, _Facts] = {}  # path → what lstat said when it was made
        self.root, self._lock = _own_folder(packed)
        with suppress(FileNotFoundError, NotADirectoryError):
            present = {path: _facts(path) for path in self._paths()}
            if os.pread(self._lock, 256, 0).decode("ascii", "replace") == _seal(present):
                self._known = present

    def mend(self) -> None:
        """Make it as it was packed. Where it is, that costs an lstat for each name in it."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if self._known and all(_facts(path) == facts for path, facts in self._known.items()):
                return
        os.truncate(self._lock, 0)  # from now on until it is whole, it is nobody's to take over
        made: list[tuple[str, int]] = []
        for folder, items in _folders(self._packed):
            target = self._in_copy(folder)
            _make_folder(target)
            made.append((target, Path(folder).stat().st_mode))
            wanted = {item.name for item in items}
            for path in [path for path in Path(target).iterdir() if path.name not in wanted]:
                _remove(str(path))
            for item in items:
                if not item.is_dir(follow_symlinks=False):
                    self._put(item, f"{target}/{item.name}")
        for target, mode in reversed(made):
            Path(target).chmod(stat.S_IMODE(mode))
            self._made(target)
        os.pwrite(self._lock, _seal(self._known).encode(), 0)

    def _put(self, item: os.DirEntry[str], target: str) -> None:
        """One file or link, unless it is as it was made."""
        with suppress(FileNotFoundError):
            if _facts(target) == self._known.get(target):
                return
            _remove(target)
        if item.is_symlink():
            Path(target).symlink_to(Path(item.path).readlink())
        else:
            copy(Path(item.path), Path(target))
            Path(target).chmod(stat.S_IMODE(item.stat().st_mode))
        self._made(target)

    def _made(self, path: str) -> None:
        os.utime(path, ns=(PACKED_AT_NS, PACKED_AT_NS), follow_symlinks=False)
        self._known[path] = _facts(path)

    def _paths(self) -> Iterator[str]:
        """What is to be in the copy, in the order in which it is made."""
        for folder, items in _folders(self._packed):
            yield self._in_copy(folder)
            yield from (self._in_copy(item.path) for item in items if not item.is_dir(follow_symlinks=False))

    def _in_copy(self, path: str) -> str:
        return f"{self.root}{path.removeprefix(str(self._packed))}"


def _own_folder(packed: Path) -> tuple[Path, int]:
    """A folder for a copy, and the descriptor by which it is locked until this process ends. Beside the tree, so that
    who removes that removes its copies; all names of one length, since how long a program's words are shifts its stack.
    """
    for number in range(_MOST):
        own = packed.with_name(f"copy-{number:02x}")
        descriptor = open_own(own.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor, BlockingIOError())
        except BaseException as error:
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
        else:
            return own, descriptor
    raise BlockingIOError(0, f"{_MOST} processes run it already", str(packed))


def _folders(root: Path) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Each folder below root, root first, with what is in it; links are not followed."""
    todo = [str(root)]
    while todo:
        folder = todo.pop()
        with os.scandir(folder) as entries:
            items = list(entries)
        todo += [item.path for item in items if item.is_dir(follow_symlinks=False)]
        yield folder, items


def _facts(path: str) -> _Facts:
    status = os.lstat(path)
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _seal(known: dict[str, _Facts]) -> str:
    """What says that a copy is whole and as it was made. After a power cut it might not be, so the system's start is in
    it."""
    return hashlib.sha256(f"{text_of(_BOOT)} {sorted(known.items())}".encode(errors="surrogateescape")).hexdigest()


def _make_folder(path: str) -> None:
    """A folder that we may write to, which is no link."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            Path(path).chmod(0o700)
            return
        _remove(path)
    Path(path).mkdir(mode=0o700)


def _remove(path: str) -> None:
    """A file, a link, or a folder with all that is in it, also where its program took our right to write there."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        Path(path).unlink()
        return
    todo = [path]
    while todo:
        folder = todo.pop()
        Path(folder).chmod(0o700)
        with os.scandir(folder) as items:
            todo += [item.path for item in items if item.is_dir(follow_symlinks=False)]
    shutil.rmtree(path)
