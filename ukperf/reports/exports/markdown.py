"""A GitHub-flavoured Markdown table for issues and pull requests."""

from __future__ import annotations

from ukperf.reports.exports import Exportable
from ukperf.reports.units import interval, number, scale_for


def cell(text: str) -> str:
    """Text that cannot end its cell or become markup."""
    safe = " ".join(text.split())
    for mark in "\\|`*_<>[]":
        safe = safe.replace(mark, f"\\{mark}")
    return safe


def export(run: Exportable) -> str:
    """Estimates and comparisons, the facts, the failures."""
    summary = run.summary
    head = f"| guest | benchmark | median | 95 % interval | ÷ {cell(summary.baseline)} | 95 % interval | verdict |"
    lines = [head, "|---|---|--:|---|--:|---|---|"]
    for guest in summary.guests:
        for benchmark in summary.benchmarks if guest.guest in run.guests else ():
            estimate, comparison = guest.estimates.get(benchmark), summary.comparison(guest.guest, benchmark)
            if estimate is None and comparison is None:
                continue
            cells = [cell(guest.guest), cell(benchmark), "–", "–", "", "", ""]
            if estimate is not None:
                divisor, symbol = scale_for(estimate.value, estimate.unit)
                spread = ((estimate.high or 0) - (estimate.low or 0)) / divisor if estimate.low is not None else 0.0
                cells[2] = f"{number(estimate.value / divisor, spread)} {symbol}"
                cells[3] = interval((estimate.low, estimate.high), divisor, spread)
            if comparison is not None:
                spread = 0.0 if comparison.low is None or comparison.high is None else comparison.high - comparison.low
                cells[4] = "–" if comparison.ratio is None else number(comparison.ratio, spread)
                cells[5] = interval((comparison.low, comparison.high))
                cells[6] = comparison.verdict.value
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "; ".join(f"{cell(name)} {cell(value)}" for name, value in run.facts.items()) + "."]
    for guest in summary.guests:
        if guest.failures and guest.guest in run.guests:
            kinds = ", ".join(f"{count} {outcome.value}" for outcome, count in sorted(guest.failures.items()))
            lines.append(
                f"\n{cell(guest.guest)}: {sum(guest.failures.values())} of {guest.tried} boots failed ({kinds})."
            )
    return "\n".join(lines) + "\n"
