"""The page of two profiles: what each function adds to one side or takes away, with gates on groups of functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ukperf.model import Unit, verdict_word
from ukperf.profile.calltrees import stacks_of
from ukperf.profile.difference import FunctionChange, GateResult, changes, comparable, total_change
from ukperf.profile.icicles import call_icicle, icicle
from ukperf.profile.model import WHOLE, Function, Profiled
from ukperf.profile.page import MOST, average, called, home, shown, where
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, fact_lines, tone_of
from ukperf.reports.pictures import Picture
from ukperf.reports.units import common_scale, number, with_unit
from ukperf.stats.addends import Addend
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.text import many


@dataclass(frozen=True)
class DifferencePage(Page):
    """side against baseline. gates: what gates said, if there are any."""

    side: Profiled
    baseline: Profiled
    window: str = field(default=WHOLE, kw_only=True)
    most: int = field(default=MOST, kw_only=True)
    gates: Sequence[GateResult] = field(default=(), kw_only=True)

    @cached_property
    def changes(self) -> list[FunctionChange]:
        return changes(self.side, self.baseline, self.window)

    @cached_property
    def total(self) -> Addend:
        return total_change(self.side, self.baseline, self.window)

    def answers(self) -> Sequence[str]:
        one = self.total
        said = f"{self.side.label} executes {signed(one.difference)} against {self.baseline.label}"
        share = f" ({100 * one.difference / one.baseline:+.2f} %)" if one.baseline else ""
        most = [c for c in self.changes if c.addend.difference][:3]
        names = ", ".join(f"{called(c.function)} {signed(c.addend.difference)}" for c in most)
        return (f"{said}{share}{': ' if names else ''}{names}.",)

    def body(self) -> Iterator[Part]:
        yield Line(where(self.window), wraps=True)
        for answer in self.answers():
            yield Line(answer)
        listed = [c for c in self.changes if c.addend.difference][: self.most]
        rows = tuple(_row(change) for change in listed)
        columns = (
            Column("function", cuts=True, least=16),
            Column("in", cuts=True),
            Column(self.baseline.label, right=True),
            Column(self.side.label, right=True),
            Column("adds", right=True),
            Column("95 % interval", stays=True),
            Column("verdict", stays=True),
        )
        if rows:
            yield Table(columns, rows, fold=4)
        else:
            yield Line("No function differs.", Tone.ALIKE)
        for result in self.gates:
            tone = Tone.UNSURE if result.failed is None else Tone.BAD if result.failed else Tone.GOOD
            yield Line(result.sentence, tone)
        yield from self._remarks(len(listed))
        yield from fact_lines(self.facts)

    def _remarks(self, listed: int) -> Iterator[Line]:
        differing = [c for c in self.changes if c.addend.difference]
        rest = sum(c.addend.difference for c in differing[listed:])
        if len(differing) > listed:
            yield Line(f"{many(len(differing) - listed, 'more function')} together: {signed(rest)}.", Tone.DIM)
        boots = f"{many(len(self.side.boots), 'boot')} of {self.side.label}, {len(self.baseline.boots)} of "
        yield Line(f"Means over {boots}{self.baseline.label}; the differences of all functions add up.", Tone.DIM)
        if min(len(self.side.boots), len(self.baseline.boots)) < MIN_BOOTS:
            yield Line(f"No intervals and no verdicts: {MIN_BOOTS} boots a side are needed.", Tone.UNSURE)

    def said(self) -> Mapping[str, object]:
        return {
            "window": self.window,
            "side": self.side.label,
            "baseline": self.baseline.label,
            "boots": [len(self.side.boots), len(self.baseline.boots)],
            "facts": self.facts,
            "total": _addend_said(self.total),
            "functions": [
                {
                    "part": change.function.part,
                    "file": change.function.file,
                    "name": change.function.name,
                    **_addend_said(change.addend),
                }
                for change in self.changes
            ],
            "gates": [
                {
                    "gate": result.gate.text,
                    "failed": result.failed,
                    "p_value": result.p_value,
                    "functions": len(result.functions),
                    "why": result.why,
                }
                for result in self.gates
            ],
            "notes": self.notes,
        }

    def pictures(self) -> Iterable[Picture]:
        stacks = [(one.label, stacks_of(one, self.window)) for one in (self.baseline, self.side)]
        followed = [(label, one) for label, one in stacks if one is not None]
        if len(followed) == len(stacks):
            drawn = call_icicle(followed, where(self.window), same=comparable)
            return () if drawn is None else (drawn,)
        adds = {change.function: change.addend for change in self.changes}
        sides = [(one.label, _averages(one, self.window)) for one in (self.baseline, self.side)]
        drawn = icicle(sides, where(self.window), adds={f: (a.difference, a.baseline) for f, a in adds.items()})
        return () if drawn is None else (drawn,)


def _averages(side: Profiled, window: str) -> dict[Function, float]:
    """By functions as they are compared."""
    summed: dict[Function, float] = {}
    for function, count in average(side, window).items():
        known = comparable(function)
        summed[known] = summed.get(known, 0.0) + count
    return summed


def signed(instructions: float) -> str:
    """`+1.5 M instr`."""
    sign = "+" if instructions > 0 else "−" if instructions < 0 else "±"
    return f"{sign}{with_unit(abs(instructions), Unit.INSTRUCTIONS)}"


def _row(change: FunctionChange) -> tuple[Cell, ...]:
    one = change.addend
    divisor, symbol = common_scale([one.side, one.baseline], Unit.INSTRUCTIONS)
    spread = 0.0 if one.low is None or one.high is None else (one.high - one.low) / divisor
    if one.low is None or one.high is None:
        said = "–"
    elif one.exact:
        said = "exact"
    else:
        said = f"[{number(one.low / divisor, spread)}, {number(one.high / divisor, spread)}]"
    tone = Tone.BAD if one.difference > 0 else Tone.GOOD
    word = verdict_word(one.verdict, Unit.INSTRUCTIONS) if one.low is not None else ""
    return (
        Cell(shown(change.function)),
        Cell(home(change.function)),
        Cell(number(one.baseline / divisor)),
        Cell(f"{number(one.side / divisor)} {symbol}"),
        Cell(signed(one.difference), tone),
        Cell(said),
        Cell(word, tone_of(one.verdict) if word else Tone.PLAIN),
    )


def _addend_said(one: Addend) -> dict[str, object]:
    return {
        "difference": one.difference,
        "side_mean": one.side,
        "baseline_mean": one.baseline,
        "low": one.low,
        "high": one.high,
        "verdict": None if one.low is None else verdict_word(one.verdict, Unit.INSTRUCTIONS),
        "p_value": one.p_value,
    }
