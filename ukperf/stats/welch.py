"""Unpaired comparison of two runs: Welch's t on logs. Drift between the runs is not cancelled: callers must say so.

Source: Welch (1947), Biometrika 34; degrees of freedom by Satterthwaite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, Floats, as_floats


def _log_moments(values: Floats) -> tuple[float, float]:
    """Mean of the logs and variance of that mean; 0 exactly for exact repeats."""
    if values.max() == values.min():
        return float(np.log(values[0])), 0.0
    logs = np.log(values)
    return float(logs.mean()), float(logs.var(ddof=1)) / values.size


def welch_effect(guest: ArrayLike, baseline: ArrayLike) -> Effect:
    """Welch's t on mean log(guest) - mean log(baseline).

    guest: shape (n,), baseline: shape (m,), one positive number a boot. Below 6 boots on either side there is no
    standard error. Raises ValueError for non-finite or non-positive values or an empty side.
    """
    over, under = as_floats(guest), as_floats(baseline)
    if not over.size or not under.size:
        raise ValueError("one side has no boots")
    if (over <= 0).any() or (under <= 0).any():
        raise ValueError("a value is zero or less: it has no logarithm")
    n = min(over.size, under.size)
    (mean_over, var_over), (mean_under, var_under) = _log_moments(over), _log_moments(under)
    difference = mean_over - mean_under
    if n < MIN_BOOTS:
        return Effect(difference, None, 0, n)
    variance = var_over + var_under
    if variance == 0:
        return Effect(difference, 0.0, n - 1, n)
    df = variance**2 / (var_over**2 / (over.size - 1) + var_under**2 / (under.size - 1))
    return Effect(difference, variance**0.5, df, n)
