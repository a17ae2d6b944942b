"""What was seen: events, frames, samples, and the record of one boot.

Times are integers in nanoseconds unless a name says otherwise; ticks are the guest's own counter (rdtsc), which
under icount is the number of guest instructions since reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ukperf.model.fleet import FleetSeen
from ukperf.model.why import Why

if TYPE_CHECKING:
    from ukperf.model.visit import Visit


class Unit(StrEnum):
    SECONDS = "s"
    INSTRUCTIONS = "instructions"  # guest instructions = virtual nanoseconds under icount shift=0
    CYCLES = "cycles"  # TSC cycles
    BYTES = "bytes"
    COUNT = "count"  # a plain number of anything: pyperf's unit `integer`
    PER_SECOND = "1/s"  # a rate of anything
    SCORE = "score"  # a plain number of anything of which more is better

    @property
    def cost(self) -> int:
        """1 where the larger value is the worse one, as of time; -1 where it is the better one, as of rates."""
        return -1 if self in (Unit.PER_SECOND, Unit.SCORE) else 1


def cost_of(unit: Unit | None) -> int:
    """`Unit.cost`; what has no unit is taken for time."""
    return 1 if unit is None else unit.cost


class Phase(StrEnum):
    """The parts of a boot. Start and end events are in PHASE_EVENTS."""

    VMM = "vmm"
    KERNEL = "kernel"
    INIT = "init"
    STOP = "stop"
    READY = "ready"  # of guests whose recipe says what their first line then is
    TOTAL = "total"


class Event(StrEnum):
    """Points in a trial's life, in the order in which they happen."""

    START = "start"  # create called (libvirt), exec called (direct, native)
    CREATED = "created"  # domain created, paused (libvirt); console connected (direct)
    LOADED = "loaded"  # of a guest that is restored: its memory is mapped and the state of its devices read
    RESUMED = "resumed"  # vCPUs may run; equal to CREATED where the VMM cannot pause
    FIRST_BYTE = "first-byte"  # first byte on the console
    MAIN = "main"  # the program's first statement, by its `main` frame
    READY = "ready"  # the first line that says so: of the program's output by its run, of the console by a recipe; or
    # the program's `ready` frame
    CHECKED = "clock-checked"  # the program's `clock checked` frame; equal to MAIN where there is none
    EXIT = "exit"  # the program's `exit` frame
    STOPPED = "stopped"  # the guest powered itself off (VMM said so, or exited), or was ended by us


PHASE_EVENTS: Mapping[Phase, tuple[Event, Event]] = {
    Phase.VMM: (Event.START, Event.RESUMED),
    Phase.KERNEL: (Event.RESUMED, Event.FIRST_BYTE),
    Phase.INIT: (Event.FIRST_BYTE, Event.MAIN),
    Phase.STOP: (Event.CHECKED, Event.STOPPED),
    Phase.READY: (Event.START, Event.READY),
    Phase.TOTAL: (Event.START, Event.STOPPED),  # less the clock check, MAIN to CHECKED
}


class Outcome(StrEnum):
    """How a trial ended. Only OK is measured; the rest is counted, shown and never drops out silently."""

    OK = "ok"
    FAILED = "failed"  # the program exited with a status other than 0
    CRASHED = "crashed"  # the guest ended, or was reset, without an `exit` frame
    HUNG = "hung"  # spoke, then no end before the deadline
    SILENT = "silent"  # not one byte before the deadline
    FLOODED = "flooded"  # console budget exceeded
    LIED = "lied"  # frames contradict each other or the host's clock beyond belief
    LOST = "lost"  # the host failed (libvirt error, VMM did not start)


class Status(StrEnum):
    """What a figure is. It belongs to the figure, and goes with it into every table, file and comparison."""

    MEASURED = "measured"
    ENDED_BY_HOST = "ended by host"  # its end is the host's doing: no `stop`, and a `total` that ends with `exit`
    BELOW = "below resolution"  # both events came in one read: shorter than can be told, and no value
    NOT_SEEN = "not seen"  # an event did not come: no value
    GAP = "frames lost"  # frames were damaged, and what is left of the sample is not the whole of it: no value
    ACCUSED = "accused clock"  # timed by a guest's clock that is surely off


@dataclass(frozen=True)
class Frame:
    """A decoded console frame: fields are bounded JSON scalars/lists; at_ns is the host's read time."""

    event: str
    fields: Mapping[str, object]
    at_ns: int


@dataclass(frozen=True)
class Sample:
    """Values of one benchmark in one boot; len(values) iterations, each the cost of one loop."""

    benchmark: str
    unit: Unit
    values: tuple[float, ...]
    loops: int = 1
    warmups: tuple[float, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What the frames of one boot say, put together by `console.assemble`.

    samples: those that are whole. torn: benchmarks beside whose frames others were lost: of these, values may lack.
    lies: sentences about what cannot be true.
    """

    frames: tuple[Frame, ...] = ()
    samples: tuple[Sample, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)  # name → digest of the answers
    exit_status: int | None = None
    signal: int = 0  # that killed the program; 0: none
    error: str = ""  # the program's own sentence
    lies: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgramOutput:
    """What a program wrote while it ran. digest: sha256 of all bytes; head: the first of them."""

    length: int  # bytes
    digest: str
    head: bytes


@dataclass(frozen=True)
class Observation:
    """What a host saw of one boot: facts, no judgement beyond the outcome."""

    outcome: Outcome
    reason: str = ""  # one sentence, for people, when the outcome is not OK
    events: Mapping[Event, int] = field(default_factory=dict)  # CLOCK_MONOTONIC ns
    ticks: Mapping[Event, int] = field(default_factory=dict)  # guest counter, from frames
    report: Report = Report()  # what the guest said
    exit_status: int | None = None  # the report's, or what the host knows better
    ended_by_host: bool = False
    console_bytes: int = 0
    bad_frames: int = 0
    console_tail: str = ""
    output: ProgramOutput | None = None  # where it was asked for
    vmm_peak_rss: int | None = None  # bytes
    host_calls_ns: int = 0  # time spent inside libvirt's calls
    noise: Mapping[str, float] = field(default_factory=dict)  # load, steal, … during the trial
    why: Why | None = None  # by the guest's last words, where the outcome is not OK
    visit: Visit | None = None  # where there was a visitor
    fleet: FleetSeen | None = None  # where several were booted

    @property
    def frames(self) -> tuple[Frame, ...]:
        return self.report.frames


@dataclass(frozen=True)
class Readout:
    """What a workload reads out of a boot besides what the guest's frames say.

    files: name → content, for the run's folder; the first of a name stays. reason: why the boot is no good after all.
    """

    samples: tuple[Sample, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """One boot of one image: where it stands in the campaign."""

    index: int  # 0, 1, … in the order of execution
    block: int
    position: int  # in the block
    guest: str
    attempt: int = 0  # 1: the retry in the same block


@dataclass(frozen=True)
class BootRecord:
    """One line of the journal."""

    trial: Trial
    outcome: Outcome
    reason: str
    started_at: str  # ISO 8601, UTC
    phases: Mapping[Phase, float]  # in `unit`; a phase that could not be measured is absent
    unit: Unit  # SECONDS, or INSTRUCTIONS under icount
    samples: tuple[Sample, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)  # name → digest of the answers
    exit_status: int | None = None
    ended_by_host: bool = False
    clock_ratio: float | None = None  # guest time / host time (under icount: / instructions) between two frames
    clock_frames: tuple[tuple[int, int], ...] = ()  # guest ns, host ns of the frames behind it, since the first
    console_tail: str = ""
    vmm_peak_rss: int | None = None
    events: Mapping[str, int] = field(default_factory=dict)  # ns since START
    ticks: Mapping[str, int] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    host_calls_ns: int = 0
    host: str = ""  # connection, where a run has more than one
    image_digest: str = ""
    bad_frames: int = 0  # that were damaged on the console, and lost
    elapsed_s: float = 0.0  # of the run when this trial ended, breaks not counted
    statuses: Mapping[str, Status] = field(default_factory=dict)  # phase or benchmark → what it is, unless measured
    facts: Mapping[str, str] = field(default_factory=dict)  # under what it ran: see stats.provenance
    why: Why | None = None  # why it failed, where that is known
