"""System calls of a profile, by name: how often, and what was executed until the program went on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ukperf.model import Unit
from ukperf.profile.figures import figure, percent
from ukperf.profile.flows import UNKNOWN, Flow
from ukperf.profile.model import START, WHOLE, CallSum, Profiled
from ukperf.reports.page import Cell, Column, Line, Part, Table, Tone
from ukperf.reports.units import common_scale, number
from ukperf.stats.addends import mean
from ukperf.text import many

NO_NUMBER = "(number not seen)"


def calls_of(flow: Flow, windows: Sequence[str], names: Mapping[int, str]) -> dict[str, dict[str, CallSum]]:
    """window → name of the system call → its sum. windows: of the same boot's counts; where those are fewer, the last
    has all that follows. names: number → name."""
    calls: dict[str, dict[str, CallSum]] = {window or START: {} for window in windows}
    last = len(windows) - 1
    for at, number_ in zip(*np.nonzero(flow.calls["times"] | flow.calls["instructions"]), strict=True):
        inside = calls[windows[min(int(at), last)] or START]
        name = NO_NUMBER if number_ == UNKNOWN else names.get(int(number_), f"number {number_}")
        tally = flow.calls[at, number_]
        inside[name] = inside.get(name, CallSum()) + CallSum(int(tally["times"]), int(tally["instructions"]))
    return calls


@dataclass(frozen=True)
class CallRow:
    """One system call of one guest. times, instructions: of each boot."""

    name: str
    times: tuple[int, ...]
    instructions: tuple[int, ...]

    @property
    def each(self) -> float | None:
        """Instructions per call over all boots; None where all calls began in an earlier window."""
        return sum(self.instructions) / sum(self.times) if any(self.times) else None


def call_rows(side: Profiled, window: str = WHOLE) -> list[CallRow]:
    """What takes most instructions first; empty where no calls were counted."""
    boots = [boot.calls_in(window) for boot in side.boots]
    rows = []
    for name in dict.fromkeys(name for boot in boots for name in boot):
        sums = [boot.get(name, CallSum()) for boot in boots]
        rows.append(CallRow(name, tuple(s.times for s in sums), tuple(s.instructions for s in sums)))
    return sorted(rows, key=lambda row: (-sum(row.instructions), row.name))


def call_parts(sides: Sequence[Profiled], window: str, most: int) -> Iterator[Part]:
    """The table of system calls, with what it does not say; nothing where no guest made one."""
    listed = {side.label: call_rows(side, window) for side in sides}
    if not any(listed.values()):
        return
    first = {row.name: row for row in listed[sides[0].label]}
    several = len(sides) > 1
    rows: list[tuple[Cell, ...]] = []
    left: list[str] = []
    for side in sides:
        mine = listed[side.label]
        for row in mine[:most]:
            value, spread, share = figure(row.instructions, side.totals(window))
            cells = (Cell(side.label), Cell(row.name), Cell(_times(row)), value, spread, share, Cell(_each(row)))
            rows.append((*cells, *([Cell(_ratio(row, first.get(row.name)))] if several else [])))
        if len(mine) > most:
            rest = sum(sum(row.instructions) for row in mine[most:]) / max(1, sum(side.totals(window)))
            left.append(f"{side.label}: {many(len(mine) - most, 'more system call')} with {percent(rest)} together.")
    columns = [
        Column("guest", cuts=True),
        Column("system call", cuts=True, least=12),
        Column("times", right=True),
        Column("instructions", right=True),
        Column("95 % interval", stays=True),
        Column("share", right=True),
        Column("per call", right=True),
    ]
    if several:
        columns.append(Column(f"÷ {sides[0].label}", right=True))
    yield Table(tuple(columns), tuple(rows), grouped=True, corner="guest", keys=2)
    for text in left:
        yield Line(text, Tone.DIM)
    yield Line(
        "System calls: from the program's syscall instruction until it goes on, with what the kernel does for others "
        "meanwhile.",
        Tone.DIM,
    )


def calls_said(side: Profiled, window: str) -> list[Mapping[str, object]]:
    """For JSON."""
    return [
        {
            "name": row.name,
            "times": row.times,
            "boots": row.instructions,
            "mean": mean(row.instructions, Unit.INSTRUCTIONS).value,
            "per_call": row.each,
        }
        for row in call_rows(side, window)
    ]


def _times(row: CallRow) -> str:
    whole = sum(row.times) / len(row.times)
    return f"{whole:,.0f}" if whole == int(whole) else f"{whole:,.1f}"


def _each(row: CallRow) -> str:
    if row.each is None:
        return "–"
    divisor, symbol = common_scale([row.each], Unit.INSTRUCTIONS)
    return f"{number(row.each / divisor)} {symbol}"


def _ratio(row: CallRow, first: CallRow | None) -> str:
    if first is None or first is row or not first.each or row.each is None:
        return ""
    return f"{row.each / first.each:.2f} ×"
