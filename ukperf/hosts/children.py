"""The processes that ukperf starts itself end with it, also when it is killed.

Each is recorded while it lives, in a file named after us by pid and start time: a line with its pid, its start time and
the digest of its command line. A guardian, a shell that waits for the end of a pipe of ours, ends what is recorded when
we are gone; what outlived the guardian too, the next start of ukperf ends. A process that is not what its line says is
somebody else's.

What leaves its process group on purpose, as monitors do that start others as daemons, is known by a variable that
commands are started with (`marked`) and that what they start inherits. libvirt in our process clears the variables of
the QEMU that it starts, and says its pid only once it is up: the guardian knows it by our folder in its command line.

The kernel could do it (PR_SET_PDEATHSIG), but a process must ask for that itself: in a fork of ours before it executes
the program, which takes 4 ms more than vfork, or in a program between, which takes 1 ms. Both would count as the
guest's time; a line costs some 50 µs, while the guest runs already.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ukperf.files import open_own, read_text
from ukperf.hosts.interrupts import holding_interrupts
from ukperf.hosts.ownership import identity, is_alive, process_start
from ukperf.hosts.places import scratch_parents
from ukperf.paths import cache_dir

MARK = "UKPERF_BOOTED_BY"  # =PID-START of the ukperf that started it
_NAME = re.compile(r"(\d+)-(\d+)")
_ROUNDS = 3  # what is forked while the others are looked for is found the next time
_LINE = re.compile(r"(\d+) (\d+) ([0-9a-f]{64})")
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_MOST_STARTS = 8  # lines for one process; where it took longer to make, /proc is asked
_STANDARD = 2  # the last of the standard descriptors
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python; programs expect to die of them

# $1: the file; cache, short: where scratch folders are, which are named like it. Field 22 of a process's stat is its
# start time (proc(5)). A VMM that is being started when its owner dies executes QEMU some milliseconds later: hence
# rounds, which a run that has ended by itself does not need, since its folders are gone.
_GUARDIAN = r"""
exec 2>/dev/null
trap '' HUP INT TERM
read -r line
lines=$1 owner=${1##*/}
has_folders() {
  for folder in "$cache/$owner" "$cache/$owner"-* "$short/$owner" "$short/$owner"-*; do
    [ -d "$folder" ] && return
  done
  return 1
}
while read -r pid start digest; do
  stat=$(cat "/proc/$pid/stat") && set -- 1 2 ${stat##*') '} &&
  [ "${22}" = "$start" ] && { kill -s KILL -- "-$pid"; kill -s KILL "$pid"; }
done <"$lines"
for environ in $(grep -lszxF "UKPERF_BOOTED_BY=$owner" /proc/[0-9]*/environ); do
  pid=${environ#/proc/} && kill -s KILL "${pid%/environ}"
done
for round in 1 2 3 4 5 6 7 8 9 10; do
  has_folders || break
  for cmdline in $(grep -lszE '^guest=ukperf-' /proc/[0-9]*/cmdline); do
    grep -qszE "/$owner(-[0-9]+)?/" "$cmdline" && pid=${cmdline#/proc/} && kill -s KILL "${pid%/cmdline}"
  done
  sleep 0.1
done
rm -f "$lines"
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
_ready: list[_Book] = []  # the one that `prepare` found: to find it takes longer than to write a line


def prepare() -> None:
    """What takes time the first time: to be called before a boot's clock starts."""
    _ready.clear()
    with contextlib.suppress(OSError):
        _ready.append(_book())


@contextmanager
def recorded(pid: int, digest: str | None = None, starts: Sequence[int] = ()) -> Iterator[None]:
    """While the block lasts, the process ends with this one, however that comes about; else its owner ends it.

    digest: of its command line, which /proc does not have yet for a moment after its start; None: read it there.
    starts: its start time is one of these; default: as /proc has it, which takes 0.5 ms while the process is loaded.
    Where the cache cannot be written there is no record, and the boot goes on.
    """
    book = None
    if not starts:
        starts = [start for start in [process_start(pid)] if start is not None]
    if starts:
        with contextlib.suppress(OSError):
            book = next((book for book in _ready if book.owner == os.getpid()), None) or _book()
            size = os.fstat(book.lines).st_size
            digest = digest or _digest(pid)
            os.pwrite(book.lines, "".join(f"{pid} {start} {digest}\n" for start in starts).encode(), size)
    try:
        yield
    finally:
        if book is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(book.lines, size)


class Child:
    """A process that we started, until it is waited for. started_ns: CLOCK_MONOTONIC right before it was made; starts:
    its start time in clock ticks since boot (`process_start`) is one of these."""

    def __init__(self, pid: int, started_ns: int, starts: Sequence[int] = ()) -> None:
        self.pid = pid
        self.started_ns = started_ns
        self.starts = starts
        self.returncode: int | None = None  # as of subprocess.Popen: minus the signal that killed it

    def kill(self) -> None:
        """End it, unless it was waited for."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status, once it has ended."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


@contextmanager
def spawned(
    argv: Sequence[str],
    env: Mapping[str, str],
    stdout: int,
    stderr: int,
    pin: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    executed: str = "",
    own_session: bool = True,
) -> Iterator[Child]:
    """A process in a session of its own, pinned if asked for, and gone with all that it forked when the block ends.

    stdin, stdout, stderr: descriptors, or subprocess's words for them. executed: the file, where it is not the one that
    argv begins with. own_session: False gives it a process group alone. The kernel schedules sessions as groups
    (sched_autogroup_enabled, sched(7)), and on a busy machine a new one waits for the others' slices before its first
    instruction: 3 ms and more, in which a short program would have ended. `prepare` first, where its start is timed.
    Raises NotExecutedError.
    """
    child, digest = None, _digest_of(argv)
    affinity = os.sched_getaffinity(0)
    try:
        with holding_interrupts():
            try:
                if pin:
                    os.sched_setaffinity(0, pin)  # inherited by the child and its threads
                theirs = stdout if stderr == subprocess.STDOUT else stderr
                child = _start(executed or argv[0], argv, env, own_session, stdin, stdout, theirs)
            except OSError as error:
                raise NotExecutedError(f"{executed or argv[0]} cannot be executed: {error.strerror}") from error
            finally:
                if pin:
                    os.sched_setaffinity(0, affinity)
        with recorded(child.pid, digest, child.starts):
            yield child
    finally:
        if child is not None:
            if child.returncode is None:  # nobody has reaped it, so the number is still its own
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _start(file: str, argv: Sequence[str], env: Mapping[str, str], own_session: bool, *standard: int) -> Child:
    """A process with these descriptors as 0, 1 and 2, and no others.

    posix_spawn, since all that subprocess does besides in the child is time of the program's: 0.1 ms. Raises OSError.
    """
    path = file if "/" in file else shutil.which(file, path=os.pathsep.join(os.get_exec_path(env))) or file
    _close_on_exec()
    with contextlib.ExitStack() as stack:
        # Above 2, where no step undoes what another has done.
        sources = [_above_standard(stack, number) for number in standard]
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(sources)]
        first = _ticks()
        started = time.monotonic_ns()
        if own_session:
            pid = os.posix_spawn(path, list(argv), env, file_actions=actions, setsigdef=_IGNORED, setsid=True)
        else:
            pid = os.posix_spawn(path, list(argv), env, file_actions=actions, setsigdef=_IGNORED, setpgroup=0)
        last = _ticks()
    return Child(pid, started, range(first, last + 1) if last - first < _MOST_STARTS else ())


def _ticks() -> int:
    """What a process that is made now has as its start time (proc(5))."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _TICK_NS


def _above_standard(stack: contextlib.ExitStack, number: int) -> int:
    if number == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, null)
        number = null
    if number <= _STANDARD:
        number = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _STANDARD + 1)
        stack.callback(os.close, number)
    return number


@cache
def _close_on_exec() -> None:
    """No program gets what our caller left open for us. What we open ourselves none gets anyway (PEP 446)."""
    for path in list(Path("/proc/self/fd").iterdir()):
        if int(path.name) > _STANDARD:
            with contextlib.suppress(OSError):  # that of the listing itself, closed again
                os.set_inheritable(int(path.name), False)


def marked(env: Mapping[str, str]) -> dict[str, str]:
    """The variables with the one by which `end_marked` knows what was started by this process."""
    return {**env, MARK: "{}-{}".format(*identity())}


def end_marked(owner: str = "") -> int:
    """End all processes of this user that were started, by whatever way, by commands of an owner (PID-START; default:
    this process); returns how many those were. One that has cleared its variables and left its group is not found."""
    variable = os.fsencode(f"{MARK}={owner or '{}-{}'.format(*identity())}")
    ended = 0
    for _round in range(_ROUNDS):
        marked = [pid for pid in _pids() if variable in _environment(pid)]
        for pid in marked:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        ended += len(marked)
        if not marked:
            break
    return ended


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    """The variables that a process was started with; none of one that is gone, or somebody else's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


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
            ended += end_marked(path.name)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return ended


def _folder() -> Path:
    return cache_dir() / "children"


def _digest(pid: int) -> str:
    """Of a process's command line. Raises OSError where it is gone."""
    return hashlib.sha256(Path(f"/proc/{pid}/cmdline").read_bytes()).hexdigest()


def _digest_of(argv: Sequence[str]) -> str:
    """The same of a process to come."""
    return hashlib.sha256(b"".join(os.fsencode(word) + b"\0" for word in argv)).hexdigest()


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
            {**os.environ, **dict(zip(("cache", "short"), map(os.fspath, scratch_parents()), strict=True))},
            file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
            setsid=True,  # what ends our group does not end it
        )
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer
