"""One guest's boots: a location with an interval, for the reader to look at. Verdicts come from `paired` and `welch`.

Sources: Conover, Practical Nonparametric Statistics (3rd ed.), 3.2, for the median's interval by order statistics;
Hettmansperger, Statistical Inference Based on Ranks, 1.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ukperf.model import Estimate, Status, Unit
from ukperf.stats.special import coin_cdf, stdtrit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ukperf.stats.perboot import Series

MIN_BOOTS = 6  # the least n at which [min, max] covers the median with 95 %: 1 - 2 (1/2)^6 = 96.9 %


def as_list(values: ArrayLike) -> list[float]:
    """A list of floats: boots are few, and for these Python is done before numpy is imported.

    values: a sequence of numbers or an array, of one dimension. Raises ValueError for any other shape or for a value
    that is not finite.
    """
    listed: Any = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(listed, Iterable):
        raise ValueError("expected one dimension, got 0")
    numbers = []
    for value in listed:
        if isinstance(value, list | tuple):
            raise ValueError("expected one dimension, got 2")
        numbers.append(float(value))
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a value is not finite")
    return numbers


def median_ranks(n: int, level: float = 0.95) -> tuple[int, int] | None:
    """Ranks (0-based, inclusive) of the order statistics that cover the median of any distribution with `level`.

    None where even [minimum, maximum] does not cover it (n < 6 at 95 %).
    """
    # Dropping k values at each end misses the median with probability 2 P(Bin(n, 1/2) <= k).
    tail = (1 - level) / 2
    # the normal approximation is off by a rank or two
    k = max(-1, min(n, math.floor(n / 2 + stdtrit(1e9, tail) * math.sqrt(n) / 2)))
    while k < n and coin_cdf(k + 1, n) <= tail:
        k += 1
    while k >= 0 and coin_cdf(k, n) > tail:
        k -= 1
    return None if k < 0 else (k, n - 1 - k)


def middle(ordered: list[float]) -> float:
    """The median of values in order, shape (n,), n >= 1."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def far_out(values: Sequence[float]) -> list[bool]:
    """Outliers (Tukey's outer fences, 3 IQR), to be flagged and kept. values: shape (n,), without regard to those that
    are not finite; all False below 6 values."""
    ordered = sorted(filter(math.isfinite, values))
    if len(ordered) < MIN_BOOTS:
        return [False] * len(values)
    low, high = quantile(ordered, 0.25), quantile(ordered, 0.75)
    reach = 3 * (high - low)
    return [math.isfinite(value) and not low - reach <= value <= high + reach for value in values]


def quantile(ordered: list[float], share: float) -> float:
    """A quantile of values in order, shape (n,), n >= 1; between two of them on the line, as numpy's."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: ArrayLike, unit: Unit, level: float = 0.95) -> Estimate:
    """The median of one guest's boots (any order, any distribution) and its distribution-free interval.

    values: one number a boot, in `unit`. No interval below 6 boots. Raises ValueError for no values or non-finite ones.
    """
    ordered = sorted(as_list(values))
    n = len(ordered)
    if n == 0:
        raise ValueError("no values")
    ranks = median_ranks(n, level) if n >= MIN_BOOTS else None
    low, high = (None, None) if ranks is None else (ordered[ranks[0]], ordered[ranks[1]])
    centre = middle(ordered)
    return Estimate(centre, low, high, n, unit, off=sum(value != centre for value in ordered))


def estimate_of(series: Series) -> Estimate | None:
    """The median of a series with its interval; None where it has none.

    Boots that were below resolution are the shortest, whatever they took: they count as zero. So the interval holds,
    and where the median falls on them there is none.
    """
    if not series.values or not all(math.isfinite(value) for value in series.values):
        return None
    below = series.count(Status.BELOW)
    if below > (below + len(series.values) - 1) // 2:
        return None
    marks = {series.statuses.get(block, Status.MEASURED) for block in series.blocks}
    estimate = median([*[0.0] * below, *series.values], series.unit)
    return replace(estimate, n=len(series.values), status=marks.pop() if len(marks) == 1 else Status.MEASURED)


def geometric_mean(values: ArrayLike, unit: Unit, level: float = 0.95) -> Estimate:
    """The geometric mean of positive values and the t interval of the mean log.

    Raises ValueError for no values, non-finite ones, zero or less.
    """
    numbers = as_list(values)
    n = len(numbers)
    if n == 0:
        raise ValueError("no values")
    if min(numbers) <= 0:
        raise ValueError("a value is zero or less: it has no logarithm")
    if max(numbers) == min(numbers):  # exact repeats (icount) must come out exact, not through exp(log(x))
        end = numbers[0] if n >= MIN_BOOTS else None
        return Estimate(numbers[0], end, end, n, unit)
    centre, variance = log_moments(numbers)
    if n < MIN_BOOTS:
        return Estimate(math.exp(centre), None, None, n, unit)
    half = stdtrit(n - 1, 0.5 + level / 2) * math.sqrt(variance / n)
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half), n, unit)


def log_moments(values: list[float]) -> tuple[float, float]:
    """Mean and variance (n - 1) of the logs of positive values, shape (n,), n >= 1; the variance of one value is 0."""
    return moments([math.log(value) for value in values])


def moments(values: list[float]) -> tuple[float, float]:
    """Mean and variance (n - 1) of values, shape (n,), n >= 1; exact repeats, and one value, have none."""
    n = len(values)
    if max(values) == min(values):
        return values[0], 0.0
    centre = math.fsum(values) / n
    return centre, math.fsum((value - centre) ** 2 for value in values) / (n - 1)
