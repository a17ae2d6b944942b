"""What a workload is to the rest of ukperf: its options, what it boots, what its records mean, and its page.

The engine calls workloads, and lends them a Bench: boots to find something out before a campaign, or after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ukperf.decode import decode
from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.model import (
    Accelerator,
    BootRecord,
    BootSpec,
    Frame,
    Image,
    Observation,
    Plan,
    Portable,
    Program,
    Readout,
    Request,
    Result,
    Trial,
    Visitor,
)
from ukperf.reports.page import Page
from ukperf.reports.pictures import Picture
from ukperf.reports.table import RunPage
from ukperf.stats.perboot import PHASES, without_phases
from ukperf.stats.summary import RunSummary, summarize
from ukperf.text import Say
from ukperf.workloads import records_of

Reader = Callable[[BootSpec, Observation], Readout]


def option(default: object, help: str, metavar: str = "") -> Any:  # as every command line calls it
    """A field of a workload's Options: its default, one line for --help, and what to call its value there."""
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True)
class NoOptions:
    """Of a workload that has none of its own."""


@dataclass(frozen=True)
class Prepared:
    """What is to be booted. request: the one that was asked, completed. state: files of the run's folder, name → text,
    which the workload reads again when it shows the run."""

    request: Request
    state: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A run that ended. result: with the records that are compared; notes: sentences below all tables; more: members of
    the JSON besides."""

    result: Result
    notes: tuple[str, ...] = ()
    more: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlook:
    """What the hosts of a request will do. elsewhere: connections whose guests are no processes of this machine."""

    accelerator: Accelerator
    elsewhere: tuple[str, ...] = ()


class Boots(Protocol):
    """A host that is open for single boots."""

    @property
    def request(self) -> Request: ...

    @property
    def accelerator(self) -> Accelerator: ...

    @property
    def images(self) -> Mapping[str, Image]:
        """guest → the request's program in it."""
        ...

    def boot(self, guest: str, program: Program, timeout_s: float, idle_s: float | None = None) -> Observation:
        """Boot `program` in `guest` once; idle_s: a guest that says nothing for so long hangs.

        Raises UkperfError for what keeps the image from being built.
        """
        ...

    def context(self, guest: str) -> Sequence[str]:
        """What an answer may depend on besides kernel and program."""
        ...


class Repeats(Protocol):
    """A plan whose images can be booted again with another memory."""

    @property
    def plan(self) -> Plan: ...

    def boot(self, guest: str, memory_mib: int, timeout_s: float) -> Observation:
        """Boot a guest of the plan once."""
        ...


class Bench(Protocol):
    """What a workload may use of the engine. All of it raises UkperfError as a campaign would."""

    @property
    def say(self) -> Say:
        """Takes sentences about decisions."""
        ...

    def heard(self, trial: Trial, frame: Frame) -> None:
        """For whoever watches: a frame of a boot that is in no campaign."""
        ...

    def checked(self, request: Request) -> Request:
        """The request, with what it leaves open, its names looked up."""
        ...

    def outlook(self, request: Request) -> Outlook:
        """The accelerator that all hosts of a request have in common, the truth about KVM said."""
        ...

    def boots(self, request: Request, *, exact: bool = True) -> AbstractContextManager[Boots]:
        """The first host of a request; another campaign on this machine is refused meanwhile.

        exact: False where only the answers count: then `auto` falls back to plain emulation, which is several times
        faster than counting.
        """
        ...

    def planned(self, request: Request) -> AbstractContextManager[Repeats]:
        """A plan as a campaign would make it, and its first host."""
        ...

    def again(self, result: Result) -> AbstractContextManager[Repeats]:
        """The first host of a run that is over; refused for plans of others, since booting executes them."""
        ...

    def keep(self, folder: Path, name: str, text: str) -> None:
        """A file in a run's folder, whole or not at all."""
        ...

    def stored(self, workload: Workload, folder: Path) -> Result | None:
        """What a run's folder holds so far of what that workload compares; None where nothing was measured. Nothing is
        booted."""
        ...

    def campaign(self, workload: Workload, options: Any, request: Request) -> Finished:
        """Another workload's run in request.folder: begun, gone on with, or only read where it is complete."""
        ...


class Workload(ABC):
    """One thing that is run in guests and measured.

    name: what plan.json calls it. Options: a frozen dataclass of `option` fields (bool,
    int, float, str, or a tuple of str); what was chosen is in plan.json. defaults: its own defaults of options that all
    workloads share (`memory`, `timeout`, `boots`).
    """

    name: str = ""
    Options: ClassVar[type] = NoOptions
    defaults: ClassVar[Mapping[str, object]] = {}
    phases: ClassVar[bool] = True  # boots' phases are compared too
    shows_failures: ClassVar[bool] = True  # its page can be made of a run without one good boot

    counts: ClassVar[bool] = False  # QEMU counts what its boots execute
    builds_ahead: ClassVar[bool] = False  # has `ahead`

    def ahead(self, scale: float | None, cache: Cache) -> Program:
        """Its program as `images build` puts it into an image before anything is measured; scale: of its data, None:
        as it is by default. C programs need none of this. Raises UkperfError."""
        raise NotImplementedError

    @abstractmethod
    def prepare(self, options: Any, request: Request, bench: Bench) -> Prepared:
        """The request with its program, and whatever must be found out before. Raises UkperfError for options that
        cannot be meant, and where something is missing."""

    def reader(self, options: Any) -> Reader | None:
        """Reads more out of each boot than the guest's frames say: figures and checks of what the program wrote, if the
        request's `listening` keeps it. None: there is nothing to read."""
        return None

    def visitor(self, options: Any) -> Visitor | None:
        """What this machine does with the guests' port, while they run, if the request has a network. The guest is
        ended when the visit is; what came of it, `reader` finds in the observation."""
        return None

    def compared(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """The records with what is compared of them: one family of comparisons."""
        return records if self.phases else tuple(map(without_phases, records))

    def shown_in_report(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """What `ukperf report` tells of: what is compared, in one unit."""
        return self.compared(records, accelerator)

    def explained(self, records: Sequence[BootRecord], folder: Path) -> Sequence[BootRecord]:
        """The records of a run's folder, failed ones with why they failed, as far as the workload knows more of that
        than the guests said."""
        return records

    def portable(self, result: Result) -> Portable:
        """What a bundle of a run needs besides its folder, and what it need not have of it. Nothing is booted."""
        return Portable()

    def remarks(self, result: Result) -> Sequence[str]:
        """Sentences for `ukperf report` about what a table does not say. result: as it is on disk, with one host's
        records; nothing is booted for them."""
        return ()

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        """What the HTML report draws of one host's records besides ratios and boots: what they are made of. result: as
        for `remarks`; summary: of what is compared."""
        from ukperf.reports import charts  # heavy, and only `report --html` draws

        samples = [charts.LevelLine(name, name) for name in summary.benchmarks if name not in PHASES]
        drawn = [charts.phases(summary)]
        if len(samples) > 1:
            drawn.append(charts.levels(summary, samples, "Each benchmark in every guest"))
        return tuple(chart for chart in drawn if chart is not None)

    def finish(self, result: Result, bench: Bench) -> Finished:
        """What is shown of a run, after its last boot or when it is shown again."""
        records = self.compared(result.records, result.plan.accelerator)
        return Finished(replace(result, records=records_of(self, records)))

    def facts(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Mapping[str, str]:
        """What the figures are, besides what is known of every run. records: one host's."""
        return {}

    def page(
        self, finished: Finished, host: str, records: Sequence[BootRecord], options: Any, facts: Mapping[str, str]
    ) -> Page:
        """What is shown of one host's records. facts: for the line under the table."""
        plan = finished.result.plan
        return RunPage(summarize(records, plan.baseline, plan.delta), facts=facts)

    def options_of(self, result: Result) -> Any:
        """The options that a run was made with; those of an older version are what they are by default."""
        known = {item.name for item in fields(self.Options)}
        stored = {name: value for name, value in result.plan.parameters.items() if name in known}
        try:
            return decode(self.Options, stored)
        except ValueError as error:
            raise UkperfError(f"The options in plan.json of {result.folder} are damaged: {error}.") from error


class Plain(Workload):
    """Of runs whose workload is not installed any more: everything that is in the records, and no notes of its own."""

    def prepare(self, options: Any, request: Request, bench: Bench) -> Prepared:
        raise UkperfError("This workload is not installed.", hint="Install the package that it came with.")
