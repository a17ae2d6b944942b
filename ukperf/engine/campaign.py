"""A workload from its options to what is shown of it: the engine calls workloads, and lends them a bench."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ukperf.engine import bench, session
from ukperf.engine import plan as plans
from ukperf.engine.counting import refuse_uncounted
from ukperf.engine.facts import facts_of
from ukperf.engine.folders import holds_run, write_beside
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.engine.provenance import with_facts
from ukperf.engine.runner import Observer
from ukperf.engine.setting import checked, refuse_unheeded
from ukperf.model import Frame, Request, Result, Trial
from ukperf.reports.page import Page
from ukperf.stats.summary import by_host
from ukperf.text import Say
from ukperf.workloads import WORKLOADS, records_of
from ukperf.workloads.base import Boots, Finished, Outlook, Prepared, Repeats, Workload


@dataclass(frozen=True)
class EngineBench:
    """What the engine lends. share_host: another campaign may go on meanwhile."""

    say: Say
    observer: Observer | None = None
    share_host: bool = False

    def heard(self, trial: Trial, frame: Frame) -> None:
        if self.observer is not None:
            self.observer.frame(trial, frame)

    def checked(self, request: Request) -> Request:
        return checked(request).request

    def outlook(self, request: Request) -> Outlook:
        return bench.outlook(request, self.say)

    def boots(self, request: Request, *, exact: bool = True) -> AbstractContextManager[Boots]:
        return bench.single_boots(request, self.say, exact=exact)

    def planned(self, request: Request) -> AbstractContextManager[Repeats]:
        return bench.planned_boots(request, self.say)

    def again(self, result: Result) -> AbstractContextManager[Repeats]:
        return bench.boots_again(result, self.share_host)

    def keep(self, folder: Path, name: str, text: str) -> None:
        write_beside(folder / name, text)

    def stored(self, workload: Workload, folder: Path) -> Result | None:
        if not (folder / JOURNAL).exists():
            return None
        plan = plans.load(folder)
        records = with_facts(plan, read_journal(folder / JOURNAL).records)
        compared = records_of(workload, workload.compared(records, plan.accelerator))
        return Result(folder, plan, compared, "") if records else None

    def campaign(self, workload: Workload, options: Any, request: Request) -> Finished:
        if request.folder is None or not holds_run(request.folder):
            return measure(workload, options, request, say=self.say, observer=self.observer)
        self.say(f"Going on with {request.folder}.")
        return go_on(workload, request.folder, say=self.say, observer=self.observer, share_host=request.share_host)


def measure(
    workload: Workload, options: Any, request: Request, *, say: Say, observer: Observer | None = None
) -> Finished:
    """A run from its options to its end. Raises UkperfError as `prepare`, `session.start` and `refuse_unheeded`."""
    lent = EngineBench(say, observer, request.share_host)
    if workload.counts:
        for name, guest in checked(request).guests.items():
            refuse_uncounted(name, guest.recipe.protocol)
    refuse_unheeded(request)
    prepared = WORKLOADS.expect(workload.name, workload.prepare(options, request, lent), Prepared)
    asked = replace(
        prepared.request,
        beside={**prepared.request.beside, **prepared.state},
        workload=workload.name,
        parameters=stored_options(options),
        phases=workload.phases,
    )
    result = session.start(
        asked, say=say, observer=observer, read=workload.reader(options), visitor=workload.visitor(options)
    )
    return WORKLOADS.expect(workload.name, workload.finish(result, lent), Finished)


def go_on(
    workload: Workload,
    folder: Path,
    *,
    say: Say,
    observer: Observer | None = None,
    share_host: bool = False,
    scheduler: str = "",
) -> Finished:
    """A run that was broken off, to its end; one that is finished is only read. scheduler: as for `resume`. Raises
    UkperfError as that."""
    options = workload.options_of(Result(folder, plans.load(folder), (), ""))
    result = session.resume(
        folder,
        say=say,
        observer=observer,
        share_host=share_host,
        read=workload.reader(options),
        visitor=workload.visitor(options),
        scheduler=scheduler,
    )
    finished = workload.finish(result, EngineBench(say, observer, share_host))
    return WORKLOADS.expect(workload.name, finished, Finished)


def facts(workload: Workload, finished: Finished, host: str = "") -> Mapping[str, str]:
    """What the figures of a run are, for the line under a table and for the suite; host: of one of several."""
    result = finished.result
    mine = by_host(result.records).get(host, result.records) if host else result.records
    plain = facts_of(result.plan, result.records, result.why, host)
    one = bool(host) or len(by_host(result.records)) == 1
    return {**plain, **(workload.facts(mine, result.plan.accelerator) if one else {})}


def _page(workload: Workload, given: object) -> Page:
    return WORKLOADS.expect(workload.name, given, Page)  # type: ignore[type-abstract]  # mypy would have no base classes


def pages(workload: Workload, finished: Finished, options: Any) -> dict[str, Page]:
    """Host → page. Raises UkperfError as `summarize`."""
    return {
        host: _page(workload, workload.page(finished, host, records, options, facts(workload, finished, host)))
        for host, records in by_host(finished.result.records).items()
    }


def over_machines(workload: Workload, finished: Finished) -> tuple[Page, ...]:
    """What holds over the machines of a run, a page for each stratum; () for a run on one. Raises UkperfError as
    `summarize`."""
    if len(by_host(finished.result.records)) < 2:
        return ()
    from ukperf.reports.machinestable import MachinesPage
    from ukperf.stats.machines import summarize_machines

    plan = finished.result.plan
    records = records_of(workload, workload.shown_in_report(finished.result.records, plan.accelerator))
    return tuple(MachinesPage(one) for one in summarize_machines(records, plan.baseline, plan.delta))


def stored_options(options: Any) -> dict[str, Any]:
    """Options as plan.json holds them."""
    return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(options).items() if v is not None}
