"""The paper from start to end: Table I by `syscalls`, Tables II and III by `sklearn`; its numbers beside ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ukperf import guests, workloads
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, CallTable, Request, kind_of
from ukperf.paths import make_dir
from ukperf.reports.calltable import CallsPage
from ukperf.reports.papertable import PaperLine, PaperPage
from ukperf.stats.summary import summarize
from ukperf.stats.variance import plan
from ukperf.workloads import syscall_probe as probe
from ukperf.workloads.base import Bench, Finished
from ukperf.workloads.paperfigures import BASELINE, TABLE_I, TABLES_II_AND_III
from ukperf.workloads.sklearn_run import LearnOptions

LEARNING = "sklearn"  # the workload, and its folder below the paper's
EFFECT = 0.01  # the paper's "1 % advantage"


@dataclass(frozen=True)
class Paper:
    """Everything that `ukperf paper` prints."""

    folder: Path
    calls: tuple[CallTable, ...]
    answer: Finished
    lines: tuple[PaperLine, ...]


def reproduce(options: LearnOptions, request: Request, folder: Path, bench: Bench) -> Paper:
    """Run what is not in folder yet. Raises UkperfError where it cannot go on; what was measured stays."""
    if len(set(request.connect)) > 1:
        raise UkperfError(
            "The paper's numbers are compared with those of one host.", hint="Run it for each host, with its own --run."
        )
    make_dir(folder)
    bench.say("Table I: system calls.")
    asked = Request(
        program=probe.prober(),
        default_guests=tuple(guest.name for guest in guests.loading_programs() if guest.recipe.machines),
        # Only the answers count here, and plain emulation is quicker.
        accelerator=Accelerator.TCG if request.accelerator is Accelerator.ICOUNT else request.accelerator,
        launch=request.launch,
        connect=request.connect,
        timeout_s=30.0,
        share_host=request.share_host,
        command=request.command,
    )
    calls = probe.tables(asked, bench, fresh=False)
    bench.say("Tables II and III: scikit-learn.")
    learnt = bench.campaign(workloads.get(LEARNING), options, replace(request, folder=folder / LEARNING))
    return Paper(folder, calls, learnt, tuple(lines(learnt)))


def lines(answer: Finished) -> list[PaperLine]:
    """The paper's four numbers for each guest but the baseline."""
    result = answer.result
    wanted = {number.benchmark for number in TABLES_II_AND_III}
    # The family of comparisons is the paper's four numbers, not all that was measured.
    records = [
        replace(record, samples=tuple(s for s in record.samples if s.benchmark in wanted)) for record in result.records
    ]
    summary = summarize(records, result.plan.baseline, result.plan.delta)
    needed = {(p.guest, p.benchmark): p.boots for p in plan(records, result.plan.baseline, EFFECT)}
    base = summary.guest(result.plan.baseline)
    rows = []
    for number in TABLES_II_AND_III:
        for guest in summary.guests:
            if guest.guest == result.plan.baseline:
                continue
            known = number.seconds.get(kind_of(guest.guest))
            rows.append(
                PaperLine(
                    number.table,
                    number.benchmark,
                    guest.guest,
                    known,
                    None if known is None else number.seconds[BASELINE],
                    guest.estimates.get(number.benchmark),
                    base.estimates.get(number.benchmark) if base else None,
                    summary.comparison(guest.guest, number.benchmark),
                    needed.get((guest.guest, number.benchmark)),
                )
            )
    return rows


def page(paper: Paper) -> PaperPage:
    """What `ukperf paper` shows."""
    calls = CallsPage(paper.calls, (), TABLE_I, title="Table I: system calls supported")
    return PaperPage(str(paper.folder), BASELINE, calls, paper.lines, notes=paper.answer.notes)
