"""Guests that a command line boots: any monitor of virtual machines, tender or sandbox, by a recipe (COMMAND images).

The command is a process of ours as QEMU is with `--launch direct`: one process group, recorded while it lives, gone
with all that it started when the boot is over. What it writes is bounded, and so is its time.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ukperf import files
from ukperf.errors import HostError
from ukperf.hosts import COMMANDS, children, remains
from ukperf.hosts.base import OnFrame
from ukperf.hosts.direct import ProcessStop
from ukperf.hosts.intake import CHUNK, ConsoleSource, SocketConsole
from ukperf.hosts.native import LocalHost
from ukperf.hosts.noise import noise_between, peak_rss, reading
from ukperf.hosts.ownership import scratch
from ukperf.hosts.owntree import as_packed
from ukperf.hosts.places import plainly_named
from ukperf.hosts.sockets import accept, listening, pidfd
from ukperf.hosts.watch import Watch
from ukperf.model import BootProtocol, BootSpec, Command, ConsoleWay, Event, Image, MachineKind, Observation, Outcome
from ukperf.templates import Values, filled_data, filled_words
from ukperf.text import clean

# Of our own variables, what programs need to find things; a recipe says others.
INHERITED = ("PATH", "HOME", "TMPDIR", "USER", "LANG", "XDG_RUNTIME_DIR")
CONSOLE = "console.sock"
JOIN_S = 1.0  # for what a command wrote to be read after its end
SAID_MAX = 2_048  # bytes of what the command says besides the console that are kept


class CommandHost(LocalHost):
    """Runs COMMAND images as processes of this machine."""

    uri = COMMANDS

    def describe(self) -> str:
        return "command lines are executed by this machine itself"

    def machine_facts(self, kinds: Mapping[str, MachineKind]) -> Mapping[str, str]:
        return {"firmware": "that of each command", "console": "that of each command"}

    def check_network(self) -> None:
        raise HostError("Guests that a command line boots are given no network by ukperf.", hint="Leave them out.")

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        if spec.image.protocol is not BootProtocol.COMMAND or spec.image.command is None:
            raise HostError(f"{self.uri} boots guests that have a command line, and {spec.image.guest} has none.")
        before = reading()
        children.prepare()
        spec = replace(spec, image=as_packed(spec.image))
        assert spec.image.command is not None
        with scratch() as folder:
            try:
                seen = _boot(spec, spec.image.command, folder, on_frame)
            finally:
                children.end_marked()
        return replace(seen, noise=noise_between(before, reading(), spec.machine))


def command_of(spec: BootSpec, command: Command, folder: Path) -> tuple[str, ...]:
    """The words that are executed for one boot. folder: where its files are, which `json` and a disk of its own become.

    Raises HostError where a placeholder has no value, or the disk cannot be copied.
    """
    image = _with_disk(plainly_named(spec.image, folder), command, folder)
    values = _values(spec, image, command, folder)
    try:
        if command.json:
            config = folder / "config.json"
            config.write_text(
                json.dumps(filled_data(json.loads(command.json), values, command.words)), encoding="utf-8"
            )
            values = {**values, "json": str(config)}
        return (image.argv[0], *filled_words(image.argv[1:], values, command.words))
    except KeyError as error:
        raise HostError(
            f"The command line of {image.guest} has {{{error.args[0]}}}, and there is none for this program."
        ) from error


def _with_disk(image: Image, command: Command, folder: Path) -> Image:
    """Images are shared by all boots, so who writes to a disk gets one of its own."""
    if image.disk is None or not command.copies_disk:
        return image
    own = folder / "disk"
    try:
        files.copy(image.disk, own)
    except OSError as error:
        raise HostError(f"A disk could not be copied for a boot: {files.reason(error)}.") from error
    return replace(image, disk=own)


def _values(spec: BootSpec, image: Image, command: Command, folder: Path) -> Values:
    files = {"kernel": image.kernel, "initrd": image.initrd, "disk": image.disk, "program": command.program}
    values: dict[str, str | int] = {
        **{name: str(path) for name, path in files.items() if path is not None},
        "cmdline": image.cmdline,
        "memory_mib": spec.machine.memory_mib,
        "vcpus": spec.machine.vcpus,
        "name": spec.name or image.guest,
        "console": str(folder / CONSOLE),
        "folder": str(folder),
    }
    return {name: value for name, value in values.items() if value != ""}


class _PtyConsole:
    """Our end of a pseudo terminal as console."""

    quiet_s = 0.02

    def rest(self, _taken: int) -> bytes:
        return b""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> tuple[int, bytes] | None:
        try:
            data = os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return None
        except OSError:  # EIO: nobody has the other end any more
            data = b""
        return time.monotonic_ns(), data


class _Said:
    """What a command writes besides the console: read to its end, so that it never waits; the last of it is kept."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.writer = os.fdopen(writer, "wb", 0)
        self._last = bytearray()
        self._thread = threading.Thread(target=self._read, args=(reader,), name="said", daemon=True)
        self._thread.start()

    def __enter__(self) -> _Said:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.writer.close()

    def _read(self, reader: int) -> None:
        with os.fdopen(reader, "rb", 0) as stream:
            while data := stream.read(CHUNK):
                self._last += data
                del self._last[:-SAID_MAX]

    def last_line(self) -> str:
        """The last line that it wrote, once the command is gone."""
        self._thread.join(JOIN_S)
        lines = bytes(self._last).decode("utf-8", "replace").splitlines()
        return next((clean(line, 300) for line in reversed(lines) if line.strip()), "")


def _boot(spec: BootSpec, command: Command, folder: Path, on_frame: OnFrame | None) -> Observation:
    argv = command_of(spec, command, folder)
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env = children.marked({**inherited, **dict(spec.image.env)})
    with ExitStack() as stack:
        said = stack.enter_context(_Said())
        console: ConsoleSource | None = None
        server = theirs = None
        if command.console is ConsoleWay.SOCKET:
            server = stack.enter_context(listening(folder / CONSOLE))
        else:
            console, theirs = stack.enter_context(_ends(command.console))
        stdin = theirs.fileno() if theirs is not None and command.console is ConsoleWay.PTY else subprocess.DEVNULL
        stdout = said.writer if theirs is None else theirs
        events = {Event.START: time.monotonic_ns()}
        started = children.spawned(argv, env, stdout.fileno(), said.writer.fileno(), spec.machine.pin, stdin)
        try:
            with started as process, pidfd(process.pid) as descriptor:
                events[Event.START] = process.started_ns
                said.writer.close()  # the command has it: its end is then the end of what can be read
                if theirs is not None:
                    theirs.close()
                if server is not None and (connection := accept(server, descriptor)) is not None:
                    console = SocketConsole(stack.enter_context(connection))
                if console is not None:
                    events[Event.CREATED] = events[Event.RESUMED] = (
                        events[Event.START] if server is None else time.monotonic_ns()
                    )
                    stop = ProcessStop(descriptor)
                    watch = Watch(spec, console, stop, events, on_frame, lambda: peak_rss(process.pid))
                    watch.run()
        except children.NotExecutedError as error:
            return Observation(Outcome.LOST, str(error), events)
        if console is None:
            last = said.last_line() or _ended(process.wait())
            return Observation(Outcome.LOST, f"it did not connect to its console; it said: {last}", events)
        return _judged(watch, command, process.wait(), said.last_line())


@contextmanager
def _ends(way: ConsoleWay) -> Iterator[tuple[ConsoleSource, BinaryIO]]:
    """Our end of a console and that of the command, which is to be closed once the command has it."""
    if way is ConsoleWay.PTY:
        ours, slave = pty.openpty()
        with os.fdopen(ours, "rb", 0) as mine, os.fdopen(slave, "wb", 0) as theirs:
            tty.setraw(slave)  # bytes as they are written, and no echo
            yield _PtyConsole(mine.fileno()), theirs
        return
    one, other = socket.socketpair()
    with one, os.fdopen(other.detach(), "wb", 0) as theirs:
        yield SocketConsole(one), theirs


def _judged(watch: Watch, command: Command, status: int, last_line: str) -> Observation:
    """What was seen, with what the command's end says of a guest that ended itself."""
    seen = watch.observe(extra=last_line)
    if seen.ended_by_host or seen.outcome not in (Outcome.OK, Outcome.CRASHED) or Event.STOPPED not in seen.events:
        return seen
    if seen.outcome is Outcome.CRASHED:
        return replace(seen, reason=f"{seen.reason}; {_ended(status)}")
    if status >= 0 and command.good(status):
        return replace(seen, exit_status=0 if seen.exit_status is None else seen.exit_status)
    outcome = Outcome.FAILED if status >= 0 else Outcome.CRASHED
    said = f"; it said: {last_line}" if last_line else ""
    return replace(seen, outcome=outcome, reason=f"{_ended(status)}{said}", exit_status=max(status, 0) or None)


def _ended(status: int) -> str:
    if status >= 0:
        return f"its command exited with status {status}"
    try:
        return f"its command was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"its command was killed by signal {-status}"


def driver(_uri: str, _run_id: str, _shared_path: bool) -> AbstractContextManager[CommandHost]:
    """The entry point `command`. What dead runs left is removed first."""
    remains.clear()
    return nullcontext(CommandHost())
