"""Bencher Metric Format (BMF JSON): medians with their intervals, for `bencher run --adapter json`.

Bencher's built-in measures `latency` (nanoseconds), `throughput` (operations a second) and `instructions` are used;
cycles, bytes and counts get measures of their own names, which Bencher makes when it first sees them. Which direction
raises an alert is said by Bencher's thresholds: a lower boundary for throughput, an upper one for everything else.
"""

from __future__ import annotations

import json
from collections.abc import Container
from itertools import count
from uuid import UUID

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.exports import Exportable

_MEASURES = {
    Unit.SECONDS: ("latency", 1e9),
    Unit.INSTRUCTIONS: ("instructions", 1.0),
    Unit.CYCLES: ("cycles", 1.0),
    Unit.BYTES: ("bytes", 1.0),
    Unit.COUNT: ("count", 1.0),
    Unit.PER_SECOND: ("throughput", 1.0),
    Unit.SCORE: ("score", 1.0),
}
_LONGEST_NAME = 1024  # bytes


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a value."""
    data: dict[str, dict[str, dict[str, float]]] = {}
    for guest, benchmark, estimate in run.estimates():
        measure, factor = _MEASURES[estimate.unit]
        metric = {"value": estimate.value * factor}
        if estimate.low is not None and estimate.high is not None:
            metric |= {"lower_value": estimate.low * factor, "upper_value": estimate.high * factor}
        data[_unique(_name(run.name(guest, benchmark)), data)] = {measure: metric}
    if not data:
        raise UkperfError("No boot gave a value: there is nothing to export.")
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def _name(text: str) -> str:
    """A name that Bencher takes for one: one bad name, and it refuses the whole file.

    It wants 1 to 1,024 bytes, and looks for a known benchmark behind a UUID.
    """
    name = text.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore") or "unnamed"
    try:
        UUID(name)
    except ValueError:
        return name
    return f"benchmark {name}"


def _unique(name: str, taken: Container[str]) -> str:
    """Two names that became one when they were cut get numbers."""
    numbered = (f"{name[:200]} ({i})" for i in count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)
