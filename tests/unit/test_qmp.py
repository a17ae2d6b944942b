"""QEMU's monitor, with a server that behaves and with one that does whatever it likes: bounded, no traceback."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.hosts import qmp
from ukperf.hosts.qmp import Monitor, QmpError

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}


@contextmanager
def monitor(said: bytes, *, ends: bool = True, answer_s: float = 2.0) -> Iterator[tuple[Monitor, socket.socket]]:
    """A monitor whose other side has written `said` before it is asked."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=_write, args=(theirs, said, ends))
        writer.start()
        try:
            yield Monitor(ours, answer_s), theirs
        finally:
            ours.close()
            writer.join()


def _write(theirs: socket.socket, said: bytes, ends: bool) -> None:
    try:
        theirs.sendall(said)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it had enough


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\r\n" for one in objects)


def test_the_greeting_names_the_version() -> None:
    with monitor(lines(GREETING, {"return": {}})) as (one, theirs):
        assert one.greet() == "7.2.22"
        assert json.loads(theirs.recv(4096)) == {"execute": "qmp_capabilities"}


def test_events_may_stand_before_an_answer_and_are_waited_for_afterwards() -> None:
    said = lines(
        {"event": "STOP", "timestamp": {}},
        {"event": "MIGRATION", "data": {"status": "active"}},
        {"return": {"running": False}},
        {"event": "MIGRATION", "data": {"status": "completed"}},
    )
    with monitor(said) as (one, _):
        assert one.execute("stop") == {"running": False}
        assert one.wait("MIGRATION", "status", frozenset({"completed"}), 2.0) == "completed"


def test_a_descriptor_goes_with_its_command() -> None:
    reader, writer = os.pipe()
    try:
        with monitor(lines({"return": {}})) as (one, theirs):
            one.execute("getfd", {"fdname": "x"}, descriptor=reader)
            data, descriptors, _, _ = socket.recv_fds(theirs, 4096, 4)
            assert json.loads(data)["arguments"] == {"fdname": "x"}
            assert os.fstat(descriptors[0]).st_ino == os.fstat(reader).st_ino
            os.close(descriptors[0])
    finally:
        os.close(reader)
        os.close(writer)


def test_a_refusal_is_told_in_its_own_words_made_harmless() -> None:
    with (
        monitor(lines({"error": {"class": "GenericError", "desc": "no \x1b[31m such thing."}})) as (one, _),
        pytest.raises(QmpError, match=r"^QEMU refuses getfd: no .*such thing\.$") as raised,
    ):
        one.execute("getfd")
    assert "\x1b" not in raised.value.message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "ended"),
        (b"{}\n", "greeting"),
        (b"[]\n", "no JSON object"),
        (b"\xff\xfe\n", "no JSON object"),
        (b"[" * 200_000 + b"\n", "no JSON object"),
        (b"x" * (qmp.MAX_LINE + 2), "too long"),
    ],
)
def test_what_is_no_monitor_is_refused_in_a_sentence(said: bytes, words: str) -> None:
    with monitor(said) as (one, _), pytest.raises(QmpError, match=words):
        one.greet()


def test_one_that_says_nothing_is_waited_for_in_bounded_time() -> None:
    started = time.monotonic()
    with monitor(b"", ends=False, answer_s=0.2) as (one, _), pytest.raises(QmpError, match="in time"):
        one.greet()
    assert time.monotonic() - started < 10


def test_one_that_says_other_things_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "MAX_LINES", 50)
    with monitor(lines({"event": "RTC_CHANGE"}) * 60, ends=False) as (one, _), pytest.raises(QmpError, match="end"):
        one.execute("stop")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["return", "error", "event", "data", "QMP", "version"])
HOSTILE = st.lists(
    st.dictionaries(NAMES, JSON, max_size=4).map(lambda one: json.dumps(one).encode() + b"\n")
    | st.binary(max_size=60)
    | st.just(b"\n"),
    max_size=12,
).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_whatever_comes_a_command_is_answered_or_refused_in_a_sentence(said: bytes) -> None:
    with monitor(said) as (one, _):
        for ask in (one.greet, lambda: one.execute("stop"), lambda: one.wait("A", "b", frozenset({"c"}), 1.0)):
            try:
                ask()
            except QmpError as error:
                assert error.message.endswith(".")
