"""The load generator: arrivals, what is counted, and servers that do all that they should not."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hostile import HostileServer, Serve, says, silent, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ukperf.hosts.generator import LoadError, generated
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import build_program
from ukperf.model import Door
from ukperf.workloads.loads import FAULTS, STATUS_FAULT, Load, Loaded, faults_text

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX: y\r\n\r\n"
HELLO = 0xCBF29CE484222325
for _byte in b"hello":
    HELLO = (HELLO ^ _byte) * 0x100000001B3 % (1 << 64)


@pytest.fixture(scope="module")
def generator() -> Path:
    return build_program("serve/load.c", Cache())


@pytest.fixture
def ending() -> Iterator[int]:
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def keeps_alive(answer: bytes = b"", delay_s: float = 0.0) -> Serve:
    """Answers each request of a connection."""

    def serve(connection: socket.socket, _number: int) -> None:
        while connection.recv(65_536):
            time.sleep(delay_s)
            connection.sendall(answer or whole())

    return serve


def loaded(generator: Path, load: Load, server: HostileServer, ending: int) -> Loaded:
    door = Door("127.0.0.1", server.port, time.monotonic_ns(), ending)
    return Loaded(load, generated(generator, load.words("/"), door, load.longest_s))


def records(generator: Path, *words: str) -> np.ndarray:  # type: ignore[type-arg]
    done = subprocess.run([str(generator), "port=9", *words], capture_output=True, check=True, timeout=60)
    return Loaded(Load(1.0), done.stdout)._all


# ---- when requests begin ----


def test_arrivals_are_poissons_and_the_same_from_the_same_seed(generator: Path) -> None:
    """Nobody listens, so nothing but the plan is seen."""
    one, same, other = (records(generator, "seconds=1", "rate=20000", f"seed={seed}")["intended"] for seed in (1, 1, 2))
    assert (one == same).all()
    assert not (one[:100] == other[:100]).all()
    apart = np.diff(one) / 1e9 * 20_000
    assert abs(apart.mean() - 1) < 0.05
    assert abs(apart.std() - 1) < 0.05  # an exponential's
    assert abs(np.mean(apart > 1) - np.exp(-1)) < 0.02
    assert abs(len(one) - 20_000) < 5 * 20_000**0.5


def test_constant_arrivals_are_equally_far_apart(generator: Path) -> None:
    intended = records(generator, "seconds=1", "rate=1000", "arrivals=constant")["intended"]
    assert len(intended) == 1000
    assert set(np.diff(intended)) == {1_000_000}


def test_latency_counts_from_when_a_request_was_meant_to_begin(generator: Path, ending: int) -> None:
    """A server that stands still for half a second: with 100 requests a second half of a second's worth see it, though
    one connection alone was there to wait."""
    stood = False

    def serve(connection: socket.socket, _number: int) -> None:
        nonlocal stood
        began = time.monotonic()
        while connection.recv(65_536):
            if not stood and time.monotonic() > began + 0.3:
                stood = True
                time.sleep(0.5)
            connection.sendall(whole())

    load = Load(1.5, rate=100, poisson=False, most=1)
    with HostileServer(serve) as server:
        seen = loaded(generator, load, server, ending)
    assert seen.answered == seen.requests == 150
    slow = np.count_nonzero(seen.latencies > 0.05)
    assert slow >= 35
    assert seen.latencies.max() >= 0.4


@pytest.mark.parametrize(("load", "seconds"), [(Load(1.0, rate=10), 0.003), (Load(1.0, clients=1), 0.002)])
def test_what_a_generator_needs_between_two_requests_of_a_client_is_no_latency(load: Load, seconds: float) -> None:
    """But at a rate it is, as is all that comes between the time that was meant and the answer."""
    summary = struct.pack("<8s5Q", b"ukload1", 1, 0, 10**9, 0, 1)
    record = struct.pack("<5QIH2B", 0, 0, 1_000_000, 3_000_000, 7, 5, 200, 0, 0)
    assert Loaded(load, summary + record).latencies == pytest.approx([seconds])


def test_clients_ask_again_once_they_are_answered(generator: Path, ending: int) -> None:
    with HostileServer(keeps_alive()) as server:
        seen = loaded(generator, Load(0.5, clients=3), server, ending)
        assert server.connections == 3
    assert seen.opened == 3
    assert seen.requests == seen.answered > 3
    assert seen.throughput > 0


def test_without_keep_alive_each_request_has_its_connection(generator: Path, ending: int) -> None:
    with HostileServer(says(whole())) as server:
        seen = loaded(generator, Load(0.3, rate=100, keep=False), server, ending)
    assert seen.opened == seen.requests == seen.answered


# ---- what came ----


@pytest.mark.parametrize(
    "answer", [whole(), CHUNKED, b"HTTP/1.0 200 OK\r\n\r\nhello", b"HTTP/1.1 100 Continue\r\n\r\n" + whole()],
    ids=["length", "chunks", "until close", "interim"],
)  # fmt: skip
def test_bodies_are_counted_and_summed_up(answer: bytes, generator: Path, ending: int) -> None:
    with HostileServer(says(*(answer[i : i + 7] for i in range(0, len(answer), 7)))) as server:
        seen = loaded(generator, Load(0.2, rate=50), server, ending)
    assert seen.answered == seen.requests > 0
    assert seen.one_answer == f"{HELLO:016x}-5"


def test_answers_that_differ_are_told(generator: Path, ending: int) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        says(whole(str(number).encode()))(connection, number)

    with HostileServer(serve) as server:
        assert loaded(generator, Load(0.2, rate=50, keep=False), server, ending).one_answer == ""


@pytest.mark.parametrize(
    ("serve", "fault"),
    [
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), FAULTS[2]),
        (says(request=True), FAULTS[2]),
        (silent, FAULTS[3]),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000), FAULTS[4]),
        (says(b"220 mail.example ESMTP\r\n\r\n"), FAULTS[4]),
        (says(whole() + b"more than it said"), FAULTS[4]),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), FAULTS[4]),
        (says(CHUNKED.replace(b"hel\r\n", b"hello\r\n")), FAULTS[4]),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000), FAULTS[4]),
        (says(whole(b"no", "503 Busy")), STATUS_FAULT),
    ],
    ids=["half", "closes", "silent", "endless head", "other protocol", "too much", "length", "chunk", "chunks", "503"],
)
def test_what_is_no_good_answer_is_counted_by_its_kind(serve: Serve, fault: str, generator: Path, ending: int) -> None:
    load = Load(0.2, rate=40, timeout_s=0.3)
    with HostileServer(serve) as server:
        seen = loaded(generator, load, server, ending)
    assert seen.requests > 0
    assert seen.answered == 0
    assert seen.faults() == {fault: seen.requests}
    assert fault in faults_text(seen.faults(), seen.requests)
    assert not seen.quantiles()


def test_a_server_that_is_gone_refuses_all_and_is_not_asked_without_end(generator: Path, ending: int) -> None:
    with HostileServer(silent) as server:
        port = server.port
    door = Door("127.0.0.1", port, 0, ending)
    load = Load(0.3, clients=4)
    seen = Loaded(load, generated(generator, load.words("/"), door, load.longest_s))
    assert seen.faults() == {FAULTS[1]: seen.requests}
    assert seen.requests < 2_000


def test_a_connection_that_the_server_closed_while_nobody_used_it_is_no_fault(generator: Path, ending: int) -> None:
    def serve(connection: socket.socket, _number: int) -> None:
        connection.recv(65_536)
        connection.sendall(whole())
        time.sleep(0.001)  # and closes, without having said so

    with HostileServer(serve) as server:
        seen = loaded(generator, Load(0.5, clients=2), server, ending)
    assert seen.answered == seen.requests


def test_a_rate_that_is_too_much_is_told_and_has_honest_latencies(generator: Path, ending: int) -> None:
    """20 ms an answer, one at a time, and 100 are asked for a second."""
    load = Load(2.0, rate=100, most=1, timeout_s=60)
    with HostileServer(keeps_alive(delay_s=0.02)) as server:
        seen = loaded(generator, load, server, ending)
    assert not seen.met
    assert seen.throughput < 60
    assert seen.latencies.max() > 0.7


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(begin=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:60], whole()[:30]]), rest=st.binary(max_size=200))
def test_no_answer_makes_it_fail(begin: bytes, rest: bytes, generator: Path, ending: int) -> None:
    with HostileServer(says(begin, rest)) as server:
        seen = loaded(generator, Load(0.05, rate=60, timeout_s=0.2, seed=3), server, ending)
    assert seen.answered + sum(seen.faults().values()) == seen.requests


# ---- its process ----


def test_it_writes_what_it_has_when_it_is_told_to_end(generator: Path) -> None:
    with HostileServer(keeps_alive()) as server:
        words = [str(generator), f"port={server.port}", "seconds=60", "clients=1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert Loaded(Load(60), out).requests > 0


@pytest.mark.parametrize(
    "words",
    [["port=0"], ["port=80", "seconds=0"], ["port=80", "rate=1", "clients=1"], ["port=80"], ["nonsense"], ["x=1"]],
)
def test_words_that_it_does_not_know_are_refused(words: list[str], generator: Path) -> None:
    done = subprocess.run([str(generator), *words], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("load: ")


def test_a_guest_that_ends_ends_the_load(generator: Path, ending: int) -> None:
    os.eventfd_write(ending, 1)
    with HostileServer(keeps_alive()) as server, pytest.raises(LoadError, match="its program ended under load"):
        loaded(generator, Load(60, clients=1), server, ending)


def test_a_generator_that_is_none_is_said(tmp_path: Path, ending: int) -> None:
    with pytest.raises(LoadError, match="cannot be executed"):
        generated(tmp_path / "none", (), Door("127.0.0.1", 9, 0, ending), 1)
    with pytest.raises(LoadError, match="ended with status 1"):
        generated(Path("/bin/false"), (), Door("127.0.0.1", 9, 0, ending), 1)


@given(st.binary(max_size=200))
def test_what_is_no_generators_is_refused(written: bytes) -> None:
    with pytest.raises(ValueError, match="the load generator"):
        Loaded(Load(1.0), written)


def test_its_command_line_stays_what_it_was_started_with(generator: Path) -> None:
    """By it what a killed ukperf left is known (hosts/children.py)."""
    with HostileServer(keeps_alive()) as server:
        words = [str(generator), f"port={server.port}", "seconds=60", "clients=1"]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 20
            while server.connections == 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.kill()
    assert line.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
