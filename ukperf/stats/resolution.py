"""The step of the clock behind values in seconds.

Time that repeats to the last digit is not exact: its scatter is below the clock's resolution, and each reading may be
off by a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ukperf.model import Unit
from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS

_NOISE = 1e-6  # of a value: what rounding leaves of a whole number of steps
_TIED = 0.5  # values of a fine clock never share so many readings


def clock_step(values: Sequence[float]) -> float:
    """The largest step of which all values are whole numbers: their greatest common divisor, in their unit.

    values: positive and finite. 0 where they have none above a millionth of the smallest.
    """
    step = values[0]
    for value in set(values):
        step = _divisor(step, value)
    return step if step > _NOISE * min(values) else 0.0


def _divisor(a: float, b: float) -> float:
    """Euclid's, on numbers that were rounded."""
    least = _NOISE * min(a, b)
    while b > least:
        rest = math.fmod(a, b)
        a, b = b, (0.0 if b - rest < least else rest)
    return a


def with_resolution(effect: Effect, over: Sequence[float], under: Sequence[float], unit: Unit) -> Effect:
    """The effect with what the clock's step leaves open, where the values of a side in seconds show it.

    Where both sides repeat, nothing scatters, and the truth lies within a step of each reading: the interval is that.
    Counts (and what icount counts) repeat because they are exact, and are left as they are.
    """
    if unit is not Unit.SECONDS or min(len(over), len(under)) < MIN_BOOTS:
        return effect
    distinct = len({*over}), len({*under})
    if distinct == (1, 1):
        step = clock_step([over[0], under[0]])
        slack = math.log1p(step / over[0]) + math.log1p(step / under[0])
        said = f"below the clock's resolution: all values repeat, in steps of at most {_time(step)}"
        return replace(effect, slack=slack, warnings=(said, *effect.warnings))
    for values, kinds in ((over, distinct[0]), (under, distinct[1])):
        if 1 < kinds <= _TIED * len(values) and (step := clock_step(values)):
            said = f"a clock with steps of {_time(step)}: {kinds} different values in {len(values)} boots"
            return replace(effect, warnings=(said, *effect.warnings))
    return effect


def _time(seconds: float) -> str:
    for size, symbol in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:.3g} {symbol}"
    return f"{seconds / 1e-9:.3g} ns"
