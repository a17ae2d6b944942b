"""The terminal table of `ukperf plan`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ukperf.reports.columns import Column, cut, lines, show
from ukperf.reports.units import number, with_unit
from ukperf.stats.variance import BootPlan, Precision, SampleParts


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds is None:
        return "–"
    for limit, divisor, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def render_plan(
    plans: Sequence[BootPlan],
    alone: Sequence[Precision],
    parts: Sequence[SampleParts],
    effect: float,
    power: float,
    console: Console,
) -> None:
    """Boots for each comparison, or for each value of a guest alone, then where each sample's variance lies."""
    if alone:
        said = f"Boots after which a value is known to ± {100 * effect:g} % (95 % interval), with {100 * power:g} %:"
        show(console, Text(said), wrap=True)
        rows = [
            [
                Text(cut(item.guest)),
                Text(cut(item.benchmark)),
                Text("–" if item.deviation is None else percent(item.deviation)),
                Text(f"{item.boots:,}" if item.boots else "–"),
                Text(duration(item.seconds) if item.boots else item.why),
            ]
            for item in alone
        ]
        titles = [Column(""), Column(""), Column("σ of a boot", True), Column("boots", True), Column("takes about")]
        for line in lines(rows, titles):
            show(console, line, wrap=False)
    if plans:
        show(console, Text(f"Blocks that show a difference of {100 * effect:g} % with {100 * power:g} %:"), wrap=True)
        rows = [
            [
                Text(f"{cut(plan.guest)} ÷ {cut(plan.baseline)}"),
                Text(cut(plan.benchmark)),
                Text("–" if plan.deviation is None else percent(plan.deviation)),
                Text(f"{plan.boots:,}" if plan.boots else "–"),
                Text(duration(plan.seconds) if plan.boots else plan.why),
            ]
            for plan in plans
        ]
        titles = [Column(""), Column(""), Column("σ of a block", True), Column("blocks", True), Column("takes about")]
        for line in lines(rows, titles):
            show(console, line, wrap=False)
    if parts:
        show(console, Text("Where samples vary, and the iterations a boot that are worth their time:"), wrap=True)
        rows = [
            [
                Text(cut(part.guest)),
                Text(cut(part.benchmark)),
                Text(percent(part.parts.between_boots)),
                Text(percent(part.parts.between_iterations)),
                Text("–" if part.parts.icc is None else f"{part.parts.icc:.2f}"),
                Text("not known" if part.boot_cost is None else with_unit(part.boot_cost, part.unit)),
                Text("not known" if part.iteration_cost is None else with_unit(part.iteration_cost, part.unit)),
                Text(_best(part)),
            ]
            for part in parts
        ]
        names = ("", "", "σ boots", "σ iterations", "ICC", "a boot costs", "an iteration", "best")
        for line in lines(rows, [Column(name, i >= 2) for i, name in enumerate(names)]):
            show(console, line, wrap=False)


def _best(part: SampleParts) -> str:
    if part.parts.between_boots == 0:
        return "any: boots do not differ"
    return "–" if part.best is None else f"{part.best:,}"


def percent(fraction: float) -> str:
    """`1.23 %`."""
    return f"{number(100 * fraction)} %" if fraction else "0 %"
