"""What a figure is: measured, ended by the host, below resolution, … It is told once, here, and goes with the value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from ukperf.model import PHASE_EVENTS, BootRecord, Event, Outcome, Phase, Status, Unit
from ukperf.text import many

VALUELESS = frozenset({Status.BELOW, Status.NOT_SEEN, Status.GAP})
LARGEST, SMALLEST = 1e30, 1e-30  # sizes that squares and ratios can be taken of; nothing measured is beyond them
LEAST_ITERATIONS = 20  # boots of fewer are taken as they are: see `steady`


def phase_statuses(
    events: Mapping[str, int], phases: Mapping[Phase, float], *, ended_by_host: bool, counted: bool
) -> dict[str, Status]:
    """Phase → what it is, of a good boot's phases that are not simply measured.

    events: by name, in ns on one clock. phases: those that have a value. counted: the phases are guest instructions,
    and end with frames: then the host's hand is only on what would follow the program.
    """
    statuses = {Phase.STOP.value: Status.ENDED_BY_HOST} if ended_by_host else {}
    if counted or not events:
        return statuses
    if ended_by_host:
        statuses[Phase.TOTAL.value] = Status.ENDED_BY_HOST
    seen = {Event.CHECKED.value: events[Event.MAIN], **events} if Event.MAIN in events else events
    for phase in (Phase.KERNEL, Phase.INIT, Phase.STOP):
        if phase in phases or phase in statuses:
            continue
        first, last = PHASE_EVENTS[phase]
        statuses[phase.value] = Status.BELOW if first in seen and last in seen else Status.NOT_SEEN
    return statuses


def statuses_of(record: BootRecord) -> Mapping[str, Status]:
    """Phase or benchmark → what it is, unless it is measured. Journals of old do not say; their events do."""
    if record.outcome is not Outcome.OK or not record.phases:  # who left the phases out does not want them
        return record.statuses if record.outcome is Outcome.OK else {}
    counted = record.unit is Unit.INSTRUCTIONS
    of_phases = phase_statuses(record.events, record.phases, ended_by_host=record.ended_by_host, counted=counted)
    return {**of_phases, **record.statuses}


def has_value(name: str, status: Status | None) -> bool:
    """Has a figure of this name and status a value? The `stop` of a guest that the host ends has none."""
    return status not in VALUELESS and not (name == Phase.STOP and status is Status.ENDED_BY_HOST)


def why_no_value(statuses: Mapping[int, Status], boots: int, guest: str) -> str:
    """Why a guest's boots cannot be compared in one benchmark, or nothing. statuses: block → what the figure is there.

    Boots that are below the clock's or the console's resolution are the shortest ones: without them what is left is too
    long, so none are compared. boots: how many have a value.
    """
    kinds = Counter(statuses.values())
    tried = boots + sum(kinds[status] for status in VALUELESS)
    if kinds[Status.BELOW]:
        return f"{guest} is below the console's resolution in {kinds[Status.BELOW]} of {many(tried, 'boot')}"
    if not boots and kinds[Status.ENDED_BY_HOST]:
        return f"{guest} does not power off, the host ends it"
    return "" if boots else f"{guest} has no value"


def within_reason(value: float) -> float:
    """What is larger than 1e30 is infinite, what is smaller than 1e-30 is zero: neither is compared, both are named."""
    if abs(value) > LARGEST:
        return math.copysign(math.inf, value)
    return 0.0 if abs(value) < SMALLEST else value


def oddity(value: float) -> str:
    """What is wrong with a value that is not compared, as the end of "a value that is …"; empty for a good one."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite"
    if abs(value) > LARGEST:
        return f"beyond {LARGEST:g}, larger than anything measured"
    if value == 0:
        return "zero"
    if abs(value) < SMALLEST:
        return f"below {SMALLEST:g}, smaller than anything measured"
    return "negative" if value < 0 else ""


class Warmth(StrEnum):
    """What a boot's iterations did: their costs fell, or their rates rose, while it was warming up."""

    FLAT = "flat"
    WARMING_UP = "warming up"
    SLOWING_DOWN = "slowing down"
    UNSTEADY = "no steady state"
    SHORT = "too few iterations to tell"
