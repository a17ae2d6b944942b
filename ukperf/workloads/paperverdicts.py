"""Verdicts on the paper's claims: pure functions of what was measured. docs/paper.md has the rules in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.model import CallTable, Comparison, Unit, Verdict, kind_of
from ukperf.reports.calltable import provided, supported
from ukperf.reports.costtable import Claim
from ukperf.reports.paperclaims import ClaimLine, Holding, Needs
from ukperf.reports.paperinfer import InGuest, RuntimeLine, spread
from ukperf.reports.units import interval, number
from ukperf.stats.estimate import geometric_mean
from ukperf.text import many
from ukperf.workloads.paperfigures import (
    BASELINE,
    CLAIMS,
    FRAMEWORKS,
    TABLE_I,
    TABLES_II_AND_III,
    PaperClaim,
    Rule,
    Topic,
)
from ukperf.workloads.paperpart import PaperPart

Judged = tuple[Holding, str]


@dataclass(frozen=True)
class Measured:
    """What was measured. compared: guest ÷ baseline, by what it is about. costs: with the words of COST_CLAIMS.

    counted: the costs are instructions, not time.
    """

    compared: Mapping[Topic, Sequence[Comparison]] = field(default_factory=dict)
    calls: Sequence[CallTable] = ()
    runtimes: Sequence[RuntimeLine] = ()
    costs: Sequence[Claim] = ()
    counted: bool = False
    needs: Sequence[Needs] = ()


def verdicts(measured: Measured, claims: Sequence[PaperClaim] = CLAIMS) -> tuple[ClaimLine, ...]:
    """Each claim with its verdict, in their order."""
    lines = []
    for claim in claims:
        verdict, because = _RULES[claim.rule](claim, measured)
        counted = verdict in (Holding.HOLDS, Holding.FAILS) and any(
            c.unit is Unit.INSTRUCTIONS for c in _about(claim, measured)
        )
        lines.append(ClaimLine(claim.name, claim.quote, claim.where, verdict, because, counted))
    return tuple(lines)


def _untried(part: PaperPart) -> Judged:
    return Holding.NOT_MEASURED, f"ukperf paper --part {part.value} measures it"


# ---- ratios to the baseline ----


_PART = {
    Topic.INFERENCE: PaperPart.LEARNING,
    Topic.LATENCY: PaperPart.CLASSIFIERS,
    Topic.MEMORY: PaperPart.RUNTIMES,
    Topic.BOOT: PaperPart.BOOT,
}
_SURELY_NOT_LESS = (Verdict.SLOWER, Verdict.EQUIVALENT)


def _about(claim: PaperClaim, measured: Measured) -> list[Comparison]:
    if claim.topic is None:
        return []
    return [c for c in measured.compared.get(claim.topic, ()) if kind_of(c.guest) in claim.guests]


def _faster(claim: PaperClaim, measured: Measured) -> Judged:
    """One that is not less, or the same within the margin, refutes; all that are less confirm."""
    return _of_ratios(claim, measured, refuting=_SURELY_NOT_LESS, confirming=(Verdict.FASTER,))


def _advantage(claim: PaperClaim, measured: Measured) -> Judged:
    """The whole interval lies where the advantage is the claimed one, give or take its half: confirmed; none of it:
    refuted."""
    assert claim.topic is not None
    compared = _about(claim, measured)
    if not compared:
        return _untried(_PART[claim.topic])
    because = "; ".join(map(_one_ratio, compared))
    least, most = 1 - 1.5 * claim.size, 1 - 0.5 * claim.size
    bounds = [(c.low, c.high) for c in compared if c.low is not None and c.high is not None]
    if len(bounds) < len(compared):
        return Holding.NOT_SHOWN, because
    if any(high < least or low > most for low, high in bounds):
        return Holding.FAILS, because
    inside = all(least <= low and high <= most for low, high in bounds)
    return (Holding.HOLDS if inside else Holding.NOT_SHOWN), because


def _not_faster(claim: PaperClaim, measured: Measured) -> Judged:
    return _of_ratios(claim, measured, refuting=(Verdict.FASTER,), confirming=_SURELY_NOT_LESS)


def _of_ratios(
    claim: PaperClaim, measured: Measured, refuting: Sequence[Verdict], confirming: Sequence[Verdict]
) -> Judged:
    assert claim.topic is not None
    compared = _about(claim, measured)
    if not compared:
        return _untried(_PART[claim.topic])
    because = "; ".join(
        _ratios_of([c for c in compared if c.guest == guest]) for guest in dict.fromkeys(c.guest for c in compared)
    )
    kinds = {c.verdict for c in compared}
    absent = [guest for guest in claim.guests if guest not in {kind_of(c.guest) for c in compared}]
    if kinds & set(refuting):
        return Holding.FAILS, because
    if kinds <= set(confirming):
        also = f"; {' and '.join(absent)} was not compared" if absent else ""
        return (Holding.NOT_SHOWN if absent else Holding.HOLDS), because + also
    return Holding.NOT_SHOWN, because


def _ratios_of(compared: Sequence[Comparison]) -> str:
    """`nanos ÷ linux 0.43 [0.42, 0.44], faster`; of several how far they go and how many are what."""
    if len(compared) == 1:
        return _one_ratio(compared[0])
    name = f"{compared[0].guest} ÷ {compared[0].baseline}"
    words = Counter(c.word for c in compared)
    said = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return f"{name} {spread(iter(compared)) or '–'}: of {len(compared)} figures {said}"


def _one_ratio(c: Comparison) -> str:
    name = f"{c.guest} ÷ {c.baseline}"
    if c.ratio is None:
        return f"{name} {c.word}{''.join(f', {why}' for why in c.warnings[:1])}"
    bounds = f" {interval((c.low, c.high))}" if c.low is not None else ""
    width = 0.0 if c.low is None or c.high is None else c.high - c.low
    return f"{name} {number(c.ratio, width)}{bounds}, {c.word}"


def _own_tables(claim: PaperClaim, _evidence: Measured) -> Judged:
    """What the paper's numbers say by themselves."""
    ratios = {n.benchmark: n.seconds[g] / n.seconds[BASELINE] for n in TABLES_II_AND_III for g in claim.guests}
    slower = sum(ratio > 1 for ratio in ratios.values())
    tests = [ratio for benchmark, ratio in ratios.items() if benchmark.endswith(" test")]
    mean = geometric_mean(tests, Unit.SECONDS).value
    because = (
        f"{claim.guests[0]} is slower in {slower} of its {len(ratios)} rows, and over the {len(tests)} of inference "
        f"it is {100 * abs(mean - 1):.1f} % {'slower' if mean > 1 else 'faster'}; each is a single run, so no interval"
    )
    return (Holding.HOLDS if mean < 1 else Holding.FAILS), because


# ---- system calls ----


def _factor(claim: PaperClaim, measured: Measured) -> Judged:
    """An interval that lies above the factor, for any of the ratios, confirms `up to`; all below refute it."""
    ratios = [each.measured for each in measured.costs if each.said == claim.costs]
    if not ratios:
        return (Holding.NOT_MEASURED, claim.why) if measured.costs and claim.why else _untried(PaperPart.COSTS)
    because = "; ".join(
        f"{r.over} ÷ {r.under} is {number(r.ratio)}{f' {interval((r.low, r.high))}' if r.low is not None else ''}"
        for r in ratios
    )
    if measured.counted:
        return Holding.NOT_SHOWN, f"{because}, in instructions; the factor is one of cycles"
    if any(r.low is not None and r.low >= claim.factor for r in ratios):
        return Holding.HOLDS, because
    if all(r.high is not None and r.high < claim.factor for r in ratios):
        return Holding.FAILS, because
    return Holding.NOT_SHOWN, because


def _calls(claim: PaperClaim, measured: Measured) -> Judged:
    """The paper's number lies between what works or refuses, and what is more than ENOSYS."""
    tables = [table for table in measured.calls if kind_of(table.guest) in claim.guests]
    if not tables:
        return _untried(PaperPart.CALLS)
    quoted = TABLE_I[claim.guests[0]].supported
    because = "; ".join(
        f"{t.guest} {t.kernel_version} supports {supported(t)} and provides {provided(t)}" for t in tables
    )
    if any(table.complaint for table in tables):
        return Holding.NOT_SHOWN, f"{because}, as far as it could be probed"
    fits = all(supported(table) <= quoted <= provided(table) for table in tables)
    return (Holding.HOLDS if fits else Holding.FAILS), because


# ---- what runs ----


_NOT = (InGuest.FAILS, InGuest.HANGS)  # without an end where the baseline came to one in the same time


def _tried(claim: PaperClaim, measured: Measured) -> tuple[list[RuntimeLine], list[RuntimeLine]]:
    """(lines that run in a claim's guests, lines that do not and would: the baseline runs the same)."""
    able = {line.runtime for line in measured.runtimes if line.running is InGuest.RUNS and line.guest == BASELINE}
    mine = [line for line in measured.runtimes if kind_of(line.guest) in claim.guests]
    runs = [line for line in mine if line.running is InGuest.RUNS]
    return runs, [line for line in mine if line.running in _NOT and line.runtime in able]


def _which(claim: PaperClaim, runs: Sequence[RuntimeLine], fails: Sequence[RuntimeLine]) -> str:
    names = dict.fromkeys(line.runtime for line in runs)
    others = dict.fromkeys(line.runtime for line in fails if line.runtime not in names)
    said = f"{claim.guests[0]} runs {len(names)} of {many(len(names) + len(others), 'runtime')} unchanged"
    said += f": {', '.join(names)}" if names else ""
    return said + (f"; not {', '.join(others)}" if others else "")


def _cannot_run(claim: PaperClaim, measured: Measured) -> Judged:
    runs, fails = _tried(claim, measured)
    if not runs and not fails:
        return _untried(PaperPart.RUNTIMES)
    return (Holding.FAILS if runs else Holding.HOLDS), _which(claim, runs, fails)


def _runs_all(claim: PaperClaim, measured: Measured) -> Judged:
    runs, fails = _tried(claim, measured)
    if not runs and not fails:
        return _untried(PaperPart.RUNTIMES)
    return (Holding.FAILS if fails else Holding.HOLDS), _which(claim, runs, fails)


def _needs(claim: PaperClaim, measured: Measured) -> Judged:
    """Refuted where the framework runs in the guest without what it is said to need."""
    needs = next((each for each in measured.needs if each.framework == claim.framework), None)
    if needs is None:
        return _untried(PaperPart.DEPENDENCIES)
    if needs.missing:
        return Holding.NOT_MEASURED, needs.missing.rstrip(".")
    total = len(needs.seen) + len(needs.replaced) + len(needs.gone)
    said = [f"{needs.package} {needs.version} has {len(needs.seen)} of the {total} that the paper names for it"]
    if needs.replaced:
        said.append(f"has others in place of {len(needs.replaced)} ({', '.join(needs.replaced)})")
    if needs.gone:
        said.append(f"does without {', '.join(needs.gone)}")
    if not needs.replaced and not needs.gone:
        return Holding.HOLDS, said[0]
    runtime = FRAMEWORKS[claim.framework]
    ran = [line.guest for line in _tried(claim, measured)[0] if line.runtime == runtime]
    said.append(f"runs in {ran[0]} as it is" if ran else f"was not seen to run in {claim.guests[0]}")
    return (Holding.FAILS if ran else Holding.NOT_SHOWN), f"{', '.join(said[:-1])}, and {said[-1]}"


def _not_here(claim: PaperClaim, _evidence: Measured) -> Judged:
    return Holding.NOT_MEASURED, claim.why


_RULES: Mapping[Rule, Callable[[PaperClaim, Measured], Judged]] = {
    Rule.ADVANTAGE: _advantage,
    Rule.FASTER: _faster,
    Rule.NOT_FASTER: _not_faster,
    Rule.OWN_TABLES: _own_tables,
    Rule.FACTOR: _factor,
    Rule.CALLS: _calls,
    Rule.CANNOT_RUN: _cannot_run,
    Rule.RUNS_ALL: _runs_all,
    Rule.NEEDS: _needs,
    Rule.NOT_HERE: _not_here,
}
