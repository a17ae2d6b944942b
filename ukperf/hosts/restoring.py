"""Has a guest go on from a template, and saves the devices of one for it: QEMU's migration, from a file and to one.

The memory is in a file of its own (domainxml.Backing), so `x-ignore-shared` leaves it out of the stream, and what is
left are some hundred kilobytes. The file goes to QEMU as a descriptor: its sandbox starts no programs, and `file:` came
only with QEMU 8.2.

    with restoring(template, socket) as going_on:   # before QEMU is started with a Backing
        going_on.load(ended, events)                # ended: its pidfd; then it is as it was saved, and stopped
        going_on.run()                              # unless libvirt resumes it
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ukperf.errors import HostError
from ukperf.files import descriptor_of, open_own, reason
from ukperf.hosts.qmp import Monitor
from ukperf.hosts.sockets import accept, listening
from ukperf.hosts.template import STATE
from ukperf.model import Event
from ukperf.text import clean

MOVE_S = 120.0  # for the devices' state, on a busy machine
_ENDS = frozenset({"completed", "failed", "cancelled"})
_STREAM = "template"  # QEMU's name of the descriptor


class Restoring:
    """One guest on its way back. server: listens for its QEMU's monitor; state: of its devices."""

    def __init__(self, server: socket.socket, state: Path) -> None:
        self._server, self._state = server, state
        self._connection: socket.socket | None = None
        self._monitor: Monitor | None = None

    def load(self, ended: int, events: dict[Event, int]) -> None:
        """Wait for QEMU, and have it load the devices' state; CREATED and LOADED are when that was. ended: its pidfd.

        Raises HostError.
        """
        self._connection = accept(self._server, ended)
        if self._connection is None:
            raise HostError("QEMU did not open its monitor.")
        self._monitor = Monitor(self._connection)
        self._monitor.greet()
        events[Event.CREATED] = time.monotonic_ns()
        move(self._monitor, self._state, loads=True)
        events[Event.LOADED] = time.monotonic_ns()

    def run(self) -> None:
        """Let it go on. Raises HostError."""
        assert self._monitor is not None
        self._monitor.execute("cont")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@contextmanager
def restoring(template: Path, monitor: Path) -> Iterator[Restoring]:
    """For one guest that is to be restored from a template. monitor: where its QEMU will call us."""
    with listening(monitor) as server:
        one = Restoring(server, template / STATE)
        try:
            yield one
        finally:
            one.close()


def move(monitor: Monitor, state: Path, *, loads: bool) -> None:
    """Load the devices' state into a QEMU that waits for it, or save that of a stopped one. Raises HostError."""
    capabilities = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
    monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})
    try:
        descriptor = descriptor_of(state) if loads else open_own(state, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        raise HostError(f"{state} cannot be opened: {reason(error)}.") from error
    try:
        monitor.execute("getfd", {"fdname": _STREAM}, descriptor=descriptor)
    finally:
        os.close(descriptor)
    monitor.execute("migrate-incoming" if loads else "migrate", {"uri": f"fd:{_STREAM}"})
    if monitor.wait("MIGRATION", "status", _ENDS, MOVE_S) != "completed":
        told = monitor.execute("query-migrate")
        why = told.get("error-desc") if isinstance(told, dict) else None
        said = clean(str(why or "it does not say why"), 200).rstrip(".")
        raise HostError(f"QEMU cannot {'load' if loads else 'save'} the state of the guest's devices: {said}.")
