"""pyperf's suite (JSON 1.0): one run a boot, all iterations. Read by `python -m pyperf`."""

from __future__ import annotations

import json

from ukperf.errors import UkperfError
from ukperf.reports.exports import Exportable
from ukperf.reports.pyperf_suite import suite


def export(run: Exportable) -> str:
    """Raises UkperfError when no boot gave a positive value: pyperf knows no empty suite."""
    data = suite(run.records, run.facts, run.only, run.benchmarks)
    if data is None:
        raise UkperfError("No boot gave a positive value, and pyperf knows no empty suite.")
    return json.dumps(data, sort_keys=True, allow_nan=False) + "\n"
