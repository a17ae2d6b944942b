"""Where ukperf keeps things: the user's cache and data folders (XDG, by platformdirs), each with an override.

They are absolute: compilers and others are run in folders of their own.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from ukperf.errors import UkperfError

TMP = Path("/tmp")  # for what must have a plain name; TMPDIR may have any
_CUSTOM = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
_PLAIN = re.compile(r"[A-Za-z0-9/._-]{1,500}")  # QEMU keeps some names in 1,024 bytes


def cache_dir() -> Path:
    """Things that can be made again: images, downloads, embedded libvirt roots. UKPERF_CACHE_DIR overrides.

    Raises UkperfError where no variable says where.
    """
    return _folder("UKPERF_CACHE_DIR", "user_cache_path")


def data_dir() -> Path:
    """Things that cannot: runs, guest kernels that the user added. UKPERF_DATA_DIR overrides.

    Raises UkperfError where no variable says where.
    """
    return _folder("UKPERF_DATA_DIR", "user_data_path")


def config_dir() -> Path:
    """What the user wrote for ukperf: recipe files of guests. UKPERF_CONFIG_DIR overrides.

    Raises UkperfError where no variable says where.
    """
    return _folder("UKPERF_CONFIG_DIR", "user_config_path")


def is_plain(path: Path) -> bool:
    """True where no tool takes the path for anything else: letters, digits, `/`, `.`, `_` and `-`, and not too many."""
    return _PLAIN.fullmatch(str(path)) is not None


def make_dir(path: Path) -> Path:
    """mkdir -p, with a sentence instead of a traceback.

    Raises UkperfError where the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UkperfError(
            f"The folder {path} cannot be made: {error.strerror}.",
            hint="Name another with --run, XDG_CACHE_HOME or XDG_DATA_HOME.",
        ) from error
    return path


def _folder(variable: str, function: str) -> Path:
    named = os.environ.get(variable)
    if named:
        return absolute(Path(named))
    path = _by_custom(function, *(os.environ.get(name) for name in _CUSTOM))
    if path.parts[0] == "~":  # what older platformdirs leave: neither HOME nor the list of users says where
        raise UkperfError("Your home folder is not known.", hint=f"Set HOME, or {variable}.")
    return absolute(path)


@lru_cache
def _by_custom(function: str, *_variables: str | None) -> Path:
    """Where the system's custom puts it, as these variables say. Remembered: each boot asks."""
    import platformdirs

    try:
        path: Path = getattr(platformdirs, function)("ukperf", appauthor=False)
    except RuntimeError:
        path = Path("~")
    return path


def absolute(path: Path) -> Path:
    """The path from the root on, links and `..` as they are.

    Raises UkperfError where it begins at the current folder, and that is gone.
    """
    try:
        return path.absolute()
    except OSError as error:
        raise UkperfError(f"{path} begins in the current folder, which is gone.", hint="cd to another one.") from error
