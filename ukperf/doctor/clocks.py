"""Do guests' clocks tell the truth? For `ukperf doctor`: one boot of a guest that lets its clock advance and says when.

Runs need no such boot: every trial checks its own clock (`engine/record.py: clock_ratio`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from ukperf import guests
from ukperf.engine.record import clock_ratio
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions, Guest
from ukperf.hosts import booting
from ukperf.hosts.base import Host
from ukperf.imaging.programs import clock_program
from ukperf.model import Accelerator, BootSpec, Frame, Outcome

TOLERANCE = 0.01
MIN_SPAN_NS = 10_000_000


@dataclass(frozen=True)
class ClockCheck:
    """ratio: guest time over host time (over guest instructions under icount); None where it could not be had."""

    guest: str
    ratio: float | None
    sentence: str

    @property
    def lies(self) -> bool:
        """True only where it is known to be off; an unknown ratio is neither."""
        return self.ratio is not None and not self.honest

    @property
    def honest(self) -> bool:
        return self.ratio is not None and abs(self.ratio - 1) <= TOLERANCE


def check_clock(guest: Guest, options: BuildOptions, template: BootSpec, host: Host) -> ClockCheck:
    """Boot `guest` once with the clock program; template says on what machine, and how long at most."""
    try:
        image = guests.build(guest, clock_program(), options)
        spec = replace(template, image=image, console_path=None, name=f"{template.name}-clock")
        seen = booting(image.protocol, host).boot(spec)
    except UkperfError as error:
        return ClockCheck(guest.name, None, f"not checked: {error.message}")
    if seen.outcome is not Outcome.OK:
        return ClockCheck(guest.name, None, f"not checked: {seen.outcome.value}, {seen.reason}")
    counted = image.executed_by(options.accelerator) is Accelerator.ICOUNT
    return clock_check(guest.name, interval_ratios(seen.frames, counted), counted)


def clock_check(guest: str, ratios: Sequence[float], counted: bool) -> ClockCheck:
    """A clock that is fast or slow is so in every interval; reads that came late on a busy host are not."""
    if not ratios:
        return ClockCheck(guest, None, "not checked: its frames came too close together")
    if max(ratios) - min(ratios) > TOLERANCE and not counted:
        apart = f"{min(ratios):.3f} and {max(ratios):.3f}"
        return ClockCheck(guest, None, f"not told: this host is too busy, its ratio to ours came out between {apart}")
    ratio = median(ratios)
    against = "instruction" if counted else "host second"
    unit = "virtual nanoseconds" if counted else "seconds"
    return ClockCheck(guest, ratio, f"{ratio:.4f} {unit} of the guest's clock for each {against}")


def interval_ratios(frames: Sequence[Frame], counted: bool) -> list[float]:
    """clock_ratio of each interval between two `phase` frames, as far as they are long enough."""
    ticks = [frame for frame in frames if frame.event in ("main", "phase")]
    ratios = [clock_ratio(pair, counted, MIN_SPAN_NS) for pair in pairwise(ticks)]
    return [ratio for ratio in ratios if ratio is not None]
