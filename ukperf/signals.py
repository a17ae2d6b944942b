"""How ^C, SIGTERM and SIGHUP end ukperf, all in one way.

The first one raises `Ended` in the main thread, so that the guest is ended and the journal closed on the way out.
Python drops what is raised in a destructor or in a callback of a C library: so the signal is remembered, `Ended` is
raised again a moment later, and whoever waits for long asks `check`. A second signal ends the process at once,
whatever the main thread is doing, after the acts of `last_act`: a thread of its own sees to that, since a C function
that does not return keeps Python from running handlers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Programs like timeout(1) send a signal to a process and to its group: that is one.
SECOND_S = 0.3
AGAIN_S = 0.05
_SHOW_CURSOR = b"\r\x1b[?25h"

_arrived: list[int] = []  # the first one of those that were handled
_last_acts: list[Callable[[], object]] = []


class Ended(KeyboardInterrupt):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def install() -> None:
    """From now on ^C, SIGTERM and SIGHUP end this process, except those that the caller chose to ignore."""
    usual = (signal.SIG_DFL, signal.default_int_handler)
    ours = [number for number in ENDING if signal.getsignal(number) in usual]
    for number in ours:
        signal.signal(number, _first)
    signal.signal(signal.SIGALRM, lambda _number, _frame: check())
    sys.unraisablehook = _Unraised(sys.unraisablehook)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_watch, args=(reader, frozenset(ours)), name="signals", daemon=True).start()


def check() -> None:
    """Raises Ended if a signal has asked for the end, and nobody has heard of it or what heard of it was dropped."""
    if _arrived:
        signal.setitimer(signal.ITIMER_REAL, 0)  # heard: nothing is to disturb the way out
        raise Ended(_arrived[0])


def arrived() -> int | None:
    """The signal that asked for the end, None while there is none."""
    return _arrived[0] if _arrived else None


def status_of(number: int) -> int:
    """The exit status of a process that ended because of a signal, as shells give it."""
    return 128 + number


def sentence(number: int) -> str:
    """What happened, for people."""
    if number == signal.SIGINT:
        return "Interrupted."
    why = ": its terminal or its caller is gone" if number == signal.SIGHUP else ""
    return f"Ended by {signal.Signals(number).name}{why}."


@contextmanager
def last_act(act: Callable[[], object]) -> Iterator[None]:
    """While the block lasts, act is done before a second signal ends the process; what it raises is dropped."""
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def _first(number: int, _frame: FrameType | None) -> None:
    if not _arrived:
        _arrived.append(number)
        raise Ended(number)


class _Unraised:
    """Python's hook for exceptions that it cannot pass on: ours is raised again when this is over."""

    def __init__(self, before: Callable[[Any], object]) -> None:
        self._before = before

    def __call__(self, dropped: Any) -> None:
        if isinstance(dropped.exc_value, Ended):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
        else:
            self._before(dropped)


def _watch(reader: int, ours: frozenset[int]) -> None:
    """Reads the numbers of all signals as they arrive, and ends the process at the second one that asks for it."""
    first = None
    while numbers := os.read(reader, 64):
        asking = [number for number in numbers if number in ours]
        if asking and first is None:
            first = time.monotonic()
        elif asking and first is not None and time.monotonic() - first >= SECOND_S:
            _end_at_once(asking[0])


def _end_at_once(number: int) -> NoReturn:
    try:
        for act in reversed(_last_acts):
            with contextlib.suppress(Exception):
                act()
        said = f"ukperf: Ended at once by a second {signal.Signals(number).name}; what was measured is kept.\n"
        with contextlib.suppress(OSError):
            os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + said.encode())
    finally:
        os._exit(status_of(number))
