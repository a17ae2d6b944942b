"""The processes that ukperf starts itself end with it, also when it is killed.

Each is recorded while it lives, in a file named after us by pid and start time: a line with its pid, its start time and
the digest of its command line. A guardian, a shell that waits for the end of a pipe of ours, ends what is recorded when
we are gone; what outlived the guardian too, the next start of ukperf ends. A process that is not what its line says is
somebody else's.

The kernel could do it (PR_SET_PDEATHSIG), but a process must ask for that itself: in a fork of ours before it executes
the program, which takes 4 ms more than vfork, or in a program between, which takes 1 ms. Both would count as the
guest's time; a line costs some 50 µs, while the guest runs already.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ukperf.files import open_own, read_text
from ukperf.hosts.interrupts import holding_interrupts
from ukperf.hosts.ownership import identity, is_alive, process_start
from ukperf.paths import cache_dir

_NAME = re.compile(r"(\d+)-(\d+)")
_LINE = re.compile(r"(\d+) (\d+) ([0-9a-f]{64})")

# $1: the file. Field 22 of a process's stat is its start time (proc(5)).
_GUARDIAN = r"""
exec 2>/dev/null
trap '' HUP INT TERM
read -r line
while read -r pid start digest; do
  stat=$(cat "/proc/$pid/stat") && set -- "$1" 2 ${stat##*') '} &&
  [ "${22}" = "$start" ] && { kill -s KILL -- "-$pid"; kill -s KILL "$pid"; }
done <"$1"
rm -f "$1"
"""


class NotExecutedError(Exception):
    """A program that cannot be executed, in a sentence without its full stop."""


@dataclass(frozen=True)
class _Book:
    """Our file of lines, open, and our end of the guardian's pipe: the system closes it when we end."""

    owner: int  # a child that was forked from us has none
    lines: int
    pipe: int


_books: dict[Path, _Book] = {}  # by folder


def prepare() -> None:
    """What takes time the first time: to be called before a boot's clock starts."""
    with contextlib.suppress(OSError):
        _book()


@contextmanager
def recorded(pid: int, argv: Sequence[str] | None = None) -> Iterator[None]:
    """While the block lasts, the process ends with this one, however that comes about; else its owner ends it.

    argv: its command line, which /proc does not have yet for a moment after its start; None: read it there. Where the
    cache cannot be written there is no record, and the boot goes on.
    """
    book = None
    start = process_start(pid)
    if start is not None:
        with contextlib.suppress(OSError):
            book = _book()
            size = os.fstat(book.lines).st_size
            os.pwrite(book.lines, f"{pid} {start} {_digest(pid, argv)}\n".encode(), size)
    try:
        yield
    finally:
        if book is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(book.lines, size)


@contextmanager
def spawned(
    argv: Sequence[str], env: Mapping[str, str], stdout: int, stderr: int, pin: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, pinned if asked for, and gone with all that it forked when the block ends.

    `prepare` first, where its start is timed. Raises NotExecutedError.
    """
    process = None
    affinity = os.sched_getaffinity(0)
    try:
        with holding_interrupts():
            try:
                if pin:
                    os.sched_setaffinity(0, pin)  # inherited by the child and its threads
                process = subprocess.Popen(
                    argv, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
                )
            except OSError as error:
                raise NotExecutedError(f"{argv[0]} cannot be executed: {error.strerror}") from error
            finally:
                if pin:
                    os.sched_setaffinity(0, affinity)
        with recorded(process.pid, argv):
            yield process
    finally:
        if process is not None:
            if process.returncode is None:  # nobody has reaped it, so the number is still its own
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end_strays() -> int:
    """End what is recorded of owners that are dead; returns how many processes that were."""
    ended = 0
    with contextlib.suppress(OSError):
        for path in list(_folder().iterdir()):
            owner = _NAME.fullmatch(path.name)
            if owner is None or is_alive(int(owner[1]), int(owner[2])):
                continue
            with contextlib.suppress(OSError, ValueError):
                lines = map(_LINE.fullmatch, read_text(path).splitlines())
                ended += sum(_end(int(line[1]), int(line[2]), line[3]) for line in lines if line)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return ended


def _folder() -> Path:
    return cache_dir() / "children"


def _digest(pid: int, argv: Sequence[str] | None = None) -> str:
    """Of a process's command line, which is read where it is not known. Raises OSError where the process is gone."""
    if argv is None:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    else:
        words = b"".join(os.fsencode(word) + b"\0" for word in argv)
    return hashlib.sha256(words).hexdigest()


def _end(pid: int, start: int, digest: str) -> bool:
    try:
        if not is_alive(pid, start) or _digest(pid) != digest:
            return False
        if os.getpgid(pid) == pid:  # a session of its own: what it forked goes with it
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return True


def _book() -> _Book:
    folder, owner = _folder(), os.getpid()
    book = _books.get(folder)
    if book is None or book.owner != owner:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "{}-{}".format(*identity())
        lines = open_own(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        book = _books[folder] = _Book(owner, lines, _guard(path))
    return book


def _guard(path: Path) -> int:
    """Start a guardian of what is in `path`; the end of the pipe whose closing it waits for."""
    reader, writer = os.pipe()
    try:
        os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _GUARDIAN, "ukperf-guardian", os.fspath(path)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
            setsid=True,  # what ends our group does not end it
        )
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer
