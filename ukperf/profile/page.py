"""The page of a profile: whose code the instructions are, and the functions that have most of them, guest by guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.model import Estimate, Unit
from ukperf.profile.calls import call_parts, calls_said
from ukperf.profile.calltrees import called_parts, called_said, stacks_of
from ukperf.profile.difference import parts_of
from ukperf.profile.figures import figure, percent
from ukperf.profile.icicles import call_icicle, icicle
from ukperf.profile.model import WHOLE, CodePart, Coverage, Function, Profiled, coverage
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, fact_lines
from ukperf.reports.pictures import Picture
from ukperf.reports.units import with_unit
from ukperf.stats.addends import mean
from ukperf.text import many

MOST = 20  # functions of each guest, unless more are asked for
MOST_FILES = 12  # files of a part that have a row of their own
_VARYING = 3  # named in a line
_FEW = 0.5  # of a kernel's instructions
_KERNEL = (CodePart.KERNEL, CodePart.MODULE)


@dataclass(frozen=True)
class ProfilePage(Page):
    """sides: one for each guest, at least one. window: WHOLE: all of a boot. most: functions of each that are shown."""

    sides: Sequence[Profiled]
    window: str = field(default=WHOLE, kw_only=True)
    most: int = field(default=MOST, kw_only=True)

    def answers(self) -> Sequence[str]:
        return [_answer(side, self.window) for side in self.sides]

    def body(self) -> Iterator[Part]:
        yield Line(where(self.window), wraps=True)
        yield self._parts()
        yield self._functions()
        yield from called_parts(self.sides, self.window, self.most, lambda f: (Cell(shown(f)), Cell(home(f))))
        yield from call_parts(self.sides, self.window, self.most)
        for side in self.sides:
            yield from _remarks(side, self.window)
        yield from fact_lines(self.facts)

    def _parts(self) -> Table:
        rows: list[tuple[Cell, ...]] = []
        for side in self.sides:
            whole = side.totals(self.window)
            for name, values, covered in _part_rows(side, self.window):
                rows.append((Cell(side.label), Cell(name), *figure(values, whole), Cell(covered)))
        columns = (
            Column("guest", cuts=True),
            Column("code of", cuts=True),
            Column("instructions", right=True),
            Column("95 % interval", stays=True),
            Column("share", right=True),
            Column("named", right=True),
        )
        return Table(columns, tuple(rows), grouped=True, corner="guest")

    def _functions(self) -> Table:
        rows: list[tuple[Cell, ...]] = []
        for side in self.sides:
            whole = side.totals(self.window)
            so_far = 0.0
            for function, counts in ranked(side, self.window)[: self.most]:
                so_far += sum(counts) / max(1, sum(whole))
                sums = Cell(percent(so_far), Tone.DIM)
                rows.append(
                    (Cell(side.label), Cell(shown(function)), Cell(home(function)), *figure(counts, whole), sums)
                )
        columns = (
            Column("guest", cuts=True),
            Column("function", cuts=True, least=16),
            Column("in", cuts=True),
            Column("instructions", right=True),
            Column("95 % interval", stays=True),
            Column("share", right=True),
            Column("sum", right=True),
        )
        return Table(columns, tuple(rows), grouped=True, corner="guest", keys=2)

    def said(self) -> Mapping[str, object]:
        return {
            "window": self.window,
            "facts": self.facts,
            "guests": [side_said(side, self.window) for side in self.sides],
            "notes": self.notes,
        }

    def pictures(self) -> Iterable[Picture]:
        stacks = [(side.label, stacks_of(side, self.window)) for side in self.sides]
        followed = [(label, one) for label, one in stacks if one is not None]
        if len(followed) == len(stacks):
            drawn = call_icicle(followed, where(self.window))
            return () if drawn is None else (drawn,)
        drawn = icicle([(side.label, average(side, self.window)) for side in self.sides], where(self.window))
        return () if drawn is None else (drawn,)


def where(window: str) -> str:
    """Which instructions are counted."""
    return "All instructions of a boot." if window == WHOLE else f"Instructions in the window {window}."


def ranked(side: Profiled, window: str) -> list[tuple[Function, tuple[int, ...]]]:
    """Functions with their boots, what has most instructions first."""
    return sorted(side.series(window).items(), key=lambda row: (-sum(row[1]), row[0].order))


def average(side: Profiled, window: str) -> dict[Function, float]:
    return {function: sum(counts) / len(counts) for function, counts in side.series(window).items()}


def shown(function: Function) -> str:
    return function.name or "(no symbols)"


def called(function: Function) -> str:
    """In a sentence."""
    return function.name if function.named else " ".join(filter(None, (home(function), function.name)))


def home(function: Function) -> str:
    """What a function is in, in a word."""
    if function.part in (CodePart.MODULE, CodePart.LIBRARY) and function.file:
        return function.file
    return f"{function.part.value} {function.file}".strip()


def _part_rows(side: Profiled, window: str) -> Iterator[tuple[str, Sequence[int], str]]:
    """(what, instructions in each boot, how much of it is named) by part and file; what found no place, idle, all."""
    parts, named = parts_of(side, window), _named(side, window)
    for part in CodePart:
        files = sorted(((file, row) for (p, file), row in parts.items() if p is part), key=lambda f: (-sum(f[1]), f[0]))
        for file, row in files[:MOST_FILES]:
            share = named.get((part, file), 0) / max(1, sum(row))
            yield f"{part.value} {file}".strip(), row, percent(share)
        rest = [row for _, row in files[MOST_FILES:]]
        if rest:
            yield f"{many(len(rest), 'other')} ({part.value})", [sum(row) for row in zip(*rest, strict=True)], ""
    lost = [boot.lost(window) for boot in side.boots]
    if any(lost):
        yield "no place in memory", lost, ""
    yield "all", side.totals(window), percent(covered(side, window).share)
    idle = [one for boot in side.boots if (one := boot.idle(window)) is not None]
    if len(idle) == len(side.boots) and any(idle):
        if sum(idle) > 0:
            yield "idle (it waits, the counter leaps)", idle, ""
        else:
            yield "begun twice (faults)", [-one for one in idle], ""


def _named(side: Profiled, window: str) -> dict[tuple[CodePart, str], int]:
    """(part, file) → instructions of functions with a name, over all boots."""
    sums: dict[tuple[CodePart, str], int] = {}
    for function, counts in side.series(window).items():
        if function.named:
            key = function.part, function.file
            sums[key] = sums.get(key, 0) + sum(counts)
    return sums


def covered(side: Profiled, window: str = WHOLE, parts: Iterable[CodePart] = CodePart) -> Coverage:
    """Over all boots together."""
    each = [coverage(boot, window, tuple(parts)) for boot in side.boots]
    return Coverage(sum(c.named for c in each), sum(c.placed for c in each), sum(c.unknown for c in each))


def _answer(side: Profiled, window: str) -> str:
    listed = ranked(side, window)
    whole = sum(side.totals(window))
    if not listed or not whole:
        return f"{side.label}: nothing was executed."
    first = ", ".join(f"{called(f)} {percent(sum(counts) / whole)}" for f, counts in listed[:3])
    return f"{side.label}: {with_unit(whole / len(side.boots), Unit.INSTRUCTIONS)}; most in {first}."


def _remarks(side: Profiled, window: str) -> Iterator[Line]:
    known = covered(side, window)
    kernel = covered(side, window, _KERNEL)
    said = f"{side.label}: a symbol names {percent(known.share)} of the instructions"
    if known.total:
        said += f"; of {percent(known.placed / known.total)} only the file is known, of "
        said += f"{percent(known.unknown / known.total)} nothing"
    if kernel.total:
        said += f". Of its kernel's, {percent(kernel.share)} are named"
    yield Line(f"{said}.", Tone.DIM)
    if kernel.total and kernel.share < _FEW:
        yield Line(f"{side.label}'s kernel names no functions: --symbols {side.label}=FILE does.", Tone.UNSURE)
    for note in side.notes:
        yield Line(f"{side.label}: {note}", Tone.UNSURE)
    if len(side.boots) > 1:
        yield _repeating(side, window)


def _repeating(side: Profiled, window: str) -> Line:
    varying = side.varying(window)
    boots = many(len(side.boots), "boot")
    if not varying:
        return Line(f"{side.label}: all {boots} executed the same, function by function.", Tone.DIM)
    widest = sorted(varying.items(), key=lambda row: min(row[1]) - max(row[1]))
    names = ", ".join(f"{shown(f)} by {max(counts) - min(counts):,}" for f, counts in widest[:_VARYING])
    more = f" and {len(varying) - _VARYING:,} more" if len(varying) > _VARYING else ""
    return Line(
        f"{side.label}: of {many(len(side.series(window)), 'function')}, {len(varying):,} differ between {boots}: "
        f"{names}{more}.",
        Tone.DIM,
    )


def side_said(side: Profiled, window: str) -> Mapping[str, object]:
    """For JSON: every function."""
    whole = side.totals(window)
    return {
        "guest": side.label,
        "boots": len(side.boots),
        "windows": [w for w in side.windows if w],
        "instructions": mean(whole, Unit.INSTRUCTIONS),
        "lost": [boot.lost(window) for boot in side.boots],
        "idle": [boot.idle(window) for boot in side.boots],
        "coverage": covered(side, window),
        "notes": side.notes,
        "calls": calls_said(side, window),
        "stacks": called_said(side, window),
        "functions": [
            {
                "part": function.part,
                "file": function.file,
                "name": function.name,
                "named": function.named,
                "share": sum(counts) / max(1, sum(whole)),
                "instructions": _estimate_said(mean(counts, Unit.INSTRUCTIONS)),
                "boots": counts,
            }
            for function, counts in ranked(side, window)
        ],
    }


def _estimate_said(estimate: Estimate) -> Mapping[str, object]:
    return {"mean": estimate.value, "low": estimate.low, "high": estimate.high}
