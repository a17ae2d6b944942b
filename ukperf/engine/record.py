"""From what a host saw to one line of the journal: phases, samples, and whether the guest told the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ukperf.console import CLOCK_CHECKED, CLOCK_STARTED
from ukperf.model import (
    PHASE_EVENTS,
    Accelerator,
    BootRecord,
    BootSpec,
    Event,
    Frame,
    Observation,
    Outcome,
    Phase,
    Readout,
    Status,
    Trial,
    Unit,
)
from ukperf.stats.disturbance import RESTLESS
from ukperf.stats.figures import has_value, phase_statuses
from ukperf.stats.perboot import sample_name

# Two frames must lie this far apart before their clocks can be compared to 1 %: the host stamps a frame when it reads
# it, some hundred microseconds late.
CLOCK_SPAN_NS = 50_000_000
# Under icount nothing is late: enough instructions that the ends of the loop do not show.
COUNTED_SPAN = 1_000_000
CLOCK_FRAMES = 6  # five spans
CHECK_MS = {True: 2, False: CLOCK_SPAN_NS // 1_000_000}  # counted? → how long a program checks its clock


def record_of(
    trial: Trial,
    spec: BootSpec,
    seen: Observation,
    host: str = "",
    started_at: datetime | None = None,
    reading: Readout = Readout(),  # noqa: B008 - it is frozen
) -> BootRecord:
    """One boot's record. Under icount phases are in guest instructions, elsewhere in seconds.

    started_at: when the trial began, on the wall clock; default: now. reading: what its workload reads out of it.
    """
    if reading.reason and seen.outcome is Outcome.OK:
        seen = replace(seen, outcome=Outcome.FAILED, reason=reading.reason)
    instructions = spec.image.executed_by(spec.accelerator) is Accelerator.ICOUNT
    phases = _instructions(seen.ticks) if instructions else _seconds(seen.events, seen.ended_by_host)
    if spec.ready:
        phases.pop(Phase.READY, None)  # its workload asked for it, and makes a benchmark of it
    statuses = phase_statuses(
        {event.value: at for event, at in seen.events.items()},
        phases,
        ended_by_host=seen.ended_by_host,
        counted=instructions,
    )
    statuses |= {sample_name(name): Status.GAP for name in seen.report.torn}
    good = seen.outcome is Outcome.OK
    start = seen.events.get(Event.START, 0)
    return BootRecord(
        trial=trial,
        outcome=seen.outcome,
        reason=seen.reason,
        started_at=(started_at or datetime.now(UTC)).isoformat(timespec="seconds"),
        phases={p: v for p, v in phases.items() if has_value(p, statuses.get(p))} if good else {},
        unit=Unit.INSTRUCTIONS if instructions else Unit.SECONDS,
        samples=(*seen.report.samples, *reading.samples) if good else (),
        checks={**seen.report.checks, **reading.checks},
        exit_status=seen.exit_status,
        ended_by_host=seen.ended_by_host,
        clock_ratio=(ratio := clock_ratio(seen.frames, instructions)),
        clock_frames=() if ratio is None or instructions else clock_frames(seen.frames),
        console_tail="" if seen.outcome is Outcome.OK else seen.console_tail,
        vmm_peak_rss=seen.vmm_peak_rss,
        events={event.value: at - start for event, at in seen.events.items()},
        ticks={event.value: tick for event, tick in seen.ticks.items()},
        noise={**seen.noise, **_restless(seen.frames)},
        host_calls_ns=seen.host_calls_ns,
        host=host,
        image_digest=spec.image.digest,
        bad_frames=seen.bad_frames,
        why=None if good else seen.why,
        statuses=statuses if good else {},
    )


def _restless(frames: Sequence[Frame]) -> dict[str, float]:
    """That the guest's kernel was still at work of its own when its program started, as far as its init says so."""
    said = any(frame.event == "status" and frame.fields.get(RESTLESS) == 1 for frame in frames)
    return {RESTLESS: 1.0} if said else {}


def _seconds(events: Mapping[Event, int], ended_by_host: bool) -> dict[Phase, float]:
    """Phases between the host's events. A guest that we ended has no stop phase, and its total ends with `exit`, or
    `ready` where it speaks no frames."""
    seen, checking = _with_check(events)
    last_word = Event.EXIT if Event.EXIT in seen else Event.READY
    if ended_by_host and last_word in seen:
        seen[Event.STOPPED] = seen[last_word]
    phases = {
        phase: (seen[last] - seen[first]) / 1e9
        for phase, (first, last) in PHASE_EVENTS.items()
        # Two events in one read, or none in between (no VMM), have no value: see `stats.figures`.
        if first in seen and last in seen and seen[last] > seen[first]
    }
    if Phase.TOTAL in phases:
        phases[Phase.TOTAL] = (seen[Event.STOPPED] - seen[Event.START] - checking) / 1e9
    return phases


def _with_check(seen: Mapping[Event, int]) -> tuple[dict[Event, int], int]:
    """The events, CHECKED among them wherever MAIN is, and how long the clock check took: it is in no phase."""
    main = seen.get(Event.MAIN)
    if main is None:
        return dict(seen), 0
    checked = seen.get(Event.CHECKED, main)
    if not main <= checked <= seen.get(Event.EXIT, main):
        checked = main  # a frame out of its order: the guest lies, and nothing is taken off
    return {**seen, Event.CHECKED: checked}, checked - main


def _instructions(ticks: Mapping[Event, int]) -> dict[Phase, float]:
    """Phases by the guest's own counter, which counts its instructions from reset on.

    The host cannot read that counter, so phases end with frames: `kernel` with the first one, `stop` with `exit`.
    There is no VMM phase: no guest instruction has run in it.
    """
    first = ticks.get(Event.FIRST_BYTE, ticks.get(Event.MAIN, 0))
    ticks, checking = _with_check(ticks)
    phases = {
        Phase.KERNEL: first,
        Phase.INIT: ticks.get(Event.MAIN, 0) - ticks.get(Event.FIRST_BYTE, ticks.get(Event.MAIN, 0)),
        Phase.STOP: ticks.get(Event.EXIT, 0) - ticks.get(Event.CHECKED, ticks.get(Event.EXIT, 0)),
        Phase.TOTAL: ticks.get(Event.EXIT, 0) - checking,
    }
    return {phase: float(count) for phase, count in phases.items() if count > 0}


def clock_ratio(frames: Sequence[Frame], counted: bool = False, span_ns: int | None = None) -> float | None:
    """Guest seconds per host second between the program's first and last frame; None if they are too close to tell.

    Where the program has a clock check, its own frames count: they are of one length and not the first, so that the
    console delays all alike. counted: under icount the host's clock means nothing to the guest; there the guest's own
    counter, one tick a virtual nanosecond, is what its clock must keep pace with. span_ns: how far the frames must lie
    apart by either clock.
    """
    stamps = _stamps(frames, counted)
    if len(stamps) < 2:
        return None
    passed, against = stamps[-1][0] - stamps[0][0], stamps[-1][1] - stamps[0][1]
    if span_ns is None:
        span_ns = COUNTED_SPAN if counted else CLOCK_SPAN_NS
    return passed / against if against > 0 and max(passed, against) >= span_ns else None


def clock_frames(frames: Sequence[Frame]) -> tuple[tuple[int, int], ...]:
    """(guest ns, host ns) since the first of the frames that tell of the guest's clock.

    Of many, six at nearly equal steps of the guest's time.
    """
    stamps = _stamps(frames, counted=False)
    if len(stamps) < 2:
        return ()
    first, passed = stamps[0], stamps[-1][0] - stamps[0][0]
    if len(stamps) > CLOCK_FRAMES:
        wanted = [first[0] + passed * i / (CLOCK_FRAMES - 1) for i in range(CLOCK_FRAMES)]
        stamps = sorted({min(stamps[1:-1], key=lambda s: abs(s[0] - at)) for at in wanted[1:-1]} | {first, stamps[-1]})
    return tuple((guest - first[0], host - first[1]) for guest, host in stamps)


def _stamps(frames: Sequence[Frame], counted: bool) -> list[tuple[int, int]]:
    """(guest ns, host ns or ticks) of the frames that a program's clock can be told by."""
    stamps: list[tuple[int, int]] = []
    for frame in frames:
        guest, tick = frame.fields.get("t"), frame.fields.get("tsc")
        if frame.event not in ("init", "status") and isinstance(guest, int) and isinstance(tick, int) and guest > 0:
            if frame.fields.get("name") == CLOCK_STARTED:
                stamps.clear()
            stamps.append((guest, tick if counted else frame.at_ns))
            if frame.fields.get("name") == CLOCK_CHECKED:
                break
    return stamps
