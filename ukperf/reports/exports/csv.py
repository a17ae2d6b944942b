"""Tidy CSV (RFC 4180): a row for each boot and benchmark; failed boots have a row without a value.

Text that a spreadsheet would take for a formula gets an apostrophe in front, as OWASP advises: names of benchmarks and
the reasons of failures come from guests. Numbers are never touched.
"""

from __future__ import annotations

import csv
import io
import math

from ukperf.model import Outcome, Status
from ukperf.reports.exports import Exportable
from ukperf.stats.figures import statuses_of
from ukperf.stats.perboot import boot_summaries
from ukperf.stats.within import accuse
from ukperf.text import clean

COLUMNS = (
    "order",
    "block",
    "position",
    "attempt",
    "guest",
    "benchmark",
    "value",
    "unit",
    "outcome",
    "reason",
    "started_at",
    "ended_by_host",
    "clock_ratio",
    "vmm_peak_rss",
    "status",
)


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def _text(cell: str) -> str:
    cell = clean(cell)
    # white space in front is skipped by some spreadsheets
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell


def export(run: Exportable) -> str:
    """All boots in the order of execution, retries included. Values that are not finite (or beyond 1e30) are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for record in sorted(accuse(run.records), key=lambda r: r.trial.index):
        trial = record.trial
        if trial.guest not in run.guests:
            continue
        summaries = boot_summaries(record) if record.outcome is Outcome.OK else {}
        statuses = statuses_of(record)
        rows = [(name, value, unit.value) for name, (value, unit) in summaries.items() if run.wants(name)]
        rows += [(name, math.nan, "") for name in statuses if name not in summaries and run.wants(name)]
        if not summaries:
            rows = [("", math.nan, "")]
        for name, value, unit in rows:
            status = statuses.get(name, Status.MEASURED) if summaries else None
            writer.writerow(
                [
                    trial.index,
                    trial.block,
                    trial.position,
                    trial.attempt,
                    _text(trial.guest),
                    _text(name),
                    repr(value) if math.isfinite(value) else "",
                    unit,
                    record.outcome.value,
                    _text(record.reason),
                    _text(record.started_at),
                    "yes" if record.ended_by_host else "no",
                    "" if record.clock_ratio is None else record.clock_ratio,
                    record.vmm_peak_rss or "",
                    status.value if status else "",
                ]
            )
    return out.getvalue()
