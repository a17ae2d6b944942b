"""Signals wait while a guest is created or ended, and then act as they would have."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from ukperf.hosts.interrupts import HELD, holding_interrupts


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HELD}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_interrupt_acts_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), holding_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append("the guest was created")
    assert done == ["the guest was created"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_end_that_ukperf_handles_waits_too(number: signal.Signals) -> None:
    def leave(which: int, _: object) -> None:
        raise SystemExit(128 + which)

    signal.signal(number, leave)
    done = []
    with pytest.raises(SystemExit) as caught, holding_interrupts():
        signal.raise_signal(number)
        done.append("the guest was created")
    assert (done, caught.value.code) == (["the guest was created"], 128 + number)
    assert signal.getsignal(number) is leave


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with holding_interrupts():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)


def test_without_a_signal_nothing_happens_and_errors_pass() -> None:
    with pytest.raises(ValueError, match="mine"), holding_interrupts():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_change_no_handlers() -> None:
    seen: list[object] = []

    def work() -> None:
        with holding_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
