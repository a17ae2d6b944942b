"""A root file system from a tar archive, unpacked by whoever we are: owners are told, not given."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import create_own
from ukperf.imaging.archives import Read, members
from ukperf.text import clean

UNPACKED_MAX, FILES_MAX = 8 << 30, 500_000


def unpack(source: Read, root: Path, origin: str) -> dict[str, tuple[int, int]]:
    """Everything of the archive but devices and pipes, which a running system makes itself; root is an empty folder.

    Returns path → (uid, gid) of all that is not root's. Raises UkperfError for what is no sound archive, or has a name
    that leads out of the folder; OSError of the target goes to the caller.
    """
    owners: dict[str, tuple[int, int]] = {}
    folders: dict[Path, int] = {root: 0o755}  # those that we made: nothing is written through a link
    for member, content in members(source, origin, UNPACKED_MAX, FILES_MAX):
        name = member.name.removeprefix("./").strip("/")
        if name in ("", "."):
            continue
        path = root / name
        if ".." in path.parts or path.parent not in folders:
            raise UkperfError(f"{origin} is not trusted: {clean(name, 100)!r} in it has no place.")
        if member.isdir():
            path.mkdir(0o700)
            folders[path] = member.mode & 0o7777
        elif member.issym():
            path.symlink_to(member.linkname)
        elif member.islnk():
            _link(path, root, member, folders, origin)
            continue
        elif member.isreg():
            with create_own(path) as file:
                while part := content(1 << 20):
                    file.write(part)
                if file.tell() != member.size:
                    raise UkperfError(f"{origin} ends in the middle of {clean(name, 100)}.")
            path.chmod(member.mode & 0o7777 | 0o400)
        else:
            continue
        if member.uid or member.gid:
            owners[name] = (member.uid, member.gid)
    for path, mode in folders.items():
        path.chmod(mode | 0o700)
    return owners


def _link(path: Path, root: Path, member: tarfile.TarInfo, folders: dict[Path, int], origin: str) -> None:
    target = root / member.linkname.removeprefix("./").strip("/")
    if ".." in target.parts or target.parent not in folders or target.is_symlink() or not target.is_file():
        raise UkperfError(f"{origin} is not trusted: it links to {clean(member.linkname, 100)!r}, which it has not.")
    os.link(target, path)
