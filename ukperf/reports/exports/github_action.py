"""benchmark-action/github-action-benchmark, tool `customSmallerIsBetter`: medians, half an interval as range."""

from __future__ import annotations

import json

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.exports import Exportable
from ukperf.reports.units import number


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a value."""
    facts = "\n".join(f"{name}: {value}" for name, value in run.facts.items())
    entries: list[dict[str, object]] = []
    for guest in run.summary.guests:
        for benchmark, estimate in guest.estimates.items() if guest.guest in run.guests else ():
            # one scale for ever: a chart over commits must not change it
            divisor, symbol = (1e-3, "ms") if estimate.unit is Unit.SECONDS else (1.0, estimate.unit.value)
            entry: dict[str, object] = {
                "name": run.name(guest.guest, benchmark),
                "unit": symbol,
                "value": estimate.value / divisor,
                "extra": f"median of {estimate.n} boots\n{facts}",
            }
            if estimate.low is not None and estimate.high is not None:
                entry["range"] = f"± {number((estimate.high - estimate.low) / 2 / divisor)}"
            entries.append(entry)
    if not entries:
        raise UkperfError("No boot gave a value: there is nothing to export.")
    return json.dumps(entries, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
