"""The terminal table of `ukperf plan`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ukperf.reports.columns import Column, lines, show
from ukperf.reports.units import number, with_unit
from ukperf.stats.variance import Plan, SampleParts


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds is None:
        return "–"
    for limit, divisor, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


def render_plan(
    plans: Sequence[Plan], parts: Sequence[SampleParts], effect: float, power: float, console: Console
) -> None:
    """Boots for each comparison, then where each sample's variance lies."""
    if plans:
        show(console, Text(f"Blocks that show a difference of {100 * effect:g} % with {100 * power:g} %:"), wrap=True)
        rows = [
            [
                Text(f"{plan.guest} ÷ {plan.baseline}"),
                Text(plan.benchmark),
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
                Text(part.guest),
                Text(part.benchmark),
                Text(percent(part.parts.between_boots)),
                Text(percent(part.parts.between_iterations)),
                Text("–" if part.parts.icc is None else f"{part.parts.icc:.2f}"),
                Text(with_unit(part.boot_cost, part.unit)),
                Text(with_unit(part.iteration_cost, part.unit)),
                Text("any: boots do not differ" if part.best is None else f"{part.best:,}"),
            ]
            for part in parts
        ]
        names = ("", "", "σ boots", "σ iterations", "ICC", "a boot costs", "an iteration", "best")
        for line in lines(rows, [Column(name, i >= 2) for i, name in enumerate(names)]):
            show(console, line, wrap=False)


def percent(fraction: float) -> str:
    """`1.23 %`."""
    return f"{number(100 * fraction)} %" if fraction else "0 %"
