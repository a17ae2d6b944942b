"""hyperfine's --export-json, for its plotting scripts: one result a guest and benchmark, one time a boot.

hyperfine knows seconds only. `user` and `system` are times of a process; a guest has none, so they are 0.
"""

from __future__ import annotations

import json

import numpy as np

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.exports import Exportable


def export(run: Exportable) -> str:
    """Raises UkperfError when nothing in the run is in seconds."""
    results: list[dict[str, object]] = []
    marks = {(guest, benchmark): mark.status.value for guest, benchmark, mark in run.marked()}
    for guest, benchmark, series in run.series():
        times = np.asarray(series.values)
        if series.unit is not Unit.SECONDS or not np.isfinite(times).all():
            continue
        results.append(
            {
                "command": run.name(guest, benchmark),
                "mean": float(times.mean()),
                "stddev": float(times.std(ddof=1)) if times.size > 1 else None,
                "median": float(np.median(times)),
                "user": 0.0,
                "system": 0.0,
                "min": float(times.min()),
                "max": float(times.max()),
                "times": times.tolist(),
                "exit_codes": [0] * times.size,
                "parameters": {
                    "guest": guest,
                    "benchmark": benchmark,
                    "status": marks.get((guest, benchmark), "measured"),
                },
            }
        )
    if not results:
        raise UkperfError("Nothing in this run is in seconds, and hyperfine knows nothing else.")
    return json.dumps({"results": results}, indent=2, allow_nan=False) + "\n"
