"""The gate for CI: which comparisons are surely beyond the margin.

`check` asks another question than the verdict `slower`: not "is the ratio 1?" but "is it at most 1 + delta?". One-sided
t test of the ratio against the edge of the margin, Holm over all comparisons: a run of which nothing got slower by more
than delta fails in at most 5 % of cases, however many benchmarks it has.

A gate that tests nothing must not pass: what could not be tested, and what is gone, is named, each with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ukperf.model import Comparison, Status, Unit, Verdict, cost_of
from ukperf.stats.between import Side, effect_of, same_values
from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.verdict import ALPHA, holm
from ukperf.text import many


def p_beyond(effect: Effect, delta: float, slower: bool, unit: Unit | None = None) -> float | None:
    """One-sided p-value of "the ratio is at most 1 + delta" (slower) or "at least 1 / (1 + delta)" (faster); of rates,
    of which more is better, it is the other way round."""
    worse = cost_of(unit) * effect.log_ratio
    return effect.p_beyond((worse if slower else -worse) - math.log1p(delta))


@dataclass(frozen=True)
class Untested:
    """A comparison that the gate could not make. why: the end of a sentence about it."""

    guest: str
    baseline: str
    benchmark: str
    why: str


@dataclass(frozen=True)
class Gate:
    """What a gate found. failed: `guest benchmark` of what fails it; tested: the comparisons that it could test.

    untested: benchmarks of the baseline that could not be tested. missing: those that are gone from the other side.
    new: those that the baseline does not have: nothing to test them against, and no fault. doubts: sentences about what
    a pass does not say.
    """

    failed: tuple[str, ...]
    tested: tuple[Comparison, ...]
    untested: tuple[Untested, ...]
    missing: tuple[Untested, ...]
    new: tuple[Untested, ...]
    doubts: tuple[str, ...] = ()


def gate(
    pairs: Sequence[tuple[Side, Side]], comparisons: Sequence[Comparison], delta: float, wanted: Sequence[str]
) -> Gate:
    """Judge comparisons (those of `compare_pairs` for the same pairs) by the verdicts that fail.

    `slower` and `faster` are tested against the margin as above; other words are compared with the verdict as it is.
    What such a word fails is not named as untested once more.
    """
    sides = {(side.label, baseline.label): (side, baseline) for side, baseline in pairs}
    tested: list[Comparison] = []
    open_questions: dict[str, list[Untested]] = {"untested": [], "missing": [], "new": []}
    for comparison in comparisons:
        if comparison.ratio is not None and comparison.low is not None:
            tested.append(comparison)
            continue
        if all(_never_has(side, comparison.benchmark) for side in sides[comparison.guest, comparison.baseline]):
            continue  # neither side has a figure that could get worse
        kind, why = _why_not(comparison, *sides[comparison.guest, comparison.baseline])
        if comparison.verdict.value not in wanted or kind == "new":
            open_questions[kind].append(Untested(comparison.guest, comparison.baseline, comparison.benchmark, why))
    failed: list[str] = []
    for word in wanted:
        if word not in ("slower", "faster"):
            new = {(u.guest, u.benchmark) for u in open_questions["new"]}
            failed += [
                f"{c.guest} {c.benchmark}"
                for c in comparisons
                if c.verdict.value == word and (c.guest, c.benchmark) not in new
            ]
            continue
        effects = [(effect_of(*sides[c.guest, c.baseline], c.benchmark), c.unit) for c in tested]
        raw = [p_beyond(effect, delta, word == Verdict.SLOWER, unit) if effect else None for effect, unit in effects]
        adjusted = holm([1.0 if p is None else p for p in raw])
        failed += [f"{c.guest} {c.benchmark}" for c, p in zip(tested, adjusted, strict=True) if p <= ALPHA]
    questions = {kind: tuple(items) for kind, items in open_questions.items()}
    doubts = (*_copies(pairs), *_hidden(tested, failed, delta, wanted))
    return Gate(tuple(dict.fromkeys(failed)), tuple(tested), **questions, doubts=doubts)


def _why_not(comparison: Comparison, side: Side, baseline: Side) -> tuple[str, str]:
    """(untested, missing or new, why) of a comparison without an interval."""
    name = comparison.benchmark
    for one in (side, baseline):
        if one.tried and one.lost == one.tried:
            which = "the only boot" if one.tried == 1 else f"all {one.tried} boots"
            return "untested", f"{which} of {one.label} failed"
    if name not in baseline.benchmarks:
        return "new", f"{baseline.label} does not have it"
    if name not in side.benchmarks:
        return "missing", f"{side.label} does not have it"
    if comparison.ratio is None:
        kind = "new" if _never_has(baseline, name) else "untested"
        return kind, "; ".join(comparison.warnings) or "there is nothing to compare"
    over, under = (len(one.series[name].values) for one in (side, baseline))
    if side.run == baseline.run:
        return "untested", f"a good boot of both is in {many(comparison.n, 'block')}, and {MIN_BOOTS} are needed"
    return "untested", f"{many(over, 'boot')} against {under}, and {MIN_BOOTS} a side are needed"


def _never_has(side: Side, benchmark: str) -> bool:
    """The `stop` of a guest that the host ends has no value and cannot get one; what is below resolution, or was left
    out of a file, is there and cannot be tested."""
    series = side.series.get(benchmark)
    return series is not None and not series.values and series.count(Status.ENDED_BY_HOST) == len(series.statuses)


def _hidden(
    tested: Sequence[Comparison], failed: Sequence[str], delta: float, wanted: Sequence[str]
) -> tuple[str, ...]:
    """How much slower (or faster) what passes may still be: the wide intervals, by their ends."""
    said = []
    for word in wanted:
        if word not in ("slower", "faster"):
            continue
        excess = {
            f"{c.guest} {c.benchmark}": (c.high if (word == Verdict.SLOWER) == (cost_of(c.unit) > 0) else 1 / c.low) - 1
            for c in tested
            if c.low and c.high and f"{c.guest} {c.benchmark}" not in failed
        }
        wide = sorted((name for name, x in excess.items() if x > delta), key=lambda name: -excess[name])
        if wide:
            listed = ", ".join(f"{name} up to {100 * excess[name]:.3g} %" for name in wide[:3])
            more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
            said.append(f"more than {100 * delta:g} % is not ruled out: {listed}{more}")
    return tuple(said)


def _copies(pairs: Sequence[tuple[Side, Side]]) -> tuple[str, ...]:
    """Runs that scatter and agree in every digit are one run."""
    return tuple(
        f"{side.label} and {baseline.label} hold the same values: a run and itself, or its copy"
        for side, baseline in pairs
        if same_values(side, baseline)
    )
