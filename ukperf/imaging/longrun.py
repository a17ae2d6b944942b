"""Programs of this machine that work for minutes: watched line by line, nice to others, gone when we go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ukperf.errors import UkperfError

_TAIL = 60  # lines of the end that are kept
_LINE_MAX = 10_000  # characters of one
# What a program may know of the user's environment: the rest (MAKEFLAGS, KCFLAGS, ARCH) would change its work.
_KEPT = ("PATH", "HOME", "TMPDIR")


@dataclass(frozen=True)
class ToolEnd:
    """How a program ended. tail: the last lines that it wrote, to both its outputs."""

    status: int
    tail: tuple[str, ...]


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> ToolEnd:
    """Runs a program and calls on_line with each line that it writes.

    Whatever is raised meanwhile, ^C among it, ends the program with all that it started. Raises UkperfError where it
    does not start, or takes longer than that.
    """
    tail: deque[str] = deque(maxlen=_TAIL)
    with _started(command, cwd, environment, subprocess.DEVNULL) as process, _limit(process, timeout_s) as late:
        assert process.stdout is not None
        while line := process.stdout.readline(_LINE_MAX):
            text = line.decode("utf-8", "replace").rstrip("\n")
            tail.append(text)
            on_line(text)
        status = process.wait()
    if late.is_set():
        raise UkperfError(f"{Path(command[0]).name} did not end within {timeout_s / 60:.0f} minutes.")
    return ToolEnd(status, tuple(tail))


@contextmanager
def fed(command: Sequence[str], *, timeout_s: float, cwd: Path | None = None) -> Iterator[IO[bytes]]:
    """A program's standard input. Raises UkperfError where the program fails: the first of its last lines says why."""
    with _started(command, cwd, None, subprocess.PIPE) as process, _limit(process, timeout_s):
        assert process.stdin is not None and process.stdout is not None
        tail: deque[str] = deque(maxlen=_TAIL)
        reader = threading.Thread(target=_collect, args=(process.stdout, tail), daemon=True)
        reader.start()
        with suppress(BrokenPipeError):  # it is gone, and its status and last line say why
            yield process.stdin
            process.stdin.close()
        process.wait()
        reader.join()
    if process.returncode != 0:
        said = next((line for line in tail if line.strip()), f"status {process.returncode}")
        raise UkperfError(f"{Path(command[0]).name} failed: {said[:300].rstrip('.')}.")


def _collect(output: IO[bytes], tail: deque[str]) -> None:
    while line := output.readline(_LINE_MAX):
        tail.append(line.decode("utf-8", "replace").rstrip("\n"))


@contextmanager
def _started(
    command: Sequence[str], cwd: Path | None, environment: Mapping[str, str] | None, stdin: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which is gone when the block ends."""
    polite = [nice, "-n", "10"] if (nice := shutil.which("nice")) else []
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        process = subprocess.Popen(
            [*polite, *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**kept, "LC_ALL": "C", **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise UkperfError(f"{command[0]} does not run: {error.strerror}.") from error
    try:
        yield process
    finally:
        _end(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


@contextmanager
def _limit(process: subprocess.Popen[bytes], timeout_s: float) -> Iterator[threading.Event]:
    """Ends a process after so many seconds; the event says that it did."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its group, unless it has ended: then the number may be somebody else's."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
