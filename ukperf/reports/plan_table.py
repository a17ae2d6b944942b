"""The page of `ukperf plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukperf.reports.page import Cell, Column, Line, Page, Part, Table
from ukperf.reports.units import number, with_unit
from ukperf.stats.variance import BootPlan, Precision, SampleParts


@dataclass(frozen=True)
class PlanPage(Page):
    """Boots for each comparison, or for each value of a guest alone, then where each sample's variance lies.

    effect, power: fractions.
    """

    effect: float
    power: float
    plans: Sequence[BootPlan]
    alone: Sequence[Precision]
    variance: Sequence[SampleParts]

    def body(self) -> Iterator[Part]:
        effect, power = f"{100 * self.effect:g} %", f"{100 * self.power:g} %"
        if self.alone:
            yield Line(f"Boots after which a value is known to ± {effect} (95 % interval), with {power}:")
            yield _boots("boot", [(item.guest, item) for item in self.alone])
        if self.plans:
            yield Line(f"Blocks that show a difference of {effect} with {power}:")
            yield _boots("block", [(f"{item.guest} ÷ {item.baseline}", item) for item in self.plans])
        if self.variance:
            yield Line("Where samples vary, and the iterations a boot that are worth their time:")
            yield _variance(self.variance)

    def said(self) -> Mapping[str, object]:
        return {
            "effect": self.effect,
            "power": self.power,
            "plans": self.plans,
            "alone": self.alone,
            "variance": self.variance,
        }


def _boots(what: str, items: Sequence[tuple[str, BootPlan | Precision]]) -> Table:
    columns = (
        Column("", cuts=True),
        Column("", cuts=True),
        Column(f"σ of a {what}", right=True),
        Column(f"{what}s", right=True),
        Column("takes about"),
    )
    rows = [
        (
            name,
            item.benchmark,
            "–" if item.deviation is None else percent(item.deviation),
            f"{item.boots:,}" if item.boots else "–",
            duration(item.seconds) if item.boots else item.why,
        )
        for name, item in items
    ]
    return Table(columns, tuple(tuple(map(Cell, row)) for row in rows))


def _variance(parts: Sequence[SampleParts]) -> Table:
    names = ("", "", "σ boots", "σ iterations", "ICC", "a boot costs", "an iteration", "best")
    rows = [
        (
            part.guest,
            part.benchmark,
            percent(part.parts.between_boots),
            percent(part.parts.between_iterations),
            "–" if part.parts.icc is None else f"{part.parts.icc:.2f}",
            "not known" if part.boot_cost is None else with_unit(part.boot_cost, part.unit),
            "not known" if part.iteration_cost is None else with_unit(part.iteration_cost, part.unit),
            _best(part),
        )
        for part in parts
    ]
    columns = tuple(Column(name, right=i >= 2, cuts=i < 2) for i, name in enumerate(names))
    return Table(columns, tuple(tuple(map(Cell, row)) for row in rows))


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds is None:
        return "–"
    for limit, divisor, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def _best(part: SampleParts) -> str:
    if part.parts.between_boots == 0:
        return "any: boots do not differ"
    return "–" if part.best is None else f"{part.best:,}"


def percent(fraction: float) -> str:
    """`1.23 %`."""
    return f"{number(100 * fraction)} %" if fraction else "0 %"
