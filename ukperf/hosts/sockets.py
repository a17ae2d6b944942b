"""Sockets on which we listen before a VMM is started, and its end: whichever comes first."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A VMM that has not connected by then never will.
CONNECT_TIMEOUT_S = 20.0


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A unix socket on which the VMM's serial device will call us."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        try:
            yield server
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def accept(server: socket.socket, stopped: int) -> socket.socket | None:
    """The connection of a process to our socket; None where it ends (stopped: its pidfd) or does not call in time."""
    poll = select.poll()
    poll.register(server, select.POLLIN)
    poll.register(stopped, select.POLLIN)
    ready = [descriptor for descriptor, _ in poll.poll(CONNECT_TIMEOUT_S * 1000)]
    return server.accept()[0] if server.fileno() in ready else None
