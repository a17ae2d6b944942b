"""What a program asks of a kernel: it runs on this machine under strace(1), and every call is noted.

    trace = trace_calls(["/usr/bin/lua5.4", "-e", "print(1)"], env={}, cwd=Path("/"), timeout_s=20)
    trace.calls, trace.ioctls, trace.special, trace.status

A program may do anything: its time, its threads and what is kept of what it writes are bounded, and when the time is
over nothing of it is left. As long as strace lives it is the tracer of all that the program has started, wherever that
went: sessions of its own, other variables.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.files import read_text
from ukperf.hosts import children
from ukperf.hosts.ownership import scratch
from ukperf.hosts.sockets import pidfd
from ukperf.hosts.straceout import TraceReader, special
from ukperf.text import clean, shell

LIVE_MAX = 256  # threads of all processes at one time
KEPT_MAX = 16_384  # bytes of what the program writes that are kept, the last ones
LINE_MAX = 65_536  # bytes of strace's line
GRACE_S = 2.0  # for what a program leaves behind when it ends
_CHUNK = 1 << 16
_ROUNDS = 50
_TIME = "time"  # why it was ended
# Structures stay pointers: nobody reads them, and it is quicker. Of clone3 the flags say whether it makes a thread.
_OPTIONS = ("-f", "-q", "-s", "0", "-e", "verbose=clone3")
ENTERING = frozenset({"chroot", "chdir", "execve"})
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_NONE: Mapping[str, str] = {}
_ENV = "/usr/bin/env"
_FINDING = (
    "open",
    "openat",
    "openat2",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
)


@dataclass(frozen=True)
class CallTrace:
    """What was seen of one run.

    calls: how often each was made. errors: (call, errno) → how often. ioctls: command → whether it ever succeeded.
    paths: absolute paths that were looked at, in whatever way; opened: those that were opened or tried to be; made:
    those of these that it asked to be made; all with whether it ever succeeded. executed: other programs. threads,
    processes: that it made. status: its exit status, None where a signal ended it (`signal`: its name) or we did.
    ended_for: why we ended it, "" otherwise. stdout, stderr: the last of what it wrote.
    """

    calls: Mapping[str, int]
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ioctls: Mapping[str, bool] = field(default_factory=dict)
    paths: Mapping[str, bool] = field(default_factory=dict)
    opened: Mapping[str, bool] = field(default_factory=dict)
    made: Mapping[str, bool] = field(default_factory=dict)
    executed: tuple[str, ...] = ()
    threads: int = 0
    processes: int = 0
    status: int | None = None
    signal: str = ""
    timed_out: bool = False
    ended_for: str = ""
    stdout: str = ""
    stderr: str = ""

    @property
    def special(self) -> Mapping[str, bool]:
        """Files of /proc, /sys and /dev that it looked at, and whether they were there."""
        return special(self.paths)

    @property
    def last_line(self) -> str:
        """The last line that it wrote to standard error, else to standard output; frames (docs/wire.md) are none."""
        lines = [*self.stdout.splitlines(), *self.stderr.splitlines()]
        return next((clean(line, 300) for line in reversed(lines) if line.strip() and line[0] not in "\x1e{"), "")


def find_strace() -> str:
    """Its path. Raises UkperfError where it is not there, with the line to type."""
    path = shutil.which("strace")
    if path is None:
        raise UkperfError(
            "System calls are traced by strace, which is not on this machine.",
            hint=hints.packages("strace"),
        )
    return path


def trace_calls(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    timeout_s: float,
    *,
    before: Sequence[str] = (),
    through: Sequence[str] = (),
    missing: Iterable[str] = (),
    answers: Mapping[str, str] = _NONE,
    absent: Sequence[str] = (),
) -> CallTrace:
    """Run a program under strace until it has ended, and say what it asked for. cwd: its folder.

    before: words that strace itself is started by (a program that prepares name spaces and then executes it). through:
    words that the program is executed by, whose calls are noted no more than strace's own. missing: calls that are
    answered with ENOSYS instead of being made. answers: call → another answer, `error=95` or `retval=0`. Of what
    `through` does (ENTERING) the first of each kind is made in any case. absent: absolute paths that are answered as if
    nothing were there; then nothing else is answered or noted but how the program ends.

    Raises UkperfError where strace is not there or may not trace, and where the program cannot be executed.
    """
    strace = find_strace()
    with scratch() as folder:
        fifo = folder / "trace"
        os.mkfifo(fifo, 0o600)
        trace = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(trace, "rb", 0):
            # What the loader obeys is for the program alone.
            own = {name: value for name, value in env.items() if name.startswith("LD_")}
            theirs = [word for name, value in own.items() for word in ("-E", f"{name}={value}")]
            if absent:
                answered, through = _absence(absent), (*through, _ENV)
            else:
                answered = _injection({**dict.fromkeys(missing, "error=ENOSYS"), **answers}, bool(through))
            options = [*_OPTIONS, *answered, *theirs, "-o", str(fifo)]
            words = (_ENV, f"--chdir={cwd}", *before, strace, *options, "--", *through, *argv)
            others = {name: value for name, value in env.items() if name not in own}
            reader = TraceReader(execs=2 if through and not absent else 1)
            return _traced(words, children.marked(others), trace, argv[0], timeout_s, reader)


def _injection(answers: Mapping[str, str], through: bool) -> list[str]:
    """Options for calls that a kernel has not. `?` before a name: this strace may not know it. The execve that starts
    the program is strace's own and made in any case."""
    known = [(name, answer) for name, answer in sorted(answers.items()) if _NAME.fullmatch(name)]
    spared = {name: f":when={3 if name == 'execve' else 2}+" for name in ENTERING} if through else {}
    return [word for name, answer in known for word in ("-e", f"inject=?{name}:{answer}{spared.get(name, '')}")]


def _absence(paths: Sequence[str]) -> list[str]:
    """Options for paths where nothing is. strace then looks at calls with these paths alone, so it executes the program
    by another, which is one of them and by which the trace begins."""
    named = [word for path in (_ENV, *paths) for word in ("-P", path)]
    return [*named, "-e", f"inject={','.join(f'?{name}' for name in _FINDING)}:error=ENOENT"]


@dataclass
class _Kept:
    """The last bytes of a stream."""

    data: bytearray = field(default_factory=bytearray)

    def take(self, more: bytes) -> None:
        self.data += more
        if len(self.data) > 2 * KEPT_MAX:
            del self.data[:-KEPT_MAX]

    def text(self) -> str:
        return bytes(self.data[-KEPT_MAX:]).decode("utf-8", "replace")


class _Lines:
    """Whole lines out of pieces; one that is too long is cut."""

    def __init__(self, reader: TraceReader) -> None:
        self.reader, self._rest = reader, b""

    def take(self, more: bytes) -> None:
        *whole, self._rest = (self._rest + more).split(b"\n")
        for line in whole:
            self.reader.take(line[:LINE_MAX].decode("ascii", "replace"))
        self._rest = self._rest[:LINE_MAX]


def _traced(
    words: Sequence[str], env: Mapping[str, str], trace: int, name: str, timeout_s: float, reader: TraceReader
) -> CallTrace:
    out, err = _Kept(), _Kept()
    lines = _Lines(reader)
    with contextlib.ExitStack() as stack:
        ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
        for end in (*ours, *theirs):
            stack.enter_context(end)
        try:
            strace = stack.enter_context(children.spawned(words, env, theirs[0].fileno(), theirs[1].fileno()))
        except children.NotExecutedError as error:
            raise UkperfError(f"{error}.") from error
        for end in theirs:
            end.close()
        over = stack.enter_context(pidfd(strace.pid))
        with _all_ended(strace.pid):
            sinks = {trace: lines.take, ours[0].fileno(): out.take, ours[1].fileno(): err.take}
            why = _drained(sinks, over, reader, time.monotonic() + timeout_s)
    if reader.not_started or not reader.started:
        raise _did_not_start(name, reader.not_started, err.text(), why)
    return CallTrace(
        calls=reader.calls,
        errors=reader.errors,
        ioctls=reader.ioctls,
        paths=reader.paths,
        opened=reader.opened,
        made=reader.made,
        executed=tuple(reader.executed),
        threads=reader.threads,
        processes=reader.processes,
        status=reader.status,
        signal=reader.signal,
        timed_out=why == _TIME,
        ended_for=f"it had not ended after {timeout_s:g} s" if why == _TIME else why,
        stdout=out.text(),
        stderr=err.text(),
    )


def _did_not_start(name: str, errno: str, said: str, why: str) -> UkperfError:
    if errno:
        return UkperfError(f"{name} cannot be executed: {errno}.")
    last = next((clean(line, 300) for line in said.splitlines() if line.strip()), "it said nothing").rstrip(".")
    if "Can't stat" in last:
        return UkperfError(f"{name} cannot be executed: {last.rpartition(': ')[2]}.")
    hint = f"Is tracing allowed here? Try: {shell('strace', 'true')}"
    return UkperfError(f"strace could not trace {name}: {why or last}.", hint=hint)


def _drained(sinks: Mapping[int, Callable[[bytes], None]], over: int, reader: TraceReader, deadline: float) -> str:
    """Read everything until strace ends (`over`: its pidfd); else why that was not waited for."""
    with selectors.DefaultSelector() as selector:
        for descriptor in sinks:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        selector.register(over, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select(max(0.0, min(deadline - time.monotonic(), 1.0)))}
            for descriptor in ready & sinks.keys():
                if not _read(descriptor, sinks[descriptor]):
                    selector.unregister(descriptor)
            if over in ready:
                for descriptor, sink in sinks.items():
                    while _read(descriptor, sink):
                        pass
                return ""
            if len(reader.live) > LIVE_MAX:
                return f"it had more than {LIVE_MAX} threads at one time"
            ended = reader.started and reader.first not in reader.live
            if ended:
                deadline = min(deadline, time.monotonic() + GRACE_S)
            if time.monotonic() >= deadline:
                return "" if ended else _TIME


def _read(descriptor: int, sink: Callable[[bytes], None]) -> bool:
    """Take a piece; False where there is none now, and where there will be none."""
    try:
        data = os.read(descriptor, _CHUNK)
    except OSError:  # nothing there yet, or reset
        return False
    sink(data)
    return bool(data)


@contextmanager
def _all_ended(strace: int) -> Iterator[None]:
    """At the end of the block nothing that strace traces is left, whatever session it is in.

    A stopped tracer takes on no work, and whoever forks waits for it: so they become no more.
    """
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.kill(strace, signal.SIGSTOP)
            for _round in range(_ROUNDS):
                traced = _traced_by(strace)
                for pid in traced:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                if not traced:
                    break


def _traced_by(tracer: int) -> list[int]:
    """Processes of which a thread is traced, and that have not been killed yet."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_traced(entry, tracer)]


def _is_traced(process: Path, tracer: int) -> bool:
    try:
        status = dict(line.partition(":")[::2] for line in read_text(process / "status").splitlines())
        pending = int(status.get("ShdPnd", "0").strip(), 16) | int(status.get("SigPnd", "0").strip(), 16)
    except (OSError, ValueError):
        return False
    killed = bool(pending & 1 << signal.SIGKILL - 1) or status.get("State", "").strip()[:1] in ("Z", "X")
    return status.get("TracerPid", "").strip() == str(tracer) and not killed
