"""QEMU's own monitor, spoken over a socket that QEMU connects to us (docs/interop/qmp-spec.rst of QEMU's sources).

    with Monitor(connection) as monitor:
        monitor.greet()
        monitor.execute("stop")

A guest that broke out of its VM might speak here: what it says is bounded in bytes, lines and seconds, and only the few
members that are asked for are looked at.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ukperf import signals
from ukperf.errors import HostError
from ukperf.text import clean

MAX_LINE = 1 << 20  # bytes; the longest answer that we ask for, query-blockstats, has some thousand
MAX_LINES = 10_000  # that may come while one answer is waited for
KEPT_EVENTS = 64
ANSWER_S = 20.0  # for one answer: a busy machine may let QEMU wait
_CHUNK = 1 << 16
_TURN_S = 1.0  # ^C is looked for that often


class QmpError(HostError):
    """QEMU's monitor refuses, breaks off, or speaks something else."""


class Monitor:
    """One connection. Closed by its owner."""

    def __init__(self, connection: socket.socket, answer_s: float = ANSWER_S) -> None:
        self._connection, self._answer_s = connection, answer_s
        connection.setblocking(False)
        self._unread = bytearray()
        self._events: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=KEPT_EVENTS)

    def greet(self) -> str:
        """Wait for QEMU's greeting and end the negotiation; its version, like 7.2.22. Raises QmpError."""
        said = self._line(self._deadline())
        greeting = said.get("QMP")
        if not isinstance(greeting, dict):
            raise QmpError("QEMU's monitor does not begin with its greeting.")
        self.execute("qmp_capabilities")
        return _version(greeting)

    def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        descriptor: int | None = None,
        answer_s: float | None = None,
    ) -> Any:
        """The answer of a command, as JSON. descriptor: goes along with it (getfd). Raises QmpError."""
        text = {"execute": command, **({"arguments": arguments} if arguments else {})}
        deadline = self._deadline(answer_s)
        self._send(json.dumps(text).encode() + b"\n", descriptor, deadline)
        for _ in range(MAX_LINES):
            said = self._line(deadline)
            if "return" in said:
                return said["return"]
            if "error" in said:
                error = said["error"]
                why = error.get("desc") if isinstance(error, dict) else None
                raise QmpError(f"QEMU refuses {command}: {clean(str(why or 'no reason given'), 300).rstrip('.')}.")
            self._note(said)
        raise QmpError(f"QEMU's monitor does not answer {command}: it says other things without end.")

    def wait(self, event: str, member: str, values: frozenset[str], answer_s: float) -> str:
        """Wait for an event whose member (a text) is one of these values; that value. Raises QmpError."""
        deadline = self._deadline(answer_s)
        for _ in range(MAX_LINES):
            while self._events:
                name, data = self._events.popleft()
                value = data.get(member)
                if name == event and isinstance(value, str) and value in values:
                    return value
            self._note(self._line(deadline))
        raise QmpError(f"QEMU's monitor says other things than {event} without end.")

    # ---- lines ----

    def _deadline(self, answer_s: float | None = None) -> float:
        return time.monotonic() + (self._answer_s if answer_s is None else answer_s)

    def _note(self, said: Mapping[str, Any]) -> None:
        name, data = said.get("event"), said.get("data")
        if isinstance(name, str):
            self._events.append((name, data if isinstance(data, dict) else {}))

    def _send(self, data: bytes, descriptor: int | None, deadline: float) -> None:
        left = memoryview(data)
        try:
            while left:
                self._ready(select.POLLOUT, deadline)
                if descriptor is not None:
                    count, descriptor = socket.send_fds(self._connection, [left], [descriptor]), None
                else:
                    count = self._connection.send(left)
                left = left[count:]
        except OSError as error:
            raise QmpError(f"QEMU's monitor is gone ({error.strerror}).") from error

    def _line(self, deadline: float) -> dict[str, Any]:
        """The next line, an object. Raises QmpError for anything else."""
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > MAX_LINE:
                raise QmpError("QEMU's monitor writes a line that is too long.")
            self._ready(select.POLLIN, deadline)
            try:
                data = self._connection.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise QmpError(f"QEMU's monitor is gone ({error.strerror}).") from error
            if not data:
                raise QmpError("QEMU ended while its monitor was asked.")
            self._unread += data
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        if len(line) > MAX_LINE:
            raise QmpError("QEMU's monitor writes a line that is too long.")
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise QmpError("QEMU's monitor writes what is no JSON object.")
        return said

    def _ready(self, what: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._connection, what)
        while True:
            signals.check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpError("QEMU's monitor does not answer in time.")
            if poll.poll(min(left, _TURN_S) * 1000):
                return


def _version(greeting: Mapping[str, Any]) -> str:
    try:
        numbers = greeting["version"]["qemu"]
        return ".".join(str(int(numbers[part])) for part in ("major", "minor", "micro"))
    except (KeyError, TypeError, ValueError):
        return "unknown"
