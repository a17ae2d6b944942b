"""Intervals of ratios as a line of characters, all rows of a table on one logarithmic axis: `├──●──┤   │`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ukperf.reports.page import Span
from ukperf.reports.units import number

LEAST, MOST = 16, 40  # cells of the axis
_LEAST_AXIS = math.log(1.001)  # of an axis on which all is 1


@dataclass(frozen=True)
class Signs:
    """What an interval is drawn with: its ends, its line, its middle, the line at 1, and where the two lines cross."""

    left: str = "├"
    line: str = "─"
    right: str = "┤"
    middle: str = "●"
    one: str = "│"
    crossing: str = "┼"


ASCII = Signs("[", "-", "]", "o", "|", "+")


@dataclass(frozen=True)
class Axis:
    """low, high: natural logarithms of the ratios at its ends, 0 (the ratio 1) between them. cells: how long it is."""

    low: float
    high: float
    cells: int
    signs: Signs = Signs()

    def cell(self, ratio: float) -> int:
        """The cell of a ratio, from 0."""
        share = (math.log(ratio) - self.low) / (self.high - self.low)
        return round(min(max(share, 0.0), 1.0) * (self.cells - 1))

    def title(self) -> str:
        """1 above its line, and the ends where there is room for them."""
        one = self.cell(1.0)
        line = [" "] * self.cells
        line[one] = "1"
        low, high = _label(self.low), _label(self.high)
        if len(low) < one:
            line[: len(low)] = low
        if one + 1 + len(high) < self.cells:
            line[-len(high) :] = high
        return "".join(line)

    def drawn(self, span: Span | None) -> str:
        """One row; without an interval the line at 1 alone."""
        signs, one = self.signs, self.cell(1.0)
        line = [" "] * self.cells
        line[one] = signs.one
        if span is not None:
            left, middle, right = map(self.cell, span)
            for i in range(left, right + 1):
                line[i] = signs.crossing if i == one else signs.line
            if left < right:
                line[left], line[right] = signs.left, signs.right
            line[middle] = signs.middle
        return "".join(line)


def axis(spans: Sequence[Span | None], cells: int, signs: Signs) -> Axis | None:
    """One axis for all rows; None where no row has a ratio that can be drawn. cells: at least 2."""
    ends = [math.log(ratio) for span in spans if span is not None for ratio in span]
    if not ends:
        return None
    low, high = min(*ends, 0.0), max(*ends, 0.0)
    if high - low < _LEAST_AXIS:
        low, high = low - _LEAST_AXIS, high + _LEAST_AXIS
    return Axis(low, high, cells, signs)


def span_of(ratio: float | None, low: float | None, high: float | None) -> Span | None:
    """low, high: of the interval; None where there is none, which is a dot. None where a logarithm has no ratio."""
    if ratio is None:
        return None
    span = (ratio if low is None else low, ratio, ratio if high is None else high)
    return span if all(math.isfinite(end) and end > 0 for end in span) and span[0] <= ratio <= span[2] else None


def _label(end: float) -> str:
    """The ratio at an end, with two digits of how far it is from 1."""
    ratio = math.exp(min(end, 700.0))
    return number(ratio, abs(ratio - 1)) if abs(end) > 1e-9 else ""
