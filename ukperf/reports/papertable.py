"""The page of `ukperf paper`: the paper's Tables I, II and III beside what was measured here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukperf.model import Comparison, Estimate, Unit
from ukperf.reports.calltable import CallsPage
from ukperf.reports.jsonout import members
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone
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
    """run: the folder; baseline: the guest that the others are divided by, in the paper and here.

    The paper's numbers are single runs: it gives no interval, and there is none to print.
    """

    run: str
    baseline: str
    calls: CallsPage
    lines: Sequence[PaperLine]

    @property
    def counted(self) -> bool:
        """Were instructions measured instead of time?"""
        return any(line.estimate is not None and line.estimate.unit is Unit.INSTRUCTIONS for line in self.lines)

    def body(self) -> Iterator[Part]:
        yield from self.calls.parts()
        tables = dict.fromkeys(line.table for line in self.lines)
        rows = [_row(line) for table in tables for line in self.lines if line.table == table]
        yield Table(_columns(self.baseline), tuple(rows), grouped=True)
        notes = ["paper: seconds of single runs on Xen (EC2 t2.micro), nanos and linux; it could not run unikraft."]
        if self.counted:
            notes.append("here: instructions that the guest executed (icount), not time.")
        notes.append(
            "boots for 1 %: boots of each guest that would show a difference of 1 % in 4 of 5 runs like this one."
        )
        for note in notes:
            yield Line(note, Tone.DIM)

    def said(self) -> Mapping[str, object]:
        return {
            "run": self.run,
            "table_1": self.calls.said(),
            "lines": [{**members(line), "paper_ratio": line.paper_ratio} for line in self.lines],
            "notes": self.notes,
            "unit": "instructions" if self.counted else "s",
        }


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
        Column("boots for 1 %", right=True),
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
