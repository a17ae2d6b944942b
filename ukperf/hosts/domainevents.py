"""What a libvirt connection says of its domains while they run: that they stopped, were resumed, or that it broke."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ukperf.hosts.connection import is_local, load_libvirt
from ukperf.hosts.streams import DomainStop

# A remote host is gone when it has not answered this many times, so many seconds apart.
KEEP_ALIVE_S, KEEP_ALIVE_COUNT = 5, 3


class DomainEvents:
    """Subscriptions of one connection; libvirt calls them in its event thread. Times are CLOCK_MONOTONIC, ns.

    gone: the connection broke. Domains are told apart by UUID, not by name: the last word about the boot before this
    one, of the same name, may only come now.
    """

    def __init__(self, uri: str, connection: Any) -> None:
        self.gone = False
        self._uri, self._connection = uri, connection
        self._libvirt = load_libvirt()
        self._stops: dict[str, DomainStop] = {}
        self._resumed: dict[str, int] = {}
        self._removers = self._listen()

    @contextmanager
    def stopping(self, stop: DomainStop, domain: Any) -> Iterator[None]:
        """`stop` hears of this domain's end for the length of a with block."""
        uuid = domain.UUIDString()
        self._stops[uuid] = stop
        try:
            if not domain.isActive():
                stop.stop(time.monotonic_ns())  # its end came before we listened
            yield
        finally:
            self._stops.pop(uuid, None)
            self._resumed.pop(uuid, None)

    def resumed_at(self, domain: Any) -> int | None:
        """When QEMU itself says that virtual CPUs began to run; None where it does not."""
        return self._resumed.get(domain.UUIDString())

    def close(self) -> None:
        for remove in self._removers:
            with suppress(self._libvirt.libvirtError):  # the other side may be gone
                remove()

    def _listen(self) -> list[Callable[[], None]]:
        """Subscribe to lifecycle events, and to QEMU's own where libvirt passes them on: they carry QEMU's clock."""
        number = self._connection.domainEventRegisterAny(
            None, self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None
        )
        removers: list[Callable[[], None]] = [lambda: self._connection.domainEventDeregisterAny(number)]
        if not is_local(self._uri):
            # Without these a host that loses power is never noticed: TCP would wait for hours.
            self._connection.setKeepAlive(KEEP_ALIVE_S, KEEP_ALIVE_COUNT)
            self._connection.registerCloseCallback(self._closed, None)
            removers.append(self._connection.unregisterCloseCallback)
        try:
            import libvirt_qemu

            qemu = libvirt_qemu.qemuMonitorEventRegister(self._connection, None, None, self._monitor, None, 0)
            removers.append(lambda: libvirt_qemu.qemuMonitorEventDeregister(self._connection, qemu))
        except (ImportError, AttributeError, self._libvirt.libvirtError):
            pass  # lifecycle events alone then: a few milliseconds later
        return removers

    def _closed(self, _connection: Any, _reason: int, _opaque: object) -> None:
        at = time.monotonic_ns()
        self.gone = True
        for stop in list(self._stops.values()):
            stop.gone(at)

    def _lifecycle(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: object) -> None:
        at = time.monotonic_ns()
        ended = (
            self._libvirt.VIR_DOMAIN_EVENT_SHUTDOWN,
            self._libvirt.VIR_DOMAIN_EVENT_STOPPED,
            self._libvirt.VIR_DOMAIN_EVENT_CRASHED,
        )
        stop = self._stops.get(domain.UUIDString())
        if stop is not None and event in ended:
            stop.stop(at)

    def _monitor(
        self, _connection: Any, domain: Any, event: str, seconds: int, micros: int, _details: str, _opaque: object
    ) -> None:
        stop = self._stops.get(domain.UUIDString())
        if event not in ("RESUME", "SHUTDOWN") or stop is None:
            return
        # QEMU stamps events with CLOCK_REALTIME; on this machine that converts to our clock.
        now = time.monotonic_ns()
        late = time.time_ns() - (seconds * 1_000_000_000 + micros * 1_000)
        at = now - late if is_local(self._uri) and 0 <= late < 1_000_000_000 else now
        if event == "RESUME":
            self._resumed.setdefault(domain.UUIDString(), at)
        else:
            stop.stop(at)
