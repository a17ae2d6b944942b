"""The page of `ukperf selftest`, and its tables in the Markdown of docs/statistics.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ukperf.reports import markdown as md
from ukperf.reports.jsonout import Json, members, plain
from ukperf.reports.page import SPACE, Cell, Column, Line, Page, Part, Table, Tone
from ukperf.stats.aa import AAResult
from ukperf.stats.contest import METHODS
from ukperf.stats.selftest import LEAST_COVERAGE, MOST_FALSE_ALARMS, MOST_ONE_SIDED, PointResult, SelfTest
from ukperf.stats.simulate import Skew

_POINTS = ("campaign", *METHODS, "coverage", "")
_WORST = ("boots", "scatter between boots", "campaigns", "worst paired", "worst between", "worst coverage", "")
_BETWEEN = (
    "two runs",
    "different",
    "gate fails at 1 + δ",
    "equivalent at the edge",
    "Welch alone: different",
    "equivalent at the edge",
    "",
)
_MACHINES = ("fleet", "different", "coverage", "alike called unlike", "a further one within", "")
_STOPPING = ("σ of a block ÷ target", "skew", "mean blocks", "coverage", "")
_POWER = ("drift of 5 %", "blocks, paired", "boots a side, no blocks", "one after the other: false alarms", "")
_AA = ("A/A run", "blocks", "σ of a boot", *METHODS, "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _mark(kept: bool, excuse: str = "") -> str:
    return ("ok" if kept else "beyond") + (f": {excuse}" if excuse else "")


def tables(result: SelfTest) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """(title, column names, rows) of each part."""
    points = [
        [str(p.point), *(_percent(p.false_alarms[m]) for m in METHODS), _percent(p.coverage), _mark(p.kept, p.excuse)]
        for p in result.points
    ]
    worst = [worst_of(kind) for kind in _alike(result.points).values()]
    between = [
        [
            str(b.point),
            *map(_percent, (b.different, b.gate, b.equivalent, b.welch, b.welch_equivalent)),
            _mark(b.kept),
        ]
        for b in result.between
    ]
    machines = [
        [
            str(m.point),
            *map(_percent, (m.different, m.coverage, m.unlike, m.further)),
            _mark(m.kept, m.excuse),
        ]
        for m in result.machines
    ]
    stopping = [
        [f"{s.noise:g}", s.skew.value, f"{s.blocks:.1f}", _percent(s.coverage), _mark(s.kept)] for s in result.stopping
    ]
    power = [
        [p.drift.value, str(p.paired), str(p.unpaired), _percent(p.one_after_the_other), _mark(p.kept)]
        for p in result.power
    ]
    trials = result.points[0].trials if result.points else 0
    limit = f"limits: {_percent(MOST_FALSE_ALARMS)} false alarms of `paired`, {_percent(LEAST_COVERAGE)} coverage"
    summary = ("The worst of each kind: iterations, ICC, drift and losses vary inside a row", _WORST, worst)
    return [
        *([summary] if result.full else []),
        (
            f"False alarms of a 5 % test, and coverage of our 95 % interval ({trials:,} trials a point; {limit})",
            _POINTS,
            points,
        ),
        (
            f"Between two runs of one distribution with unequal numbers of boots ({trials:,} trials a point; limits: "
            f"{_percent(MOST_FALSE_ALARMS)} called different, {_percent(MOST_ONE_SIDED)} for the gate and for "
            "`equivalent`, within the simulation's error)",
            _BETWEEN,
            between,
        ),
        (
            f"One figure over machines ({trials:,} trials a point; limits: "
            f"{_percent(MOST_FALSE_ALARMS)} called different or unlike, {_percent(LEAST_COVERAGE)} coverage, within "
            "the simulation's error)",
            _MACHINES,
            machines,
        ),
        ("Coverage when a campaign stops on the width of its interval (`--precision`)", _STOPPING, stopping),
        ("Boots that see a ratio of 1.01 with 80 % while the host drifts (a boot scatters by 1 %)", _POWER, power),
    ]


def _alike(points: Sequence[PointResult]) -> dict[tuple[int, Skew, bool], list[PointResult]]:
    kinds: dict[tuple[int, Skew, bool], list[PointResult]] = {}
    for p in points:
        kinds.setdefault((p.point.boots, p.point.skew, p.point.unequal), []).append(p)
    return kinds


def worst_of(points: Sequence[PointResult]) -> list[str]:
    """One row for points that have the same number of boots and the same scatter between them."""
    first = points[0]
    scatter = "normal" if first.point.skew is Skew.NONE else f"{first.point.skew} skew"
    alarms = [_percent(max(p.false_alarms[method] for p in points)) for method in ("paired", "between")]
    return [
        str(first.point.boots),
        scatter + (", σ 3:1" if first.point.unequal else ""),
        str(len(points)),
        *alarms,
        _percent(min(p.coverage for p in points)),
        _mark(all(p.kept for p in points), next((p.excuse for p in points if not p.kept), first.excuse)),
    ]


def aa_table(results: Sequence[AAResult]) -> tuple[str, tuple[str, ...], list[list[str]]]:
    """Title, column names, rows of real A/A runs."""
    rows = [
        [
            f"{r.guest} {r.benchmark}",
            str(r.blocks),
            f"{100 * r.spread:.2f} %",
            *(_percent(r.false_alarms[m]) for m in METHODS),
            _mark(r.kept),
        ]
        for r in results
    ]
    return "False alarms between boots of the same image on this machine", _AA, rows


@dataclass(frozen=True)
class SelftestPage(Page):
    """The simulation, or real boots of one guest."""

    result: SelfTest | None
    aa: Sequence[AAResult]

    @property
    def passed(self) -> bool:
        return (self.result is None or self.result.passed) and all(r.kept for r in self.aa)

    def sections(self) -> Iterator[tuple[str, Table]]:
        """Title and table of each part."""
        parts = [aa_table(self.aa)] if self.aa else []
        for title, names, rows in [*parts, *(tables(self.result) if self.result else [])]:
            yield title, _table(names, rows)

    def body(self) -> Iterator[Part]:
        for title, table in self.sections():
            yield Line(title, Tone.STRONG)
            yield table
            yield SPACE
        yield Line("selftest: passed" if self.passed else "selftest: failed, a rate is beyond its limit")

    def said(self) -> dict[str, Json]:
        return {**(members(self.result) if self.result else {}), "aa": plain(self.aa), "passed": self.passed}


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    columns = tuple(Column(name, right=0 < i < len(names) - 1) for i, name in enumerate(names))
    beyond = "beyond"
    return Table(
        columns,
        tuple(tuple(Cell(cell, Tone.BAD if cell.startswith(beyond) else Tone.PLAIN) for cell in row) for row in rows),
    )


def markdown(title: str, table: Table) -> str:
    """One table for the docs."""
    return "\n".join([f"{title}:", "", *md.table_lines(table), ""])
