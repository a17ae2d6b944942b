"""The page of initcalls, or of stamped console lines: what each takes, on one axis, and what differs between two
kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.model import Unit, verdict_word
from ukperf.profile.consolemarks import CallKind, Initcall, by_name, call_changes
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, fact_lines, tone_of
from ukperf.reports.pictures import Box, Chart, ChartAxis, Strip, Words
from ukperf.reports.units import interval, number
from ukperf.stats.addends import mean
from ukperf.text import many

MOST = 20
_DRAWN = 400  # calls of one kernel that are drawn


@dataclass(frozen=True)
class KernelCalls:
    """Boots of one kernel, each with what its console said. label: whose."""

    label: str
    boots: tuple[tuple[Initcall, ...], ...]


@dataclass(frozen=True)
class InitcallPage(Page):
    """compare: the first side with each of the others. counted: a microsecond stands for 1,000 instructions."""

    sides: Sequence[KernelCalls]
    compare: bool = field(default=True, kw_only=True)
    counted: bool = field(default=True, kw_only=True)
    most: int = field(default=MOST, kw_only=True)

    def body(self) -> Iterator[Part]:
        rows: list[tuple[Cell, ...]] = []
        for side in self.sides:
            named = sorted(by_name(side.boots).items(), key=lambda row: (-sum(row[1]), row[0]))
            whole = sum(sum(values) for _, values in named)
            for name, values in named[: self.most]:
                rows.append((Cell(side.label), Cell(name), *self._figure(values, whole)))
            if not named:
                rows.append((Cell(side.label), Cell("nothing on its console"), Cell("–"), Cell(""), Cell("")))
        columns = (
            Column("kernel", cuts=True),
            Column("initcall", cuts=True, least=16),
            Column(self._unit, right=True),
            Column("95 % interval", stays=True),
            Column("share", right=True),
        )
        yield Table(columns, tuple(rows), grouped=True, corner="kernel")
        for side in self.sides[1:] if self.compare else ():
            yield from self._compared(self.sides[0], side)
        for side in self.sides:
            calls = [len([c for c in boot if c.kind is CallKind.INITCALL]) for boot in side.boots]
            probes = [len([c for c in boot if c.kind is CallKind.PROBE]) for boot in side.boots]
            boots = many(len(side.boots), "boot")
            most = many(max(calls, default=0), "initcall"), many(max(probes, default=0), "probe")
            said = f"{most[0]}, {most[1]} that drivers made"
            if not any(calls):
                said = "no initcalls, but lines with a stamp, each until the next"
            yield Line(f"{side.label}: {said}; {boots}.", Tone.DIM)
        yield from fact_lines(self.facts)

    @property
    def _unit(self) -> str:
        return "k instr" if self.counted else "µs"

    def _figure(self, values: Sequence[float], whole: float) -> tuple[Cell, Cell, Cell]:
        estimate = mean(values, Unit.COUNT)
        spread = 0.0 if estimate.low is None or estimate.high is None else estimate.high - estimate.low
        share = sum(values) / whole if whole else 0.0
        said = interval((estimate.low, estimate.high), 1.0, spread)
        return Cell(number(estimate.value, spread)), Cell(said), Cell(f"{100 * share:.1f} %")

    def _compared(self, baseline: KernelCalls, side: KernelCalls) -> Iterator[Part]:
        changes = call_changes(by_name(side.boots), by_name(baseline.boots))
        rows = []
        for change in [c for c in changes if c.addend.difference][: self.most]:
            one = change.addend
            known = one.low is not None and one.high is not None
            word = verdict_word(one.verdict, Unit.INSTRUCTIONS) if known else ""
            tone = Tone.BAD if one.difference > 0 else Tone.GOOD
            said = interval((one.low, one.high), 1.0, abs((one.high or 0) - (one.low or 0)))
            rows.append(
                (
                    Cell(change.name),
                    Cell(number(one.baseline)),
                    Cell(number(one.side)),
                    Cell(f"{one.difference:+,.0f}", tone),
                    Cell(said),
                    Cell(word, tone_of(one.verdict) if word else Tone.PLAIN),
                )
            )
        if not rows:
            return
        columns = (
            Column("initcall", cuts=True, least=16),
            Column(baseline.label, right=True),
            Column(side.label, right=True),
            Column(f"adds, {self._unit}", right=True),
            Column("95 % interval", stays=True),
            Column("verdict", stays=True),
        )
        yield Table(columns, tuple(rows), fold=3)

    def said(self) -> Mapping[str, object]:
        return {
            "unit": self._unit,
            "kernels": [
                {
                    "label": side.label,
                    "boots": len(side.boots),
                    "initcalls": by_name(side.boots),
                    "probes": by_name(side.boots, [CallKind.PROBE]),
                }
                for side in self.sides
            ],
            "facts": self.facts,
            "notes": self.notes,
        }

    def pictures(self) -> Iterable[Chart]:
        chart = initcall_chart(self.sides, "instructions / 1,000" if self.counted else "µs")
        return () if chart is None else (chart,)


def initcall_chart(sides: Sequence[KernelCalls], title: str) -> Chart | None:
    """When each initcall ran in the first boot, every kernel on one axis; None where nothing has a beginning."""
    drawn = [(side, [c for c in side.boots[0] if c.begin_us is not None]) for side in sides if side.boots]
    ends = [c.begin_us + c.took_us for _, calls in drawn for c in calls if c.begin_us is not None]
    if not ends or max(ends) <= 0:
        return None
    strips = []
    for side, calls in drawn:
        largest = sorted(calls, key=lambda c: -c.took_us)[:_DRAWN]
        ordered = sorted(largest, key=lambda c: c.begin_us or 0.0)
        boxes = tuple(
            Box(c.begin_us or 0.0, (c.begin_us or 0.0) + c.took_us, f"p{i % 5}", f"{c.name}: {c.took_us:,.0f}")
            for i, c in enumerate(ordered)
        )
        total = sum(c.took_us for c in calls)
        words = (Words(f"{total:,.0f} in {len(calls)} initcalls", Tone.STRONG),)
        strips.append(Strip(side.label, boxes, words, said=f"{side.label}: {total:,.0f} in {len(calls)} initcalls"))
    about = "Each box is an initcall of the first boot, from its beginning to its end; resting on it names it."
    return Chart("Initcalls", ChartAxis(0.0, max(ends) * 1.02, title=title), tuple(strips), about, tall=34)
