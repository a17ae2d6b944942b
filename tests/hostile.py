"""A TCP server on the loopback interface whose every connection is served by a function of the test."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

Serve = Callable[[socket.socket, int], None]  # (the connection, how many there were before)


def whole(body: bytes = b"hello", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def says(*parts: bytes, request: bool = True) -> Serve:
    """Reads a request and writes these parts, then closes."""

    def serve(connection: socket.socket, _number: int) -> None:
        if request:
            connection.recv(65_536)
        for part in parts:
            connection.sendall(part)

    return serve


def silent(connection: socket.socket, _number: int) -> None:
    """Never answers; until the other side goes."""
    while connection.recv(65_536):
        pass


class HostileServer(contextlib.AbstractContextManager["HostileServer"]):
    """port: where it listens. connections: how many there were."""

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self._serve, self.connections = serve, 0
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(64)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._one, args=(connection, number), daemon=True).start()

    def _one(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            self._serve(connection, number)

    def __exit__(self, *_exception: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
