"""A campaign: what is asked for, what is planned, and the run that came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukperf.model.asked import Accelerator, Image, Launch, Listening, Machine, MachineKind, Network, Program, Restorer
from ukperf.model.fleet import Fleet
from ukperf.model.seen import BootRecord

# How orders are drawn (engine/schedule.py): each block's by itself, as in runs planned before 0.2, or in a chain.
INDEPENDENT, BALANCED = 1, 2


@dataclass(frozen=True)
class Limits:
    """When a run is enough: after `boots` blocks, or when ratios are known to ± precision; at most max_time_s. retry: a
    boot that failed is made once more in its block."""

    boots: int | None = 20
    precision: float | None = None  # 0.01: ± 1 %
    max_time_s: float | None = None
    retry: bool = True


NO_PROGRAM = Program("", "", Path(), is_tree=False, argv=())  # of a request until its workload has said which


@dataclass(frozen=True)
class Variant:
    """A guest under a name of its own, with what differs from the guest as the request has it. words: as it was typed.

    append: added to the guest's command line, behind what the request adds. arguments: more words for its program.
    """

    guest: str
    words: str = ""
    kernel: Path | None = None
    append: str = ""
    machine: MachineKind | None = None
    memory_mib: int | None = None
    vcpus: int | None = None
    arguments: tuple[str, ...] = ()
    program: str = ""  # another one, as it would be typed


RESTORED = "@restore"  # the end of a setting's name that is restored: a guest that was saved goes on


@dataclass(frozen=True)
class Restores:
    """Guests that are restored instead of booted, each under its name and RESTORED.

    booted: they are booted too, in the same blocks. words, env: added to the program's, so that it waits at its gate
    and is saved there. ready: a pattern; it is saved at the first line that it matches instead. answered: it is saved
    when the visitor (`Workload.visitor`) has had what it wanted, instead.
    """

    booted: bool = True
    words: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ready: str = ""
    answered: bool = False
    by: Restorer = Restorer.TEMPLATE


@dataclass(frozen=True)
class Request:
    """What to measure. guests: empty means the default ones. kernels, cmdlines: guest → override.

    workload, parameters: what plan.json calls the workload (default: as its program does), and the options it got.
    """

    program: Program = NO_PROGRAM
    guests: tuple[str, ...] = ()
    default_guests: tuple[str, ...] = ()  # of those that join by default these alone; empty: all
    baseline: str = ""  # of all ratios; "": the guest whose recipe says so
    added: str = ""  # the baseline, where it is among the guests without having been named
    machine: Machine = field(default_factory=Machine)
    accelerator: Accelerator = Accelerator.AUTO
    launch: Launch = Launch.LIBVIRT
    connect: tuple[str, ...] = ()  # empty: the default one
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    delta: float = 0.01
    timeout_s: float = 120.0
    kernels: Mapping[str, Path] = field(default_factory=dict)
    cmdlines: Mapping[str, str] = field(default_factory=dict)
    memory_mib: Mapping[str, int] = field(default_factory=dict)
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # guest → more words for its program
    variants: Mapping[str, Variant] = field(default_factory=dict)  # name in the run → guest with what differs
    folder: Path | None = None
    share_host: bool = False
    check_clocks: bool = False  # the program takes `clock=MS`, since it is over too soon to tell otherwise
    shared_path: bool = False  # remote hosts see our files under the same paths
    beside: Mapping[str, str] = field(default_factory=dict)  # files of the run's folder that a resumed run needs
    command: tuple[str, ...] = ()
    workload: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    phases: bool = True  # are they compared, or only what the program measures?
    listening: Listening = field(default_factory=Listening)
    programs: Mapping[str, Program] = field(default_factory=dict)  # variants that run another one
    network: Network | None = None  # of every guest; None: none has a network device
    fleet: Fleet | None = None  # a trial is so many guests at once
    scheduler: str = ""  # whose workers do the blocks, each on its machine; "": this process does
    strata: bool = False  # workers of another kind take part, in strata of their own
    restores: Restores | None = None  # None: all are booted
    cold: bool = False  # files are dropped from the page cache before each boot
    counted: bool = False  # what each boot executes is counted; nothing's place in memory is random then
    stacks: bool = False  # call stacks are followed besides

    def started_at_once(self) -> Request:
        """With programs that do not wait for their kernel: for figures that begin with the machine."""
        others = {name: replace(program, settled=False) for name, program in self.programs.items()}
        return replace(self, program=replace(self.program, settled=False), programs=others)


@dataclass(frozen=True)
class Plan:
    """A run's plan.json. images: guest → image; hosts: libvirt connections, blocks go round them."""

    run_id: str
    created_at: str
    workload: str
    images: Mapping[str, Image]
    baseline: str
    machine: Machine
    accelerator: Accelerator
    launch: Launch
    hosts: tuple[str, ...]
    seed: int
    limits: Limits
    delta: float = 0.01
    timeout_s: float = 120.0
    memory_mib: Mapping[str, int] = field(default_factory=dict)  # guests that need another amount than machine's
    kinds: Mapping[str, MachineKind] = field(default_factory=dict)  # guests whose machine type is not machine's
    vcpus: Mapping[str, int] = field(default_factory=dict)  # guests that have another number than machine's
    variants: Mapping[str, str] = field(default_factory=dict)  # name → what it is, as it was typed
    shared_path: bool = False
    schedule: int = INDEPENDENT  # how orders are made: that of plans which do not say
    command: tuple[str, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)  # the workload's options
    phases: bool = True  # are the boots' phases compared, or only what the program measured?
    listening: Listening = field(default_factory=Listening)
    network: Network | None = None
    fleet: Fleet | None = None  # a trial is so many guests at once
    scheduler: str = ""  # whose workers do the blocks, each on its machine; "": the asker does, on `hosts`
    strata: bool = False  # workers of another kind take part, in strata of their own
    templates: Mapping[str, Path] = field(default_factory=dict)  # of settings that are restored: the folder
    restorer: Restorer = Restorer.TEMPLATE
    cold: bool = False  # files are dropped from the page cache before each boot
    counted: bool = False  # what each boot executes is counted, and kept beside the journal
    stacks: bool = False  # call stacks besides
    files: Mapping[str, str] = field(default_factory=dict)  # that images boot from: path → sha256
    facts: Mapping[str, str] = field(default_factory=dict)  # versions, CPU, … when the run was planned

    @property
    def guests(self) -> tuple[str, ...]:
        return tuple(self.images)

    def machine_of(self, guest: str) -> Machine:
        """The machine that one guest gets."""
        machine = self.machine
        return replace(
            machine,
            memory_mib=self.memory_mib.get(guest, machine.memory_mib),
            kind=self.kinds.get(guest, machine.kind),
            vcpus=self.vcpus.get(guest, machine.vcpus),
        )


@dataclass(frozen=True)
class Result:
    """A run that ended. why: the phrase that says what ended it."""

    folder: Path
    plan: Plan
    records: tuple[BootRecord, ...]
    why: str
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True)
class Portable:
    """What a bundle of a run has so that it can be shown on any machine. files: name → text, besides the run's own;
    instead_of: the run's files, or folders, that say the same and need this machine's files to be read."""

    files: Mapping[str, str] = field(default_factory=dict)
    instead_of: tuple[str, ...] = ()
