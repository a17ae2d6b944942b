"""What nobody foresaw: one sentence, exit status 70, and the traceback in a file that can be sent to us.

70 is EX_SOFTWARE of sysexits.h. Python's own 1 would say that a check failed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

import ukperf
from ukperf.errors import UkperfError
from ukperf.files import write_atomically
from ukperf.paths import cache_dir
from ukperf.registry import package_at_fault
from ukperf.text import clean

STATUS = 70
FOLDER = "tracebacks"  # in the cache
MOST_FILES = 20
MOST_CHARACTERS = 100_000  # the end is what tells


def sentence(error: BaseException) -> tuple[str, str, int]:
    """(what happened, what to do, exit status), after writing the traceback; never raises."""
    kind = type(error).__name__
    try:
        what = f"{kind}: {clean(str(error), 200)}" if str(error) else kind
    except Exception:  # an exception may be unable to say what it is
        what = kind
    path = _written(error)
    at = f" The traceback is in {path}." if path is not None else f" It came from {_place(error)}."
    with contextlib.suppress(Exception):  # the metadata of packages may be damaged
        if package := package_at_fault(error):
            return f"The package {package} failed: {what}.{at}", f"Update it, or remove it: pip uninstall {package}", 2
    hint = "Report it with the traceback. " if path is not None else "Report it. "
    hint += "What was measured is kept; `ukperf resume` goes on."
    return f"This is a fault of ukperf: {what}.{at}", hint, STATUS


def _written(error: BaseException) -> Path | None:
    try:
        folder = cache_dir() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder)
        path = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
        lines = "".join(traceback.format_exception(error))
        head = f"ukperf {ukperf.__version__}, Python {platform.python_version()}, {platform.platform()}\n{sys.argv}\n"
        write_atomically(path, clean(head[:10_000] + lines[-MOST_CHARACTERS:], keep="\n"), durable=False, mode=0o600)
        return path
    except (OSError, ValueError, UkperfError, MemoryError, RecursionError):
        return None


def _make_room(folder: Path) -> None:
    files = sorted(folder.glob("*.txt"))
    for old in files[: max(0, len(files) - MOST_FILES + 1)]:
        with contextlib.suppress(OSError):
            old.unlink()


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{Path(frames[0].filename).name}, line {frames[0].lineno}" if frames else "nowhere"
