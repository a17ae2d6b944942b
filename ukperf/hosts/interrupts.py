"""^C waits while something comes into being that must be undone: it would else be lost between birth and its owner."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ukperf.signals import ENDING

HELD = (*ENDING, signal.SIGALRM)


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """^C, SIGTERM and SIGHUP that come meanwhile act at the end of the block. Other threads never get them anyway.

    A second one ends the process all the same (signals.py).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What is ignored, or not Python's, stays as it is.
    before = {number: handler for number in HELD if callable(handler := signal.getsignal(number))}
    arrived: list[int] = []
    for number in before:
        signal.signal(number, lambda which, _frame: arrived.append(which))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for which in arrived[:1]:
            before[signal.Signals(which)](which, None)
