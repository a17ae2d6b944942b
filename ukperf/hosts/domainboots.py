"""Domains on a libvirt connection: created paused, resumed, watched, ended; or suspended, as guests of a fleet."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ukperf.errors import HostError
from ukperf.hosts import children, managed
from ukperf.hosts.base import OnFrame
from ukperf.hosts.connection import first_line, load_libvirt
from ukperf.hosts.domainevents import DomainEvents
from ukperf.hosts.fleet import FleetMember, end, suspended, until
from ukperf.hosts.intake import ConsoleSource, SocketConsole
from ukperf.hosts.interrupts import holding_interrupts
from ukperf.hosts.noise import peak_rss
from ukperf.hosts.qmp import QmpError
from ukperf.hosts.reaper import adopting_orphans
from ukperf.hosts.remote import RemoteFiles
from ukperf.hosts.restoring import Restoring
from ukperf.hosts.sockets import listening, pidfd
from ukperf.hosts.streams import DomainStop, StreamConsole
from ukperf.hosts.watch import Watch
from ukperf.model import BootSpec, Event, Observation, Outcome, Restorer

# After create QEMU has opened its serial device, so it has called our socket already.
ACCEPT_TIMEOUT_S = 5.0


@dataclass
class _Calls:
    """Time inside libvirt's calls, ns."""

    total_ns: int = 0

    @contextmanager
    def timed(self) -> Iterator[None]:
        start = time.monotonic_ns()
        try:
            yield
        finally:
            self.total_ns += time.monotonic_ns() - start


@dataclass(frozen=True)
class Embedded:
    """Of a libvirt inside this process: its folder, and the socket on which guests' consoles call."""

    folder: Path
    console: Path

    def pid_file(self, name: str) -> Path:
        return self.folder / "run" / "qemu" / f"{name}.pid"

    def pid(self, name: str) -> int | None:
        """QEMU's pid, a process that this one may wait for."""
        try:
            return int(self.pid_file(name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


@dataclass(frozen=True)
class _Domain:
    """One that was created, and does not run yet. pid, vmm: its VMM's pid and pidfd, where it is a process of ours."""

    domain: Any
    console: ConsoleSource
    pid: int | None
    vmm: int | None

    def peak_rss(self) -> int | None:
        return None if self.pid is None else peak_rss(self.pid)


class DomainBoots:
    """The domains of one connection. embedded: of a libvirt inside this process; has_log: its consoles are logged."""

    def __init__(
        self,
        uri: str,
        connection: Any,
        events: DomainEvents,
        files: RemoteFiles,
        embedded: Embedded | None,
        *,
        has_log: bool,
    ) -> None:
        self._uri, self._connection, self._events, self._files = uri, connection, events, files
        self._embedded, self._has_log = embedded, has_log
        self._libvirt = load_libvirt()

    def boot(
        self,
        spec: BootSpec,
        xml: str,
        restoring: AbstractContextManager[Restoring | None],
        on_frame: OnFrame | None,
        saving: managed.Saving | None = None,
    ) -> Observation:
        """One trial. restoring: what the guest is restored from, instead of being booted; saving: what saves it at its
        end. Raises HostError."""
        calls, events = _Calls(), dict[Event, int]()
        stop = DomainStop()
        try:
            with ExitStack() as stack:
                made = self._created(spec, xml, restoring, calls, stop, events, stack)
                watch = Watch(spec, made.console, stop, events, on_frame, made.peak_rss, vmm=made.vmm)
                with calls.timed():
                    made.domain.resume()
                watch.run()
                if saving is not None:
                    saving(made.domain, watch)
                rss = made.peak_rss()
                events[Event.RESUMED] = self._events.resumed_at(made.domain) or events[Event.RESUMED]
            if stop.host_gone:
                return self._lost(f"the connection to {self._uri} broke", events, calls)
            return watch.observe(peak_rss=rss, host_calls_ns=calls.total_ns)
        except self._libvirt.libvirtError as error:
            return self._lost(f"libvirt: {first_line(error)}", events, calls)
        except QmpError as error:
            return self._lost(error.message.rstrip("."), events, calls)
        finally:
            stop.close()

    @contextmanager
    def member(
        self,
        spec: BootSpec,
        xml: str,
        restoring: AbstractContextManager[Restoring | None],
        on_frame: OnFrame | None,
    ) -> Iterator[FleetMember]:
        """One guest of a fleet, suspended and alive for the length of the block: of a libvirt inside this process."""
        calls, events = _Calls(), dict[Event, int]()
        with ExitStack() as stack:
            stop = stack.enter_context(closing(DomainStop()))
            failure = None
            try:
                made = self._created(spec, xml, restoring, calls, stop, events, stack)
                made.domain.resume()
            except self._libvirt.libvirtError as error:
                failure = self._lost(f"libvirt: {first_line(error)}", events, calls)
            except QmpError as error:
                failure = self._lost(error.message.rstrip("."), events, calls)
            if failure is None and (made.vmm is None or made.pid is None):
                failure = self._lost("its VMM ended before its guest began", events, calls)
            if failure is not None or made.vmm is None or made.pid is None:
                yield FleetMember(0, events, failure)
                return
            stack.callback(end, made.vmm)  # before its domain: libvirt would ask it nicely, and wait
            watch = Watch(spec, made.console, stop, events, on_frame, vmm=made.vmm, until=until(spec))
            yield suspended(watch, made.vmm, made.pid)

    @staticmethod
    def _lost(why: str, events: dict[Event, int], calls: _Calls) -> Observation:
        return Observation(Outcome.LOST, why, events, host_calls_ns=calls.total_ns)

    def _created(
        self,
        spec: BootSpec,
        xml: str,
        restoring: AbstractContextManager[Restoring | None],
        calls: _Calls,
        stop: DomainStop,
        events: dict[Event, int],
        stack: ExitStack,
    ) -> _Domain:
        """A paused domain, its state loaded where it is restored; gone with the stack. Raises libvirt's error, and
        HostError."""
        with ExitStack() as waiting:
            own = self._embedded
            server = None if own is None else waiting.enter_context(listening(own.console))
            children.prepare()
            going_on = stack.enter_context(restoring)
            events[Event.START] = time.monotonic_ns()
            domain = stack.enter_context(self._domain(spec, xml, calls))
            events[Event.CREATED if spec.restorer is Restorer.TEMPLATE else Event.LOADED] = time.monotonic_ns()
            stack.enter_context(self._events.stopping(stop, domain))
            pid = None if own is None else own.pid(spec.name)
            if pid is not None:
                stack.enter_context(children.recorded(pid))
            console = stack.enter_context(self._console(domain, server, calls, spec))
        # Where the guest ends QEMU itself (nanos), libvirt notices only a fifth of a second later.
        vmm = None
        with suppress(ProcessLookupError):
            vmm = None if pid is None else stack.enter_context(pidfd(pid))
        if going_on is not None and vmm is not None:
            going_on.load(vmm, events)
        events[Event.RESUMED] = time.monotonic_ns()
        return _Domain(domain, console, pid, vmm)

    @contextmanager
    def _domain(self, spec: BootSpec, xml: str, calls: _Calls) -> Iterator[Any]:
        own = self._embedded
        adopting = nullcontext() if own is None else adopting_orphans(own.pid_file(spec.name))
        domain = None
        try:
            with holding_interrupts(), calls.timed(), adopting:
                domain = managed.started(self._connection, spec, xml)
            yield domain
        finally:
            if domain is not None:
                with holding_interrupts(), calls.timed(), suppress(self._libvirt.libvirtError):  # gone by itself
                    domain.destroy()

    @contextmanager
    def _console(
        self, domain: Any, server: socket.socket | None, calls: _Calls, spec: BootSpec
    ) -> Iterator[ConsoleSource]:
        if server is not None:
            server.settimeout(ACCEPT_TIMEOUT_S)
            try:
                connection = server.accept()[0]
            except TimeoutError as error:
                raise HostError("QEMU did not open the guest's console.") from error
            with connection:
                yield SocketConsole(connection)
            return
        with calls.timed():
            stream = self._connection.newStream(self._libvirt.VIR_STREAM_NONBLOCK)
            domain.openConsole(None, stream, 0)
        log = (lambda: self._files.log(spec.name, spec.console_limit)) if self._has_log else None
        console = StreamConsole(self._libvirt, stream, log)
        try:
            yield console
        finally:
            console.close()
            if log is not None and not self._events.gone:
                self._files.remove_log(spec.name)
