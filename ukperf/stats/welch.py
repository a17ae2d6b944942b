"""Unpaired comparison of two runs: t on logs, by Welch and by Student. Drift between the runs is not cancelled: callers
must say so.

Welch's t trusts each side's own scatter. Where a rare slow boot (or heavy skew) is in the larger side's hundred boots
and not among the smaller side's ten, the smaller side looks too good: 33 % false alarms. Student's pooled t lets each
side borrow the other's scatter, and fails where the smaller side truly scatters more. So a claim must hold by both, and
the interval is the wider of the two; with equal numbers of boots their standard errors are the same. The figures are in
docs/statistics.md.

Sources: Welch (1947), Biometrika 34, degrees of freedom by Satterthwaite; Student (1908); Berger (1982), Technometrics
24, for the level of a test that rejects only where two do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, as_list, log_moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def welch_effect(guest: ArrayLike, baseline: ArrayLike) -> Effect:
    """t on mean log(guest) - mean log(baseline), by Welch and by Student.

    guest: shape (n,), baseline: shape (m,), one positive number a boot. Below 6 boots on either side there is no
    standard error. Raises ValueError for non-finite or non-positive values or an empty side.
    """
    over, under = as_list(guest), as_list(baseline)
    if not over or not under:
        raise ValueError("one side has no boots")
    if min(over) <= 0 or min(under) <= 0:
        raise ValueError("a value is zero or less: it has no logarithm")
    sizes = n, m = len(over), len(under)
    least = min(sizes)
    (mean_over, scatter_over), (mean_under, scatter_under) = log_moments(over), log_moments(under)
    difference = mean_over - mean_under
    if least < MIN_BOOTS:
        return Effect(difference, None, 0, least, sizes=sizes)
    var_over, var_under = scatter_over / n, scatter_under / m
    variance = var_over + var_under
    if variance == 0:
        return Effect(difference, 0.0, least - 1, least, sizes=sizes)
    df = variance**2 / (var_over**2 / (n - 1) + var_under**2 / (m - 1))
    return Effect(difference, variance**0.5, df, least, pooled=_pooled(var_over, var_under, n, m), sizes=sizes)


def _pooled(var_over: float, var_under: float, n: int, m: int) -> tuple[float, float]:
    """Student's standard error of the difference and its degrees of freedom, from the variances of the two means."""
    df = n + m - 2
    variance = ((n - 1) * n * var_over + (m - 1) * m * var_under) / df
    return float((variance * (1 / n + 1 / m)) ** 0.5), df
