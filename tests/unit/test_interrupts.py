"""^C while something is being made that must be undone."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ukperf.hosts.interrupts import holding_interrupts


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), holding_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_nothing_happens_and_errors_pass() -> None:
    with holding_interrupts():
        pass
    with pytest.raises(ValueError, match="mine"), holding_interrupts():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with holding_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_may_use_it_too() -> None:
    used = []

    def use() -> None:
        with holding_interrupts():
            used.append(True)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert used == [True]
