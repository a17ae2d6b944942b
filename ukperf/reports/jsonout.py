"""The same facts as the table, as strict JSON (no NaN, no Infinity)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ukperf.model import Comparison, Estimate
from ukperf.reports.legend import phase_events

if TYPE_CHECKING:
    from ukperf.stats.summary import GuestSummary, RunSummary


def finite(value: float | None) -> float | None:
    """None for what JSON cannot say."""
    return None if value is None or not math.isfinite(value) else value


def estimate_json(estimate: Estimate) -> dict[str, object]:
    return {
        "value": finite(estimate.value),
        "low": finite(estimate.low),
        "high": finite(estimate.high),
        "n": estimate.n,
        "unit": estimate.unit.value,
        "status": estimate.status.value,
    }


def comparison_json(comparison: Comparison, unit: str | None = None) -> dict[str, object]:
    return {
        "benchmark": comparison.benchmark,
        "guest": comparison.guest,
        "baseline": comparison.baseline,
        "ratio": finite(comparison.ratio),
        "low": finite(comparison.low),
        "high": finite(comparison.high),
        "verdict": comparison.verdict.value,
        "word": comparison.word,
        "unit": unit,
        "n": comparison.n,
        "p_value": finite(comparison.p_value),
        "boots_needed": comparison.boots_needed,
        "warnings": list(comparison.warnings),
    }


def _guest_json(guest: GuestSummary) -> dict[str, object]:
    return {
        "guest": guest.guest,
        "boots": guest.boots,
        "tried": guest.tried,
        "retried": guest.retried,
        "last_lines": list(guest.last_lines),
        "unit": guest.unit.value,
        "ended_by_host": guest.ended_by_host,
        "clock_ratio": None if guest.clock is None else finite(guest.clock.value),
        "clock_interval": None if guest.clock is None else [finite(guest.clock.low), finite(guest.clock.high)],
        "failures": {outcome.value: count for outcome, count in guest.failures.items()},
        "reasons": list(guest.reasons),
        "seen": dict(guest.seen),
        "statuses": {
            name: {status.value: count for status, count in kinds.items()} for name, kinds in guest.statuses.items()
        },
        "estimates": {name: estimate_json(estimate) for name, estimate in guest.estimates.items()},
    }


def _unit_of(summary: RunSummary, comparison: Comparison) -> str | None:
    guest = summary.guest(comparison.guest)
    estimate = guest.estimates.get(comparison.benchmark) if guest else None
    return estimate.unit.value if estimate else None


def to_json(summary: RunSummary, facts: Mapping[str, str]) -> dict[str, object]:
    """Plain dicts and lists; `json.dumps(…, allow_nan=False)` never raises on it.

    facts: what the numbers are (accelerator, machine, firmware, console, seed …), copied as they are.
    """
    return {
        "baseline": summary.baseline,
        "delta": summary.delta,
        "blocks": summary.blocks,
        "facts": dict(facts),
        "phases": phase_events(summary),
        "benchmarks": list(summary.benchmarks),
        "guests": [_guest_json(guest) for guest in summary.guests],
        "failures": {
            guest.guest: {outcome.value: count for outcome, count in guest.failures.items()} for guest in summary.guests
        },
        "comparisons": [comparison_json(c, _unit_of(summary, c)) for c in summary.comparisons],
        "warnings": list(summary.warnings),
    }
