"""What goes into an image: directories, files and links, in an order that depends on nothing but their names.

An entry list is depth first, a directory before what is in it, siblings sorted by the bytes of their names. The image
writers (cpio, TFS, ext4) take such lists; times, owners and inode numbers never reach an image.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import create_own, open_regular, reason

NAME_MAX = 255  # bytes in one name: Linux's limit, and what the guests were built for


class Kind(StrEnum):
    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in an image.

    path: bytes, relative, no leading slash (`usr/lib/x`). A file's bytes are in `source` on this machine, or in `data`
    where source is None; size is their number. mode: permission bits only. target: where a link points.
    """

    path: bytes
    kind: Kind
    mode: int = 0o644
    size: int = 0
    source: str | None = None
    data: bytes = b""
    target: bytes = b""


def scan(root: Path) -> Iterator[Entry]:
    """Everything below root, root itself not among it; links are not followed.

    Permission bits are reduced to 0644, or 0755 where the owner may execute: the umask of whoever unpacked the tree is
    not part of the image. Raises UkperfError for sockets, pipes, devices and what cannot be read.
    """
    if not root.is_dir():
        raise UkperfError(f"{root} is not a directory.", hint="An image's tree is a directory on this machine.")
    # An explicit stack: trees may be deeper than Python's own.
    stack = [iter(_listing(os.fsencode(root)))]
    prefixes = [b""]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            prefixes.pop()
            continue
        entry = _entry(prefixes[-1] + item.name, item)
        yield entry
        if entry.kind is Kind.DIRECTORY:
            stack.append(iter(_listing(item.path)))
            prefixes.append(entry.path + b"/")


def files(contents: Mapping[str, Path | bytes], *, executable: Iterable[str] = ()) -> list[Entry]:
    """An entry list from guest paths (`/bin/x`, with or without the slash) and their bytes; parents are made.

    A bytes value is the content itself, a Path a file on this machine (links followed). Raises UkperfError for a path
    with `..`, an empty one, or one that is both a file and a directory.
    """
    nodes: dict[bytes, Entry] = {}
    run = {_clean(name) for name in executable}
    for name, content in contents.items():
        path = _clean(name)
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if nodes.setdefault(parent, Entry(parent, Kind.DIRECTORY, 0o755)).kind is not Kind.DIRECTORY:
                raise UkperfError(f"{os.fsdecode(parent)} is a file and a directory at once.")
        if path in nodes:
            raise UkperfError(f"{name} is twice in one image.")
        mode = 0o755 if path in run else 0o644
        if isinstance(content, bytes):
            nodes[path] = Entry(path, Kind.FILE, mode, len(content), None, content)
        else:
            nodes[path] = Entry(path, Kind.FILE, mode, _size(content), str(content))
    return sort(nodes.values())


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """Entries in image order, and every directory that they are in. Raises UkperfError for a path that is in the list
    twice as different things, or below a file."""
    nodes: dict[bytes, Entry] = {}
    for entry in entries:
        parts = entry.path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if nodes.setdefault(parent, Entry(parent, Kind.DIRECTORY, 0o755)).kind is not Kind.DIRECTORY:
                raise UkperfError(f"{os.fsdecode(parent)} is a file and a directory at once.")
        before = nodes.setdefault(entry.path, entry)
        if before.kind is not entry.kind or (before != entry and entry.kind is not Kind.DIRECTORY):
            raise UkperfError(f"/{os.fsdecode(entry.path)} is two things in one image.")
    return sort(nodes.values())


def unpack(entries: Iterable[Entry], root: Path) -> None:
    """Write entries, which are in image order, into a directory that is empty. Raises UkperfError for a source that
    cannot be read; OSError of the target goes to the caller."""
    for entry in entries:
        path = root / os.fsdecode(entry.path)
        if entry.kind is Kind.DIRECTORY:
            path.mkdir()
        elif entry.kind is Kind.LINK:
            path.symlink_to(os.fsdecode(entry.target))
        else:
            if entry.source is None:
                path.write_bytes(entry.data)
            else:
                try:
                    source = open_regular(Path(entry.source))
                except OSError as error:
                    raise UkperfError(f"{entry.source} cannot be read: {reason(error)}.") from error
                with source, create_own(path) as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
            path.chmod(entry.mode)


def sort(entries: Iterable[Entry]) -> list[Entry]:
    """Any entries in image order. Comparing split paths keeps `a/b` next to `a`, before `a-b`."""
    return sorted(entries, key=lambda entry: entry.path.split(b"/"))


def merge(lower: Iterable[Entry], upper: Iterable[Entry]) -> list[Entry]:
    """Both lists in one, in image order; where both have a path, upper's wins. Raises UkperfError when a directory of
    one is a file of the other."""
    nodes = {entry.path: entry for entry in lower}
    for entry in upper:
        old = nodes.get(entry.path)
        if old is not None and (old.kind is Kind.DIRECTORY) != (entry.kind is Kind.DIRECTORY):
            raise UkperfError(f"{os.fsdecode(entry.path)} is a file in one tree and a directory in the other.")
        nodes[entry.path] = entry
    return sort(nodes.values())


def _listing(directory: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(directory) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as error:
        raise UkperfError(f"Cannot read {os.fsdecode(directory)}: {error.strerror}.") from error


def _entry(path: bytes, item: os.DirEntry[bytes]) -> Entry:
    try:
        status = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return Entry(path, Kind.DIRECTORY, 0o755)
        if stat.S_ISREG(status.st_mode):
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            return Entry(path, Kind.FILE, mode, status.st_size, os.fsdecode(item.path))
        if stat.S_ISLNK(status.st_mode):
            return Entry(path, Kind.LINK, 0o777, target=os.readlink(item.path))  # noqa: PTH115 (bytes)
    except OSError as error:
        raise UkperfError(f"Cannot read {os.fsdecode(item.path)}: {error.strerror}.") from error
    raise UkperfError(
        f"{os.fsdecode(item.path)} is neither a file, a directory nor a link.",
        hint="Sockets, pipes and devices have no place in an image: leave it out of the tree.",
    )


def _clean(name: str) -> bytes:
    path = os.fsencode(name).strip(b"/")
    parts = path.split(b"/")
    if not path or any(part in (b"", b".", b"..") or len(part) > NAME_MAX or b"\0" in part for part in parts):
        raise UkperfError(f"{name!r} is no path that an image can have.")
    return path


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise UkperfError(f"Cannot read {path}: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise UkperfError(f"{path} is not a file.")
    return status.st_size
