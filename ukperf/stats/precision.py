"""Sequential stopping: a campaign ends when its intervals are narrow enough, and by nothing else.

The rule looks at widths only, never at the sign or size of a difference, so it cannot wait for a wished-for answer. It
still stops too eagerly when the spread happens to look small (Chow & Robbins 1965), hence the caution below;
docs/statistics.md has the coverage that `ukperf selftest` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import chdtri

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Phase
from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.paired import paired_effect
from ukperf.stats.perboot import PHASES, Series, collect
from ukperf.stats.within import refusal

# The spread is taken at its upper 80 % confidence limit: a run must not stop on a spread that is small by luck.
CAUTION = 0.80


def cautious_half_width(effect: Effect) -> float | None:
    """Half width of the log-ratio's 95 % interval with the spread's upper limit in place of the spread."""
    half = effect.half_width()
    if half is None or half == 0:
        return half
    return half * math.sqrt(effect.df / float(chdtri(effect.df, CAUTION)))


def precise_enough(
    records: Sequence[BootRecord],
    *,
    baseline: str,
    precision: float,
    benchmarks: Sequence[str] | None = None,
) -> bool:
    """True when every ratio to the baseline is known to ± precision (0.01 = 1 %) with 95 %.

    records: the journal so far. benchmarks: which ones must be precise; default: `total`, and all samples where the
    workload has some. A run without the baseline, or of one guest, is judged by its guests' own geometric means. Pairs
    that cannot be compared (units differ, zero values) do not hold the run up; a pair with fewer than 6 blocks does.
    Raises UkperfError for a precision that is not positive.
    """
    if not 0 < precision < 1:
        raise UkperfError(f"The precision must lie between 0 and 100 %, and {100 * precision:g} % does not.")
    guests = sorted({record.trial.guest for record in records})
    series = {guest: collect(records, guest) for guest in guests}
    pairs = [(guest, baseline) for guest in guests if guest != baseline] if baseline in guests else []
    target = math.log1p(precision)
    widths: list[float | None] = []
    for guest, other in pairs or [(guest, "") for guest in guests]:
        names = _wanted(series[guest], benchmarks)
        if not names:
            return False  # nothing measured yet
        for name in names:
            over, under = series[guest].get(name), series[other].get(name) if other else None
            if over is None or (other and under is None):
                return False
            width = _pair_width(over, under, guest, other) if under else _own_width(over)
            widths.append(width)
    return bool(widths) and all(width is not None and width <= target for width in widths)


def _wanted(table: dict[str, Series], benchmarks: Sequence[str] | None) -> list[str]:
    if benchmarks is not None:
        return list(benchmarks)
    return [Phase.TOTAL.value, *(name for name in table if name not in PHASES)] if table else []


def _pair_width(over: Series, under: Series, guest: str, baseline: str) -> float | None:
    if refusal(over, under, guest, baseline):
        return 0.0
    left, right = over.by_block(), under.by_block()
    shared = sorted(left.keys() & right.keys())
    if not shared:
        return None
    return cautious_half_width(paired_effect([left[b] for b in shared], [right[b] for b in shared]))


def _own_width(series: Series) -> float | None:
    if any(not math.isfinite(v) or v <= 0 for v in series.values):
        return 0.0
    if len(series.values) < MIN_BOOTS:
        return None
    return cautious_half_width(paired_effect(series.values, [1.0] * len(series.values)))
