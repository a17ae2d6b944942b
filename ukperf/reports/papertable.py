"""The page of `ukperf paper`: the paper's Tables I, II and III beside what was measured here, what it could not run,
and each of its claims with a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ukperf.model import Comparison, Estimate, Unit
from ukperf.reports.calltable import CallsPage
from ukperf.reports.costtable import Claim, claim_text
from ukperf.reports.jsonout import members
from ukperf.reports.page import SPACE, Cell, Column, Line, Page, Part, Table, Tone
from ukperf.reports.paperclaims import ClaimLine, Needs, claim_parts, needs_parts
from ukperf.reports.paperinfer import ExchangeLine, LatencyLine, RuntimeLine, classifier_parts, runtime_parts
from ukperf.reports.pictures import Picture
from ukperf.reports.table import difference
from ukperf.reports.units import interval, number, with_unit


@dataclass(frozen=True)
class PaperLine:
    """A number of the paper beside ours. paper_guest, paper_linux: seconds.

    boots_for_effect: boots of each guest that would show a difference of 1 % (80 % power), None where unknown.
    """

    table: str
    benchmark: str
    guest: str
    paper_guest: float | None
    paper_linux: float | None
    estimate: Estimate | None
    baseline: Estimate | None
    comparison: Comparison | None
    boots_for_effect: int | None

    @property
    def paper_ratio(self) -> float | None:
        """Guest over baseline; None for guests that the paper could not run."""
        return self.paper_guest / self.paper_linux if self.paper_guest and self.paper_linux else None


@dataclass(frozen=True)
class PaperPage(Page):
    """run: the folder; baseline: the guest that the others are divided by, in the paper and here. Parts that were not
    measured are empty.

    The paper's numbers are single runs: it gives no interval, and there is none to print. costs: the benchmarks of
    runtimes that are shown, totals: what is divided of them.
    """

    run: str
    baseline: str
    calls: CallsPage
    lines: Sequence[PaperLine]
    boots: Sequence[Comparison] = ()
    factors: Sequence[Claim] = ()
    runtimes: Sequence[RuntimeLine] = ()
    latencies: Sequence[LatencyLine] = ()
    exchanges: Sequence[ExchangeLine] = ()
    needs: Sequence[Needs] = ()
    claims: Sequence[ClaimLine] = ()
    costs: Sequence[str] = ()
    totals: Sequence[str] = ()

    @property
    def counted(self) -> bool:
        """Were instructions measured instead of time?"""
        estimates = [line.estimate for line in self.lines]
        estimates += [cost for line in self.runtimes for cost in line.costs.values()]
        units = {estimate.unit for estimate in estimates if estimate is not None}
        return Unit.INSTRUCTIONS in units | {comparison.unit for comparison in self.boots}

    def body(self) -> Iterator[Part]:
        if self.calls.tables:
            yield from self.calls.parts()
        yield from self._learning()
        yield from _boots(self.boots, self.baseline)
        if self.factors:
            yield SPACE
            yield Line("Costs of system calls: “up to 60x”, “up to 20x”", Tone.STRONG)
            for factor in self.factors:
                yield Line(claim_text(factor))
        yield from runtime_parts(self.runtimes, self.baseline, self.costs, self.totals)
        yield from classifier_parts(self.latencies, self.exchanges, self.baseline)
        yield from needs_parts(self.needs)
        yield from claim_parts(self.claims)
        if self.counted:
            yield SPACE
            yield Line("instr: instructions that the guest executed (icount), not time.", Tone.DIM)

    def pictures(self) -> Iterator[Picture]:
        """Every ratio that was measured, on one axis, and the paper's where it has one."""
        from ukperf.reports.charts import ratios  # heavy, and only HTML draws

        named = [
            (replace(c, benchmark=f"Table {line.table}: {line.benchmark}"), line.paper_ratio)
            for line in self.lines
            if (c := line.comparison) is not None
        ]
        named += [(replace(c, benchmark=f"boot: {c.benchmark}"), None) for c in self.boots]
        named += [
            (replace(c, benchmark=f"{line.runtime}, {line.model}: {name}"), None)
            for line in self.runtimes
            for name, c in line.comparisons.items()
        ]
        theirs = {(c.guest, c.benchmark): ratio for c, ratio in named if ratio is not None}
        about = f"Guest ÷ {self.baseline} with 95 % intervals, on one axis; the line across is what the paper says."
        if chart := ratios([c for c, _ in named], None, f"Every guest against {self.baseline}", about, theirs):
            yield chart

    def _learning(self) -> Iterator[Part]:
        if not self.lines:
            return
        if self.calls.tables:
            yield SPACE
        yield Line("Tables II and III: scikit-learn", Tone.STRONG)
        tables = dict.fromkeys(line.table for line in self.lines)
        rows = [_row(line) for table in tables for line in self.lines if line.table == table]
        yield Table(_columns(self.baseline), tuple(rows), grouped=True, fold=6, keys=2)
        notes = ["paper: seconds of single runs on Xen (EC2 t2.micro), nanos and linux; it could not run unikraft."]
        notes.append("for 1 %: boots of each guest that would show a difference of 1 % in 4 of 5 runs like this one.")
        for note in notes:
            yield Line(note, Tone.DIM)

    def said(self) -> Mapping[str, object]:
        return {
            "run": self.run,
            "table_1": self.calls.said(),
            "lines": [{**members(line), "paper_ratio": line.paper_ratio} for line in self.lines],
            "boots": self.boots,
            "costs": [{**members(factor.measured), "paper": factor.said} for factor in self.factors],
            "runtimes": self.runtimes,
            "classifiers": {"kernels": self.latencies, "runtimes": self.exchanges},
            "dependencies": self.needs,
            "claims": self.claims,
            "notes": self.notes,
            "unit": "instructions" if self.counted else "s",
        }


def _boots(boots: Sequence[Comparison], baseline: str) -> Iterator[Part]:
    if not boots:
        return
    yield SPACE
    yield Line("Boots of the least program: “fast boot times”", Tone.STRONG)
    columns = (Column("guest"), Column(f"÷ {baseline}", right=True), Column("95 % interval"), Column("verdict"))
    yield Table(columns, tuple((Cell(boot.guest), *difference(boot)) for boot in boots))


def _columns(baseline: str) -> tuple[Column, ...]:
    return (
        Column("table"),
        Column("benchmark"),
        Column("guest"),
        Column("paper", right=True),
        Column(baseline, right=True),
        Column("÷", right=True),
        Column("here", right=True),
        Column(baseline, right=True),
        Column("÷", right=True),
        Column("95 % interval"),
        Column("verdict"),
        Column("for 1 %", right=True),
    )


def _row(line: PaperLine) -> tuple[Cell, ...]:
    c = line.comparison
    ratio, span, verdict = "–", "–", ""
    if c is not None:
        verdict = c.word
        if c.ratio is not None:
            width = c.high - c.low if c.low is not None and c.high is not None else 0.0
            ratio, span = number(c.ratio, width), interval((c.low, c.high))
    cells = (
        f"Table {line.table}",
        line.benchmark,
        line.guest,
        _seconds(line.paper_guest),
        _seconds(line.paper_linux),
        "–" if line.paper_ratio is None else f"{line.paper_ratio:.3f}",
        _value(line.estimate),
        _value(line.baseline),
        ratio,
        span,
        verdict,
        "–" if line.boots_for_effect is None else f"{line.boots_for_effect:,}",
    )
    return tuple(map(Cell, cells))


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:g} s"


def _value(estimate: Estimate | None) -> str:
    return "–" if estimate is None else with_unit(estimate.value, estimate.unit)
