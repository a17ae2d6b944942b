"""The pages of `ukperf compare` and `ukperf check`: comparisons between runs, guests or files, and what a gate says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ukperf.model import Comparison, Estimate, Verdict, verdict_word
from ukperf.reports.answers import of_all, sentence
from ukperf.reports.names import cut
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone
from ukperf.reports.spans import span_of
from ukperf.reports.table import OPTIONAL_STOPPING, comparison_said, difference
from ukperf.reports.units import common_scale, number, with_unit
from ukperf.stats.between import Side
from ukperf.stats.estimate import estimate_of
from ukperf.stats.perboot import Series

if TYPE_CHECKING:
    from ukperf.stats.gate import Gate


@dataclass(frozen=True)
class ComparePage(Page):
    """Pairs of sides (what is compared, its baseline) and all their comparisons, one family."""

    comparisons: Sequence[Comparison]
    sides: Sequence[tuple[Side, Side]]
    delta: float
    suite: Sequence[Comparison] = field(default=(), kw_only=True)  # one figure for all benchmarks: a family of its own

    def answers(self) -> Sequence[str]:
        of = f"{_units(self.sides)} a side"
        whole = [sentence(c, self.delta, of=of) for c in self.suite if c.ratio is not None]
        return (*whole, *of_all(self.comparisons, self.delta, of))

    def body(self) -> Iterator[Part]:
        """A group for each pair of sides: medians of both, ratio with its interval, verdict; warnings below, once
        each."""
        yield _table(self.comparisons, {side.label: side for pair in self.sides for side in pair})
        for whole in self.suite:
            ratio, interval, verdict = (cell.text for cell in difference(whole, f"{_units(self.sides)} a side"))
            sides = f"{cut(whole.guest)} ÷ {cut(whole.baseline)}"
            yield Line(f"{sides}, {whole.benchmark}: {ratio} {interval}, {verdict}.".replace(" ,", ","))
        control = next((side.control for side, _ in self.sides if side.control), "")
        if control:
            yield Line(f"All but {cut(control)} are divided by it, boot by boot.")
        yield Line(f"Ratios of geometric means over {_units(self.sides)}; equivalent within ±{100 * self.delta:g} %.")
        if any(c.boots_needed is not None for c in self.comparisons):
            yield Line(f"Note: {OPTIONAL_STOPPING}", Tone.DIM)
        grouped: dict[str, list[Comparison]] = {}
        for comparison in self.comparisons:
            for warning in comparison.warnings:
                grouped.setdefault(warning, []).append(comparison)
        for warning, where in grouped.items():
            everywhere = len(where) == len(self.comparisons)
            benchmarks = [] if everywhere else list(dict.fromkeys(cut(c.benchmark) for c in where))
            names = f" ({listed(benchmarks, 4)})" if benchmarks else ""
            yield Line(f"Note{names}: {warning}.", Tone.UNSURE)

    def said(self) -> Mapping[str, object]:
        """`comparisons` has the same members as those of a run."""
        sides = {side.label: side for pair in self.sides for side in pair}
        units = {
            (side.label, name): series.unit.value for side in sides.values() for name, series in side.series.items()
        }
        return {
            "delta": self.delta,
            "suite": [comparison_said(whole, None if whole.unit is None else whole.unit.value) for whole in self.suite],
            "comparisons": [comparison_said(c, units.get((c.guest, c.benchmark))) for c in self.comparisons],
            "sides": [
                {"label": side.label, "run": side.run, "failed": side.lost, "tried": side.tried, **side.context}
                for side in sides.values()
            ],
        }


@dataclass(frozen=True)
class CheckPage(ComparePage):
    """wanted: the verdicts that fail. refused: why it did not pass although nothing failed it."""

    gate: Gate
    wanted: tuple[str, ...]
    refused: tuple[str, ...] = ()

    def body(self) -> Iterator[Part]:
        """What was not tested and why, what a pass does not say, then the gate's answer with how many were tested."""
        yield from super().body()
        gate = self.gate
        for title, items in (("Not tested", gate.untested), ("Gone", gate.missing), ("New", gate.new)):
            grouped: dict[str, list[str]] = {}
            for item in items:
                grouped.setdefault(item.why, []).append(f"{cut(item.guest)} {cut(item.benchmark)}")
            for why, names in grouped.items():
                yield Line(f"{title}: {listed(names)}: {why}.", Tone.UNSURE)
        for doubt in gate.doubts:
            yield Line(f"Note: {doubt}.")
        yield Line(self._answer(), wraps=False)

    def answers(self) -> Sequence[str]:
        return (self._answer(),)

    def _answer(self) -> str:
        gate = self.gate
        tested = f"{len(gate.tested)} tested"
        if gate.failed:
            return f"check: failed ({listed(list(map(cut, gate.failed)), 20)}; {tested})"
        words = ", ".join(_spoken(word, gate.tested) for word in self.wanted)
        return f"check: {'not passed' if self.refused else 'passed'} ({words}: none of {tested})"

    def said(self) -> Mapping[str, object]:
        gate = self.gate
        return {
            **super().said(),
            "failed": gate.failed,
            "tested": len(gate.tested),
            "untested": gate.untested,
            "missing": gate.missing,
            "new": gate.new,
            "doubts": gate.doubts,
            "fail_on": self.wanted,
            "passed": not gate.failed and not self.refused,
        }


def _table(comparisons: Sequence[Comparison], known: Mapping[str, Side]) -> Table:
    rows = []
    for comparison in comparisons:
        both = known[comparison.baseline], known[comparison.guest]
        control = "" if both[0].control == comparison.benchmark else both[0].control
        cells = [Cell(cell) for cell in _middles([side.series.get(comparison.benchmark) for side in both], control)]
        of = "boots" if both[0].run == both[1].run else f"{_counted(both)} a side"
        sides = Cell(f"{cut(comparison.guest)} ÷ {cut(comparison.baseline)}")
        rows.append((sides, Cell(comparison.benchmark), *cells, *difference(comparison, of)))
    columns = (
        Column("sides"),
        Column("benchmark", cuts=True),
        Column("baseline", right=True),
        Column("compared", right=True, stays=True),
        Column("ratio", right=True),
        Column("95 % interval", stays=True),
        Column("verdict", stays=True),
    )
    spans = tuple(span_of(c.ratio, c.low, c.high) for c in comparisons)
    return Table(columns, tuple(rows), grouped=True, fold=4, spans=spans)


def _counted(sides: Sequence[Side]) -> str:
    """What is counted: boots, or runs where there are several a side."""
    return "runs" if min(side.runs for side in sides) > 1 else "boots"


def _units(pairs: Sequence[tuple[Side, Side]]) -> str:
    return " and ".join(dict.fromkeys(_counted(pair) for pair in pairs))


def _middles(sides: Sequence[Series | None], control: str = "") -> list[str]:
    """The sides' medians in one unit, that they may be read against each other. control: what they are divided by."""
    estimates: list[Estimate | None] = [None if series is None else estimate_of(series) for series in sides]
    if control:
        return ["–" if e is None else f"{number(e.value)} × {cut(control)}" for e in estimates]
    units = {estimate.unit for estimate in estimates if estimate}
    if len(units) != 1:
        return ["–" if estimate is None else with_unit(estimate.value, estimate.unit) for estimate in estimates]
    divisor, symbol = common_scale([estimate.value for estimate in estimates if estimate], units.pop())
    return ["–" if e is None else f"{number(e.value / divisor)} {symbol}".rstrip() for e in estimates]


def _spoken(word: str, tested: Sequence[Comparison]) -> str:
    """A verdict in the words of the units that were tested: `slower`, `more`, `slower or more`."""
    words = {verdict_word(Verdict(word), comparison.unit) for comparison in tested}
    return " or ".join(sorted(words, key=lambda said: (said != word, said))) or word


def listed(names: Sequence[str], most: int = 8) -> str:
    """`a, b and 47 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
