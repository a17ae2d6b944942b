"""A visit: what this machine does with a guest's port while the guest runs, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ukperf.model.asked import BootSpec
from ukperf.model.seen import Readout


@dataclass(frozen=True)
class Door:
    """The way to a guest's port. started_ns: CLOCK_MONOTONIC of the boot's `start` event.

    ending: a descriptor that is readable once the visit must end, since the guest has, or its time is up.
    """

    address: str
    port: int
    started_ns: int
    ending: int


@dataclass(frozen=True)
class Visit:
    """What came of it. answered_ns: CLOCK_MONOTONIC when the first whole answer was there. readout: what was measured.

    fault: why the boot is no good, as a phrase; a visit that was ended has one.
    """

    answered_ns: int | None = None
    readout: Readout = Readout()  # noqa: RUF009 - it is frozen
    fault: str = ""


# Called in a thread of its own once the guest runs. It returns at the latest a moment after `ending` is readable.
Visitor = Callable[[BootSpec, Door], Visit]
