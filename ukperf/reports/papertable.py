"""The paper's Tables II and III beside what was measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.text import Text

from ukperf.model import Comparison, Estimate, Unit
from ukperf.reports.columns import Column, lines, show
from ukperf.reports.units import interval, number, with_unit


class PaperLine(Protocol):
    """A number of the paper beside ours; see ukperf.workloads.paper."""

    @property
    def table(self) -> str: ...
    @property
    def benchmark(self) -> str: ...
    @property
    def guest(self) -> str: ...
    @property
    def paper_guest(self) -> float | None: ...
    @property
    def paper_linux(self) -> float | None: ...
    @property
    def paper_ratio(self) -> float | None: ...
    @property
    def estimate(self) -> Estimate | None: ...
    @property
    def baseline(self) -> Estimate | None: ...
    @property
    def comparison(self) -> Comparison | None: ...
    @property
    def boots_for_effect(self) -> int | None: ...


COLUMNS = (
    Column(""),
    Column("guest"),
    Column("paper", right=True),
    Column("linux", right=True),
    Column("÷", right=True),
    Column("here", right=True),
    Column("linux", right=True),
    Column("÷", right=True),
    Column("95 % interval"),
    Column("verdict"),
    Column("boots for 1 %", right=True),
)


def render(found: Sequence[PaperLine], console: Console) -> None:
    """Print both tables. The paper's numbers are single runs: it gives no interval, and there is none to print."""
    rows: list[list[Text]] = []
    for table in dict.fromkeys(line.table for line in found):
        rows.append([Text(f"Table {table}", style="bold")])
        rows += [_row(line) for line in found if line.table == table]
    for text in lines(rows, COLUMNS):
        show(console, text, wrap=False)
    notes = ["paper: seconds of single runs on Xen (EC2 t2.micro), nanos and linux; it could not run unikraft."]
    if any(line.estimate is not None and line.estimate.unit is Unit.INSTRUCTIONS for line in found):
        notes.append("here: instructions that the guest executed (icount), not time.")
    notes.append("boots for 1 %: boots of each guest that would show a difference of 1 % in 4 of 5 runs like this one.")
    for note in notes:
        show(console, Text(note, style="dim"), wrap=True)


def _row(line: PaperLine) -> list[Text]:
    c = line.comparison
    ratio, span, verdict = "–", "–", ""
    if c is not None:
        verdict = c.word
        if c.ratio is not None:
            width = c.high - c.low if c.low is not None and c.high is not None else 0.0
            ratio, span = number(c.ratio, width), interval((c.low, c.high))
    cells = (
        f"  {line.benchmark}",
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
    return [Text(cell) for cell in cells]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:g} s"


def _value(estimate: Estimate | None) -> str:
    return "–" if estimate is None else with_unit(estimate.value, estimate.unit)
