"""Differences of what adds up: instructions of functions, whose sums are a boot's. Means, not logs: many are zero.

A function that one side never comes to has no ratio, and the differences of all functions together are to be that of
the boots. So the estimate is the difference of means, with t intervals by Welch and by Student as in `welch`: what is
said holds by both. Verdicts are adjusted over the family by Holm; those of a gate ask whether the mean grew by more
than the margin. Below 6 boots a side there is no interval and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ukperf.model import Estimate, Unit, Verdict
from ukperf.stats.estimate import MIN_BOOTS, moments
from ukperf.stats.special import stdtr, stdtrit
from ukperf.stats.verdict import ALPHA, holm


def mean(values: Sequence[float], unit: Unit, level: float = 0.95) -> Estimate:
    """The mean of boots and its t interval; exact where they repeat. Raises ValueError for no values."""
    numbers = [float(value) for value in values]
    if not numbers:
        raise ValueError("no values")
    centre, variance = moments(numbers)
    n, off = len(numbers), sum(value != centre for value in numbers)
    if n < MIN_BOOTS:
        return Estimate(centre, None, None, n, unit, off=off)
    half = stdtrit(n - 1, 0.5 + level / 2) * math.sqrt(variance / n) if variance else 0.0
    return Estimate(centre, centre - half, centre + half, n, unit, off=off)


@dataclass(frozen=True)
class Addend:
    """What one side has more than the other: the difference of means.

    low, high: its 95 % interval, None below 6 boots a side. verdict: in the words of counts, FASTER is fewer. p_value:
    two-sided, after Holm where a family was given.
    """

    difference: float
    side: float
    baseline: float
    low: float | None
    high: float | None
    verdict: Verdict = Verdict.INCONCLUSIVE
    p_value: float | None = None

    @property
    def exact(self) -> bool:
        """Do all boots of each side agree?"""
        return self.low is not None and self.low == self.high


@dataclass(frozen=True)
class _Errors:
    """Standard errors with degrees of freedom: a claim must hold by each. None: too few boots."""

    each: tuple[tuple[float, float], ...] | None

    def half(self, level: float = 0.95) -> float | None:
        if self.each is None:
            return None
        return max(se * float(stdtrit(df, 0.5 + level / 2)) if se else 0.0 for se, df in self.each)

    def p_above(self, excess: float) -> float | None:
        """One-sided p-value of "the true excess is at most 0"."""
        if self.each is None:
            return None
        return max((0.0 if excess > 0 else 1.0) if se == 0 else float(stdtr(df, -excess / se)) for se, df in self.each)


def _errors(side: Sequence[float], baseline: Sequence[float], scale: float = 1.0) -> tuple[float, _Errors]:
    """mean(side) − scale · mean(baseline), with its errors."""
    n, m = len(side), len(baseline)
    (over, scatter), (under, scatter_under) = moments([float(v) for v in side]), moments([float(v) for v in baseline])
    difference, scatter_under = over - scale * under, scatter_under * scale**2
    if min(n, m) < MIN_BOOTS:
        return difference, _Errors(None)
    var, var_under = scatter / n, scatter_under / m
    variance = var + var_under
    if variance == 0:
        return difference, _Errors(((0.0, float(min(n, m) - 1)),))
    df = variance**2 / (var**2 / (n - 1) + var_under**2 / (m - 1))
    pooled = ((n - 1) * scatter + (m - 1) * scatter_under) / (n + m - 2) * (1 / n + 1 / m)
    return difference, _Errors(((math.sqrt(variance), df), (math.sqrt(pooled), float(n + m - 2))))


def addend(side: Sequence[float], baseline: Sequence[float]) -> Addend:
    """Of one figure by itself; no verdict yet. Raises ValueError for a side without boots."""
    if not side or not baseline:
        raise ValueError("one side has no boots")
    difference, errors = _errors(side, baseline)
    half = errors.half()
    p_up, p_down = errors.p_above(difference), errors.p_above(-difference)
    p = None if p_up is None or p_down is None else 1.0 if difference == 0 else min(1.0, 2 * min(p_up, p_down))
    low, high = (None, None) if half is None else (difference - half, difference + half)
    (over, _), (under, _) = moments([float(v) for v in side]), moments([float(v) for v in baseline])
    return Addend(difference, over, under, low, high, p_value=p)


def addends(sides: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[Addend]:
    """Of a family, with verdicts: fewer or more where the difference is sure (Holm over all), equivalent where both
    sides repeat and are equal."""
    alone = [addend(side, baseline) for side, baseline in sides]
    adjusted = holm([1.0 if one.p_value is None else one.p_value for one in alone])
    judged = []
    for one, p in zip(alone, adjusted, strict=True):
        verdict = Verdict.INCONCLUSIVE
        if one.p_value is not None and one.exact and one.difference == 0:
            verdict = Verdict.EQUIVALENT
        elif one.p_value is not None and p <= ALPHA:
            verdict = Verdict.SLOWER if one.difference > 0 else Verdict.FASTER
        p_value = None if one.p_value is None else float(p)
        judged.append(Addend(one.difference, one.side, one.baseline, one.low, one.high, verdict, p_value))
    return judged


def p_grown(side: Sequence[float], baseline: Sequence[float], delta: float) -> float | None:
    """One-sided p-value of "the mean is at most (1 + delta) times the baseline's"; None below 6 boots a side."""
    excess, errors = _errors(side, baseline, 1.0 + delta)
    return errors.p_above(excess)


def p_shrunk(side: Sequence[float], baseline: Sequence[float], delta: float) -> float | None:
    """One-sided p-value of "the mean is at least that of the baseline divided by 1 + delta"."""
    excess, errors = _errors(side, baseline, 1.0 / (1.0 + delta))
    return errors.p_above(-excess)
