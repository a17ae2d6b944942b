"""What commands print: pages as tables or JSON; of a run that ended suite.json first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ukperf.errors import UkperfError
from ukperf.text import shell

if TYPE_CHECKING:
    from ukperf.model import Request, Result
    from ukperf.reports.page import Page
    from ukperf.workloads.base import Finished, Workload

MOST_IN_SUITE = 20_000  # boots
MOST_PAGES = 3  # of machines by themselves, where what holds over them follows


def run_workload(name: str, options: object, request: Request, as_json: bool, brief: bool = False) -> None:
    """Measure a workload and show what it found.

    Raises UkperfError as `measure` and `show` do.
    """
    workload, finished = measured(name, options, request)
    show(workload, finished, options, as_json=as_json, brief=brief)


def measured(name: str, options: object, request: Request) -> tuple[Workload, Finished]:
    """Measure a workload; nothing is shown but what goes on. Raises UkperfError as `measure`."""
    from ukperf import workloads
    from ukperf.cli.options import sayer
    from ukperf.engine.campaign import measure
    from ukperf.reports.progress import progress

    workload = workloads.get(name)
    with progress(request.limits) as observer:
        return workload, measure(workload, options, request, say=sayer(), observer=observer)


def show(workload: Workload, finished: Finished, options: object, *, as_json: bool, brief: bool = False) -> None:
    """Write suite.json and print the answer to standard output. brief: without notes.

    Raises UkperfError (status 2) after printing if not one boot was good, or nothing could be compared.
    """
    from ukperf.engine import campaign

    result = finished.result
    wrote = len(result.records) <= MOST_IN_SUITE and save_suite(result, campaign.facts(workload, finished))
    if not workload.shows_failures:
        refuse_if_none_good(result)
    machines = campaign.over_machines(workload, finished)
    more = {**finished.more, **machines_said(machines), "run": str(result.folder)}
    whole = as_json or not machines or len({record.host for record in result.records}) <= MOST_PAGES
    show_pages(campaign.pages(workload, finished, options) if whole else {}, as_json, more, brief=brief)
    if not as_json:
        show_machines(machines, brief=brief)
        if not whole:
            print(f"Each machine by itself: ukperf report {shell(result.folder)}")
    if not as_json:
        for note in () if brief else finished.notes:
            print(note)
        if len(result.records) > MOST_IN_SUITE and not brief:
            print(f"No suite.json: of {len(result.records):,} boots it would be larger than the journal.")
        use = " (suite.json is for python -m pyperf)" if wrote else ""
        print(f"Run: {shell(result.folder)}{use}")
    refuse_if_none_good(result)
    refuse_if_not_compared(result)


def machines_said(pages: Sequence[Page]) -> dict[str, object]:
    """Of a run on several machines, what JSON has besides."""
    return {"over_machines": [page.json() for page in pages]} if pages else {}


def show_machines(pages: Sequence[Page], *, brief: bool = False) -> None:
    """What holds over machines, below what each of them says."""
    from ukperf.reports.terminal import render, stdout_console

    for page in pages:
        print()
        render(page, stdout_console(), brief=brief)


def show_page(page: Page, as_json: bool, *, brief: bool = False) -> None:
    """Print a page to standard output, as tables or as JSON."""
    show_pages({"": page}, as_json, brief=brief)


def write_html(path: Path, pages: Sequence[Page], title: str) -> None:
    """Pages as one HTML file. Raises UkperfError if it cannot be written."""
    from ukperf.reports.html import document

    write_text(path, document(pages, title))


def write_text(path: Path, text: str) -> None:
    """A file that was asked for, whole or not at all. Raises UkperfError if it cannot be written."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    from ukperf.files import reason, write_atomically

    try:
        write_atomically(path, content)
    except OSError as error:
        raise UkperfError(f"{path} cannot be written: {reason(error)}.") from error


def show_pages(
    pages: Mapping[str, Page], as_json: bool, more: Mapping[str, object] | None = None, *, brief: bool = False
) -> None:
    """The same for each host's page of a run. more: members of the JSON besides. brief: answers and tables alone."""
    if as_json:
        from ukperf.reports.jsonout import encode

        print(encode(one_answer(pages, more or {})))
        return
    from ukperf.reports.terminal import render, stdout_console

    for page in pages.values():
        render(page, stdout_console(), brief=brief)


def one_answer(pages: Mapping[str, Page], more: Mapping[str, object]) -> object:
    """One host's page as it is; of several hosts a list, and all comparisons together, each with its host."""
    if len(pages) == 1:
        said = next(iter(pages.values())).json()
        return {**said, **more} if isinstance(said, dict) else said
    hosts: list[dict[str, object]] = []
    comparisons: list[dict[str, object]] = []
    compared = False
    for host, page in pages.items():
        said = page.json()
        assert isinstance(said, dict)
        hosts.append({"host": host, **said})
        if isinstance(own := said.get("comparisons"), list):
            compared = True
            comparisons += [{**item, "host": host} for item in own if isinstance(item, dict)]
    return {"hosts": hosts, **({"comparisons": comparisons} if compared else {}), **more}


def save_suite(result: Result, facts: Mapping[str, str]) -> bool:
    """Write the run's suite.json; False where no boot gave a value.

    Raises UkperfError if it cannot be written.
    """
    from ukperf.reports.pyperf_suite import write_suite

    suite = result.folder / "suite.json"
    try:
        return write_suite(suite, result.records, facts)
    except OSError as error:
        raise UkperfError(
            f"{suite} cannot be written: {error.strerror}.", hint="The journal has everything."
        ) from error


def refuse_if_none_good(result: Result) -> None:
    """Raises UkperfError (status 2) if not one boot was good."""
    from ukperf.model import Outcome

    if not any(record.outcome is Outcome.OK for record in result.records):
        last = result.records[-1] if result.records else None
        reason = f" The last one: {last.trial.guest}, {last.reason.rstrip('.')}." if last else ""
        raise UkperfError(f"Not one boot was good.{reason}", hint=f"Consoles are in {result.folder / 'console'}.")


def refuse_if_not_compared(result: Result) -> None:
    """Raises UkperfError (status 2) if guests were to be compared and on a host no pair of them had a good boot.

    So it is where the baseline failed in all boots, or all others did: the question that was asked has no answer.
    """
    from ukperf.model import Outcome
    from ukperf.stats.summary import by_host

    baseline = result.plan.baseline
    for host, records in by_host(result.records).items():
        tried = {record.trial.guest for record in records}
        good = {record.trial.guest for record in records if record.outcome is Outcome.OK}
        if baseline not in tried or len(tried) < 2 or (baseline in good and len(good) > 1):
            continue
        bad = [baseline] if baseline not in good else sorted(tried - good)
        where = f" on {host}" if host else ""
        last = next(r for r in reversed(records) if r.trial.guest in bad)
        raise UkperfError(
            f"Nothing could be compared{where}: every boot of {', '.join(bad)} failed. "
            f"The last one: {last.reason.rstrip('.')}.",
            hint=f"Consoles are in {result.folder / 'console'}.",
        )


def show_least_memory(request: Request, as_json: bool, brief: bool) -> None:
    """Bisect, and print the least memory of each guest.

    Raises UkperfError (status 2) after printing if a guest did not even boot with all the memory that it may have.
    """
    from ukperf.cli.options import sayer
    from ukperf.engine.campaign import EngineBench
    from ukperf.engine.facts import facts_of
    from ukperf.reports.progress import status
    from ukperf.workloads.memory import LeastMemoryPage, measure

    with status("building and checking") as update:
        bench = EngineBench(sayer(), share_host=request.share_host)
        plan, least = measure(request, bench, report=lambda guest, mib: update(f"{guest}: {mib} MiB"))
    show_page(LeastMemoryPage(least, facts=facts_of(plan)), as_json, brief=brief)
    hopeless = [item.guest for item in least if item.least_mib is None]
    if hopeless:
        raise UkperfError(
            f"{', '.join(hopeless)} did not reach main with {least[0].greatest_mib} MiB.", hint="Try a larger --memory."
        )
