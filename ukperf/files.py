"""Opens, reads and writes files: one of each, used everywhere.

A file that ukperf is told to read may be anything: a pipe without a writer, a device that never ends, a socket. So
only regular files are opened, without blocking, and never more than a limit is read of one. A file that ukperf writes
is there whole or not at all, and one that only one process may write is locked: locks are flock(2)'s, which the kernel
frees of a process that dies, however it dies.

Faults are OSErrors whose `strerror` goes on after "… cannot be read: ", in plain words where the system has none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
_POLL_S = 0.05  # how often a lock that another process has is tried again
SYNCS = 8  # files that are synced at once
SMALL = 16 << 20  # bytes of a description: JSON that ukperf wrote, a recipe

_DRAFT = re.compile(r"\..+\.(\d+)(?:\.tmp)?")  # .NAME.PID.tmp; older versions of ukperf left out the end

_KINDS = {
    stat.S_IFDIR: os.strerror(errno.EISDIR),
    stat.S_IFIFO: "it is a pipe, not a file",
    stat.S_IFSOCK: "it is a socket, not a file",
    stat.S_IFCHR: "it is a device, not a file",
    stat.S_IFBLK: "it is a device, not a file",
}


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, open for reading; links are followed. Never blocks, and no device is even touched.

    Raises OSError for everything else.
    """
    return os.fdopen(descriptor_of(path), "rb")


def descriptor_of(path: Path) -> int:
    """The same as `open_regular`, as a descriptor that the caller closes."""
    return _descriptor(path, os.O_RDONLY, follow=True)


def open_own(path: Path, flags: int, mode: int = 0o644) -> int:
    """The descriptor of a file of ours, made where flags have O_CREAT: a lock, a journal.

    Links are not followed: in a folder from elsewhere one might lead anywhere. Raises OSError for what is no regular
    file.
    """
    return _descriptor(path, flags, follow=False, mode=mode)


def read_bytes(path: Path, limit: int) -> bytes:
    """All bytes of a regular file. Raises OSError, also when there are more than `limit`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= limit:
            parts, count = [file.read(size)], size
            # it may grow meanwhile, and files of /proc have no size
            while count <= limit and (more := file.read(min(_CHUNK, limit + 1 - count))):
                parts.append(more)
                count += len(more)
            if count <= limit:
                return b"".join(parts) if len(parts) > 1 else parts[0]
    raise OSError(errno.EFBIG, f"it has more than {size_text(limit)}", str(path))


def read_text(path: Path, limit: int = SMALL) -> str:
    """UTF-8 text of a regular file. Raises OSError, and ValueError for what is no UTF-8."""
    return read_bytes(path, limit).decode("utf-8")


def read_json(path: Path, limit: int = SMALL) -> Any:
    """A JSON document. Raises OSError, and ValueError for what is no JSON (also when nested without end)."""
    try:
        return json.loads(read_bytes(path, limit))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def reason(error: Exception) -> str:
    """What is wrong with a file, without Python's number in front and the path behind."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def size_text(count: int) -> str:
    """A limit in words: 16 MiB."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor and count % factor == 0:
            return f"{count // factor} {unit}"
    return f"{count:,} bytes"


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """A reader sees the old file or the new one, never a half; durable: it also survives a power cut.

    mode: permissions, less the umask. A link to a file stays a link. Raises OSError, also for what is there and is no
    regular file: a device is not replaced.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    with contextlib.suppress(FileNotFoundError):
        _check(_status(path, follow=True), path)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    with _draft(path, data, mode, durable=durable) as draft:
        draft.replace(path)
    if durable:
        sync(path.parent)


def write_once(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """A file that is there whole and durable, or not at all; of two writers the first one's stays. Raises OSError."""
    with _draft(path, data, mode, durable=True) as draft:
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            draft.replace(path)
    sync(path.parent)


def publish(work: Path, path: Path, aside: Path | None = None) -> None:
    """A folder that was filled beside gets its name, and survives a power cut: a reader sees all of it or nothing.

    aside: where a folder of that name that is there goes before. Raises OSError.
    """
    _sync_all(work)
    path.parent.mkdir(parents=True, exist_ok=True)
    if aside is not None and path.is_dir():
        path.rename(aside)
    work.rename(path)
    sync(path.parent)


def _sync_all(folder: Path) -> None:
    """fsync of all files and folders below, several at once: the disk takes their names and sizes to its journal
    together, which is six times as quick for a thousand files as one after another."""
    from concurrent.futures import ThreadPoolExecutor

    paths = []
    for where, _, names in os.walk(folder):
        paths += [file for name in names if (file := Path(where, name)).is_file() and not file.is_symlink()]
        paths.append(Path(where))
    with ThreadPoolExecutor(SYNCS) as pool:
        for _ in pool.map(sync, paths):  # raises what a sync raised
            pass


@contextmanager
def locked(
    path: Path, held: Exception, *, wait_s: float = 0.0, mode: int = 0o644, remove: bool = False
) -> Iterator[None]:
    """No other process has the lock `path` while the block lasts; its file is made where there is none.

    held: what is raised where another process has it, still after wait_s seconds. remove: the file goes at the end; all
    that use it say so, or none. Raises OSError where it cannot be made, as `open_own`.
    """
    until = time.monotonic() + wait_s
    while True:
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT, mode)
        try:
            lock(descriptor, held, wait_s=until - time.monotonic())
            if remove and not _is_at(descriptor, path):
                continue  # the one before us removed it
            try:
                yield
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def lock(descriptor: int, held: Exception, *, wait_s: float = 0.0) -> None:
    """Lock an open file until it is closed. Raises `held` where another process has it, still after wait_s seconds, and
    OSError where its file system has no locks."""
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise held from error
            time.sleep(_POLL_S)
        else:
            return


def lock_byte(descriptor: int, place: int) -> None:
    """Share the lock on one byte of an open file, which need not be that long, until this process ends or closes any
    descriptor of the file: record locks of POSIX (fcntl(2)), of which one descriptor holds as many as are wanted. Waits
    for who has it alone. Raises OSError where the file system has no locks."""
    fcntl.lockf(descriptor, fcntl.LOCK_SH, 1, place)


@contextmanager
def byte_alone(descriptor: int, place: int) -> Iterator[bool]:
    """The same lock for this process alone while the block lasts; False where another process shares it. Not for a byte
    that this process shares. Raises OSError as `lock_byte`."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
        yield False
        return
    try:
        yield True
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, place)


def set_aside(path: Path, aside: Path) -> None:
    """Give a folder another name before it is removed, so that nobody sees half of it go; one that is gone is no fault.
    Raises OSError."""
    aside.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)


def copy(source: Path, target: Path) -> None:
    """The bytes of a regular file in a file of ours, made or written over; where the file system can, both have the
    same blocks until one is written to. Raises OSError as the two opens do."""
    with open_regular(source) as read, create_own(target) as write:
        with contextlib.suppress(OSError):  # not on every file system; then all, or the rest, is read
            while os.copy_file_range(read.fileno(), write.fileno(), 1 << 30):
                pass
        shutil.copyfileobj(read, write, _CHUNK)


def patch_own(path: Path, size: int, parts: Mapping[int, bytes]) -> None:
    """Cut a file of ours off behind `size` bytes, and write over others. parts: offset → bytes. Raises OSError."""
    with os.fdopen(open_own(path, os.O_WRONLY), "wb") as file:
        file.truncate(size)
        for offset, data in parts.items():
            file.seek(offset)
            file.write(data)


def extend_own(path: Path, size: int, data: bytes) -> bool:
    """Write on at the end of a file of ours that is `size` bytes long, or begin one; False for one of another size.
    Raises OSError."""
    with os.fdopen(open_own(path, os.O_RDWR | (0 if size else os.O_CREAT | os.O_TRUNC)), "r+b") as file:
        if file.seek(0, os.SEEK_END) != size:
            return False
        file.write(data)
    return True


def create_own(path: Path) -> io.BufferedWriter:
    """A file of ours, empty, and its folder made; neither may be a link. Raises OSError as `open_own`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.is_symlink():
        raise OSError(errno.ELOOP, "it is a link to another folder", str(path.parent))
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def draft_of(path: Path) -> Path:
    """Where this process writes what is to become `path`, in the same folder."""
    return path.with_name(f".{path.name[:50]}.{os.getpid()}.tmp")


def clear_drafts(folder: Path) -> None:
    """Remove the drafts in a folder whose writers are dead. What cannot be read or removed stays."""
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            draft = _DRAFT.fullmatch(path.name)
            if draft is not None and not Path("/proc", draft[1]).exists():
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """fsync of a file or folder: a new file's name survives a power cut when its folder was synced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _draft(path: Path, data: bytes, mode: int, *, durable: bool) -> Iterator[Path]:
    """The draft of a file, written; gone when the block ends, unless it was moved."""
    draft = draft_of(path)
    try:
        draft.unlink(missing_ok=True)  # a dead process's, or another thread's, which would lose it
        with os.fdopen(open_own(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _is_at(descriptor: int, path: Path) -> bool:
    """Is the open file still the one of that name?"""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def said_of(path: Path) -> Iterator[None]:
    """Makes OSErrors of what is raised for names that no file can have (a null byte, a lone surrogate)."""
    try:
        yield
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name is none that a file can have", str(path)) from error


def _status(path: Path, *, follow: bool) -> os.stat_result:
    with said_of(path):
        return path.stat() if follow else path.lstat()


def _check(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = _KINDS.get(stat.S_IFMT(status.st_mode), "it is no regular file")
        raise OSError(errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL, what, str(path))


def _descriptor(path: Path, flags: int, *, follow: bool, mode: int = 0) -> int:
    try:
        status = _status(path, follow=follow)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    else:
        if not follow and stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, "it is a link to another file", str(path))
        _check(status, path)
    flags |= os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags, mode)
    try:
        _check(os.fstat(descriptor), path)  # it may have been exchanged since
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@dataclass(frozen=True)
class FileIdentity:
    """What tells a file from another one in its place, without reading it (stat(2))."""

    device: int
    inode: int
    size: int
    changed_ns: int

    def __str__(self) -> str:
        changed = datetime.fromtimestamp(self.changed_ns // 10**9, UTC).isoformat()
        return f"{self.size} bytes of {changed}"


def file_identity(path: str) -> FileIdentity:
    """Of nothing, where there is no such file any more."""
    try:
        status = Path(path).stat()
    except OSError:
        return FileIdentity(0, 0, 0, 0)
    return FileIdentity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
