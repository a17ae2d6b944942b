"""benchmark-action/github-action-benchmark, tool `customSmallerIsBetter`: medians, half an interval as range."""

from __future__ import annotations

import json

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.exports import Exportable
from ukperf.text import clean, many


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a value."""
    facts = "\n".join(f"{name}: {value}" for name, value in run.facts.items())
    entries: list[dict[str, object]] = []
    for guest, benchmark, estimate in run.estimates():
        # one scale for ever: a chart over commits must not change it
        divisor, symbol = (1e-3, "ms") if estimate.unit is Unit.SECONDS else (1.0, estimate.unit.value)
        entry: dict[str, object] = {
            "name": _name(run.name(guest, benchmark)),
            "unit": symbol,
            "value": estimate.value / divisor,
            "extra": f"median of {many(estimate.n, 'boot')}\n{facts}",
        }
        if estimate.low is not None and estimate.high is not None:
            # JavaScript must be able to read the number: no thousands separators
            entry["range"] = f"± {(estimate.high - estimate.low) / 2 / divisor:.4g}"
        entries.append(entry)
    if not entries:
        raise UkperfError("No boot gave a value: there is nothing to export.")
    return json.dumps(entries, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _name(text: str) -> str:
    # the action puts names into code spans in a Markdown table
    return clean(text).translate({ord("|"): "·", ord("`"): "·"})
