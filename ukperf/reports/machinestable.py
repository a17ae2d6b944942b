"""What holds over the machines of a run: one figure for all, what each machine says, and how unlike they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ukperf.model import Comparison
from ukperf.reports.answers import MOST_SENTENCES, counted, sentence
from ukperf.reports.charts import ratios
from ukperf.reports.jsonout import Json, plain
from ukperf.reports.names import cut
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, tone_of
from ukperf.reports.pictures import Picture
from ukperf.reports.spans import span_of
from ukperf.reports.table import MOST_TITLE, comparison_said, difference
from ukperf.reports.units import interval, number
from ukperf.stats.machines import MachinesSummary, OverMachines
from ukperf.stats.perboot import PHASES
from ukperf.text import many

MOST_NAMED = 3  # machines in a sentence
MOST_LISTED = 3  # benchmarks of which each machine's ratio is told
MOST_ROWS = 60  # machines in that table
MOST_PICTURES = 6


@dataclass(frozen=True)
class MachinesPage(Page):
    """One stratum of a run's machines."""

    summary: MachinesSummary

    def answers(self) -> Sequence[str]:
        primary = _primary(self.summary)
        if not primary:
            return ()
        if len(primary) > MOST_SENTENCES:
            return counted([pair.comparison for pair in primary])
        return tuple(self._answer(pair) for pair in primary)

    def _answer(self, pair: OverMachines) -> str:
        of = many(len(pair.on), "machine")
        said = sentence(pair.comparison, self.summary.delta, of="machines").removesuffix(".")
        return f"Over {of}: {said}; {_on_each(pair)}."

    def body(self) -> Iterator[Part]:
        summary = self.summary
        if summary.stratum:
            yield Line(f"{many(len(summary.machines), 'machine')} with {summary.stratum}:", wraps=False)
        for answer in self.answers():
            yield Line(answer, Tone.STRONG)
        yield self._over()
        if (each := self._each()) is not None:
            yield each
            if len(summary.machines) > MOST_ROWS:
                yield Line(f"{len(summary.machines) - MOST_ROWS:,} more machines are in --json.", Tone.DIM)
        yield Line(
            "Ratio: geometric mean over machines of each machine's own; its interval is Student's t on machines, in "
            "which what lies between them is. between: standard deviation between machines, boots' scatter taken off. "
            "a further one: where the ratio of a further machine like these would lie, with as many boots.",
            Tone.DIM,
        )
        for warning in (*summary.warnings, *_unlike(summary)):
            yield Line(f"Note: {warning}", Tone.UNSURE)

    def pictures(self) -> Iterator[Picture]:
        """What the run was made for, over all machines and on each of them, on one axis a guest and benchmark."""
        for pair in _primary(self.summary)[:MOST_PICTURES]:
            c = pair.comparison
            rows = {"all machines": replace(c, boots_needed=None), **pair.on}  # that is machines, which the table says
            named = {name: replace(one, guest=name) for name, one in rows.items() if one.ratio is not None}
            about = (
                f"Ratio of {c.guest} to {c.baseline} on each machine by its own boots, and over all of them by "
                "machines, with 95 % intervals."
            )
            title = f"{c.guest} ÷ {c.baseline} on each machine: {c.benchmark}"
            if (chart := ratios(list(named.values()), self.summary.delta, title, about)) is not None:
                who = f"{c.guest} ÷ {c.baseline} on"
                strips = (replace(s, said=f"{who} {s.name}, {s.said.partition(', ')[2]}") for s in chart.rows)
                yield replace(chart, rows=tuple(strips))

    def _over(self) -> Table:
        several = len({pair.comparison.baseline for pair in self.summary.pairs}) > 1
        rows, spans = [], []
        for pair in self.summary.pairs:
            c = pair.comparison
            by = (Cell(cut(c.baseline, MOST_TITLE)),) if several else ()
            between = "" if pair.spread is None else _percent(pair.spread)
            further = "" if pair.further is None else interval(pair.further)
            cells = (*difference(c, "machines"), Cell(_verdicts(pair)), Cell(between), Cell(further))
            rows.append((Cell(c.guest), Cell(c.benchmark), *by, *cells))
            spans.append(span_of(c.ratio, c.low, c.high))
        ratio = "ratio" if several else f"÷ {cut(self.summary.baseline, MOST_TITLE)}"
        columns = (
            Column("guest", cuts=True),
            Column("benchmark", cuts=True),
            *((Column("÷", cuts=True),) if several else ()),
            Column(ratio, right=True),
            Column("95 % interval", stays=True),
            Column("verdict", stays=True),
            Column("on machines"),
            Column("between", right=True),
            Column("a further one", stays=True),
        )
        return Table(columns, tuple(rows), grouped=True, fold=6 if several else 5, spans=tuple(spans))

    def _each(self) -> Table | None:
        """Each machine's ratio in the benchmarks that the run was made for; of one alone its name is in the answer."""
        chosen = _primary(self.summary)
        if not chosen or len({pair.comparison.benchmark for pair in chosen}) > MOST_LISTED:
            return None
        several = len(chosen) > 1
        rows = []
        for machine in self.summary.machines[:MOST_ROWS]:
            blocks = Cell(f"{self.summary.blocks[machine]:,}")
            for pair in chosen:
                names = (Cell(pair.comparison.guest), Cell(pair.comparison.benchmark)) if several else ()
                rows.append((Cell(machine), *names, blocks, *_own(pair.on.get(machine))))
                blocks = Cell("")
        columns = (
            Column("machine", cuts=True),
            *((Column("guest", cuts=True), Column("benchmark", cuts=True)) if several else ()),
            Column("blocks", right=True),
            Column("ratio", right=True),
            Column("95 % interval", stays=True),
            Column("verdict", stays=True),
        )
        return Table(columns, tuple(rows), grouped=several)

    def said(self) -> Mapping[str, object]:
        summary = self.summary
        return {
            "stratum": summary.stratum,
            "baseline": summary.baseline,
            "delta": summary.delta,
            "machines": {machine: summary.blocks[machine] for machine in summary.machines},
            "over": [_said(pair) for pair in summary.pairs],
            "warnings": (*summary.warnings, *_unlike(summary)),
        }


def _primary(summary: MachinesSummary) -> list[OverMachines]:
    """Those of what the run was made for: its samples, or `total` where there are none."""
    samples = [pair for pair in summary.pairs if pair.comparison.benchmark not in PHASES]
    return samples or [pair for pair in summary.pairs if pair.comparison.benchmark == "total"]


def _own(comparison: Comparison | None) -> tuple[Cell, Cell, Cell]:
    ratio, interval, _ = difference(comparison)
    return ratio, interval, Cell("") if comparison is None else Cell(comparison.word, tone_of(comparison.verdict))


def _percent(deviation: float) -> str:
    """A standard deviation of logs."""
    return f"{100 * deviation:.2g} %" if deviation < 1 else f"{number(100 * deviation)} %"


def _verdicts(pair: OverMachines) -> str:
    """`11 faster, 1 slower`."""
    return ", ".join(f"{len(names)} {word}" for word, names in pair.words.items())


def _on_each(pair: OverMachines) -> str:
    """`faster on 11 of 12 machines, slower on 1 (node7)`: who says the rarer thing is named."""
    parts, total = [], len(pair.on)
    for place, (word, names) in enumerate(pair.words.items()):
        if len(names) == total:
            return f"{word} on each of them" if total > 1 else f"{word} on it"
        part = f"{word} on {len(names):,} of {total:,}" if not place else f"{word} on {len(names):,}"
        if place and len(names) <= MOST_NAMED:
            part += f" ({', '.join(cut(name) for name in names)})"
        parts.append(part)
    return ", ".join(parts)


def _unlike(summary: MachinesSummary) -> list[str]:
    """A sentence for what surely differs from machine to machine."""
    names = [f"{cut(p.comparison.guest)} {cut(p.comparison.benchmark)}" for p in summary.pairs if p.unlike]
    if not names:
        return []
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return [f"Machines differ by more than their boots explain (5 % test): {', '.join(names[:4])}{more}."]


def _said(pair: OverMachines) -> dict[str, Json]:
    unit = None if pair.comparison.unit is None else pair.comparison.unit.value
    finite = pair.further if pair.further is None or all(map(math.isfinite, pair.further)) else None
    return {
        **comparison_said(pair.comparison, unit),
        "between": plain(pair.spread),
        "p_unlike": plain(pair.p_unlike),
        "further": plain(finite),
        "on": {machine: comparison_said(own, unit) for machine, own in pair.on.items()},
    }
