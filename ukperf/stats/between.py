"""Comparisons between runs, or between files of other tools: Welch on logs. Nothing cancels drift between two runs.

Two sides of the same run keep their blocks and are paired, like everything inside a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from ukperf.errors import UkperfError
from ukperf.model import Comparison, Verdict, kind_of
from ukperf.stats.effect import Effect
from ukperf.stats.perboot import Series
from ukperf.stats.provenance import DECISIVE, differences, shown
from ukperf.stats.resolution import with_resolution
from ukperf.stats.welch import welch_effect
from ukperf.stats.within import (
    Candidate,
    between_statuses,
    block_effect,
    calls_warning,
    engine_first,
    median_ratio,
    refusal,
    unlike,
    with_verdicts,
)
from ukperf.text import many, meant

COPIES = "both sides hold the same values: a run and itself, or its copy"
DRIFT = "two runs: what changed on the host between them is in the ratio"


@dataclass(frozen=True)
class Side:
    """One guest of one run, or one file of another tool.

    label: how it is called in tables. run: identifies the run; two sides with the same one are paired over blocks.
    context: facts, of which some must be alike and others are worth a warning where they are not (stats.provenance).
    answers: check → digest. lost: failed boots; the boots of each series are what is left. left_out: benchmark → why it
    has no series. notes: sentences for every comparison with this side. runs: that it is made of (stats.sides.pooled);
    from 2 on the run is the unit, and what changes from run to run is in the interval. control: the benchmark that all
    others are divided by (stats.sides.relative_to): their values have its unit no more.
    """

    label: str
    run: str
    series: Mapping[str, Series]
    context: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    lost: int = 0
    tried: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    guest: str = ""
    runs: int = 1
    control: str = ""

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """What it has or should have: those that were left out among them."""
        return tuple(dict.fromkeys([*self.series, *self.left_out]))


def chosen(pairs: Sequence[tuple[Side, Side]], patterns: Sequence[str]) -> list[tuple[Side, Side]]:
    """The pairs with those benchmarks only that a pattern names, whole or with * and ?; all, where there is none.

    Raises UkperfError for a pattern that no benchmark of either side fits.
    """
    names = dict.fromkeys(name for pair in pairs for side in reversed(pair) for name in side.benchmarks)
    for pattern in patterns:
        if not any(fits(name, pattern) for name in names):
            raise UkperfError(f"There is no benchmark {pattern!r}.", hint=meant(pattern, names))

    def only(side: Side) -> Side:
        kept = {name for name in side.benchmarks if any(fits(name, pattern) for pattern in patterns)}
        return replace(
            side,
            series={name: series for name, series in side.series.items() if name in kept},
            left_out={name: why for name, why in side.left_out.items() if name in kept},
        )

    return [(only(side), only(baseline)) for side, baseline in pairs] if patterns else list(pairs)


def fits(name: str, pattern: str) -> bool:
    """Is a benchmark named so, whole or by * and ?"""
    return name == pattern or fnmatchcase(name, pattern)


def compare_sides(baseline: Side, others: Sequence[Side], delta: float) -> tuple[Comparison, ...]:
    """Each of `others` against `baseline`, for every benchmark that either has; Holm over all of them."""
    return compare_pairs([(other, baseline) for other in others], delta)


def compare_pairs(pairs: Sequence[tuple[Side, Side]], delta: float) -> tuple[Comparison, ...]:
    """Every (side, its baseline) for every benchmark that either has; one family, Holm over all of it."""
    candidates = [
        _candidate(side, baseline, benchmark)
        for side, baseline in pairs
        for benchmark in dict.fromkeys([*baseline.benchmarks, *side.benchmarks])
    ]
    return with_verdicts(candidates, delta)


def _candidate(side: Side, baseline: Side, benchmark: str) -> Candidate:
    names = (benchmark, side.label, baseline.label)
    over, under = side.series.get(benchmark), baseline.series.get(benchmark)
    why = _other_question(side, baseline) or _left_out(side, baseline, benchmark)
    why = why or refusal(over, under, side.label, baseline.label)
    if why or over is None or under is None:
        return Candidate(*names, None, why)
    effect = effect_of(side, baseline, benchmark)
    if effect is None:
        return Candidate(*names, None, "no block has a good boot of both", Verdict.INCONCLUSIVE)
    kinds = between_statuses(over, under, side.label, baseline.label)
    effect = replace(effect, warnings=(*kinds, *effect.warnings, *_warnings(side, baseline)))
    return Candidate(*names, effect, unit=over.unit, medians=median_ratio(over, under))


def _left_out(side: Side, baseline: Side, benchmark: str) -> str:
    """Why a side has no series of a benchmark that it should have; empty where it has, or should not."""
    for one in (baseline, side):
        if benchmark in one.left_out:
            return f"{benchmark} of {one.label} {one.left_out[benchmark]}"
    return ""


def effect_of(side: Side, baseline: Side, benchmark: str) -> Effect | None:
    """Paired over blocks inside one run, Welch between two; None where there is nothing to compare."""
    over, under = side.series.get(benchmark), baseline.series.get(benchmark)
    if over is None or under is None:
        return None
    if side.run == baseline.run:
        return block_effect(over, under)
    effect = with_resolution(welch_effect(over.values, under.values), over.values, under.values, over.unit)
    return replace(effect, warnings=(*effect.warnings, *calls_warning(over, under)))


def _other_question(side: Side, baseline: Side) -> str:
    for key in DECISIVE:
        left, right = side.context.get(key, ""), baseline.context.get(key, "")
        if left and right and left != right:
            return f"the {key} differs: {shown(left)} in {side.label}, {shown(right)} in {baseline.label}"
    for name in sorted(side.answers.keys() & baseline.answers.keys(), key=engine_first):
        left, right = side.answers[name], baseline.answers[name]
        if left != right:
            return unlike(name, f"{left} in {side.label}", f"{right} in {baseline.label}")
    return ""


def _warnings(side: Side, baseline: Side) -> list[str]:
    warnings = []
    if side.run != baseline.run and same_values(side, baseline):
        warnings.append(COPIES)
    elif side.run != baseline.run and min(side.runs, baseline.runs) == 1:
        warnings.append(DRIFT)
    one_guest = kind_of(side.guest) == kind_of(baseline.guest)
    warnings += differences(side.context, baseline.context, side.guest if one_guest else None)
    for one in (side, baseline):
        if one.lost:
            warnings.append(f"{one.lost} of {many(one.tried, 'boot')} of {one.label} failed")
        warnings += one.notes
    return warnings


def same_values(side: Side, baseline: Side) -> bool:
    """Runs that scatter and agree in every digit are one run; counts may repeat between real runs."""
    return side.series == baseline.series and any(len(set(s.values)) > 1 for s in side.series.values())
