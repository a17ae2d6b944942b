"""Time to the first whole HTTP answer.

QEMU's user-mode network accepts a connection before there is a guest to answer it, and a guest that comes up later does
not see what was sent before. So new connections are opened all the time, each waits, and the first answer on any of
them counts. They are opened the less often the longer it takes, so that the answer's time is known to some 2 %, and one
in eight waits for long, for servers whose answer takes long.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from dataclasses import dataclass, field

from ukperf.hosts.httpanswer import HttpAnswer, NoAnswerError
from ukperf.model import Door
from ukperf.text import many

PART = 0.02  # of the time that has passed, between two connections; and at least, and at most:
LEAST_S, MOST_S = 0.002, 0.1
REFUSED_S = 0.001  # LEAST_S after a refusal, which is at once
OPEN = 24  # that wait: the oldest is closed, after some 50 ms at first
PATIENT, EVERY = 6, 8  # besides; one in EVERY
CHUNK = 65_536
GOOD = range(200, 400)


@dataclass
class _Try:
    """One connection. asked: the request was sent."""

    socket: socket.socket
    patient: bool
    asked: bool = False
    answer: HttpAnswer = field(default_factory=HttpAnswer)


@dataclass(frozen=True)
class FirstAnswer:
    """at_ns: CLOCK_MONOTONIC when its last byte was read; None: there was none, and `fault` says why, as a phrase."""

    at_ns: int | None = None
    status: int = 0
    digest: str = ""
    size: int = 0
    tries: int = 0
    fault: str = ""


def request_of(path: str, *, keep_alive: bool = False) -> bytes:
    """A GET of `path` as every server takes it."""
    connection = "keep-alive" if keep_alive else "close"
    return f"GET {path} HTTP/1.1\r\nHost: guest\r\nUser-Agent: ukperf\r\nConnection: {connection}\r\n\r\n".encode()


class _Prober:
    """Asks for one path until it is answered. A server that is ready only later may say so (503): it is asked on."""

    def __init__(self, door: Door, path: str, within_s: float) -> None:
        self._door, self._request, self._within_s = door, request_of(path), within_s
        self._tries: dict[int, _Try] = {}
        self._poll = select.poll()
        self._count = 0
        self._last_fault = "it never answered"
        self._refused = False

    def run(self) -> FirstAnswer:
        """Ends with an answer, after `within_s` seconds, or once the guest has ended."""
        self._poll.register(self._door.ending, select.POLLIN)
        started = time.monotonic()
        try:
            following = started
            while True:
                now = time.monotonic()
                if now - started >= self._within_s:
                    return self._given_up(f"within {self._within_s:g} s")
                if now >= following:
                    self._open()
                    following = now + self._pause(now - started)
                for descriptor, _ in self._poll.poll(max(0.0, following - time.monotonic()) * 1000):
                    if descriptor == self._door.ending:
                        return self._given_up("before its program ended")
                    if (first := self._look(descriptor)) is not None:
                        return first
        finally:
            for one in list(self._tries):
                self._close(one)

    def _pause(self, passed_s: float) -> float:
        return min(max(PART * passed_s, REFUSED_S if self._refused else LEAST_S), MOST_S)

    def _given_up(self, when: str) -> FirstAnswer:
        fault = f"no whole answer {when} ({many(self._count, 'connection')}): {self._last_fault}"
        return FirstAnswer(tries=self._count, fault=fault)

    def _open(self) -> None:
        self._make_room()
        self._count += 1
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = connection.connect_ex((self._door.address, self._door.port))
        self._refused = error == errno.ECONNREFUSED
        if error not in (0, errno.EINPROGRESS):
            connection.close()
            self._last_fault = "nobody listens" if self._refused else errno.errorcode.get(error, str(error))
            return
        patients = sum(one.patient for one in self._tries.values())
        self._tries[connection.fileno()] = _Try(connection, self._count % EVERY == 0 and patients < PATIENT)
        self._poll.register(connection.fileno(), select.POLLOUT)

    def _make_room(self) -> None:
        hasty = [descriptor for descriptor, one in self._tries.items() if not one.patient]
        for descriptor in hasty[: max(0, len(hasty) - OPEN + 1)]:
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._tries.pop(descriptor).socket.close()

    def _look(self, descriptor: int) -> FirstAnswer | None:
        one = self._tries.get(descriptor)
        if one is None:
            return None
        try:
            at = self._advance(one)
        except BlockingIOError:
            return None
        except OSError as error:
            self._refused = error.errno == errno.ECONNREFUSED
            self._failed(descriptor, "nobody listens" if self._refused else "it closed the connection")
            return None
        except NoAnswerError as error:
            self._failed(descriptor, str(error))
            return None
        answer = one.answer
        if answer.whole and answer.status not in GOOD:
            self._failed(descriptor, f"its answer has status {answer.status}")
        good = answer.whole and answer.status in GOOD
        return FirstAnswer(at, answer.status, answer.digest, answer.size, self._count) if good else None

    def _advance(self, one: _Try) -> int:
        """Send the request, or take what came; when that was. Raises OSError and NoAnswerError."""
        if not one.asked:
            one.socket.send(self._request)
            one.asked = True
            self._poll.modify(one.socket.fileno(), select.POLLIN)
            return 0
        data = one.socket.recv(CHUNK)
        at = time.monotonic_ns()
        if data:
            one.answer.feed(data)
        else:
            one.answer.close()
        return at

    def _failed(self, descriptor: int, why: str) -> None:
        self._last_fault = why
        self._close(descriptor)


def first_answer(door: Door, path: str, within_s: float) -> FirstAnswer:
    """The first whole answer with a status of 2xx or 3xx to a GET of `path`."""
    return _Prober(door, path, within_s).run()
