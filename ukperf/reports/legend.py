"""What the names in a table mean: the events where each phase starts and ends, by what the run measured them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ukperf.model import PHASE_EVENTS, Unit

if TYPE_CHECKING:
    from ukperf.stats.summary import RunSummary

# In seconds phases lie between the host's events; counted ones between frames, in which the guest's counter stands.
_TIMED = {
    "vmm": "VMM start: create called → virtual CPUs may run",
    "kernel": "firmware and kernel: virtual CPUs may run (native: exec called) → first byte on the console",
    "init": "first byte on the console → main of the program",
    "stop": "main of the program, its clock check over → guest stopped",
    "total": "create called → guest stopped, less the clock check",
}
_COUNTED = {
    "kernel": "firmware and kernel: reset → first frame, which is our init's in linux and the program's main elsewhere",
    "init": "our init: its frame → main of the program",
    "stop": "main of the program, its clock check over → exit of the program",
    "total": "reset → exit of the program, less the clock check",
}
COUNTED_EVENTS = {
    "kernel": ("reset", "first-frame"),
    "init": ("first-frame", "main"),
    "stop": ("clock-checked", "exit"),
    "total": ("reset", "exit"),
}


def legend(summary: RunSummary) -> dict[str, str]:
    """Phase → what it is, for the phases that have a figure in this run, in both ways where it has both."""
    units = _units(summary)
    words = {}
    for name in _TIMED:
        ways = units.get(name, set())
        said = [way[name] for way, found in ((_TIMED, False), (_COUNTED, True)) if found in ways and name in way]
        if said:
            words[name] = "; in instructions: ".join(said)
    return words


def phase_events(summary: RunSummary) -> dict[str, dict[str, str]]:
    """Phase → its start and end event, for JSON; of a run with both ways those in seconds are told."""
    counted = set().union(*_units(summary).values()) == {True}
    timed = {phase.value: (str(first), str(last)) for phase, (first, last) in PHASE_EVENTS.items()}
    return {name: {"start": a, "end": b} for name, (a, b) in (COUNTED_EVENTS if counted else timed).items()}


def _units(summary: RunSummary) -> dict[str, set[bool]]:
    """Phase → is it counted? of the guests that have a figure of it, or of whose figure the status is known."""
    found: dict[str, set[bool]] = {}
    for guest in summary.guests:
        for name in (*guest.estimates, *guest.statuses):
            if name in _TIMED:
                found.setdefault(name, set()).add(guest.unit is Unit.INSTRUCTIONS)
    return found
