"""Programs of this machine that boot guests: where they are, and which version and bytes."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ukperf.text import clean

VERSION_S = 10.0  # for a program to say its version
VERSION_MAX = 16_384  # bytes that it may take to do so


def which(word: str, folder: Path) -> Path | None:
    """The program of that name in PATH, or at that path, which may begin in `folder`; None where there is none."""
    if "/" in word:
        path = folder / Path(word).expanduser()
        return path if path.is_file() and os.access(path, os.X_OK) else None
    command = shutil.which(word)
    return Path(command).absolute() if command else None


def version_of(path: Path, words: Sequence[str]) -> str:
    """The first line of what a program says when it is asked, in bounded time and size; "" where it says nothing.

    It is asked once in this process, as long as its file stays the same.
    """
    if not words:
        return ""
    try:
        status = path.stat()
    except OSError:
        return ""
    return _asked(path, tuple(words), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _asked(path: Path, words: tuple[str, ...], *_identity: int) -> str:
    said = bytearray()
    try:
        process = subprocess.Popen(
            [path, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError:
        return ""
    try:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + VERSION_S
        while len(said) < VERSION_MAX and (left := deadline - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                continue
            part = os.read(descriptor, VERSION_MAX)
            if not part:
                break
            said += part
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    lines = said.decode("utf-8", "replace").splitlines()
    return next((clean(line.strip(), 120) for line in lines if line.strip()), "")
