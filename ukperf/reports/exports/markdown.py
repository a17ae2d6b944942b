"""A GitHub-flavoured Markdown table for issues and pull requests: the run's page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from ukperf.reports import markdown
from ukperf.reports.exports import Exportable
from ukperf.reports.table import RunPage
from ukperf.stats.summary import RunSummary

V = TypeVar("V")


def export(run: Exportable) -> str:
    """Estimates and comparisons, the facts, the failures, and what is to be noted."""
    return markdown.render(RunPage(_chosen(run), facts=run.facts))


def _chosen(run: Exportable) -> RunSummary:
    """What is exported of the summary. Verdicts stay those of the whole family."""
    summary = run.summary

    def wanted(table: Mapping[str, V]) -> dict[str, V]:
        return {name: item for name, item in table.items() if run.wants(name)}

    guests = tuple(
        replace(guest, estimates=wanted(guest.estimates), statuses=wanted(guest.statuses), seen=wanted(guest.seen))
        for guest in summary.guests
        if guest.guest in run.guests
    )
    left_out = {guest.guest for guest in summary.guests if guest.guest not in run.guests}
    left_out |= {name for name in summary.benchmarks if not run.wants(name)}
    return replace(
        summary,
        guests=guests,
        benchmarks=tuple(filter(run.wants, summary.benchmarks)),
        comparisons=tuple(c for c in summary.comparisons if c.guest in run.guests and run.wants(c.benchmark)),
        warnings=tuple(said for said in summary.warnings if not _speaks_of(said, left_out)),
    )


def _speaks_of(sentence: str, names: set[str]) -> bool:
    """Does a sentence name one of these?"""
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sentence) for name in names)
