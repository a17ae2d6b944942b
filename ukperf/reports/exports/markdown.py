"""A GitHub-flavoured Markdown table for issues and pull requests."""

from __future__ import annotations

import re

from ukperf.reports.exports import Exportable
from ukperf.reports.table import difference, has_row, location
from ukperf.text import clean, many

_PLAIN = re.compile(r"[\w ./:()+,;=%÷±·-]*")
_LINK = re.compile(r"://|\bwww\.|:\w+:", re.IGNORECASE)  # and emoji by their names


def quoted(text: str) -> str:
    """Text that cannot become markup, a link or a mention of somebody: as it is where it is harmless, else as code."""
    shown = " ".join(clean(text).split())
    if _PLAIN.fullmatch(shown) and not _LINK.search(shown):
        return shown.replace("_", "\\_")
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def cell(text: str) -> str:
    """The same in a table, where a bar would end the cell even inside code."""
    return quoted(text).replace("|", "\\|")


def export(run: Exportable) -> str:
    """Estimates and comparisons, the facts, the failures."""
    summary = run.summary
    head = f"| guest | benchmark | median | 95 % interval | ÷ {cell(summary.baseline)} | 95 % interval | verdict |"
    lines = [head, "|---|---|--:|---|--:|---|---|"]
    for guest in summary.guests:
        for benchmark in filter(run.wants, summary.benchmarks) if guest.guest in run.guests else ():
            estimate, comparison = guest.estimates.get(benchmark), summary.comparison(guest.guest, benchmark)
            if not has_row(guest, benchmark, comparison):
                continue
            figures = (*location(guest, benchmark, estimate), *difference(comparison, needs=False))
            cells = [cell(guest.guest), cell(benchmark), *(figure.plain for figure in figures)]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "; ".join(f"{quoted(name)} {quoted(value)}" for name, value in run.facts.items()) + "."]
    for guest in summary.guests:
        if guest.guest not in run.guests:
            continue
        for benchmark, count in guest.partly.items():
            if run.wants(benchmark):
                lines.append(
                    f"\n{quoted(guest.guest)}: {quoted(benchmark)} was seen in {count} of {many(guest.boots, 'boot')}."
                )
        if guest.failures:
            kinds = ", ".join(f"{count} {outcome.value}" for outcome, count in sorted(guest.failures.items()))
            lines.append(
                f"\n{quoted(guest.guest)}: {sum(guest.failures.values())} of {many(guest.tried, 'boot')} failed "
                f"({kinds})."
            )
    return "\n".join(lines) + "\n"
