"""Sequential stopping: a campaign ends when its intervals are narrow enough, and by nothing else.

The rule looks at widths only, never at the sign or size of a difference, so it cannot wait for a wished-for answer.
Looking after every block still favours moments when the spread happens to look small (Chow & Robbins 1965): stopping at
the first narrow interval from 6 blocks on covers 92.5 % where 95 % is promised. Hence two guards, which bring it back
above 94 % (docs/statistics.md has the grid): at least 20 blocks, and the interval narrow enough during the last fifth
of them. Boots that repeat exactly (icount) leave nothing to estimate: 6 blocks do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from ukperf.errors import UkperfError
from ukperf.model import RESTORED, BootRecord, Phase
from ukperf.stats.arrays import Floats, as_floats
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.perboot import PHASES, Series, collect
from ukperf.stats.within import divisors, refusal

LEAST_BLOCKS = 20
HELD_SINCE = 0.8  # of the blocks: from there on every look must have found the interval narrow enough


def running_half_widths(differences: ArrayLike) -> Floats:
    """Half width of the 95 % t interval of the mean after each block; infinite for the first.

    differences: shape (..., blocks), log-ratios in the order of the blocks. The result has the same shape.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = np.arange(1, values.shape[-1] + 1)
    # deviations from the first value: sums of squares of large numbers would eat the exact repeats
    shifted = values - values[..., :1]
    mean = shifted.cumsum(-1) / n
    variance = np.maximum((shifted**2).cumsum(-1) - n * mean**2, 0) / np.maximum(n - 1, 1)
    width = stdtrit(np.maximum(n - 1, 1), 0.975) * np.sqrt(variance / n)
    width[..., 0] = np.inf
    return np.asarray(width, dtype=np.float64)


def stops(half_widths: Floats, target: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Shape as given, True where the rule ends the campaign: narrow for the last fifth of ≥ 20 blocks, or exact."""
    n = np.arange(1, half_widths.shape[-1] + 1)
    last_wide = np.maximum.accumulate(np.where(half_widths <= target, 0, n), axis=-1)
    narrow = (n >= LEAST_BLOCKS) & (last_wide < np.ceil(HELD_SINCE * n))
    exact = (n >= MIN_BOOTS) & (half_widths == 0)
    return np.asarray(narrow | exact)


def precise_enough(
    records: Sequence[BootRecord],
    *,
    baseline: str,
    precision: float,
    benchmarks: Sequence[str] | None = None,
) -> bool:
    """True when every ratio to the baseline is known to ± precision (0.01 = 1 %) with 95 %.

    records: the journal so far, one host. benchmarks: which ones must be precise; default: `total`, and all samples
    where the workload has some. A run without the baseline, or of one guest, is judged by its guests' own geometric
    means. Pairs that cannot be compared (units differ, zero values) do not hold the run up; missing boots do.
    Raises UkperfError for a precision outside (0, 1).
    """
    if not 0 < precision < 1:
        raise UkperfError(f"The precision must lie between 0 and 100 %, and {100 * precision:g} % does not.")
    guests = sorted({record.trial.guest for record in records})
    series = {guest: collect(records, guest) for guest in guests}
    pairs = [(guest, other) for guest in guests for other in divisors(guest, series, baseline)]
    pairs = pairs if baseline in guests and pairs else [(guest, "") for guest in guests]
    columns: list[Floats] = []
    for guest, other in pairs:
        for name in _wanted(series[guest], benchmarks):
            over, under = series[guest].get(name), series[other].get(name) if other else None
            if other and under is None and other == guest.removesuffix(RESTORED):
                continue  # booted, it does not load a state
            if over is None or (other and under is None):
                return False
            column = _logs(over, under, guest, other)
            if column is not None:
                columns.append(column)
    target = math.log1p(precision)
    if not columns:  # nothing measured yet, or nothing that can ever become precise
        return any(series[guest] for guest in guests) and len(records) >= MIN_BOOTS * len(guests)
    return all(column.size > 0 and bool(stops(running_half_widths(column), target)[-1]) for column in columns)


def _wanted(table: dict[str, Series], benchmarks: Sequence[str] | None) -> list[str]:
    if benchmarks is not None:
        return list(benchmarks)
    return [Phase.TOTAL.value, *(name for name in table if name not in PHASES)]


def _logs(over: Series, under: Series | None, guest: str, baseline: str) -> Floats | None:
    """Log-ratios in block order, or logs of the guest's own values; None where there is no logarithm to take."""
    if under is None:
        values = np.asarray(over.values)
        return np.log(values) if np.isfinite(values).all() and (values > 0).all() else None
    if refusal(over, under, guest, baseline):
        return None
    left, right = over.by_block(), under.by_block()
    shared = sorted(left.keys() & right.keys())
    return as_floats([math.log(left[b]) - math.log(right[b]) for b in shared])
