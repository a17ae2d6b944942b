"""Bencher Metric Format (BMF JSON): medians with their intervals, for `bencher run --adapter json`.

Bencher's built-in measure `latency` is in nanoseconds; the other units get measures of their own names.
"""

from __future__ import annotations

import json

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.exports import Exportable

_MEASURES = {
    Unit.SECONDS: ("latency", 1e9),
    Unit.INSTRUCTIONS: ("instructions", 1.0),
    Unit.CYCLES: ("cycles", 1.0),
    Unit.BYTES: ("bytes", 1.0),
}
_LONGEST_NAME = 1024  # Bencher's limit for the name of a benchmark


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a value."""
    data: dict[str, dict[str, dict[str, float]]] = {}
    for guest in run.summary.guests:
        for benchmark, estimate in guest.estimates.items() if guest.guest in run.guests else ():
            measure, factor = _MEASURES[estimate.unit]
            metric = {"value": estimate.value * factor}
            if estimate.low is not None and estimate.high is not None:
                metric |= {"lower_value": estimate.low * factor, "upper_value": estimate.high * factor}
            data[run.name(guest.guest, benchmark)[:_LONGEST_NAME]] = {measure: metric}
    if not data:
        raise UkperfError("No boot gave a value: there is nothing to export.")
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
