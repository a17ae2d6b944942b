"""Time to the first answer: what is one, from servers that do all that they should not."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hostile import HostileServer, says, silent, whole
from hypothesis import given
from hypothesis import strategies as st

from ukperf.hosts.httpanswer import MAX_BODY, MAX_HEAD, HttpAnswer, NoAnswerError
from ukperf.hosts.prober import OPEN, PATIENT, first_answer
from ukperf.model import Door

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX: y\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"
HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture
def ending() -> Iterator[int]:
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def door(port: int, ending: int) -> Door:
    return Door("127.0.0.1", port, time.monotonic_ns(), ending)


# ---- one answer, however it comes ----


@given(st.sampled_from([whole(), CHUNKED, UNTIL_CLOSE, b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + whole()]), st.data())
def test_an_answer_is_the_same_however_it_is_cut(answer: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    taken = HttpAnswer()
    for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True):
        taken.feed(answer[start:end])
    taken.close()
    assert (taken.whole, taken.status, taken.size, taken.digest) == (True, 200, 5, HELLO)


@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:60]]))
def test_no_bytes_make_it_fail_in_another_way(rest: bytes, begin: bytes) -> None:
    taken = HttpAnswer()
    try:
        taken.feed(begin + rest)
        taken.close()
    except NoAnswerError:
        return
    assert taken.whole


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "half an answer: 5 of 9"),
        (b"HTTP/1.1 200 OK\r\nContent-", "half an answer"),
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", "no number"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD, "KiB of headers"),
        (f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode(), "more than 16 MiB"),
        (CHUNKED.replace(b"hel\r\n", b"hello\r\n"), "longer than it says"),
        (CHUNKED.replace(b"0\r\n", b"x\r\n"), "without a length"),
        (CHUNKED.replace(b"3\r\n", b"ffffffff\r\n"), "more than 16 MiB"),
        (CHUNKED[:-2], "half an answer"),
    ],
)
def test_what_is_no_whole_answer_is_told(sent: bytes, why: str) -> None:
    taken = HttpAnswer()
    with pytest.raises(NoAnswerError, match=why):
        for start in range(0, len(sent), 1000):
            taken.feed(sent[start : start + 1000])
        taken.close()


# ---- and when the first one came ----


@pytest.mark.parametrize("answer", [whole(), CHUNKED, UNTIL_CLOSE], ids=["length", "chunks", "until close"])
def test_the_first_answer_is_had(answer: bytes, ending: int) -> None:
    with HostileServer(says(answer[:20], answer[20:])) as server:
        first = first_answer(door(server.port, ending), "/", 20)
    assert (first.fault, first.status, first.digest, first.size) == ("", 200, HELLO, 5)
    assert first.at_ns is not None
    assert first.at_ns < time.monotonic_ns()


def test_a_server_that_comes_up_later_is_waited_for(ending: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    began, servers = time.monotonic_ns(), []
    timer = threading.Timer(0.3, lambda: servers.append(HostileServer(says(whole()), port)))
    timer.start()
    first = first_answer(door(port, ending), "/", 20)
    timer.join()
    servers[0].__exit__()
    assert first.at_ns is not None
    assert first.at_ns - began >= 0.3e9


def test_connections_that_were_accepted_before_there_was_anybody_do_not_hold_it_up(ending: int) -> None:
    """As QEMU's network does it: what is sent before the guest is up is lost, and later connections are answered."""

    def serve(connection: socket.socket, number: int) -> None:
        (says(whole()) if number >= 40 else silent)(connection, number)

    with HostileServer(serve) as server:
        first = first_answer(door(server.port, ending), "/", 20)
    assert first.status == 200
    assert first.tries >= 41


def test_a_server_whose_answer_takes_long_is_waited_for_too(ending: int) -> None:
    """Longer than a hasty connection waits: some are patient."""

    def serve(connection: socket.socket, number: int) -> None:
        connection.recv(65_536)
        time.sleep(0.8)
        connection.sendall(whole())

    with HostileServer(serve) as server:
        assert first_answer(door(server.port, ending), "/", 20).status == 200


def test_a_server_that_is_not_ready_yet_is_asked_again(ending: int) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        says(whole(b"wait", "503 Not Yet") if number < 5 else whole())(connection, number)

    with HostileServer(serve) as server:
        assert first_answer(door(server.port, ending), "/", 20).digest == HELLO


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (silent, "never answered"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "half an answer: 4 of 9"),
        (says(request=True), "closed the connection before an answer"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD), "KiB of headers"),
        (says(b"220 mail.example ESMTP\r\n"), "no HTTP"),
        (says(whole(b"no", "404 Not Found")), "status 404"),
    ],
    ids=["silent", "half", "closes", "endless headers", "other protocol", "not found"],
)
def test_who_gives_no_answer_is_given_up_with_the_reason(serve: object, why: str, ending: int) -> None:
    with HostileServer(serve) as server:  # type: ignore[arg-type]
        began = time.monotonic()
        first = first_answer(door(server.port, ending), "/", 0.5)
    assert first.at_ns is None
    assert "no whole answer within 0.5 s" in first.fault
    assert why in first.fault
    assert time.monotonic() - began < 10


def test_a_guest_that_ends_ends_the_search(ending: int) -> None:
    with HostileServer(silent) as server:
        threading.Timer(0.1, os.eventfd_write, (ending, 1)).start()
        first = first_answer(door(server.port, ending), "/", 60)
    assert "before its program ended" in first.fault


def test_few_connections_are_open_at_once(ending: int) -> None:
    held: list[int] = []
    lock, most = threading.Lock(), [0]

    def serve(connection: socket.socket, number: int) -> None:
        with lock:
            held.append(number)
            most[0] = max(most[0], len(held))
        silent(connection, number)
        with lock:
            held.remove(number)

    with HostileServer(serve) as server:
        first = first_answer(door(server.port, ending), "/", 1.0)
    assert first.tries > OPEN + PATIENT
    assert most[0] <= 2 * (OPEN + PATIENT)  # a server sees their ends a little later
