"""The nouns of ukperf: frozen dataclasses and StrEnums that every room shares. Imports nothing of ours.

Times are integers in nanoseconds unless a name says otherwise; ticks are the guest's own counter (rdtsc), which
under icount is the number of guest instructions since reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Accelerator(StrEnum):
    """What executes guest instructions. AUTO is resolved by the truth check before anything is measured."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"
    ICOUNT = "icount"
    XEN = "xen"
    NATIVE = "native"  # no virtual machine: the `native` guest


class MachineKind(StrEnum):
    Q35 = "q35"
    MICROVM = "microvm"
    XENPV = "xenpv"
    XENPVH = "xenpvh"
    XENHVM = "xenhvm"

    @property
    def on_xen(self) -> bool:
        return self in (MachineKind.XENPV, MachineKind.XENPVH, MachineKind.XENHVM)


class Launch(StrEnum):
    """Who executes the VMM: libvirt itself, or we, with the command line that libvirt wrote."""

    LIBVIRT = "libvirt"
    DIRECT = "direct"


class BootProtocol(StrEnum):
    """How an image reaches its first instruction."""

    KERNEL = "kernel"  # the VMM loads kernel (+ initrd): Linux bzImage, multiboot, or PVH ELF note
    DISK = "disk"  # firmware reads the boot sector of the first disk
    EXEC = "exec"  # no VM: fork and execve on the host


class Unit(StrEnum):
    SECONDS = "s"
    INSTRUCTIONS = "instructions"  # guest instructions = virtual nanoseconds under icount shift=0
    CYCLES = "cycles"  # TSC cycles
    BYTES = "bytes"
    COUNT = "count"  # a plain number of anything: pyperf's unit `integer`
    PER_SECOND = "1/s"  # a rate of anything

    @property
    def cost(self) -> int:
        """1 where the larger value is the worse one, as of time; -1 where it is the better one, as of rates."""
        return -1 if self is Unit.PER_SECOND else 1


class Phase(StrEnum):
    """The parts of a boot. Start and end events are in PHASE_EVENTS."""

    VMM = "vmm"
    KERNEL = "kernel"
    INIT = "init"
    STOP = "stop"
    TOTAL = "total"


class Event(StrEnum):
    """Points in a trial's life, in the order in which they happen."""

    START = "start"  # create called (libvirt), exec called (direct, native)
    CREATED = "created"  # domain created, paused (libvirt); console connected (direct)
    RESUMED = "resumed"  # vCPUs may run; equal to CREATED where the VMM cannot pause
    FIRST_BYTE = "first-byte"  # first byte on the console
    MAIN = "main"  # the program's first statement, by its `main` frame
    CHECKED = "clock-checked"  # the program's `clock checked` frame; equal to MAIN where there is none
    EXIT = "exit"  # the program's `exit` frame
    STOPPED = "stopped"  # the guest powered itself off (VMM said so, or exited), or was ended by us


PHASE_EVENTS: Mapping[Phase, tuple[Event, Event]] = {
    Phase.VMM: (Event.START, Event.RESUMED),
    Phase.KERNEL: (Event.RESUMED, Event.FIRST_BYTE),
    Phase.INIT: (Event.FIRST_BYTE, Event.MAIN),
    Phase.STOP: (Event.CHECKED, Event.STOPPED),
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


class Verdict(StrEnum):
    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Machine:
    """The virtual machine that every guest of a run gets."""

    kind: MachineKind = MachineKind.Q35
    memory_mib: int = 256
    vcpus: int = 1
    pin: tuple[int, ...] = ()  # host CPUs, empty: not pinned


@dataclass(frozen=True)
class Program:
    """What runs in a guest: an ELF file (C workloads) or a directory tree (Python).

    digest is the sha256 of the bytes that are the same in every guest; argv[0] is a path inside the guest.
    """

    workload: str
    digest: str
    path: Path  # the ELF file, or the tree's root directory
    is_tree: bool
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Image:
    """Guest + workload, bootable, addressed by the sha256 of everything in it."""

    guest: str
    workload: str
    digest: str
    program_digest: str  # "" where the program is linked into the kernel (floor)
    protocol: BootProtocol
    kernel: Path | None = None
    initrd: Path | None = None
    disk: Path | None = None
    cmdline: str = ""
    argv: tuple[str, ...] = ()  # EXEC only
    env: tuple[tuple[str, str], ...] = ()  # EXEC only
    kernel_version: str = ""
    kernel_digest: str = ""
    powers_off: bool = True  # False: sleeps for ever after the exit frame, the host ends it
    qemu_args: tuple[str, ...] = ()  # what this image needs of QEMU on its machine, besides what every guest gets
    debug_exit: bool = False  # wants isa-debug-exit at 0x501: VMM status (code << 1) | 1
    min_memory_mib: int = 16
    idle_leap_us: int = 2  # under icount: how far the clock may leap each time the guest idles, waiting for its disk


@dataclass(frozen=True)
class BootSpec:
    """One trial as a host sees it: everything needed to boot, and every bound on what may come back."""

    image: Image
    machine: Machine
    accelerator: Accelerator
    launch: Launch = Launch.LIBVIRT
    timeout_s: float = 120.0
    idle_s: float | None = None  # a guest that says nothing for so long is taken to hang; None: only timeout_s counts
    console_limit: int = 8 << 20  # bytes
    run_id: str = ""
    name: str = ""  # domain name, unique on the host
    console_path: Path | None = None  # the raw console is written here, if given


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
class Observation:
    """What a host saw of one boot: facts, no judgement beyond the outcome."""

    outcome: Outcome
    reason: str = ""  # one sentence, for people, when the outcome is not OK
    events: Mapping[Event, int] = field(default_factory=dict)  # CLOCK_MONOTONIC ns
    ticks: Mapping[Event, int] = field(default_factory=dict)  # guest counter, from frames
    frames: tuple[Frame, ...] = ()
    exit_status: int | None = None
    ended_by_host: bool = False
    console_bytes: int = 0
    bad_frames: int = 0
    console_tail: str = ""
    vmm_peak_rss: int | None = None  # bytes
    host_calls_ns: int = 0  # time spent inside libvirt's calls
    noise: Mapping[str, float] = field(default_factory=dict)  # load, steal, … during the trial


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


@dataclass(frozen=True)
class Estimate:
    """A location with its confidence interval; low/high are None below the boots that an interval needs.

    status: what most of the boots behind it are. off: boots whose value is not `value`.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    unit: Unit
    status: Status = Status.MEASURED
    off: int = 0


@dataclass(frozen=True)
class Comparison:
    """guest / baseline for one benchmark: ratio of geometric means with its interval and verdict."""

    benchmark: str
    guest: str
    baseline: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    n: int  # boots (pairs) behind it
    p_value: float | None = None  # two-sided, Holm-adjusted where a family was given
    boots_needed: int | None = None  # inconclusive only: blocks that would settle it; between runs: boots of each side
    warnings: tuple[str, ...] = ()
    unit: Unit | None = None  # of both sides, where they are comparable

    @property
    def word(self) -> str:
        """The verdict in the words of its unit: `faster` of time, `fewer` of counts, `higher` of rates."""
        return verdict_word(self.verdict, self.unit)


def cost_of(unit: Unit | None) -> int:
    """`Unit.cost`; what has no unit is taken for time."""
    return 1 if unit is None else unit.cost


def direction(log_ratio: float, unit: Unit | None) -> Verdict:
    """What a difference is called: FASTER is whatever is better, less time or a higher rate."""
    return Verdict.FASTER if cost_of(unit) * log_ratio < 0 else Verdict.SLOWER


_COUNT_WORDS = {Verdict.FASTER: "fewer", Verdict.SLOWER: "more"}
_WORDS: Mapping[Unit, Mapping[Verdict, str]] = {
    Unit.INSTRUCTIONS: _COUNT_WORDS,
    Unit.BYTES: _COUNT_WORDS,
    Unit.COUNT: _COUNT_WORDS,
    Unit.PER_SECOND: {Verdict.FASTER: "higher", Verdict.SLOWER: "lower"},
}
# What differences are called in any unit → the verdict: one question, asked of each unit in its words.
VERDICT_OF_WORD: Mapping[str, Verdict] = {word: v for words in _WORDS.values() for v, word in words.items()}


def verdict_word(verdict: Verdict, unit: Unit | None) -> str:
    """A verdict for people: `faster` and `slower` of time, `fewer` and `more` of instructions, bytes and counts,
    `higher` and `lower` of rates."""
    words = _WORDS.get(unit, {}) if unit is not None else {}
    return words.get(verdict, verdict.value)


def kind_of(guest: str) -> str:
    """`nanos` of `nanos:0.1.55` (GUEST:VERSION): the guest itself, whichever of its kernels the name chooses."""
    return guest.partition(":")[0]


class CallClass(StrEnum):
    """What a guest does with a system call number (docs/syscalls.md says how each is found out)."""

    WORKS = "works"
    ERROR = "error"  # answers with an error other than ENOSYS: it knows the call
    STUB = "stub"  # a success that cannot be true
    ENOSYS = "enosys"
    KILLS = "kills"  # the guest ended in it
    HANGS = "hangs"  # the guest did not come back from it
    UNPROBED = "unprobed"  # no probe, or none that is safe here


@dataclass(frozen=True)
class SystemCall:
    """One system call number in one guest. errno: the answer of ERROR and ENOSYS; detail: one phrase, for people."""

    nr: int
    name: str
    kind: CallClass
    errno: int = 0
    detail: str = ""


@dataclass(frozen=True)
class CallTable:
    """Every x86-64 system call in one guest, by number."""

    guest: str
    kernel_version: str
    kernel_digest: str
    program_digest: str
    calls: tuple[SystemCall, ...]
    boots: int
    complaint: str = ""  # why the table is incomplete, if it is

    def call(self, nr: int) -> SystemCall | None:
        return next((call for call in self.calls if call.nr == nr), None)
