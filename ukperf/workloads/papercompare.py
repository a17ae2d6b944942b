"""The paper's second half as lines of its page: runtimes × guests, and one runtime against the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ukperf.model import BootRecord, Comparison, Outcome
from ukperf.reports.paperinfer import ExchangeLine, InGuest, LatencyLine, RuntimeLine
from ukperf.stats.between import Side, compare_pairs
from ukperf.stats.estimate import estimate_of
from ukperf.stats.sides import side_of
from ukperf.text import clean, written_lines
from ukperf.workloads.infer import CREATE_TO_FIRST, EXPECTED, TO_FIRST
from ukperf.workloads.inferring import BATCH, FIRST, IMPORT, LOAD, ROW
from ukperf.workloads.learning import VMM_PEAK
from ukperf.workloads.paperfigures import CLASSIFIERS, LEARNER, RIVAL
from ukperf.workloads.paperparts import InferRun, Place, is_contest

COSTS = (IMPORT, LOAD, FIRST)
TOTALS = (*TO_FIRST.values(), CREATE_TO_FIRST)
_COMPARED = (*COSTS, *TOTALS, VMM_PEAK)
NO_MODEL = "ukperf makes no model that it reads; ukperf infer takes one by --model-file."
LATENCIES = (ROW, BATCH)


@dataclass(frozen=True)
class _Guest:
    """One guest of one run, ready to be compared."""

    run: InferRun
    name: str
    side: Side

    @property
    def is_baseline(self) -> bool:
        return self.name == self.run.result.plan.baseline


def _guests(run: InferRun, benchmarks: Sequence[str]) -> list[_Guest]:
    """Of one run, the baseline first."""
    baseline = run.result.plan.baseline
    names = sorted({r.trial.guest for r in run.result.records}, key=lambda name: (name != baseline, name))
    label = f"{run.runtime}-{run.model}"
    where = str(run.result.folder)
    return [
        _Guest(run, name, side_of(run.result.records, name, f"{label}:{name}", where, benchmarks)) for name in names
    ]


def _kernels(there: Sequence[_Guest]) -> list[tuple[Side, Side]]:
    """Every guest against the baseline of its own run, paired over blocks."""
    divisors = {id(one.run): one.side for one in there if one.is_baseline}
    return [(one.side, divisors[id(one.run)]) for one in there if not one.is_baseline and id(one.run) in divisors]


def _called(comparison: Comparison, guest: str, baseline: str) -> Comparison:
    """With the names that the page has for its sides."""
    return replace(comparison, guest=guest, baseline=baseline)


# ---- runtimes × guests ----


def runtime_lines(
    there: Sequence[Place], runs: Sequence[InferRun], problems: dict[str, str], delta: float
) -> list[RuntimeLine]:
    """A line for each runtime and guest, and one for each runtime that was booted nowhere. problems: runtime → why.

    One family of comparisons: all of them.
    """
    first: dict[str, InferRun] = {}
    for run in runs:
        first.setdefault(run.runtime, run)
    measured = [guest for run in first.values() for guest in _guests(run, _COMPARED)]
    compared: dict[str, dict[str, Comparison]] = {}
    for comparison in compare_pairs(_kernels(measured), delta):
        compared.setdefault(comparison.guest, {})[comparison.benchmark] = comparison
    lines = []
    for place in there:
        name = place.runtime.name
        mine = [guest for guest in measured if guest.run.runtime == name]
        for guest in mine:
            lines.append(_runtime_line(guest, compared.get(guest.side.label, {})))
        if not mine:
            running = InGuest.ABSENT if place.missing else InGuest.UNTRIED
            why = place.missing or problems.get(name) or ("" if place.model else NO_MODEL)
            lines.append(RuntimeLine(name, "", "", running, why))
    return lines


def _runtime_line(guest: _Guest, compared: dict[str, Comparison]) -> RuntimeLine:
    records = [record for record in guest.run.result.records if record.trial.guest == guest.name]
    good = [record for record in records if record.outcome is Outcome.OK]
    bad = [record for record in records if record.outcome is not Outcome.OK]
    baseline = guest.run.result.plan.baseline
    return RuntimeLine(
        guest.run.runtime,
        guest.run.model,
        guest.name,
        _running(records),
        why_failed(bad[-1]) if bad else _unlike(compared),
        boots=len(good),
        tried=len(records),
        costs={name: cost for name, one in guest.side.series.items() if (cost := estimate_of(one)) is not None},
        comparisons={name: _called(one, guest.name, baseline) for name, one in compared.items()},
    )


def _running(records: Sequence[BootRecord]) -> InGuest:
    """What the host lost says nothing about the guest."""
    outcomes = {record.outcome for record in records}
    if Outcome.OK in outcomes:
        return InGuest.RUNS
    if outcomes == {Outcome.LOST}:
        return InGuest.UNTRIED
    return InGuest.HANGS if outcomes <= {Outcome.HUNG, Outcome.SILENT, Outcome.LOST} else InGuest.FAILS


def _unlike(compared: dict[str, Comparison]) -> str:
    """Why a guest that runs is not comparable, like another engine; "" where it is."""
    whys = [c.warnings[0] for c in compared.values() if c.ratio is None and c.warnings and c.benchmark in COSTS]
    return f"{whys[0]}." if whys else ""


def why_failed(record: BootRecord) -> str:
    """What a failed boot was: its reason, why as far as that is known, and else the last line that the guest wrote."""
    said = record.reason.rstrip(".") or record.outcome.value
    if record.why is not None:
        return said if record.why.sentence in said else f"{said}: {record.why.words}."
    lines = written_lines(record.console_tail)
    return f"{said}." + (f" It wrote: {clean(lines[-1], 160)}" if lines else "")


# ---- the paper's classifiers ----


def latencies(runs: Sequence[InferRun], delta: float) -> tuple[list[LatencyLine], list[ExchangeLine]]:
    """Kernels and runtimes on the same weights: guest ÷ baseline within a runtime, paired over the blocks of its run,
    and one runtime ÷ the other within a guest, whose runs are two. One family: all of them."""
    there = [g for run in runs if is_contest(run.runtime, run.model) for g in _guests(run, LATENCIES)]
    kernels, rivals = _kernels(there), _rivals(there)
    compared = compare_pairs([*kernels, *rivals], delta)
    of_kernel = {(c.guest, c.benchmark): c for c in compared[: _count(kernels)]}
    of_rival = {(c.guest, c.benchmark): c for c in compared[_count(kernels) :]}
    lines, exchanges = [], []
    for model in CLASSIFIERS:
        for benchmark in LATENCIES:
            for one in there:
                series = one.side.series.get(benchmark)
                if one.run.model != model or series is None:
                    continue
                key, baseline = (one.side.label, benchmark), one.run.result.plan.baseline
                kernel = of_kernel.get(key)
                lines.append(
                    LatencyLine(
                        model,
                        benchmark,
                        one.run.runtime,
                        one.name,
                        estimate_of(series),
                        None if kernel is None else _called(kernel, one.name, baseline),
                    )
                )
                if (ratio := of_rival.get(key)) is not None:
                    called = _called(ratio, f"{LEARNER} in {one.name}", f"{RIVAL} in {one.name}")
                    exchanges.append(ExchangeLine(model, benchmark, one.name, LEARNER, RIVAL, called))
    return lines, exchanges


def _count(sides: Sequence[tuple[Side, Side]]) -> int:
    """How many comparisons come of them."""
    return sum(len({*side.benchmarks, *baseline.benchmarks}) for side, baseline in sides)


def _rivals(there: Sequence[_Guest]) -> list[tuple[Side, Side]]:
    """The learner against its rival in each guest, with the same model. Programs, engines and the last bits of outputs
    differ as a matter of course; that both gave the expected outputs is what must be alike."""
    by = {(one.run.runtime, one.run.model, one.name): one.side for one in there}
    return [
        (_bare(by[LEARNER, one.run.model, one.name]), _bare(one.side))
        for one in there
        if one.run.runtime == RIVAL and (LEARNER, one.run.model, one.name) in by
    ]


def _bare(side: Side) -> Side:
    context = {name: value for name, value in side.context.items() if name not in ("program", "image", "command_line")}
    answers = {name: value for name, value in side.answers.items() if name == EXPECTED}
    return replace(side, context=context, answers=answers)
