"""Did the host change during the run? The run's own time series, tested for a trend and for one change point.

Each boot's log, less its guest's mean, in the order of execution. Trend: Spearman's rank correlation with time; change
point: Pettitt's rank test (1979). Both look at ranks, so that one bad boot is no drift. p-values are doubled, for two.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ukperf.model import BootRecord, Phase, Unit, direction, verdict_word
from ukperf.stats.estimate import middle
from ukperf.stats.perboot import PHASES, Series, collect, final_records
from ukperf.stats.special import stdtr

LEAST_BOOTS = 12
ALPHA = 0.01  # a note in a report, not a verdict: rather late than at every twentieth run


@dataclass(frozen=True)
class DriftResult:
    """benchmark: the series that was tested. trend: change over the whole run by the fitted line, 0.05 = 5 % slower.

    step: change at `at` (the index of the trial that is the first behind it). p_trend, p_step: adjusted for two tests.
    unit: of the benchmark, which says what a change is called; None: that of time.
    """

    benchmark: str
    boots: int
    trend: float
    p_trend: float
    step: float
    at: int
    p_step: float
    unit: Unit | None = None

    @property
    def drifted(self) -> bool:
        return min(self.p_trend, self.p_step) <= ALPHA

    def sentence(self) -> str:
        """What a report says; the comparison inside blocks cancels it, the guests' own medians keep it."""
        if not self.drifted:
            return f"No drift seen in {self.benchmark} over {self.boots} boots."
        size, kind = (self.trend, "over the run") if self.p_trend <= self.p_step else (self.step, f"at trial {self.at}")
        verdict = direction(size, self.unit)
        percent = f"{100 * abs(size):.1f} %"
        timed = verdict_word(verdict, self.unit) == verdict.value  # in the words of time
        moved = f"got {percent} {verdict.value}" if timed else f"{'rose' if size > 0 else 'fell'} by {percent}"
        return (
            f"The host drifted: {self.benchmark} {moved} {kind} "
            f"(p = {min(self.p_trend, self.p_step):.2g}). Ratios are taken inside blocks, which cancels it."
        )


Tables = Mapping[str, Mapping[str, Series]]


def drift(
    records: Sequence[BootRecord], benchmark: str = Phase.TOTAL.value, tables: Tables | None = None
) -> DriftResult | None:
    """The test on one benchmark of one run. None below 12 boots, or where values have no logarithm.

    tables: guest → what `collect` gives, where the caller has it already.
    """
    tables = tables or {guest: collect(records, guest) for guest in {record.trial.guest for record in records}}
    rows: list[tuple[int, float]] = []
    units: dict[Unit, None] = {}
    for guest, table in tables.items():
        series = table.get(benchmark)
        if series is None or not series.values or any(not math.isfinite(v) or v <= 0 for v in series.values):
            continue
        units[series.unit] = None
        order = {block: record.trial.index for block, record in final_records(records, guest).items()}
        logs = [math.log(value) for value in series.values]
        mean = math.fsum(logs) / len(logs)
        alike = max(series.values) == min(series.values)
        residuals = [0.0 if alike else value - mean for value in logs]
        rows += [(order[block], value) for block, value in zip(series.blocks, residuals, strict=True)]
    if len(rows) < LEAST_BOOTS:
        return None
    rows.sort()
    result = time_series(benchmark, [index for index, _ in rows], [value for _, value in rows])
    return replace(result, unit=next(iter(units)))


def time_series(benchmark: str, indices: Sequence[int], residuals: Sequence[float]) -> DriftResult:
    """The two tests on residual logs in the order of execution; indices: the trials' numbers."""
    n = len(residuals)
    if max(residuals) == min(residuals):
        return DriftResult(benchmark, n, 0.0, 1.0, 0.0, indices[0], 1.0)
    centred = [rank - (n + 1) / 2 for rank in _ranks(residuals)]
    time = [number - (n - 1) / 2 for number in range(n)]
    rho = _product(centred, time) / math.sqrt(_product(centred, centred) * _product(time, time))
    t = abs(rho) * math.sqrt((n - 2) / max(1 - rho**2, 1e-15))
    p_trend = min(1.0, 4 * stdtr(n - 2, -t))
    mean = math.fsum(indices) / n
    places = [index - mean for index in indices]
    slope = _product(places, residuals) / _product(places, places) * (indices[-1] - indices[0])
    sums = [abs(2 * total) for total in accumulate(centred[:-1])]
    cut = sums.index(max(sums)) + 1
    p_step = min(1.0, 4 * math.exp(-6 * sums[cut - 1] ** 2 / (n**3 + n**2)))
    step = middle(sorted(residuals[cut:])) - middle(sorted(residuals[:cut]))
    return DriftResult(
        benchmark,
        n,
        math.expm1(slope),
        p_trend,
        math.expm1(step),
        indices[cut],
        p_step,
    )


def _ranks(values: Sequence[float]) -> list[float]:
    """Mid-ranks from 1."""
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) + 1) / 2 for value in values]


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def drifts(records: Sequence[BootRecord], tables: Tables | None = None) -> Mapping[str, DriftResult]:
    """Benchmark → result for `total` and every sample of a run. tables as for `drift`."""
    tables = tables or {guest: collect(records, guest) for guest in {record.trial.guest for record in records}}
    names = dict.fromkeys([Phase.TOTAL.value])
    for table in tables.values():
        names |= dict.fromkeys(name for name in table if name not in PHASES)
    results = {name: drift(records, name, tables) for name in names}
    return {name: result for name, result in results.items() if result is not None}
