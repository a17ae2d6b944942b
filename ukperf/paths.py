"""Where ukperf keeps things: the user's cache and data folders (XDG, by platformdirs), each with an override."""

from __future__ import annotations

import os
from pathlib import Path

from ukperf.errors import UkperfError


def cache_dir() -> Path:
    """Things that can be made again: images, downloads, embedded libvirt roots. UKPERF_CACHE_DIR overrides."""
    return _folder("UKPERF_CACHE_DIR", "user_cache_path")


def data_dir() -> Path:
    """Things that cannot: runs, guest kernels that the user added. UKPERF_DATA_DIR overrides."""
    return _folder("UKPERF_DATA_DIR", "user_data_path")


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
        return Path(named).absolute()
    import platformdirs

    path: Path = getattr(platformdirs, function)("ukperf", appauthor=False)
    return path
