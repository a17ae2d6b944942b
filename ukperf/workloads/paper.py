"""The paper from start to end: its tables, the runtimes that it could not run, its classifiers in two runtimes, and
each of its claims with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf import workloads
from ukperf.errors import UkperfError
from ukperf.model import Accelerator, CallTable, Comparison, Request, Result, Unit, kind_of
from ukperf.paths import make_dir
from ukperf.reports.calltable import CallsPage
from ukperf.reports.costtable import Claim
from ukperf.reports.paperclaims import ClaimLine, Needs
from ukperf.reports.paperinfer import ExchangeLine, InGuest, LatencyLine, RuntimeLine
from ukperf.reports.papertable import PaperLine, PaperPage
from ukperf.stats.between import compare_pairs
from ukperf.stats.sides import side_of, suites
from ukperf.stats.summary import summarize
from ukperf.stats.variance import plan
from ukperf.workloads import papercompare, paperparts
from ukperf.workloads.base import Bench, Finished
from ukperf.workloads.costclaims import claims
from ukperf.workloads.costs import samples_in
from ukperf.workloads.learning import VMM_PEAK
from ukperf.workloads.paperfigures import BASELINE, TABLE_I, TABLES_II_AND_III, Topic
from ukperf.workloads.paperpart import PaperPart
from ukperf.workloads.paperparts import LEARNING, Depends, PaperOptions, Place
from ukperf.workloads.paperverdicts import Measured, verdicts

EFFECT = 0.01  # the paper's "1 % advantage"
_TOTAL = "total"  # of a boot


@dataclass(frozen=True)
class Paper:
    """Everything that `ukperf paper` prints. answer: of the scikit-learn part, where it was measured."""

    folder: Path
    calls: tuple[CallTable, ...]
    answer: Finished | None
    lines: tuple[PaperLine, ...]
    boots: tuple[Comparison, ...] = ()
    costs: tuple[Claim, ...] = ()
    runtimes: tuple[RuntimeLine, ...] = ()
    latencies: tuple[LatencyLine, ...] = ()
    exchanges: tuple[ExchangeLine, ...] = ()
    needs: tuple[Needs, ...] = ()
    claims: tuple[ClaimLine, ...] = ()
    problems: tuple[str, ...] = ()
    detail: Path | None = None  # a run below the folder that `ukperf report` shows

    def check(self, options: PaperOptions) -> None:
        """Raises UkperfError where runtimes were to run, and none ran in any guest."""
        ran = any(line.running is InGuest.RUNS for line in self.runtimes)
        if PaperPart.RUNTIMES in options.wanted and self.runtimes and not ran:
            raise UkperfError(f"No runtime ran anywhere. {next(iter(self.problems), 'Every boot failed.')}")


def reproduce(options: PaperOptions, request: Request, folder: Path, bench: Bench, depends: Depends) -> Paper:
    """Measure the parts that are wanted and not in folder yet, and read what is there of all.

    depends: what a framework's package is made of. Raises UkperfError where it cannot go on; what was measured stays.
    A runtime that cannot be measured is one that is not.
    """
    if len(set(request.connect)) > 1:
        raise UkperfError(
            "The paper's numbers are compared with those of one host.", hint="Run it for each host, with its own --run."
        )
    make_dir(folder)
    wanted = options.wanted
    there = paperparts.places(options, bench.say)
    answer = None
    if PaperPart.CALLS in wanted:
        paperparts.call_tables(request, folder, bench)
    if PaperPart.LEARNING in wanted:
        answer = paperparts.learn(options.learn, request, folder, bench)
    if PaperPart.BOOT in wanted:
        paperparts.boot(request, folder, bench)
    if PaperPart.COSTS in wanted:
        paperparts.cost(request, folder, bench)
    problems = _infer(options, there, request, folder, bench)
    if PaperPart.DEPENDENCIES in wanted:
        paperparts.dependencies(options, folder, bench, depends)
    return _read(options, answer, there, problems, request, folder, bench)


def _infer(
    options: PaperOptions, there: Sequence[Place], request: Request, folder: Path, bench: Bench
) -> dict[str, str]:
    """All runtimes with their models; runtime → why it could not be measured."""
    problems = {}
    for place in there:
        if place.missing:
            continue
        for model in paperparts.pairs(place, options.wanted):
            if problem := paperparts.infer(options, place, model, request, folder, bench):
                problems[place.runtime.name] = problem
    return problems


def _read(
    options: PaperOptions,
    answer: Finished | None,
    there: Sequence[Place],
    problems: dict[str, str],
    request: Request,
    folder: Path,
    bench: Bench,
) -> Paper:
    """All that the folder has, whenever it was measured."""
    if answer is None:
        learner = workloads.get(LEARNING)
        result = bench.stored(learner, folder / LEARNING)
        answer = None if result is None else Finished(result, tuple(learner.remarks(result)))
    learnt = () if answer is None else (answer.result,)
    delta = request.delta
    everywhere = paperparts.places(replace(options, runtimes=()), bench.say)
    runs = paperparts.infer_runs(everywhere, folder, bench)
    measured = {place.runtime.name for place in there} | {run.runtime for run in runs}
    shown = [place for place in everywhere if place.runtime.name in measured]
    asked = bool(runs or problems or PaperPart.RUNTIMES in options.wanted)
    runtimes = papercompare.runtime_lines(shown, runs, problems, delta) if asked else []
    latencies, exchanges = papercompare.latencies(runs, delta)
    costs, counted = _costs(folder, bench)
    boots = _boots(bench.stored(workloads.get(paperparts.BOOT), folder / paperparts.BOOT), delta)
    calls, needs = paperparts.stored_calls(folder), paperparts.stored_needs(folder)
    compared = {
        Topic.INFERENCE: () if answer is None else _mean_inference(answer.result),
        Topic.LATENCY: [line.kernel for line in latencies if line.kernel is not None],
        Topic.BOOT: boots,
        Topic.MEMORY: [c for line in runtimes if (c := line.comparisons.get(VMM_PEAK)) is not None],
    }
    return Paper(
        folder,
        calls,
        answer,
        () if answer is None else tuple(lines(answer)),
        boots,
        costs,
        tuple(runtimes),
        tuple(latencies),
        tuple(exchanges),
        needs,
        verdicts(Measured(compared, calls, runtimes, costs, counted, needs)),
        tuple(f"{name} could not be measured: {why}" for name, why in problems.items()),
        next((result.folder for result in (*learnt, *(run.result for run in runs))), None),
    )


def _costs(folder: Path, bench: Bench) -> tuple[tuple[Claim, ...], bool]:
    """The ratios that the paper's factors are about, and whether they are of instructions."""
    result = bench.stored(workloads.get(paperparts.COST), folder / paperparts.COST)
    if result is None:
        return (), False
    counted = result.plan.accelerator is Accelerator.ICOUNT
    chosen = samples_in(result.records, Unit.INSTRUCTIONS if counted else Unit.SECONDS)
    return tuple(Claim(words, ratio) for words, ratio in claims(chosen, "/p50")), counted


def _boots(result: Result | None, delta: float) -> tuple[Comparison, ...]:
    """The whole boot of each guest ÷ the baseline's."""
    return () if result is None else _compared(result, (_TOTAL,), delta, whole=False)


def _mean_inference(result: Result) -> tuple[Comparison, ...]:
    """The paper's two tests as one figure: the geometric mean in each boot, guest ÷ baseline."""
    tests = [number.benchmark for number in TABLES_II_AND_III if number.benchmark.endswith(" test")]
    return _compared(result, tests, result.plan.delta, whole=True)


def _compared(result: Result, benchmarks: Sequence[str], delta: float, *, whole: bool) -> tuple[Comparison, ...]:
    """Each guest ÷ the baseline of a run. whole: the benchmarks together, as a suite."""
    base = result.plan.baseline
    names = dict.fromkeys(record.trial.guest for record in result.records)
    sides = {name: side_of(result.records, name, name, str(result.folder), benchmarks) for name in sorted(names)}
    if base not in sides:
        return ()
    pairs = [(side, sides[base]) for name, side in sides.items() if name != base]
    return compare_pairs(suites(pairs) if whole else pairs, delta)


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
    return PaperPage(
        str(paper.folder),
        BASELINE,
        calls,
        paper.lines,
        paper.boots,
        paper.costs,
        paper.runtimes,
        paper.latencies,
        paper.exchanges,
        paper.needs,
        paper.claims,
        papercompare.COSTS,
        papercompare.TOTALS,
        notes=(*(paper.answer.notes if paper.answer is not None else ()), *paper.problems),
    )
