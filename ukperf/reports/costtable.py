"""The table of `ukperf syscall-cost`: operations × guests with ratio and verdict, or with `function call = 1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from ukperf.model import Comparison, Estimate, Verdict
from ukperf.reports.columns import Column, lines, show
from ukperf.reports.jsonout import comparison_json, estimate_json
from ukperf.reports.units import interval, number
from ukperf.stats.summary import RunSummary
from ukperf.stats.within_boot import BootRatio
from ukperf.text import many

SCALE = "call.direct"
_GROUPS = {
    "call": "function calls (no system call)",
    "entry": "into the kernel and back",
    "time": "time",
    "file": "files",
    "memory": "memory",
    "ipc": "pipes and sockets",
    "thread": "threads and waiting",
}
_STYLE = {
    Verdict.FASTER: "green",
    Verdict.SLOWER: "red",
    Verdict.EQUIVALENT: "cyan",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_COMPARABLE: "dim",
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


def render(summary: RunSummary, view: View, facts: Mapping[str, str], console: Console) -> None:
    """Print the table, what it is, and warnings."""
    guests = [guest.guest for guest in summary.guests]
    others = [guest for guest in guests if guest != summary.baseline]
    scale = "function calls" if view.as_calls else _SHOWN[view.unit][1]
    columns = [Column(scale), *_columns(summary.baseline, others)]
    rows: list[list[Text]] = []
    known = [row for row in view.rows if row.missing or any(_estimate(summary, view, row, guest) for guest in guests)]
    for group in dict.fromkeys(row.group for row in known):
        rows.append([Text(_GROUPS.get(group, group), style="bold")])
        rows += [_row(summary, view, row, others) for row in known if row.group == group]
    for line in lines(rows, columns):
        show(console, line, wrap=False)
    for claim in view.claims:
        show(console, Text(claim_text(claim)), wrap=True)
    for note in _notes(summary, view, facts):
        show(console, Text(note, style="dim"), wrap=True)
    for warning in _warnings(summary):
        show(console, Text(f"Note: {warning}", style="yellow"), wrap=True)


def _columns(baseline: str, others: Sequence[str]) -> list[Column]:
    columns = [Column(baseline, right=True)]
    for guest in others:
        columns += [Column(guest, right=True), Column("÷", right=True), Column("95 % interval"), Column("verdict")]
    return columns


def _row(summary: RunSummary, view: View, row: Row, others: Sequence[str]) -> list[Text]:
    cells = [Text(f"  {row.name}"), _value(summary, view, row, summary.baseline)]
    for guest in others:
        comparison = summary.comparison(guest, view.benchmark(row))
        cells += [_value(summary, view, row, guest), *_compared(comparison)]
    return cells


def _value(summary: RunSummary, view: View, row: Row, guest: str) -> Text:
    estimate = _estimate(summary, view, row, guest)
    if view.as_calls:
        if row.name == SCALE and estimate is not None:
            return Text("1")
        ratio = view.ratios.get((guest, row.name))
        if ratio is not None:
            return Text(f"{number(ratio.ratio)} {interval((ratio.low, ratio.high))}")
    elif estimate is not None:
        factor, _ = _SHOWN[view.unit]
        return Text(number(estimate.value * factor))
    return Text(row.missing.get(guest, "–"), style="dim")


def _estimate(summary: RunSummary, view: View, row: Row, guest: str) -> Estimate | None:
    found = summary.guest(guest)
    return found.estimates.get(view.benchmark(row)) if found else None


def _compared(comparison: Comparison | None) -> list[Text]:
    if comparison is None or comparison.ratio is None:
        return [Text(""), Text(""), Text("")]
    return [
        Text(f"{number(comparison.ratio)}×"),
        Text(interval((comparison.low, comparison.high)), style="dim"),
        Text(comparison.word, style=_STYLE[comparison.verdict]),
    ]


def _notes(summary: RunSummary, view: View, facts: Mapping[str, str]) -> list[str]:
    what = "; ".join(f"{name} {value}" for name, value in facts.items())
    boots = sum(guest.boots for guest in summary.guests)
    failed = sum(count for guest in summary.guests for count in guest.failures.values())
    notes = [f"{what}; {many(summary.blocks, 'block')}; {many(boots, 'good boot')}; {failed} failed."]
    notes.append("A boot's figure is the median of its batches; a guest's is the median of its boots.")
    notes.append(
        ".raw: the syscall instruction; .libc, .vdso: the C library; .vsyscall: Unikraft's function-call entry."
    )
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
    found = claim.measured
    known = f" {interval((found.low, found.high))}" if found.low is not None else ""
    return f"{found.over} ÷ {found.under}: {number(found.ratio)}×{known} over {many(found.n, 'boot')} ({claim.said})."


def render_operations(rows: Sequence[Row], console: Console) -> None:
    """Print the list of operations."""
    columns = [Column("operation"), Column("group"), Column("what")]
    for line in lines([[Text(row.name), Text(row.group), Text(row.what)] for row in rows], columns):
        show(console, line, wrap=False)


def to_json(summary: RunSummary, view: View, facts: Mapping[str, str]) -> dict[str, object]:
    """The same facts as the table. `comparisons` is a flat list, one object a guest and operation."""
    names = {view.benchmark(row): row.name for row in view.rows}
    return {
        "baseline": summary.baseline,
        "delta": summary.delta,
        "unit": view.unit,
        "blocks": summary.blocks,
        "facts": dict(facts),
        "operations": [
            {"name": row.name, "group": row.group, "what": row.what, "missing": dict(row.missing)} for row in view.rows
        ],
        "guests": [
            {
                "guest": guest.guest,
                "boots": guest.boots,
                "tried": guest.tried,
                "failures": {outcome.value: count for outcome, count in guest.failures.items()},
                "estimates": {
                    names[name]: estimate_json(estimate) for name, estimate in guest.estimates.items() if name in names
                },
                "function_calls": {
                    name: {"ratio": ratio.ratio, "low": ratio.low, "high": ratio.high, "n": ratio.n}
                    for (owner, name), ratio in view.ratios.items()
                    if owner == guest.guest
                },
            }
            for guest in summary.guests
        ],
        "comparisons": [
            {**comparison_json(comparison, view.unit), "benchmark": names[comparison.benchmark]}
            for comparison in summary.comparisons
            if comparison.benchmark in names
        ],
        "claims": [
            {
                "over": claim.measured.over,
                "under": claim.measured.under,
                "ratio": claim.measured.ratio,
                "low": claim.measured.low,
                "high": claim.measured.high,
                "n": claim.measured.n,
                "paper": claim.said,
            }
            for claim in view.claims
        ],
        "warnings": list(summary.warnings),
    }
