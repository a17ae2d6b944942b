"""What a workload is to the rest of ukperf: its options, what it boots, what its records mean, and its page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from ukperf.decode import decode
from ukperf.engine.facts import facts_of
from ukperf.engine.runner import Observer
from ukperf.engine.session import resume, start
from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootRecord, Program, Request, Result
from ukperf.reports.page import Page
from ukperf.stats.perboot import without_phases
from ukperf.stats.summary import by_host, summarize

Say = Callable[[str], None]


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

    builds_ahead: ClassVar[bool] = False  # has `ahead`

    def ahead(self, scale: float | None, cache: Cache) -> Program:
        """Its program as `images build` puts it into an image before anything is measured; scale: of its data, None:
        as it is by default. C programs need none of this. Raises UkperfError."""
        raise NotImplementedError

    @abstractmethod
    def prepare(self, options: Any, request: Request, *, say: Say, observer: Observer | None = None) -> Prepared:
        """The request with its program, and whatever must be found out before. Raises UkperfError for options that
        cannot be meant, and where something is missing."""

    def compared(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """The records with what is compared of them: one family of comparisons."""
        return records if self.phases else tuple(map(without_phases, records))

    def shown_in_report(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """What `ukperf report` tells of: what is compared, in one unit."""
        return self.compared(records, accelerator)

    def remarks(self, folder: Path) -> list[str]:
        """Sentences for `ukperf report` about what the run's folder holds beside its records."""
        return []

    def finish(self, result: Result, *, say: Say, share_host: bool = False) -> Finished:
        """What is shown of a run, after its last boot or when it is shown again."""
        records = self.compared(result.records, result.plan.accelerator)
        return Finished(replace(result, records=tuple(records)))

    def page(self, finished: Finished, host: str, records: Sequence[BootRecord], options: Any) -> Page:
        """What is shown of one host's records."""
        plan = finished.result.plan
        return Page(summarize(records, plan.baseline, plan.delta), self.facts(finished, host))

    def facts(self, finished: Finished, host: str = "") -> Mapping[str, str]:
        """What the figures are, for the line under a table and for the suite."""
        result = finished.result
        return facts_of(result.plan, result.records, result.why, host)

    def pages(self, finished: Finished, options: Any) -> dict[str, Page]:
        """Host → page. Raises UkperfError as `summarize`."""
        hosts = by_host(finished.result.records)
        return {host: self.page(finished, host, records, options) for host, records in hosts.items()}

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

    def prepare(self, options: Any, request: Request, *, say: Say, observer: Observer | None = None) -> Prepared:
        raise UkperfError("This workload is not installed.", hint="Install the package that it came with.")


def measure(
    workload: Workload, options: Any, request: Request, *, say: Say, observer: Observer | None = None
) -> Finished:
    """A run from its options to its end. Raises UkperfError as `prepare` and `session.start`."""
    prepared = workload.prepare(options, request, say=say, observer=observer)
    asked = replace(
        prepared.request,
        beside={**prepared.request.beside, **prepared.state},
        workload=workload.name,
        parameters=_plain(options),
        phases=workload.phases,
    )
    result = start(asked, say=say, observer=observer)
    return workload.finish(result, say=say, share_host=request.share_host)


def go_on(
    workload: Workload, folder: Path, *, say: Say, observer: Observer | None = None, share_host: bool = False
) -> Finished:
    """A run that was broken off, to its end; one that is finished is only read. Raises UkperfError as `resume`."""
    result = resume(folder, say=say, observer=observer, share_host=share_host)
    return workload.finish(result, say=say, share_host=share_host)


def _plain(options: Any) -> dict[str, Any]:
    """Options as plan.json holds them."""
    return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(options).items() if v is not None}
