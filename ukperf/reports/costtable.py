"""The page of `ukperf syscall-cost`: operations × guests with ratio and verdict, or with `function call = 1`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ukperf.model import Comparison, Estimate
from ukperf.reports.answers import of_all
from ukperf.reports.jsonout import Json, members
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, fact_lines, table, tone_of
from ukperf.reports.table import comparison_said, ended
from ukperf.reports.units import interval, number
from ukperf.stats.summary import GuestSummary, RunSummary
from ukperf.stats.within_boot import BootRatio
from ukperf.text import many

SCALE = "call.direct"
GROUPS = {
    "call": "function calls (no system call)",
    "entry": "into the kernel and back",
    "time": "time",
    "file": "files",
    "memory": "memory",
    "ipc": "pipes and sockets",
    "thread": "threads and waiting",
}
_SHOWN = {"s": (1e9, "ns"), "cycles": (1.0, "cycles"), "instructions": (1.0, "instructions")}


@dataclass(frozen=True)
class Row:
    """One operation. missing: guest → why it has no figure there (`ENOSYS`, `hangs` …)."""

    name: str
    group: str
    what: str
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A statement of the paper beside what was measured here. said: the paper's factor, and what it is of."""

    said: str
    measured: BootRatio


@dataclass(frozen=True)
class View:
    """What is shown of a run: which operations, in which unit, and how their benchmarks are called in the summary."""

    rows: tuple[Row, ...]
    unit: str  # s, cycles or instructions
    suffix: str  # of a benchmark's name in the summary, behind the operation's
    ratios: Mapping[tuple[str, str], BootRatio]  # (guest, operation) → in function calls of the same boot
    as_calls: bool = False
    claims: tuple[Claim, ...] = ()

    def benchmark(self, row: Row) -> str:
        return row.name + self.suffix


@dataclass(frozen=True)
class CostPage(Page):
    """Costs by groups of operations, all guests of one host side by side."""

    summary: RunSummary
    view: View

    def answers(self) -> Sequence[str]:
        names = {self.view.benchmark(row): row.name for row in self.view.rows}
        chosen = [replace(c, benchmark=names[c.benchmark]) for c in self.summary.comparisons if c.benchmark in names]
        return of_all(chosen, self.summary.delta)

    def body(self) -> Iterator[Part]:
        yield _table(self.summary, self.view)
        for claim in self.view.claims:
            yield Line(claim_text(claim))
        yield from fact_lines(self.facts, ended(self.summary))
        for note in _notes(self.view):
            yield Line(note, Tone.DIM)
        for warning in _warnings(self.summary):
            yield Line(f"Note: {warning}", Tone.UNSURE)

    def said(self) -> Mapping[str, object]:
        """`comparisons` is a flat list, one object a guest and operation."""
        summary, view = self.summary, self.view
        names = {view.benchmark(row): row.name for row in view.rows}
        return {
            "baseline": summary.baseline,
            "delta": summary.delta,
            "unit": view.unit,
            "blocks": summary.blocks,
            "facts": self.facts,
            "operations": view.rows,
            "guests": [_guest_said(guest, view, names) for guest in summary.guests],
            "comparisons": [
                {**comparison_said(comparison, view.unit), "benchmark": names[comparison.benchmark]}
                for comparison in summary.comparisons
                if comparison.benchmark in names
            ],
            "claims": [{**members(claim.measured), "paper": claim.said} for claim in view.claims],
            "warnings": summary.warnings,
        }


@dataclass(frozen=True)
class OperationsPage(Page):
    """What `ukperf syscall-cost --list` lists."""

    rows: Sequence[Row]

    def body(self) -> Iterator[Part]:
        yield table(("operation", "group", "what"), [(row.name, row.group, row.what) for row in self.rows])

    def said(self) -> Sequence[Json]:
        return [members(row, "missing") for row in self.rows]


def _guest_said(guest: GuestSummary, view: View, names: Mapping[str, str]) -> dict[str, object]:
    return {
        "guest": guest.guest,
        "boots": guest.boots,
        "tried": guest.tried,
        "failures": guest.failures,
        "estimates": {names[name]: estimate for name, estimate in guest.estimates.items() if name in names},
        "function_calls": {
            name: members(ratio, "over", "under")
            for (owner, name), ratio in view.ratios.items()
            if owner == guest.guest
        },
    }


def _table(summary: RunSummary, view: View) -> Table:
    guests = [guest.guest for guest in summary.guests]
    others = [guest for guest in guests if guest != summary.baseline]
    known = [row for row in view.rows if row.missing or any(_estimate(summary, view, row, guest) for guest in guests)]
    groups = dict.fromkeys(row.group for row in known)
    columns = [Column("group"), Column("operation"), Column(summary.baseline, right=True)]
    for guest in others:
        columns += [Column(guest, right=True), Column("÷", right=True, stays=True)]
        columns += [Column("95 % interval", stays=True), Column("verdict", stays=True)]
    rows = [_row(summary, view, row, others) for group in groups for row in known if row.group == group]
    scale = "function calls" if view.as_calls else _SHOWN[view.unit][1]
    return Table(tuple(columns), tuple(rows), grouped=True, corner=scale)


def _row(summary: RunSummary, view: View, row: Row, others: Sequence[str]) -> tuple[Cell, ...]:
    cells = [Cell(GROUPS.get(row.group, row.group)), Cell(row.name), _value(summary, view, row, summary.baseline)]
    for guest in others:
        comparison = summary.comparison(guest, view.benchmark(row))
        cells += [_value(summary, view, row, guest), *_compared(comparison)]
    return tuple(cells)


def _value(summary: RunSummary, view: View, row: Row, guest: str) -> Cell:
    estimate = _estimate(summary, view, row, guest)
    if view.as_calls:
        if row.name == SCALE and estimate is not None:
            return Cell("1")
        ratio = view.ratios.get((guest, row.name))
        if ratio is not None:
            return Cell(f"{number(ratio.ratio)} {interval((ratio.low, ratio.high))}")
    elif estimate is not None:
        factor, _ = _SHOWN[view.unit]
        return Cell(number(estimate.value * factor))
    return Cell(row.missing.get(guest, "–"), Tone.DIM)


def _estimate(summary: RunSummary, view: View, row: Row, guest: str) -> Estimate | None:
    known = summary.guest(guest)
    return known.estimates.get(view.benchmark(row)) if known else None


def _compared(comparison: Comparison | None) -> tuple[Cell, Cell, Cell]:
    if comparison is None or comparison.ratio is None:
        return Cell(""), Cell(""), Cell("")
    return (
        Cell(f"{number(comparison.ratio)}×"),
        Cell(interval((comparison.low, comparison.high)), Tone.DIM),
        Cell(comparison.word, tone_of(comparison.verdict)),
    )


def _notes(view: View) -> list[str]:
    notes = [
        "A boot's figure is the median of its batches; a guest's is the median of its boots.",
        ".raw: the syscall instruction; .libc, .vdso: the C library; .vsyscall: Unikraft's function-call entry.",
    ]
    if view.unit == "instructions":
        notes.append("Instructions that the guest executed, not time. Operations that sleep count idle time as well.")
    if view.as_calls:
        notes.append(f"Scale: {SCALE} = 1, in the same boots of the same guest, with 95 % intervals.")
    return notes


def _warnings(summary: RunSummary) -> list[str]:
    failures = [
        f"{guest.guest}: " + ", ".join(f"{count} {outcome.value}" for outcome, count in guest.failures.items())
        for guest in summary.guests
        if guest.failures
    ]
    return [*failures, *summary.warnings]


def claim_text(claim: Claim) -> str:
    """One sentence: the measured factor with its interval, and the paper's."""
    ratio = claim.measured
    known = f" {interval((ratio.low, ratio.high))}" if ratio.low is not None else ""
    return f"{ratio.over} ÷ {ratio.under}: {number(ratio.ratio)}×{known} over {many(ratio.n, 'boot')} ({claim.said})."
