"""The answer in sentences: who takes how much more or less, and how surely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ukperf.model import Comparison, Unit, Verdict, cost_of
from ukperf.reports.names import cut
from ukperf.reports.units import alike, interval, number
from ukperf.stats.perboot import PHASES
from ukperf.text import many

if TYPE_CHECKING:
    from ukperf.stats.summary import RunSummary

MOST_SENTENCES = 6


def answers(summary: RunSummary) -> tuple[str, ...]:
    """A sentence for each guest and primary benchmark; for many benchmarks one that counts the verdicts."""
    samples = [name for name in summary.benchmarks if name not in PHASES]
    wanted = samples or ["total"]
    chosen = [c for c in summary.comparisons if c.benchmark in wanted]
    if not chosen:
        boots = sum(guest.boots for guest in summary.guests)
        return (f"{many(boots, 'good boot')}, and nothing to compare.",)
    if len(chosen) > MOST_SENTENCES:
        return counted(chosen)
    return tuple(
        sentence(c, summary.delta, _to_boot(summary, c.guest, c.baseline) if c.benchmark == "total" else "")
        for c in chosen
    )


def of_all(comparisons: Sequence[Comparison], delta: float, of: str = "blocks") -> tuple[str, ...]:
    """The same of comparisons that are not all those of one run. of: what would settle one that is open."""
    chosen = [c for c in comparisons if c.benchmark not in PHASES]
    chosen = chosen or [c for c in comparisons if c.benchmark == "total"]
    if len(chosen) > MOST_SENTENCES:
        return counted(chosen)
    return tuple(sentence(c, delta, of=of) for c in chosen)


def counted(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """A sentence for each guest: how many benchmarks had which verdict."""
    sentences = []
    for guest, baseline in dict.fromkeys((c.guest, c.baseline) for c in comparisons):
        mine = [c for c in comparisons if (c.guest, c.baseline) == (guest, baseline)]
        kinds = [f"{word} in {n}" for word, n in Counter(c.word for c in mine).items()]
        asked = f"{cut(guest)} against {cut(baseline)}, {many(len(mine), 'benchmark')}"
        sentences.append(f"{asked}: {', '.join(kinds)}.")  # "is more in 4" is no English
    return tuple(sentences)


def sentence(comparison: Comparison, delta: float, what: str = "", of: str = "blocks") -> str:
    """what: the two are compared in, `for NAME` where it is not said. of: what would settle it."""
    guest, baseline, name = cut(comparison.guest), cut(comparison.baseline), cut(comparison.benchmark)
    what = what or f"for {name}"
    if comparison.ratio is None:
        why = comparison.warnings[0] if comparison.warnings else "no value"
        return f"{guest} and {baseline} cannot be compared {what}: {why}."
    spread = (comparison.high or 0) - (comparison.low or 0) if comparison.low is not None else 0.0
    figures = f"{number(comparison.ratio, spread)} ×"
    if comparison.low is not None and comparison.high is not None and comparison.low < comparison.high:
        low, high = number(comparison.low, spread), number(comparison.high, spread)
        ends = f"{low} to {high}" if not alike(low, high) else interval((comparison.low, comparison.high))
        figures += f", 95 % interval {ends}"
    figures = f"({figures}, {many(comparison.n, 'block')})" if of == "blocks" else f"({figures})"
    noun = _noun(comparison)
    percent = number(100 * abs(comparison.ratio - 1), 100 * spread)
    if cost_of(comparison.unit) < 0 and comparison.verdict in (Verdict.FASTER, Verdict.SLOWER):
        return f"The rate of {guest} is {percent} % {comparison.word} than that of {baseline} {what} {figures}."
    if comparison.verdict is Verdict.FASTER:
        less = "less" if noun == "time" else "fewer"
        return f"{guest} takes {percent} % {less} {noun} than {baseline} {what} {figures}."
    if comparison.verdict is Verdict.SLOWER:
        return f"{guest} takes {percent} % more {noun} than {baseline} {what} {figures}."
    if comparison.verdict is Verdict.EQUIVALENT:
        return f"{guest} and {baseline} are equivalent {what} within ±{100 * delta:g} % {figures}."
    needed = f"; {comparison.boots_needed:,} {of} would settle it" if comparison.boots_needed else ""
    return f"{guest} and {baseline} cannot be told apart {what} {figures}{needed}."


def _to_boot(summary: RunSummary, guest: str, baseline: str) -> str:
    """What `total` is of two guests: a counted one, and that of a guest which the host ends, has no power-off in it."""
    sides = [guest_summary for name in (guest, baseline) if (guest_summary := summary.guest(name)) is not None]
    whole = all(side.unit is Unit.SECONDS and not side.ended_by_host for side in sides)
    return "to boot and stop" if whole else "to boot and run its program"


def _noun(comparison: Comparison) -> str:
    unit = comparison.unit or Unit.SECONDS
    return {Unit.SECONDS: "time", Unit.BYTES: "bytes"}.get(unit, unit.value)
