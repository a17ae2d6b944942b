"""Names that libvirt, QEMU and sockets take as they are, whatever the user's own folders are called.

libvirt cuts its embedded root out of an address and its log's path out of a list, QEMU takes options apart at commas
and an initrd's name at blanks, XML has neither control characters nor bytes that are no UTF-8, and a socket's path has
107 bytes at most (unix(7)). So all that they are given is short and made of letters, digits, `/`, `.`, `_` and `-`:
scratch folders are in the cache where its path is so, else in a folder of ours in /tmp; files with other names are
reached by links in the scratch folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.model import Image
from ukperf.paths import TMP, cache_dir, is_plain, make_dir

# sockaddr_un holds 108 bytes; libvirt puts this much below a scratch folder for a domain's monitor.
_SOCKET_PATH_MAX = 107
_BELOW = len("/lib/qemu/domain-9999-ukperf-00000000-9999/monitor.sock")
_WAY_OUT = "Set UKPERF_CACHE_DIR to a short path of letters, digits, '.', '_' and '-' alone."


def scratch_parents() -> tuple[Path, ...]:
    """The folders where scratch folders of this user may be: in the cache, and where its path will not do."""
    return cache_dir() / "embed", TMP / f"ukperf-{os.geteuid()}"


def scratch_parent(name: str) -> Path:
    """The folder where the new scratch folder `name` belongs, made.

    Raises UkperfError where it cannot be made, or is somebody else's.
    """
    usual, short = scratch_parents()
    if is_plain(usual) and len(str(usual / name)) + _BELOW <= _SOCKET_PATH_MAX:
        return make_dir(usual)
    try:
        short.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UkperfError(
            f"Sockets cannot be made in the cache {cache_dir()}, nor the folder {short}: {error.strerror}.",
            hint=_WAY_OUT,
        ) from error
    if not is_private(short):
        raise UkperfError(
            f"Sockets cannot be made in the cache {cache_dir()}, and {short} is not a folder of yours alone.",
            hint=_WAY_OUT,
        )
    return short


def check_temporary() -> None:
    """Raises UkperfError where TMPDIR names no folder that can be written: QEMU keeps what guests write there."""
    named = os.environ.get("TMPDIR")
    if named and not (Path(named).is_dir() and os.access(named, os.W_OK | os.X_OK)):
        raise UkperfError(
            f"{named} is no folder that can be written, and QEMU keeps there what guests write to their disks.",
            hint="Set TMPDIR to one that is, or unset it.",
        )


def is_private(folder: Path) -> bool:
    """True for a folder, not a link to one, that belongs to this user and that nobody else may enter."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def plainly_named(image: Image, scratch: Path) -> Image:
    """The image with its files under plain names: links in `scratch` to those that have others."""

    return image.with_files(lambda path: plain(path, scratch))


def plain(path: Path, scratch: Path) -> Path:
    """A file or folder under a plain name: its own, or that of a link in `scratch`."""
    return path if is_plain(path) else _link(path.absolute(), scratch)


def _link(path: Path, scratch: Path) -> Path:
    link = scratch / f"file-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    try:
        link.symlink_to(path)
    except FileExistsError:
        pass  # an earlier boot's
    except OSError as error:
        raise UkperfError(f"The link {link} cannot be made: {error.strerror}.") from error
    return link
