"""What disturbed a run's boots, by the noise that each record keeps: said, since medians do not show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ukperf.model import BootRecord, Outcome, Unit
from ukperf.text import many

MUCH_STEAL = 0.01
RESTLESS = "restless"  # 1: the guest's kernel was still at work of its own when the program started


def disturbances(records: Sequence[BootRecord]) -> list[str]:
    """Sentences about the good boots of a run. Counts of instructions do not care for what the host has to do."""
    good = [r for r in records if r.outcome is Outcome.OK]
    timed = [r for r in good if r.unit is Unit.SECONDS]
    return [said for said in (_throttled(timed), _stolen(timed), _crowded(timed), _restless(good)) if said]


def _values(records: Sequence[BootRecord], name: str) -> list[float]:
    return [value for record in records if math.isfinite(value := record.noise.get(name, 0.0))]


def _throttled(records: Sequence[BootRecord]) -> str:
    stopped = [share for share in _values(records, "throttled") if share > 0]
    if not stopped:
        return ""
    seconds = sum(_values(records, "throttled_s"))
    return (
        f"A CPU quota stopped {len(stopped)} of {many(len(records), 'good boot')}, in {100 * median(stopped):.0f} % of "
        f"its periods (median) and for {seconds:.2f} CPU seconds in all: they took longer than their work does."
    )


def _stolen(records: Sequence[BootRecord]) -> str:
    stolen = _values(records, "steal")
    if not stolen or median(stolen) < MUCH_STEAL:
        return ""
    return (
        f"Other virtual machines took {100 * median(stolen):.1f} % of this host's CPU time during a boot (median; at "
        f"most {100 * max(stolen):.1f} %)."
    )


def _crowded(records: Sequence[BootRecord]) -> str:
    most = max(_values(records, "vcpus_per_cpu"), default=0.0)
    return f"Virtual CPUs shared the host's, {most:g} on each: they ran by turns." if most > 1 else ""


def _restless(records: Sequence[BootRecord]) -> str:
    hit = [record.trial.guest for record in records if record.noise.get(RESTLESS) == 1]
    if not hit:
        return ""
    return (
        f"The kernel of {', '.join(dict.fromkeys(hit))} had still not come to rest when the program started, in "
        f"{len(hit)} of {many(len(records), 'good boot')}, though init waited: both may have run by turns."
    )
