"""One guest's boots: a location with an interval, for the reader to look at. Verdicts come from `paired` and `welch`.

Sources: Conover, Practical Nonparametric Statistics (3rd ed.), 3.2, for the median's interval by order statistics;
Hettmansperger, Statistical Inference Based on Ranks, 1.4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrik, stdtrit

from ukperf.model import Estimate, Unit

MIN_BOOTS = 6  # the least n at which [min, max] covers the median with 95 %: 1 - 2 (1/2)^6 = 96.9 %

Floats = NDArray[np.float64]


def as_floats(values: ArrayLike) -> Floats:
    """A one-dimensional float array; raises ValueError for any other shape or for a value that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected one dimension, got {array.ndim}")
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite")
    return array


def median_ranks(n: int, level: float = 0.95) -> tuple[int, int] | None:
    """Ranks (0-based, inclusive) of the order statistics that cover the median of any distribution with `level`.

    None where even [minimum, maximum] does not cover it (n < 6 at 95 %).
    """
    # Dropping k values at each end misses the median with probability 2 P(Bin(n, 1/2) <= k).
    tail = (1 - level) / 2
    guess = float(bdtrik(tail, n, 0.5)) if n else -1.0
    k = int(guess) if np.isfinite(guess) else 0
    while k >= 0 and float(bdtr(k, n, 0.5)) > tail:
        k -= 1
    return None if k < 0 else (k, n - 1 - k)


def median(values: ArrayLike, unit: Unit, level: float = 0.95) -> Estimate:
    """The median of one guest's boots (any order, any distribution) and its distribution-free interval.

    values: one number a boot, in `unit`. No interval below 6 boots. Raises ValueError for no values or non-finite ones.
    """
    array = np.sort(as_floats(values))
    n = array.size
    if n == 0:
        raise ValueError("no values")
    ranks = median_ranks(n, level) if n >= MIN_BOOTS else None
    low, high = (None, None) if ranks is None else (float(array[ranks[0]]), float(array[ranks[1]]))
    return Estimate(float(np.median(array)), low, high, n, unit)


def geometric_mean(values: ArrayLike, unit: Unit, level: float = 0.95) -> Estimate:
    """The geometric mean of positive values and the t interval of the mean log.

    Raises ValueError for no values, non-finite ones, zero or less.
    """
    array = as_floats(values)
    n = array.size
    if n == 0:
        raise ValueError("no values")
    if (array <= 0).any():
        raise ValueError("a value is zero or less: it has no logarithm")
    if array.max() == array.min():  # exact repeats (icount) must come out exact, not through exp(log(x))
        value = float(array[0])
        end = value if n >= MIN_BOOTS else None
        return Estimate(value, end, end, n, unit)
    logs = np.log(array)
    centre = float(logs.mean())
    if n < MIN_BOOTS:
        return Estimate(float(np.exp(centre)), None, None, n, unit)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(logs.std(ddof=1)) / n**0.5
    return Estimate(float(np.exp(centre)), float(np.exp(centre - half)), float(np.exp(centre + half)), n, unit)
