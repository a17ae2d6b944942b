"""A guest's clock against the host's, compared over a slow line: no frame can be read before it was written.

A boot's frames carry the guest's time; the host stamps them when it reads them, late by delays that nobody knows but
that are never negative. Between two frames the guest's clock advanced by G and the host's by H, so that the clock's
rate is G / (H - later delay + earlier delay): G / H is too high only where the earlier frame was read later than the
later one. So one span proves nothing, and several in a row that are all too long would take delays that fall from
frame to frame. `boot_bounds` is what a boot leaves open in this way, `clock` what all boots of a guest do,
`clock_warning` what is said of it. docs/statistics.md has how often true clocks are accused on busy hosts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from ukperf.model import BootRecord, Estimate, Event, Outcome, Unit
from ukperf.stats.estimate import MIN_BOOTS, median, median_ranks

CLOCK_TOLERANCE = 0.01
# What a single span allows for late reads at either end, and how long it must be for that: no check of 50 ms is.
LATE_NS, LONG_NS = 100_000_000, 1_000_000_000
STILL = 0.001
LEAST_FRAMES = 4  # three spans in a row
# A clock with smaller steps is none of the coarse ones, and there are none with larger ones; what counts as equal.
LEAST_STEP_NS, MOST_STEP_NS, SAME_NS = 10_000, 20_000_000, 200

Frames = Sequence[tuple[int, int]]  # of one boot: (guest ns, host ns)
Bounds = tuple[float, float]
NOTHING: Bounds = (0.0, math.inf)


def clock(records: Sequence[BootRecord], guest: str) -> Estimate | None:
    """Guest clock ÷ host clock (under icount: ÷ instructions): the median of the guest's good boots.

    low, high: what the boots leave open. Of six and more, the 95 % limits of the median of the boots' lower bounds and
    of that of their upper bounds; of fewer, the least and the greatest; of one alone, what `one_span` says. For
    instructions, their range. None where no boot was long enough to tell, or the guest has no clock.
    """
    told = [
        (record, ratio)
        for record in records
        if record.trial.guest == guest and record.outcome is Outcome.OK
        if (ratio := record.clock_ratio) is not None and math.isfinite(ratio)
    ]
    if not told:
        return None
    mine, ratios = zip(*told, strict=True)
    estimate = median(ratios, mine[0].unit)
    if estimate.unit is Unit.INSTRUCTIONS:
        return replace(estimate, low=min(ratios), high=max(ratios))
    step = clock_step(step for record in mine for step in _differences(record.clock_frames))
    bounds = [_bounds(record, step, alone=len(mine) == 1) for record in mine]
    ranks = median_ranks(len(mine)) if len(mine) >= MIN_BOOTS else None
    first, last = ranks or (0, len(mine) - 1)
    low, high = sorted(low for low, _ in bounds)[first], sorted(high for _, high in bounds)[last]
    return replace(estimate, low=low, high=high)


def _bounds(record: BootRecord, step: int, *, alone: bool) -> Bounds:
    """The tighter of what a boot's frames and its whole span leave open; of a boot alone, the latter."""
    whole = one_span(record, step)
    if alone:
        return whole
    low, high = boot_bounds(record.clock_frames, step)
    return max(low, whole[0]), min(high, whole[1])


def boot_bounds(frames: Frames, step: int = 0) -> Bounds:
    """Between which rates a clock must lie if not all spans of a boot were read with falling (or rising) delays.

    step: of the guest's clock, ns, by which either end of a span may be off. Of frames that were read at once the last
    one counts: it waited least. One frame may be left out, whichever leaves least open: one late frame hides nothing.
    (0, inf) for fewer than four frames.
    """
    kept = [now for now, after in zip(frames, [*frames[1:], None], strict=False) if after is None or now[1] < after[1]]
    if len(kept) < LEAST_FRAMES:
        return NOTHING
    chains = [kept]
    if len(kept) > LEAST_FRAMES:
        chains += [[*kept[:i], *kept[i + 1 :]] for i in range(len(kept))]
    spans = [[(g2 - g1, h2 - h1) for (g1, h1), (g2, h2) in pairwise(chain)] for chain in chains]
    low = max(min((guest - step) / host for guest, host in chain) for chain in spans)
    high = min(max((guest + step) / host for guest, host in chain) for chain in spans)
    return max(low, 0.0), high


def one_span(record: BootRecord, step: int = 0) -> Bounds:
    """What the time between a boot's first and last frame leaves open, if no read came later than 100 ms.

    (0, inf) for what lasted less than a second by the guest's clock, unless that stands still.
    """
    frames = record.clock_frames
    host = frames[-1][1] - frames[0][1] if frames else _host_span(record)
    guest = (record.clock_ratio or 0.0) * host
    if host < LONG_NS or STILL * host <= guest < LONG_NS:
        return NOTHING
    return max(0.0, (guest - step) / (host + LATE_NS)), (guest + step) / (host - LATE_NS)


def _host_span(record: BootRecord) -> int:
    """Of records without frames: between `main` and `clock-checked`, or `exit` where nothing was checked."""
    began, ended = record.events.get(Event.MAIN), record.events.get(Event.CHECKED)
    if began is not None and ended in (began, None):
        ended = record.events.get(Event.EXIT)
    return ended - began if began is not None and ended is not None else 0


def _differences(frames: Frames) -> list[int]:
    return [after[0] - before[0] for before, after in pairwise(frames) if after[0] > before[0]]


def clock_step(differences: Iterable[int]) -> int:
    """The step of a coarse clock, ns: what all differences of its readings are multiples of; 0 for a fine one, and for
    fewer than four differences."""
    steps = list(differences)
    step = 0
    for difference in steps if len(steps) >= LEAST_FRAMES else ():
        step = _common(step, difference)
        if min(step, difference) < LEAST_STEP_NS:
            return 0
    return min(step, MOST_STEP_NS)


def _common(a: int, b: int) -> int:
    """The greatest common divisor, but for SAME_NS (a kernel's tick is not a whole number of nanoseconds)."""
    while b > SAME_NS:
        a, b = b, a % b
        b = 0 if a - b <= SAME_NS else b
    return a


def clock_warning(guest: str, clock: Estimate | None) -> str:
    """A sentence if the guest's clock is surely off by more than 1 %, or is not constant under icount; else ""."""
    if clock is None or clock.low is None or clock.high is None:
        return ""
    if clock.unit is Unit.INSTRUCTIONS and clock.high - clock.low > CLOCK_TOLERANCE:
        return (
            f"The clock of {guest} is not constant: {clock.low:.3f} to {clock.high:.3f} virtual nanoseconds an "
            "instruction. What it timed itself by its clock means nothing."
        )
    if clock.low <= 1 + CLOCK_TOLERANCE and clock.high >= 1 - CLOCK_TOLERANCE:
        return ""
    if clock.value < CLOCK_TOLERANCE:
        return f"The clock of {guest} stands still: what it timed itself by it means nothing."
    fast = clock.low > 1
    # rounded towards nothing: no more is said than was seen
    percent = math.floor(1000 * (clock.low - 1 if fast else 1 - clock.high) + 1e-3) / 10
    least = "" if clock.low == clock.high else "at least "
    return (
        f"The clock of {guest} runs {least}{percent:.1f} % {'fast' if fast else 'slow'}: "
        f"what it timed itself by it is off by {'as much' if not least else 'at least as much'}."
    )
