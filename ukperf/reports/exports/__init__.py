"""Runs in the formats of other tools: one module a format, each a function from `Exportable` to text.

A new format is a module here with a function `export` and a line in FORMATS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from ukperf.errors import UkperfError
from ukperf.model import BootRecord
from ukperf.stats.summary import RunSummary

FORMATS: Mapping[str, str] = {
    "pyperf": "ukperf.reports.exports.pyperf",
    "csv": "ukperf.reports.exports.csv",
    "markdown": "ukperf.reports.exports.markdown",
    "hyperfine": "ukperf.reports.exports.hyperfine",
    "bencher": "ukperf.reports.exports.bencher",
    "benchfmt": "ukperf.reports.exports.benchfmt",
    "github-action": "ukperf.reports.exports.github_action",
}


@dataclass(frozen=True)
class Exportable:
    """A run as exports see it. guest: only this guest, its name left out of benchmark names that have it."""

    records: Sequence[BootRecord]
    summary: RunSummary
    facts: Mapping[str, str]
    guest: str | None = None

    @property
    def guests(self) -> tuple[str, ...]:
        return tuple(g.guest for g in self.summary.guests if self.guest in (None, g.guest))

    def name(self, guest: str, benchmark: str) -> str:
        """`linux/total`, or `total` where one guest is exported."""
        return benchmark if self.guest else f"{guest}/{benchmark}"


def export(format_name: str, run: Exportable) -> str:
    """The run in a format, as text.

    Raises UkperfError for a format that there is not, and where the format cannot say what the run holds.
    """
    if format_name not in FORMATS:
        raise UkperfError(f"There is no format {format_name!r}.", hint="There are: " + ", ".join(FORMATS) + ".")
    text = import_module(FORMATS[format_name]).export(run)
    assert isinstance(text, str)
    return text
