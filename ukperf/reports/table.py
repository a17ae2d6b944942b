"""The terminal table of a run: medians, ratios, verdicts, and one line that says what the numbers are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ukperf.model import Comparison, Estimate, Unit, Verdict
from ukperf.reports.columns import Column, lines, show, width
from ukperf.reports.legend import legend
from ukperf.reports.units import common_scale, interval, number, scale_for
from ukperf.stats.perboot import PHASES
from ukperf.text import many

if TYPE_CHECKING:
    from ukperf.stats.summary import GuestSummary, RunSummary

_STYLE = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.EQUIVALENT: "cyan",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_COMPARABLE: "dim",
}


def render(summary: RunSummary, facts: Mapping[str, str], console: Console) -> None:
    """Print the table, failures, what the numbers are, the legend and warnings.

    facts: what the numbers are (accelerator, machine, firmware, console, seed …), printed as `name value` in one line.
    Nothing is ever cut: a terminal that is too narrow gets tighter columns, then two lines a row; a pipe gets whole
    lines whatever its width is said to be.
    """
    for line in _fitting_table(summary, console):
        show(console, line, wrap=False)
    notes = [(_failures(guest), "yellow") for guest in summary.guests if guest.failures]
    notes.append((_what(summary, facts), ""))
    notes += [(f"{name}: {words}", "dim") for name, words in legend(summary).items()]
    if any(e.unit is Unit.INSTRUCTIONS for guest in summary.guests for e in guest.estimates.values()):
        notes.append(("instr: instructions that the guest executed, not time", "dim"))
    notes += [(f"Note: {w}", "yellow") for w in (*summary.warnings, *comparison_warnings(summary))]
    if any(c.boots_needed is not None for c in summary.comparisons):
        notes.append((f"Note: {OPTIONAL_STOPPING}", "dim"))
    for text, style in notes:
        show(console, Text(text, style=style), wrap=True)


def _fitting_table(summary: RunSummary, console: Console) -> list[Text]:
    columns = [
        Column(""),
        Column("median", right=True),
        Column("95 % interval"),
        Column(f"÷ {summary.baseline}", right=True),
        Column("95 % interval"),
        Column("verdict"),
    ]
    rows = _rows(summary, needs=True)
    if not console.is_terminal or width(rows, columns) <= console.width:
        return lines(rows, columns)
    rows = _rows(summary, needs=False)
    if width(rows, columns, gap=1) <= console.width:
        return lines(rows, columns, gap=1)
    stacked: list[list[Text]] = []
    for row in rows:
        if len(row) < len(columns):
            stacked.append(row)
            continue
        stacked.append([*row[:3], Text("")])
        if row[5].plain:
            stacked.append([Text(f"  ÷ {summary.baseline}", style="dim"), *row[3:]])
    return lines(stacked, [*columns[:3], Column("verdict")], gap=1)


def _rows(summary: RunSummary, needs: bool) -> list[list[Text]]:
    rows: list[list[Text]] = []
    for guest in summary.guests:
        rows.append([Text(guest.guest, style="bold")])
        for benchmark in summary.benchmarks:
            estimate = guest.estimates.get(benchmark)
            comparison = summary.comparison(guest.guest, benchmark)
            if has_row(guest, benchmark, comparison):
                where = location(guest, benchmark, estimate, _scale(summary, benchmark))
                cells = (*where, *difference(comparison, needs))
                rows.append([Text(f"  {benchmark}"), *cells])
    return rows


def has_row(guest: GuestSummary, benchmark: str, comparison: Comparison | None) -> bool:
    """A benchmark has a row where there is a figure, a comparison, or a reason why there is none."""
    return benchmark in guest.estimates or comparison is not None or guest.status(benchmark) is not None


def _scale(summary: RunSummary, benchmark: str) -> tuple[float, str] | None:
    """One unit for a benchmark of all guests; None where they are in different ones."""
    found = [guest.estimates[benchmark] for guest in summary.guests if benchmark in guest.estimates]
    units = {estimate.unit for estimate in found}
    return common_scale([estimate.value for estimate in found], units.pop()) if len(units) == 1 else None


def location(
    guest: GuestSummary, benchmark: str, estimate: Estimate | None, scale: tuple[float, str] | None = None
) -> tuple[Text, Text]:
    """The cells median and interval. scale: (divisor, symbol), where the value stands among others."""
    if estimate is None:
        status = guest.status(benchmark)
        return Text("–" if status is None else status.value), Text("")
    divisor, symbol = scale or scale_for(estimate.value, estimate.unit)
    spread = 0.0
    if estimate.low is not None and estimate.high is not None:
        spread = (estimate.high - estimate.low) / divisor
    value = Text(f"{number(estimate.value / divisor, spread)} {symbol}")
    if estimate.unit is Unit.SECONDS and estimate.low is not None and estimate.low == estimate.high:
        return value, Text("below resolution")  # seconds that repeat show the clock's step, and are not exact
    said = interval((estimate.low, estimate.high), divisor, spread)
    if said == "exact" and estimate.off:  # the interval has no width, and yet some boots differ
        said = f"exact but in {many(estimate.off, 'boot')}"
    return value, Text(said)


# Who goes on until a verdict comes gives chance more than one chance (docs/statistics.md, "Boots that it needs").
OPTIONAL_STOPPING = (
    "Boots needed are those of a new run: going on with this one until a verdict comes calls equal guests different in "
    "7 to 14 % of cases, not 5 %. Start a run of so many boots, or use --precision."
)


def difference(comparison: Comparison | None, needs: bool, of: str = "boots") -> tuple[Text, Text, Text]:
    """The cells ratio, interval and verdict; needs: with the boots that would settle it, `of`: what they are."""
    if comparison is None:
        return Text(""), Text(""), Text("")
    label = comparison.word
    if needs and comparison.boots_needed is not None:
        label += f" (needs {comparison.boots_needed:,} {of})"
    verdict = Text(label, style=_STYLE[comparison.verdict])
    if comparison.ratio is None:
        return Text("–"), Text(""), verdict
    spread = 0.0
    if comparison.low is not None and comparison.high is not None:
        spread = comparison.high - comparison.low
    return Text(number(comparison.ratio, spread)), Text(interval((comparison.low, comparison.high))), verdict


def _clock(clock: Estimate) -> str:
    """Four digits where the boots agree to a percent or so; else what they say, with what they leave open."""
    if clock.high == math.inf:
        return f"{clock.value:.3g} [{clock.low:.3g}, …]" if clock.low else f"about {clock.value:.3g}"
    if clock.low is None or clock.high is None or clock.high - clock.low <= 0.02:
        return f"{clock.value:.4f}"
    return f"{clock.value:.3g} [{clock.low:.3g}, {clock.high:.3g}]"


def _failures(guest: GuestSummary) -> str:
    kinds = ", ".join(f"{count} {outcome.value}" for outcome, count in sorted(guest.failures.items()))
    reasons = "; ".join(guest.reasons[:3])
    retries = f", {guest.retried} of them made again after a failure," if guest.retried else ""
    said = f"{guest.guest}: {sum(guest.failures.values())} of {many(guest.tried, 'boot')}{retries} failed ({kinds})"
    said += f": {reasons}" if reasons else ""
    return said + "".join(f"\n  {guest.guest} wrote: {line}" for line in guest.last_lines)


def _what(summary: RunSummary, facts: Mapping[str, str]) -> str:
    boots = sum(guest.boots for guest in summary.guests)
    failed = sum(sum(guest.failures.values()) for guest in summary.guests)
    parts = [f"{name} {value}" for name, value in facts.items()]
    clocks = [f"{guest.guest} {_clock(guest.clock)}" for guest in summary.guests if guest.clock is not None]
    if clocks:
        counted = any(guest.unit is Unit.INSTRUCTIONS for guest in summary.guests)
        parts.append(f"guest clock ÷ {'instructions' if counted else 'host clock'} {', '.join(clocks)}")
    parts += [many(summary.blocks, "block"), many(boots, "good boot"), f"{failed} failed"]
    if any(c.ratio is not None for c in summary.comparisons):
        parts.append(f"equivalent within ±{100 * summary.delta:g} %")
    return "; ".join(parts) + "."


def comparison_warnings(summary: RunSummary) -> list[str]:
    """One line for each warning, with the comparisons that it falls on; a guest's phases are not listed one by one."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for comparison in summary.comparisons:
        for warning in comparison.warnings:
            grouped.setdefault((comparison.guest, warning), []).append(comparison.benchmark)
    lines = []
    for (guest, warning), benchmarks in grouped.items():
        every = sum(c.guest == guest for c in summary.comparisons) == len(benchmarks)
        phases = [b for b in benchmarks if b in PHASES]
        many = "all phases" if len(phases) == len(PHASES) == len(benchmarks) else ", ".join(benchmarks[:4])
        many += f" and {len(benchmarks) - 4} more" if len(benchmarks) > 4 and many != "all phases" else ""
        lines.append(f"{guest}{'' if every else f' ({many})'}: {warning}.")
    return lines
