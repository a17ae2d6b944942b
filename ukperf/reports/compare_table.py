"""The terminal table of a comparison between runs, guests or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ukperf.model import Comparison, Estimate, Verdict, verdict_word
from ukperf.reports.columns import LEAST_NAME, LONGEST_NAME, Column, cut, lines, show, width
from ukperf.reports.jsonout import comparison_json
from ukperf.reports.table import OPTIONAL_STOPPING, difference
from ukperf.reports.units import common_scale, number, with_unit
from ukperf.stats.between import Side
from ukperf.stats.estimate import estimate_of
from ukperf.stats.perboot import Series

if TYPE_CHECKING:
    from ukperf.stats.gate import Gate


def render_comparisons(
    comparisons: Sequence[Comparison], sides: Sequence[tuple[Side, Side]], delta: float, console: Console
) -> None:
    """A group for each pair of sides: medians of both, ratio with its interval, verdict; warnings below, once each."""
    known = {side.label: side for pair in sides for side in pair}
    columns = [
        Column(""),
        Column("baseline", right=True),
        Column("compared", right=True),
        Column("ratio", right=True),
        Column("95 % interval"),
        Column("verdict"),
    ]
    rows = _rows(comparisons, known, needs=True)
    gap = 2
    if console.is_terminal and width(rows, columns) > console.width:
        rows, gap = _rows(comparisons, known, needs=False), 1
        excess = width(rows, columns, gap) - console.width
        if excess > 0:
            longest = max(min(cell_len(c.benchmark), LONGEST_NAME) for c in comparisons)
            rows = _rows(comparisons, known, needs=False, longest=max(LEAST_NAME, longest - excess))
    for line in lines(rows, columns, gap):
        show(console, line, wrap=False)
    show(console, Text(f"Ratios of geometric means over boots; equivalent within ±{100 * delta:g} %."), wrap=True)
    grouped: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        for warning in comparison.warnings:
            grouped.setdefault(warning, []).append(comparison)
    if any(c.boots_needed is not None for c in comparisons):
        show(console, Text(f"Note: {OPTIONAL_STOPPING}", style="dim"), wrap=True)
    for warning, where in grouped.items():
        benchmarks = list(dict.fromkeys(cut(c.benchmark) for c in where)) if len(where) < len(comparisons) else []
        names = ", ".join(benchmarks[:4]) + (f" and {len(benchmarks) - 4} more" if len(benchmarks) > 4 else "")
        show(console, Text(f"Note{f' ({names})' if names else ''}: {warning}.", style="yellow"), wrap=True)


def _rows(
    comparisons: Sequence[Comparison], known: Mapping[str, Side], needs: bool, longest: int = LONGEST_NAME
) -> list[list[Text]]:
    rows: list[list[Text]] = []
    group = ("", "")
    for comparison in comparisons:
        if (comparison.guest, comparison.baseline) != group:
            group = (comparison.guest, comparison.baseline)
            rows.append([Text(f"{cut(comparison.guest)} ÷ {cut(comparison.baseline)}", style="bold")])
        both = [known[label].series.get(comparison.benchmark) for label in (comparison.baseline, comparison.guest)]
        cells = [Text(cell) for cell in _middles(both)]
        one_run = known[comparison.guest].run == known[comparison.baseline].run
        of = "boots" if one_run else "boots a side"
        rows.append([Text(f"  {cut(comparison.benchmark, longest)}"), *cells, *difference(comparison, needs, of)])
    return rows


def _middles(sides: Sequence[Series | None]) -> list[str]:
    """The sides' medians in one unit, that they may be read against each other."""
    found: list[Estimate | None] = []
    for series in sides:
        found.append(None if series is None else estimate_of(series))
    units = {estimate.unit for estimate in found if estimate}
    if len(units) != 1:
        return ["–" if estimate is None else with_unit(estimate.value, estimate.unit) for estimate in found]
    divisor, symbol = common_scale([estimate.value for estimate in found if estimate], units.pop())
    return ["–" if e is None else f"{number(e.value / divisor)} {symbol}".rstrip() for e in found]


def comparisons_json(
    comparisons: Sequence[Comparison], sides: Sequence[tuple[Side, Side]], delta: float
) -> dict[str, object]:
    """The same facts as strict JSON; `comparisons` has the same members as `boot-time --json`."""
    units = {
        (side.label, name): series.unit.value for pair in sides for side in pair for name, series in side.series.items()
    }
    return {
        "delta": delta,
        "comparisons": [comparison_json(c, units.get((c.guest, c.benchmark))) for c in comparisons],
        "sides": [
            {"label": side.label, "run": side.run, "failed": side.lost, "tried": side.tried, **side.context}
            for side in {s.label: s for pair in sides for s in pair}.values()
        ],
    }


def gate_json(found: Gate) -> dict[str, object]:
    """What a gate found, as strict JSON; tested: how many comparisons were."""
    return {
        "failed": list(found.failed),
        "tested": len(found.tested),
        "untested": [asdict(item) for item in found.untested],
        "missing": [asdict(item) for item in found.missing],
        "new": [asdict(item) for item in found.new],
        "doubts": list(found.doubts),
    }


def render_gate(found: Gate, wanted: Sequence[str], refused: bool, console: Console) -> None:
    """What was not tested and why, what a pass does not say, then the gate's answer with how many were tested."""
    for title, items in (("Not tested", found.untested), ("Gone", found.missing), ("New", found.new)):
        grouped: dict[str, list[str]] = {}
        for item in items:
            grouped.setdefault(item.why, []).append(f"{cut(item.guest)} {cut(item.benchmark)}")
        for why, names in grouped.items():
            show(console, Text(f"{title}: {listed(names)}: {why}.", style="yellow"), wrap=True)
    for doubt in found.doubts:
        show(console, Text(f"Note: {doubt}."), wrap=True)
    tested = f"{len(found.tested)} tested"
    words = ", ".join(_spoken(word, found.tested) for word in wanted)
    if found.failed:
        show(console, Text(f"check: failed ({listed(list(map(cut, found.failed)), 20)}; {tested})"), wrap=False)
    elif refused:
        show(console, Text(f"check: not passed ({words}: none of {tested})"), wrap=False)
    else:
        show(console, Text(f"check: passed ({words}: none of {tested})"), wrap=False)


def _spoken(word: str, tested: Sequence[Comparison]) -> str:
    """A verdict in the words of the units that were tested: `slower`, `more`, `slower or more`."""
    words = {verdict_word(Verdict(word), comparison.unit) for comparison in tested}
    return " or ".join(sorted(words, key=lambda said: (said != word, said))) or word


def listed(names: Sequence[str], most: int = 8) -> str:
    """`a, b and 47 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
