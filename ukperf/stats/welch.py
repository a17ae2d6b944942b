"""Unpaired comparison of two runs: Welch's t on logs. Drift between the runs is not cancelled: callers must say so.

Source: Welch (1947), Biometrika 34; degrees of freedom by Satterthwaite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, as_list, log_moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def welch_effect(guest: ArrayLike, baseline: ArrayLike) -> Effect:
    """Welch's t on mean log(guest) - mean log(baseline).

    guest: shape (n,), baseline: shape (m,), one positive number a boot. Below 6 boots on either side there is no
    standard error. Raises ValueError for non-finite or non-positive values or an empty side.
    """
    over, under = as_list(guest), as_list(baseline)
    if not over or not under:
        raise ValueError("one side has no boots")
    if min(over) <= 0 or min(under) <= 0:
        raise ValueError("a value is zero or less: it has no logarithm")
    n, m = len(over), len(under)
    least = min(n, m)
    (mean_over, scatter_over), (mean_under, scatter_under) = log_moments(over), log_moments(under)
    difference = mean_over - mean_under
    if least < MIN_BOOTS:
        return Effect(difference, None, 0, least)
    var_over, var_under = scatter_over / n, scatter_under / m
    variance = var_over + var_under
    if variance == 0:
        return Effect(difference, 0.0, least - 1, least)
    df = variance**2 / (var_over**2 / (n - 1) + var_under**2 / (m - 1))
    return Effect(difference, variance**0.5, df, least)
