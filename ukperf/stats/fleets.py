"""What one more guest of a fleet costs: pure functions on what was seen of fleets.

The fleet is the unit of inference. Within one its memory at n guests is a straight line: what they share once, and the
same for each; its slope is what one more guest takes. Between fleets slopes scatter, and what is said of them are
geometric means with t intervals, as of everything that is compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ukperf.model import Estimate, FleetSeen, Unit
from ukperf.stats.estimate import geometric_mean, median, middle

LEAST_SIZES = 2


@dataclass(frozen=True)
class FittedLine:
    """slope: of one more guest; start: what would be there without any, both in the unit of what was fitted."""

    slope: float
    start: float

    def at(self, guests: float) -> float:
        return self.start + self.slope * guests


def fitted(guests: Sequence[int], values: Sequence[float]) -> FittedLine:
    """The line of least squares. Raises ValueError for fewer than two numbers of guests, or unequal lengths."""
    if len(guests) != len(values):
        raise ValueError("not a value for each number of guests")
    if len(set(guests)) < LEAST_SIZES:
        raise ValueError("a line needs two numbers of guests")
    n = len(guests)
    centre, level = math.fsum(guests) / n, math.fsum(values) / n
    across = math.fsum((x - centre) * (y - level) for x, y in zip(guests, values, strict=True))
    slope = across / math.fsum((x - centre) ** 2 for x in guests)
    return FittedLine(slope, level - slope * centre)


PARTS = ("guest", "code_cache", "vmm", "tables")


@dataclass(frozen=True)
class FleetCost:
    """What one more guest of a fleet costs: bytes, by the slopes of the total and of its parts (names of PARTS), and
    seconds until it was ready."""

    total: FittedLine
    parts: dict[str, FittedLine]
    ready_s: tuple[float, ...]

    @property
    def growth(self) -> float:
        """How much longer the last guest took than the first, by the line through the logs of all: a busy moment of
        this machine falls on one guest, and one that grows on all."""
        guests = range(1, len(self.ready_s) + 1)
        return math.exp(fitted(guests, [math.log(s) for s in self.ready_s]).slope * (len(self.ready_s) - 1))

    @property
    def create_s(self) -> float:
        """The median over the fleet's guests."""
        return middle(sorted(self.ready_s))


def cost_of(seen: FleetSeen) -> FleetCost | None:
    """None of a fleet that was stopped before it had two sizes."""
    guests = [point.guests for point in seen.points]
    if len(set(guests)) < LEAST_SIZES or not seen.ready_ns or min(seen.ready_ns) <= 0:
        return None
    parts = {name: fitted(guests, [float(getattr(point, name)) for point in seen.points]) for name in PARTS}
    return FleetCost(
        fitted(guests, [float(point.total) for point in seen.points]), parts, tuple(ns / 1e9 for ns in seen.ready_ns)
    )


def figure(values: Sequence[float], unit: Unit) -> Estimate:
    """The geometric mean with its interval; of values that are not all positive the median with its own."""
    return geometric_mean(values, unit) if min(values) > 0 else median(values, unit)


@dataclass(frozen=True)
class Fits:
    """How many guests' memory together is within a budget. measured: it was seen; else by the line, beyond what was
    measured. low, high: by the interval of the slope, None where there is none."""

    guests: int
    measured: bool
    low: int | None = None
    high: int | None = None


def fits(fleets: Sequence[FleetSeen], costs: Sequence[FleetCost], budget: int) -> Fits | None:
    """budget: bytes. What fleets saw, its median, where one of them filled it; else by the line through all of them.

    None where the line never fills it.
    """
    known = sorted(seen.fits for seen in fleets if seen.fits is not None)
    if known:
        return Fits(known[len(known) // 2], True, known[0], known[-1])
    slope = figure([cost.total.slope for cost in costs], Unit.BYTES)
    start = math.fsum(cost.total.start for cost in costs) / len(costs)
    ends = (_within(budget, start, slope.value), _within(budget, start, slope.high), _within(budget, start, slope.low))
    return None if ends[0] is None else Fits(ends[0], False, ends[1], ends[2])


def _within(budget: float, start: float, slope: float | None) -> int | None:
    if slope is None or slope <= 0:
        return None
    return max(0, math.floor((budget - start) / slope))
