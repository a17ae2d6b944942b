"""The page of `ukperf density`: what one more guest takes and of what it is made, the time to create it, and how many
fit; the picture of memory against the number of guests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ukperf.model import Comparison, Estimate, FleetSeen, Unit
from ukperf.reports.answers import answers
from ukperf.reports.names import cut
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone
from ukperf.reports.pictures import Chart, ChartAxis, Dot, Level, Mark, Slope, Strip, Words, colours
from ukperf.reports.spans import span_of
from ukperf.reports.table import MOST_TITLE, RunPage, difference
from ukperf.reports.units import interval, number, with_unit
from ukperf.stats.fleets import Fits, FleetCost, cost_of, figure, fits
from ukperf.stats.summary import RunSummary
from ukperf.text import many

MIB = 1 << 20
MOST_DOTS = 400  # of one guest
TALL = 150  # px of a guest's row in the picture
PARTS = {"guest": "guest memory", "vmm": "VMM", "code_cache": "code cache"}


@dataclass(frozen=True)
class FleetsOf:
    """The good fleets of one guest, at least one. given_mib: the memory that its machine has."""

    guest: str
    fleets: tuple[FleetSeen, ...]
    given_mib: int = 0

    @cached_property
    def costs(self) -> tuple[FleetCost, ...]:
        return tuple(cost for fleet in self.fleets if (cost := cost_of(fleet)) is not None)

    @property
    def most(self) -> int:
        """Guests of the largest fleet."""
        return max(fleet.points[-1].guests for fleet in self.fleets)

    def more(self) -> Estimate:
        """Bytes of one more guest."""
        return figure([cost.total.slope for cost in self.costs], Unit.BYTES)

    def part(self, name: str) -> Estimate:
        return figure([cost.parts[name].slope for cost in self.costs], Unit.BYTES)

    def start(self) -> float:
        """Bytes that all share, by the lines' mean."""
        return math.fsum(cost.total.start for cost in self.costs) / len(self.costs)

    def first(self) -> Estimate:
        return figure([cost.ready_s[0] for cost in self.costs], Unit.SECONDS)

    def last(self) -> Estimate:
        return figure([cost.ready_s[-1] for cost in self.costs], Unit.SECONDS)

    def growth(self) -> Estimate:
        return figure([cost.growth for cost in self.costs], Unit.SCORE)

    def huge(self) -> float:
        """The share of the memory that is in huge pages."""
        points = [fleet.points[-1] for fleet in self.fleets]
        return sum(point.huge for point in points) / max(1, sum(point.total for point in points))

    def fits(self, budget_mib: int) -> Fits | None:
        return fits(self.fleets, self.costs, budget_mib * MIB)


@dataclass(frozen=True)
class DensityPage(Page):
    """names: the benchmarks memory and time, as records have them. budget: MiB, 0: none was asked for."""

    summary: RunSummary
    rows: Sequence[FleetsOf]
    names: tuple[str, str]
    budget: int = 0

    def answers(self) -> Sequence[str]:
        return answers(self.summary)

    def body(self) -> Iterator[Part]:
        if self.rows:
            yield self._memory()
            yield self._creating()
        for row in self.rows if self.budget else ():
            yield Line(_fit_sentence(row, self.budget))
        yield from RunPage(self.summary, facts=self.facts).below()
        if self.rows:
            yield Line(
                "A boot is a fleet: guests that live at the same time, each suspended when it was ready. One more: the "
                "slope of their memory over the number of guests, by least squares in each fleet; geometric mean over "
                "fleets. create: from create called to where the guest was suspended; last ÷ first: by the line "
                "through the logs of all.",
                Tone.DIM,
            )

    def _memory(self) -> Table:
        """Of a guest with several divisors each has a row."""
        rows, spans = [], []
        for row in self.rows:
            given = Cell(str(row.given_mib))
            parts = [Cell(_mib(row.part(name).value)) for name in PARTS]
            figures = (Cell(row.guest), given, *_figure(row.more(), MIB), *parts)
            for comparison, cells in self._compared(row.guest, self.names[0]):
                rows.append((*figures, *cells))
                spans.append(_span(comparison))
                figures = tuple(Cell("") for _ in figures)
        columns = (
            Column("guest", cuts=True),
            Column("MiB", right=True),
            Column("one more, MiB", right=True),
            Column("95 % interval", stays=True),
            *(Column(title, right=True) for title in PARTS.values()),
            *self._titles(),
        )
        return Table(columns, tuple(rows), fold=7, spans=tuple(spans))

    def _creating(self) -> Table:
        rows = []
        for row in self.rows:
            ends = [Cell(with_unit(end.value, Unit.SECONDS)) for end in (row.first(), row.last())]
            figures = (Cell(row.guest), Cell(str(row.most)), *ends, *_figure(row.growth(), 1.0))
            for _, cells in self._compared(row.guest, self.names[1]):
                rows.append((*figures, *cells))
                figures = tuple(Cell("") for _ in figures)
        columns = (
            Column("guest", cuts=True),
            Column("guests", right=True),
            Column("create, first", right=True),
            Column("create, last", right=True),
            Column("last ÷ first", right=True),
            Column("95 % interval", stays=True),
            *self._titles(),
        )
        return Table(columns, tuple(rows), fold=6)

    def _compared(self, guest: str, benchmark: str) -> list[tuple[Comparison | None, tuple[Cell, ...]]]:
        """Each comparison of a guest with its cells; one without any, where there is none."""
        mine: list[Comparison | None] = [
            c for c in self.summary.comparisons if (c.guest, c.benchmark) == (guest, benchmark)
        ]
        told: list[tuple[Comparison | None, tuple[Cell, ...]]] = []
        for comparison in mine or [None]:
            by = Cell("" if comparison is None else cut(comparison.baseline, MOST_TITLE))
            told.append((comparison, (*([by] if self._several else []), *difference(comparison, "fleets"))))
        return told

    @property
    def _several(self) -> bool:
        """Are there divisors besides the baseline?"""
        return any(c.baseline != self.summary.baseline for c in self.summary.comparisons)

    def _titles(self) -> tuple[Column, ...]:
        by = (Column("÷", cuts=True), Column("ratio", right=True)) if self._several else ()
        one = (Column(f"÷ {cut(self.summary.baseline, MOST_TITLE)}", right=True),)
        return (*(by or one), Column("95 % interval", stays=True), Column("verdict", stays=True))

    def said(self) -> Mapping[str, object]:
        run = RunPage(self.summary, facts=self.facts).said()
        return {**run, "per_guest": [self._row_said(row) for row in self.rows], "notes": self.notes}

    def _row_said(self, row: FleetsOf) -> Mapping[str, object]:
        return {
            "guest": row.guest,
            "memory_mib": row.given_mib,
            "fleets": len(row.fleets),
            "guests": row.most,
            "one_more": row.more(),
            "parts": {name: row.part(name) for name in (*PARTS, "tables")},
            "start": row.start(),
            "huge_share": row.huge(),
            "create_first": row.first(),
            "create_last": row.last(),
            "create_growth": row.growth(),
            "budget_mib": self.budget or None,
            "fits": row.fits(self.budget) if self.budget else None,
            "points": [[(point.guests, point.total) for point in fleet.points] for fleet in row.fleets],
            "create_s": [cost.ready_s for cost in row.costs],
        }


def _fit_sentence(row: FleetsOf, budget: int) -> str:
    known = row.fits(budget)
    if known is None:
        return f"{row.guest}: no number of guests fills {budget:,} MiB, by its line."
    ends = "" if known.low is None or known.low == known.high else f" [{known.low:,}, {known.high:,}]"
    how = "measured" if known.measured else f"by the line, beyond the {row.most} that were measured"
    return f"{row.guest}: {many(known.guests, 'guest')}{ends} fit into {budget:,} MiB, {how}."


def _mib(size: float) -> str:
    return number(size / MIB) if abs(size) >= MIB / 100 else "0"


def _figure(estimate: Estimate, divisor: float) -> tuple[Cell, Cell]:
    spread = 0.0
    if estimate.low is not None and estimate.high is not None:
        spread = (estimate.high - estimate.low) / divisor
    value = Cell(number(estimate.value / divisor, spread))
    return value, Cell(interval((estimate.low, estimate.high), divisor, spread))


def _span(comparison: Comparison | None) -> tuple[float, float, float] | None:
    return span_of(comparison.ratio, comparison.low, comparison.high) if comparison else None


# ---- the picture ----


def memory_chart(rows: Sequence[FleetsOf]) -> Chart | None:
    """Memory against the number of guests, a row for each guest, all on one scale; the line is that of the slopes."""
    most = max((row.most for row in rows), default=0)
    highest = max((point.total for row in rows for fleet in row.fleets for point in fleet.points), default=0)
    if most < 2 or highest <= 0:
        return None
    step = _step(highest / MIB)
    top = math.ceil(highest / MIB / step) * step * MIB
    classes = colours(tuple(row.guest for row in rows))
    strips = tuple(_strip(row, classes[row.guest], top, step) for row in rows)
    about = (
        f"Every dot is what the guests of a fleet take together (proportional set size), to the right with more of "
        f"them; the lines across are {step:,.0f} MiB apart, from 0 at the bottom to {top / MIB:,.0f} MiB. The "
        "sloping line is what the slopes of all fleets come to."
    )
    axis = ChartAxis(0.0, most * 1.03, title="guests", whole=True)
    return Chart("Memory against the number of guests", axis, strips, about, tall=TALL)


def _strip(row: FleetsOf, css: str, top: float, step: float) -> Strip:
    more, start = row.more(), row.start()
    marks: list[Mark] = [Level(_up(k * step * MIB, top), k == 0) for k in range(round(top / MIB / step) + 1)]
    ends = [(float(n), _up(min(max(start + more.value * n, 0.0), top), top)) for n in (0, row.most)]
    marks.append(Slope(ends[0], ends[1], css))
    dots = [Dot(float(point.guests), _up(point.total, top), css) for fleet in row.fleets for point in fleet.points]
    marks += dots[:: math.ceil(len(dots) / MOST_DOTS)]
    each = f"{with_unit(more.value, Unit.BYTES)} a guest"
    words = [Words(each, Tone.STRONG, css)]
    if more.low is not None and more.high is not None:
        words.append(Words(f"{more.low / MIB:.4g} to {more.high / MIB:.4g}", Tone.DIM))
    words.append(Words(f"{with_unit(max(start, 0.0), Unit.BYTES)} shared", Tone.DIM))
    return Strip(row.guest, tuple(marks), tuple(words), css=css, said=f"{row.guest}: {each}")


def _up(size: float, top: float) -> float:
    return 0.96 - 0.92 * size / top


def _step(most: float) -> float:
    """1, 2 or 5 × 10ⁿ, of which there are at most five below `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(m * power for m in (0.2, 0.5, 1, 2, 5) if most / (m * power) <= 5)
