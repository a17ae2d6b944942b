"""`--launch direct`: execute the command line that libvirt writes for the domain XML.

What only libvirt needs is taken out: the paused start, its monitor, its secret, and the wish to outlive the guest.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.errors import HostError
from ukperf.hosts import children
from ukperf.hosts.base import OnFrame
from ukperf.hosts.fleet import FleetMember, suspended, until
from ukperf.hosts.intake import SocketConsole
from ukperf.hosts.noise import peak_rss
from ukperf.hosts.qmp import QmpError
from ukperf.hosts.restoring import Restoring
from ukperf.hosts.sockets import accept, listening, pidfd
from ukperf.hosts.watch import Watch
from ukperf.model import BootSpec, Event, Observation, Outcome

# isa-debug-exit: QEMU's exit status is (value << 1) | 1, so odd and never 0.
_DROP_WITH_VALUE = {"-chardev": "id=charmonitor", "-mon": "chardev=charmonitor", "-object": '"masterKey0"'}
_DROP = {"-S", "-no-shutdown"}


@dataclass(frozen=True)
class CommandLine:
    """argv and environment of one VMM."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


def strip_for_direct(native: str) -> CommandLine:
    """libvirt's `qemu-argv` text as a command that stands alone.

    native: what virConnectDomainXMLToNative returns: shell words, first NAME=VALUE pairs, then the program.
    Raises HostError if there is no program in it.
    """
    words = shlex.split(native.replace("\\\n", " "))  # newer versions may break lines
    first = next((index for index, word in enumerate(words) if "=" not in word.split("/", 1)[0]), None)
    if first is None:
        raise HostError("libvirt wrote a command line without a program.")
    env = tuple((name, value) for name, _, value in (word.partition("=") for word in words[:first]))
    argv: list[str] = []
    rest = iter(words[first:])
    for word in rest:
        if word in _DROP:
            continue
        if word in _DROP_WITH_VALUE:
            value = next(rest)
            if _DROP_WITH_VALUE[word] not in value:
                argv += [word, value]
            continue
        argv.append(word)
    # Under libvirt a reset ends the domain (on_reboot=destroy); a crashing guest must not loop here either.
    return CommandLine((*argv, "-no-reboot"), env)


@contextmanager
def sayable_environment() -> Iterator[dict[str, str]]:
    """libvirt writes variables that a VMM inherits (HOME, TMPDIR) into its text, which is read as UTF-8 and by lines.

    Those that are neither are empty meanwhile; yields what they were, for `with_variables`.
    """
    odd = {name: value for name, value in os.environ.items() if not value.isprintable()}
    os.environ.update(dict.fromkeys(odd, ""))
    try:
        yield odd
    finally:
        os.environ.update(odd)


def with_variables(command: CommandLine, values: Mapping[str, str]) -> CommandLine:
    """The command with other values of the variables that it has anyway."""
    return replace(command, env=tuple((name, values.get(name, value)) for name, value in command.env))


class ProcessStop:
    """Readable when the process has ended (pidfd_open(2))."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def stopped_at(self) -> int | None:
        return time.monotonic_ns()


@dataclass(frozen=True)
class Vmm:
    """A VMM that runs: its process, the console's connection, its pidfd, and the file that it complains to."""

    process: children.Child
    console: socket.socket
    ended: int
    log: int

    def watch(self, spec: BootSpec, events: dict[Event, int], on_frame: OnFrame | None, until: Event | None) -> Watch:
        """Over its guest. until: what it is over with, before the guest's end."""
        pid, stop = self.process.pid, ProcessStop(self.ended)
        return Watch(spec, SocketConsole(self.console), stop, events, on_frame, lambda: peak_rss(pid), until=until)

    def said(self) -> str:
        """The last line of its complaints."""
        return tail(self.log)


class NotStartedError(Exception):
    """A VMM that ended, or did nothing, before its guest began: a phrase."""


@contextmanager
def started(
    spec: BootSpec,
    command: CommandLine,
    console_path: Path,
    log: int,
    events: dict[Event, int],
    restoring: Restoring | None = None,
) -> Iterator[Vmm]:
    """A VMM whose guest runs, gone at the end of the block. events gets START, CREATED, RESUMED and, of a guest that is
    restored, LOADED. restoring: what it is restored from, instead of being booted.

    Raises NotStartedError, and HostError where it cannot be executed.
    """
    children.prepare()
    with ExitStack() as stack:
        with listening(console_path) as server:  # the next guest of a fleet gets the same
            vmm = children.spawned(command.argv, dict(command.env), subprocess.DEVNULL, log, spec.machine.pin)
            try:
                process = stack.enter_context(vmm)
            except children.NotExecutedError as error:
                raise HostError(f"{error}.") from error
            descriptor = stack.enter_context(pidfd(process.pid))
            events[Event.START] = process.started_ns
            connection = accept(server, descriptor)
        if connection is None:
            process.kill()
            process.wait()
            raise NotStartedError(f"the VMM did not start; it said: {tail(log) or f'exit status {process.returncode}'}")
        events[Event.CREATED] = events[Event.RESUMED] = time.monotonic_ns()
        stack.enter_context(connection)
        if restoring is not None:
            _restore(restoring, descriptor, events, log)
        yield Vmm(process, connection, descriptor, log)


def _restore(restoring: Restoring, ended: int, events: dict[Event, int], log: int) -> None:
    """Raises NotStartedError where it cannot be restored."""
    try:
        restoring.load(ended, events)
        events[Event.RESUMED] = time.monotonic_ns()
        restoring.run()
    except QmpError as error:
        raise NotStartedError(f"{error.message.rstrip('.')}; it said: {tail(log)}") from error


def boot_direct(
    spec: BootSpec,
    command: CommandLine,
    console_path: Path,
    on_frame: OnFrame | None,
    restoring: Restoring | None = None,
) -> Observation:
    """One trial. VMM phase: exec until its serial device calls our socket. Raises HostError without a VMM.

    restoring: what the guest is restored from, instead of being booted.
    """
    events: dict[Event, int] = {}
    with tempfile.TemporaryFile(dir=console_path.parent) as log:
        try:
            with started(spec, command, console_path, log.fileno(), events, restoring) as vmm:
                watch = vmm.watch(spec, events, on_frame, None)
                watch.run()
        except NotStartedError as error:
            return Observation(Outcome.LOST, str(error), events)
        return watch.observe(extra=tail(log.fileno()))


@contextmanager
def member_direct(
    spec: BootSpec,
    command: CommandLine,
    console_path: Path,
    on_frame: OnFrame | None,
    restoring: AbstractContextManager[Restoring | None],
) -> Iterator[FleetMember]:
    """One guest of a fleet, suspended and alive for the length of the block. Raises HostError without a VMM."""
    events: dict[Event, int] = {}
    with ExitStack() as stack:
        going_on = stack.enter_context(restoring)
        log = stack.enter_context(tempfile.TemporaryFile(dir=console_path.parent)).fileno()
        try:
            vmm = stack.enter_context(started(spec, command, console_path, log, events, going_on))
        except NotStartedError as error:
            yield FleetMember(0, events, Observation(Outcome.LOST, str(error), events))
            return
        yield suspended(vmm.watch(spec, events, on_frame, until(spec)), vmm.ended, vmm.process.pid, vmm.said)


def tail(descriptor: int) -> str:
    """The last line that the VMM wrote to stderr, bounded."""
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, 2048, max(0, size - 2048)).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and "terminating on signal" not in line]
    return lines[-1][:300] if lines else ""
