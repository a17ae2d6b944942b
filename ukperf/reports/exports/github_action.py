"""benchmark-action/github-action-benchmark, tool `customSmallerIsBetter`: medians, half an interval as range.

Rates are for the tool `customBiggerIsBetter`. A file is read by one of the two, so that it holds costs or rates.
"""

from __future__ import annotations

import json

from ukperf.errors import UkperfError
from ukperf.model import Status, Unit
from ukperf.reports.exports import Exportable
from ukperf.text import clean, many


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a value, and for costs and rates together."""
    tool = _tool(run)
    facts = "\n".join(f"{name}: {value}" for name, value in run.facts.items())
    entries: list[dict[str, object]] = []
    for guest, benchmark, estimate in run.estimates():
        # one scale for ever: a chart over commits must not change it
        divisor, symbol = (1e-3, "ms") if estimate.unit is Unit.SECONDS else (1.0, estimate.unit.value)
        entry: dict[str, object] = {
            "name": _name(run.name(guest, benchmark)),
            "unit": symbol,
            "value": estimate.value / divisor,
            "extra": f"median of {many(estimate.n, 'boot')}{_kind(estimate.status)}\ntool: {tool}\n{facts}",
        }
        if estimate.low is not None and estimate.high is not None:
            # JavaScript must be able to read the number: no thousands separators
            entry["range"] = f"± {(estimate.high - estimate.low) / 2 / divisor:.4g}"
        entries.append(entry)
    if not entries:
        raise UkperfError("No boot gave a value: there is nothing to export.")
    return json.dumps(entries, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _tool(run: Exportable) -> str:
    """The action's tool, which says what is an improvement."""
    costs = {estimate.unit.cost: benchmark for _, benchmark, estimate in run.estimates()}
    if len(costs) > 1:
        raise UkperfError(
            f"{costs[-1]} is a rate and {costs[1]} is not: the action takes larger values of one file for better, "
            "or for worse, all of them.",
            hint="Export them one after the other, each into a file of its own: --benchmark says which.",
        )
    return "customBiggerIsBetter" if -1 in costs else "customSmallerIsBetter"


def _kind(status: Status) -> str:
    return "" if status is Status.MEASURED else f", {status.value}"


def _name(text: str) -> str:
    # the action puts names into code spans in a Markdown table
    return clean(text).translate({ord("|"): "·", ord("`"): "·"})
