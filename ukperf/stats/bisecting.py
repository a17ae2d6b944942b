"""Is a build like the good one or like the bad one? A sequential test: easy steps of a bisection take few boots.

After every few boots the likelihoods of two claims are compared: the build's mean log is that of the good boots, or
that of the bad ones. It ends when one is so many times the other that the wrong answer comes out in at most `error` of
cases (Wald's sequential probability ratio test). Scatter is not known: it is pooled over all three sides, and the
likelihoods are Student's; that the good and the bad mean are estimates too widens each. Counts that repeat on all
sides, or nearly do (stats.history) and are further apart than that, need no test.

Sources: Wald (1945), Ann. Math. Stat. 16; Rushton (1950), Biometrika 37, for a scatter that is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukperf.stats.estimate import MIN_BOOTS, log_moments
from ukperf.stats.history import NEARLY_EXACT
from ukperf.stats.welch import welch_effect

LEAST, EXACT_BOOTS = 2, 2


class Leaning(StrEnum):
    """What a build is like."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"  # more boots are needed


@dataclass(frozen=True)
class Weighed:
    """leaning: the answer; odds: how many times likelier the bad mean is than the good one, as a log; exact: no chance
    is in it. share: where between good (0) and bad (1) the build lies, on logs."""

    leaning: Leaning
    odds: float
    exact: bool
    share: float


def error_of_step(error: float, steps: int) -> float:
    """The error rate of one step, of so many that all shall be right but for `error`."""
    return error / max(1, steps)


def apart(good: Sequence[float], bad: Sequence[float], counted: bool = False) -> bool:
    """Do the good and the bad boots differ at all (two-sided, 1 %; counts that repeat: by anything)?

    counted: instructions, of which a boot now and then has some more or fewer.
    """
    if min(len(good), len(bad)) >= EXACT_BOOTS:
        if repeat(good) and repeat(bad):
            return good[0] != bad[0]
        if counted and _clear(good, bad):
            return True
    if min(len(good), len(bad)) < MIN_BOOTS:
        return False
    p = welch_effect(good, bad).p_difference()
    return p is not None and p <= 0.01


def repeat(values: Sequence[float]) -> bool:
    return min(values) == max(values)


def _nearly(values: Sequence[float]) -> bool:
    return max(values) <= min(values) * (1 + NEARLY_EXACT)


def _clear(good: Sequence[float], bad: Sequence[float]) -> bool:
    """Do both nearly repeat, and lie further apart than that?"""
    gap = max(min(good) / max(bad), min(bad) / max(good)) - 1
    return _nearly(good) and _nearly(bad) and gap > NEARLY_EXACT


def weigh(
    good: Sequence[float], bad: Sequence[float], seen: Sequence[float], error: float, counted: bool = False
) -> Weighed:
    """good, bad, seen: one positive number a boot, two or more each. error: the rate of wrong answers, of either kind.

    counted: as of `apart`.

    Raises ValueError for fewer boots.
    """
    if min(len(good), len(bad), len(seen)) < LEAST:
        raise ValueError("two boots a side are needed")
    sides = [log_moments(list(values)) for values in (good, bad, seen)]
    (low, _), (high, _), (mean, _) = sides
    share = (mean - low) / (high - low) if high != low else 0.5
    free = len(good) + len(bad) + len(seen) - 3
    variance = sum(v * (len(x) - 1) for (_, v), x in zip(sides, (good, bad, seen), strict=True)) / free
    if variance == 0 or (counted and _clear(good, bad) and _nearly(seen)):
        leaning = Leaning.OPEN if share == 0.5 else Leaning.BAD if share > 0.5 else Leaning.GOOD
        return Weighed(leaning, 0.0 if share == 0.5 else math.copysign(math.inf, share - 0.5), True, share)
    odds = _likelihood(mean - high, variance, len(seen), len(bad), free) - _likelihood(
        mean - low, variance, len(seen), len(good), free
    )
    edge = math.log((1 - error) / error)
    leaning = Leaning.BAD if odds >= edge else Leaning.GOOD if odds <= -edge else Leaning.OPEN
    return Weighed(leaning, odds, False, share)


def _likelihood(distance: float, variance: float, boots: int, reference: int, free: int) -> float:
    """Log of Student's density of a distance between two means, up to a constant."""
    squared = variance * (1 / boots + 1 / reference)
    return -0.5 * math.log(squared) - (free + 1) / 2 * math.log1p(distance**2 / (squared * free))
