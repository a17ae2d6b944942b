"""Means over boots as cells of tables."""

from __future__ import annotations

from collections.abc import Sequence

from ukperf.model import Unit
from ukperf.reports.page import Cell
from ukperf.reports.units import common_scale, interval, number
from ukperf.stats.addends import mean


def figure(values: Sequence[int], whole: Sequence[int]) -> tuple[Cell, Cell, Cell]:
    """The cells of a mean, its interval, and its share of all."""
    estimate = mean(values, Unit.INSTRUCTIONS)
    divisor, symbol = common_scale([estimate.value], Unit.INSTRUCTIONS)
    spread = 0.0 if estimate.low is None or estimate.high is None else (estimate.high - estimate.low) / divisor
    said = interval((estimate.low, estimate.high), divisor, spread)
    if estimate.low is None and not estimate.off and len(values) > 1:
        said = "same in all"
    value = Cell(f"{number(estimate.value / divisor, spread)} {symbol}")
    return value, Cell(said), Cell(percent(sum(values) / max(1, sum(whole))))


def percent(share: float) -> str:
    """Two digits behind the point for shares under a tenth of a per cent would be noise: one is enough above 10 %."""
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:.2f} %"
