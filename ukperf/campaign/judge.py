"""From what a host saw to one line of the journal: phases, samples, and whether the guest told the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ukperf.console import assemble
from ukperf.model import (
    PHASE_EVENTS,
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Event,
    Frame,
    Observation,
    Outcome,
    Phase,
    Trial,
    Unit,
)

# Two frames must lie this far apart before their clocks can be compared to 1 %: the host stamps a frame when it reads
# it, some hundred microseconds late.
CLOCK_SPAN_NS = 50_000_000


def record_of(
    trial: Trial, spec: BootSpec, seen: Observation, host: str = "", started_at: datetime | None = None
) -> BootRecord:
    """One boot's record. Under icount phases are in guest instructions, elsewhere in seconds.

    started_at: when the trial began, on the wall clock; default: now.
    """
    counted = spec.accelerator is Accelerator.ICOUNT and spec.image.protocol is not BootProtocol.EXEC
    report = assemble(seen.frames)
    phases = _instructions(seen.ticks) if counted else _seconds(seen.events, seen.ended_by_host)
    start = seen.events.get(Event.START, 0)
    return BootRecord(
        trial=trial,
        outcome=seen.outcome,
        reason=seen.reason,
        started_at=(started_at or datetime.now(UTC)).isoformat(timespec="seconds"),
        phases=phases if seen.outcome is Outcome.OK else {},
        unit=Unit.INSTRUCTIONS if counted else Unit.SECONDS,
        samples=report.samples if seen.outcome is Outcome.OK else (),
        checks=report.checks,
        exit_status=seen.exit_status,
        ended_by_host=seen.ended_by_host,
        clock_ratio=clock_ratio(seen.frames, counted),
        console_tail="" if seen.outcome is Outcome.OK else seen.console_tail,
        vmm_peak_rss=seen.vmm_peak_rss,
        events={event.value: at - start for event, at in seen.events.items()},
        ticks={event.value: tick for event, tick in seen.ticks.items()},
        noise=seen.noise,
        host_calls_ns=seen.host_calls_ns,
        host=host,
        image_digest=spec.image.digest,
    )


def _seconds(events: Mapping[Event, int], ended_by_host: bool) -> dict[Phase, float]:
    """Phases between the host's events. A guest that we ended has no stop phase, and its total ends with `exit`."""
    seen = dict(events)
    if ended_by_host and Event.EXIT in seen:
        seen[Event.STOPPED] = seen[Event.EXIT]
    phases = {
        phase: (seen[last] - seen[first]) / 1e9
        for phase, (first, last) in PHASE_EVENTS.items()
        # Two events in one read, or none in between (no VMM), are no phase: nobody can say how long it took.
        if first in seen and last in seen and seen[last] > seen[first]
    }
    if ended_by_host:
        phases.pop(Phase.STOP, None)
    return phases


def _instructions(ticks: Mapping[Event, int]) -> dict[Phase, float]:
    """Phases by the guest's own counter, which counts its instructions from reset on.

    The host cannot read that counter, so phases end with frames: `kernel` with the first one, `stop` with `exit`.
    There is no VMM phase: no guest instruction has run in it.
    """
    first = ticks.get(Event.FIRST_BYTE, ticks.get(Event.MAIN, 0))
    phases = {
        Phase.KERNEL: first,
        Phase.INIT: ticks.get(Event.MAIN, 0) - ticks.get(Event.FIRST_BYTE, ticks.get(Event.MAIN, 0)),
        Phase.STOP: ticks.get(Event.EXIT, 0) - ticks.get(Event.MAIN, ticks.get(Event.EXIT, 0)),
        Phase.TOTAL: ticks.get(Event.EXIT, 0),
    }
    return {phase: float(count) for phase, count in phases.items() if count > 0}


def clock_ratio(frames: Sequence[Frame], counted: bool = False, span_ns: int = CLOCK_SPAN_NS) -> float | None:
    """Guest seconds per host second between the program's first and last frame; None if they are too close to tell.

    counted: under icount the host's clock means nothing to the guest; there the guest's own counter, one tick a virtual
    nanosecond, is what its clock must keep pace with.
    """
    stamps = []
    for frame in frames:
        guest, tick = frame.fields.get("t"), frame.fields.get("tsc")
        if frame.event not in ("init", "status") and isinstance(guest, int) and isinstance(tick, int) and guest > 0:
            stamps.append((guest, tick if counted else frame.at_ns))
    if len(stamps) < 2 or stamps[-1][1] - stamps[0][1] < span_ns:
        return None
    return (stamps[-1][0] - stamps[0][0]) / (stamps[-1][1] - stamps[0][1])
