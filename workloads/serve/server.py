"""A model in one runtime behind HTTP/1.1, in one process and one thread (docs/serving.md).

    python server.pyc --port N [--threads N] [--cpus N]

GET /ROW (a number) predicts that row of inputs.npy, counted round; POST / with the bytes of one row, as they are in
memory, predicts that row. The answer is the bytes of what the model gives, one output behind the other. `main` comes
before anything is imported; the port is open once the model is loaded and has predicted once, so that whoever gets an
answer gets it from a server that is ready.
"""

import json
import os
import sys
from pathlib import Path

from ukperf_wire import Wire

WIRE = Wire("serve")
import faulthandler  # noqa: E402

faulthandler.enable()
HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "runtime.json").read_text())
os.environ.update(ABOUT["environment"])
sys.executable = sys.executable or f"{sys.prefix}/python"

import argparse  # noqa: E402
import select  # noqa: E402
import socket  # noqa: E402

import cpuinfo  # noqa: E402
from benchparts import status_of  # noqa: E402
from modelparts import arrays_of, cpu_here, pin_threads  # noqa: E402
from rows import rows_for  # noqa: E402

HEAD_MAX, BODY_MAX, WAITING = 16 << 10, 4 << 20, 128
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large"}


class BadRequest(Exception):
    """Its argument is a status."""


class Model:
    """What the server answers with."""

    def __init__(self, threads):
        import adapter

        self.adapter = adapter
        adapter.import_()
        self.rows = rows_for(adapter, HERE / "inputs.npy")
        adapter.load(str(HERE / ABOUT["model"]), threads)
        self.predict(self.rows[:1])

    def predict(self, row):
        return b"".join(array.data for array in arrays_of(self.adapter, self.adapter.predict(row)))

    def numbered(self, text):
        if not text.isdigit() or len(text) > 9:
            raise BadRequest(404)
        at = int(text) % len(self.rows)
        return self.predict(self.rows[at : at + 1])

    def given(self, data):
        if hasattr(self.adapter, "array"):
            raise BadRequest(405)  # its rows are none of NumPy's
        import numpy as np

        one = self.rows[:1]
        if len(data) != one.nbytes:
            raise BadRequest(400)
        return self.predict(np.frombuffer(data, one.dtype).reshape(one.shape))


class Client:
    """One connection: requests come, answers go, in their order."""

    def __init__(self, connection, model):
        self.connection, self.model = connection, model
        self.received, self.unsent, self.closing = b"", b"", False

    def read(self):
        """Take what there is; False once the other side has gone."""
        data = self.connection.recv(65536)
        self.received += data
        while not self.closing and self.one():
            pass
        return bool(data)

    def one(self):
        """Answer one whole request, if there is one."""
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            if len(self.received) > HEAD_MAX:
                self.answer(413, b"", close=True)
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_MAX:
            self.answer(413, b"", close=True)
            return False
        if len(rest) < int(length):
            return False
        body, self.received = rest[: int(length)], rest[int(length) :]
        words = first.split(" ")
        old = words[-1] == "HTTP/1.0"
        close = headers.get("connection", "close" if old else "keep-alive").lower() == "close"
        try:
            self.answer(200, self.predicted(words, body), close)
        except BadRequest as bad:
            self.answer(bad.args[0], b"", close)
        return True

    def predicted(self, words, body):
        if len(words) != 3 or not words[1].startswith("/"):
            raise BadRequest(400)
        if words[0] == "GET":
            return self.model.numbered(words[1][1:] or "0")
        if words[0] == "POST":
            return self.model.given(body)
        raise BadRequest(405)

    def answer(self, status, body, close):
        how = "close" if close else "keep-alive"
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(body)}\r\nConnection: {how}\r\n"
        self.unsent += f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + body
        self.closing = close

    def write(self):
        if self.unsent:
            self.unsent = self.unsent[self.connection.send(self.unsent) :]

    @property
    def over(self):
        return self.closing and not self.unsent


def listen(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", port))
    server.listen(WAITING)
    server.setblocking(False)
    return server


def accepted(server, model):
    try:
        connection, _ = server.accept()
    except OSError:
        return None
    connection.setblocking(False)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:  # a guest may not know it
        pass
    return Client(connection, model)


def served(client, events):
    """One turn for a connection; False once it is over."""
    try:
        there = client.read() if events & ~select.POLLOUT else True
        client.write()
    except BlockingIOError:
        return True
    except OSError:
        return False
    return there and not client.over


def serve(model, port):
    """For ever: who started the machine ends it. poll(2), since every guest has that."""
    server, poll, clients = listen(port), select.poll(), {}
    poll.register(server, select.POLLIN)
    WIRE.phase("listening")
    while True:
        for descriptor, events in poll.poll():
            if descriptor == server.fileno():
                client = accepted(server, model)
                if client is not None:
                    clients[client.connection.fileno()] = client
                    poll.register(client.connection, select.POLLIN)
                continue
            client = clients[descriptor]
            if served(client, events):
                poll.modify(descriptor, select.POLLIN | (select.POLLOUT if client.unsent else 0))
            else:
                poll.unregister(descriptor)
                client.connection.close()
                del clients[descriptor]


def run(args):
    pin_threads(args.threads)
    cpu = cpu_here()
    if cpu:
        cpuinfo.provide(cpu, args.cpus)
    serve(Model(args.threads), args.port)


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=1, help="of the machine")
    return parser.parse_args()


if __name__ == "__main__":
    STATUS = status_of(WIRE, lambda: run(options()), f"{ABOUT['name']}: ")
    sys.stderr.flush()
    WIRE.exit(STATUS)
