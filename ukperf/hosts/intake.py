"""What a guest's console hands over: stamped when it is read, and looked at when the guest pauses.

Whoever read a frame at once would stamp the next one late; whoever was woken for each byte of an emulated serial port
would slow the guest down. Timestamps are CLOCK_MONOTONIC nanoseconds taken right after the read.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Protocol

CHUNK = 65_536
# What is read is stamped at once and looked at when the guest pauses, so that the next event is not stamped late. It
# waits at most so long, or until there is a CHUNK of it.
PAUSE_S = 0.001
LATEST_S = 0.01
# An emulated serial port hands over byte by byte, and to be woken for each costs as much as the guest's writing it. A
# guest that writes on and on is looked after less often: what it wrote is stamped late by a thousandth of the time for
# which it has done so, and by NAP_S at most. In that time it must not fill the socket, which holds some 270 such bytes.
NAP_S = 0.0005
NAP_PART = 0.001
ENDED_S = 0.05  # a pause of that length ends it; a busy machine brings about shorter ones
LEAST_NAP_S = 0.0001  # a shorter one would be much longer than it was meant to be
SMALL = 512  # bytes of a read, on average: who hands over more at once is read as it comes


class ConsoleSource(Protocol):
    """Where console bytes come from; fileno() is readable when read() has something."""

    def fileno(self) -> int: ...

    def read(self) -> tuple[int, bytes] | None:
        """(CLOCK_MONOTONIC ns, bytes); b"" at the end of the console; None if there is nothing right now."""
        ...

    @property
    def quiet_s(self) -> float:
        """How long after the guest's end the console may be silent before it is taken to be complete."""
        ...

    def rest(self, taken: int) -> bytes:
        """What came behind the first `taken` bytes and was not read before the console closed, where a log has it."""
        ...


class SocketConsole:
    """A connected stream socket as console."""

    quiet_s = 0.02

    def rest(self, _taken: int) -> bytes:
        return b""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def read(self) -> tuple[int, bytes] | None:
        try:
            data = self._connection.recv(CHUNK)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        return time.monotonic_ns(), data


class Intake:
    """The bytes of one console. heard: when the last ones came, time.monotonic(); 0: none yet."""

    def __init__(self, console: ConsoleSource) -> None:
        self._console = console
        self._unread: deque[tuple[int, bytes]] = deque()  # stamped, and not yet looked at
        self._waiting = 0  # bytes of that
        self._torrent: list[int] = []  # while it writes and writes: since when (ns), reads, bytes
        self.heard = 0.0

    def read(self) -> bytes | None:
        """Take what is there: None if that is nothing right now, b"" at the end of the console."""
        got = self._console.read()
        if got is None:
            return None
        at, data = got
        if data:
            heard, self.heard = self.heard, time.monotonic()
            if self.heard - heard > ENDED_S:
                self._torrent.clear()
            self._unread.append((at, data))
            self._waiting += len(data)
            since, reads, size = self._torrent or (at, 0, 0)
            self._torrent[:] = since, reads + 1, size + len(data)
        return data

    def wait(self, poll: select.poll, most_s: float) -> dict[int, int]:
        """What is readable, waited for; nothing after `most_s` seconds, or after less."""
        if self._torrent:
            since, reads, size = self._torrent
            nap = min(NAP_S, NAP_PART * (time.monotonic_ns() - since) / 1e9)
            if nap >= LEAST_NAP_S and size <= SMALL * reads:
                time.sleep(nap)
        return dict(poll.poll(min(most_s, PAUSE_S if self._unread else most_s) * 1000))

    def is_late(self, now: int) -> bool:
        """Has what was read waited long enough to be looked at, though the guest writes on?"""
        return bool(self._unread) and (self._waiting >= CHUNK or now - self._unread[0][0] >= LATEST_S * 1e9)

    def unread(self) -> Iterator[tuple[int, bytes]]:
        """What was read and not looked at, with its stamps; once."""
        while self._unread:
            yield self._unread.popleft()
        self._waiting = 0
