"""The page of `ukperf history`: what changed at which run and by how much, a line for each guest and benchmark, the
runs; and a picture of each line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukperf.model import Unit, direction, verdict_word
from ukperf.reports.historychart import history_charts
from ukperf.reports.names import cut
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, tone_of
from ukperf.reports.pictures import Picture
from ukperf.reports.units import interval, number, scale_for, with_unit
from ukperf.stats.changes import ALPHA, LEAST_RUNS
from ukperf.stats.history import Change, HistoryLine, HistoryRun, Stratum, Way, behind, part_of_boot, unchanged
from ukperf.text import many

MOST_ANSWERS, MOST_CHANGES, MOST_BEHIND = 6, 60, 4

METHOD = (
    "A run is one number: the geometric mean of its boots. Changes are steps and spells that random orders of the runs "
    f"hardly show; where nothing changed, one is found anywhere on the page in at most {100 * ALPHA:g} % of cases. "
    "scatter: of runs around their levels. seen from: the change half-way through that four of five times is found."
)
NEARLY = "nearly exact: counts that repeat to 0.01 %; runs all of whose boots are further than that from those before."
EXACT = "exact: counts that repeat in every boot, so each run that differs from the one before is named."


@dataclass(frozen=True)
class History:
    """Comparable runs and their lines."""

    stratum: Stratum
    lines: tuple[HistoryLine, ...]

    def changes(self) -> list[tuple[HistoryLine, Change]]:
        """In the order of the axis; of one run the whole before its parts."""
        every = [(line, change) for line in self.lines for change in line.changes]
        return sorted(every, key=lambda one: (one[1].run, part_of_boot(one[0])))

    def name(self, run: int) -> str:
        return cut(self.stratum.runs[run].label)


@dataclass(frozen=True)
class HistoryPage(Page):
    """histories: one for each set of comparable runs, the largest first. left_out: sentences."""

    histories: Sequence[History]
    left_out: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()

    def answers(self) -> Sequence[str]:
        return [sentence for history in self.histories for sentence in _answers(history)]

    def body(self) -> Iterator[Part]:
        for answer in self.answers():
            yield Line(answer, Tone.STRONG)
        for number_, history in enumerate(self.histories, 1):
            if len(self.histories) > 1:
                apart = "; ".join(history.stratum.apart) or "the most"
                yield Line(f"{many(len(history.stratum.runs), 'run')}: {apart}.", lead=f"History {number_}: ")
            yield from _changes(history)
            yield _lines(history)
            yield _runs(history)
            yield from _notes(history, self.controls)
        for sentence in self.left_out:
            yield Line(sentence, Tone.UNSURE)
        lines = [line for history in self.histories for line in history.lines]
        if any(not line.counted for line in lines):
            yield Line(METHOD, Tone.DIM)
        if any(line.way is Way.EXACT for line in lines):
            yield Line(EXACT, Tone.DIM)
        if any(line.way is Way.NEARLY for line in lines):
            yield Line(NEARLY, Tone.DIM)

    def said(self) -> Mapping[str, object]:
        return {
            "histories": [
                {
                    "facts": history.stratum.facts,
                    "apart": history.stratum.apart,
                    "runs": history.stratum.runs,
                    "lines": [_said(history, line) for line in history.lines],
                }
                for history in self.histories
            ],
            "left_out": self.left_out,
            "controls": self.controls,
            "alpha": ALPHA,
        }

    def pictures(self) -> Iterator[Picture]:
        for i, history in enumerate(self.histories):
            of = f", history {i + 1}" if len(self.histories) > 1 else ""
            yield from history_charts(history.stratum, history.lines, of)


def _said(history: History, line: HistoryLine) -> Mapping[str, object]:
    return {
        "guest": line.guest,
        "benchmark": line.benchmark,
        "unit": None if line.control else line.unit,
        "control": line.control,
        "way": line.way,
        "tested": line.counted or line.tested,
        "scatter": line.scatter,
        "seen": line.seen,
        "resemble": line.resemble,
        "points": line.points,
        "without": line.without,
        "levels": line.levels,
        "changes": [
            {
                "label": history.stratum.runs[change.run].label,
                "path": history.stratum.runs[change.run].path,
                **{name: getattr(change, name) for name in ("run", "earliest", "latest", "ratio", "low", "high")},
                "before": change.before,
                "after": change.after,
                "word": _word(line, change),
                "differs": behind(history.stratum, line, change),
            }
            for change in line.changes
        ],
    }


def _word(line: HistoryLine, change: Change) -> str:
    return verdict_word(direction(change.ratio - 1, line.unit), line.unit)


def _percent(change: Change) -> tuple[str, str]:
    """How much, and its interval, both in percent of the old level."""
    low, high = change.low, change.high
    spread = 100 * (high - low) if low is not None and high is not None else 0.0
    size = f"{100 * (change.ratio - 1):+.3g} %" if not spread else f"{_signed(100 * (change.ratio - 1), spread)} %"
    if low is None or high is None:
        return size, "–"
    if low == high:
        return size, "exact"
    return size, f"[{_signed(100 * (low - 1), spread)}, {_signed(100 * (high - 1), spread)}]"


def _signed(value: float, spread: float) -> str:
    shown = number(abs(value), spread)
    return f"{'-' if value < 0 else '+'}{shown}"


def _answers(history: History) -> list[str]:
    """A sentence for each change of what was measured; of boots' phases only for the total."""
    changes = history.changes()
    main = [one for one in changes if not part_of_boot(one[0])] or changes
    if not main:
        runs = many(len(history.stratum.runs), "run")
        if history.lines and not any(line.counted or line.tested for line in history.lines):
            return [f"{runs} are too few to test for changes: {LEAST_RUNS} are needed."]
        return [f"No change is seen over {runs}."]
    largest = sorted((abs(math.log(change.ratio)) for _, change in main), reverse=True)[:MOST_ANSWERS]
    sentences = []
    for line, change in main:
        if abs(math.log(change.ratio)) < largest[-1]:
            continue
        size, ends = _percent(change)
        since = (
            f"since {history.name(change.run)}"
            if change.earliest == change.latest
            else (f"since {history.name(change.run)} or a run near it")
        )
        sure = {"exact": "exact", "–": "no interval"}.get(ends, f"{_interval_of(line)} {ends}")
        what = f"{cut(line.guest)} {cut(line.benchmark)}"
        sentences.append(f"{what}: {size} {since} ({sure}; {_word(line, change)}).")
    more = len(main) - len(sentences)
    return [*sentences, *([f"And {many(more, 'smaller change')}."] if more > 0 else [])]


def _interval_of(line: HistoryLine) -> str:
    return "at least and at most" if line.counted else "95 % interval"


def _told(line: HistoryLine) -> tuple[str, str]:
    """How runs scatter, and from where a change is seen."""
    if line.counted:
        return line.way.value, "any" if line.way is Way.EXACT else "0.01 %"
    scatter, seen = ("–" if x is None else f"{number(100 * x)} %" for x in (line.scatter, line.seen))
    return scatter, seen


def _changes(history: History) -> Iterator[Part]:
    changes = history.changes()
    rows = []
    for line, change in changes[:MOST_CHANGES]:
        size, ends = _percent(change)
        tone = tone_of(direction(change.ratio - 1, line.unit))
        between = history.name(change.run)
        if change.earliest != change.latest:
            between = f"{history.name(change.earliest)} … {history.name(change.latest)}"
        levels = [_value(line, value) for value in (change.before, change.after)]
        rows.append(
            (
                Cell(history.name(change.run)),
                Cell(cut(line.guest)),
                Cell(cut(line.benchmark)),
                Cell(size, tone),
                Cell(ends),
                *map(Cell, levels),
                Cell(between),
            )
        )
    if rows:
        columns = (
            Column("changed at", cuts=True),
            Column("guest", cuts=True),
            Column("benchmark", cuts=True),
            Column("by", right=True),
            Column("95 % interval", stays=True),
            Column("from", right=True),
            Column("to", right=True, stays=True),
            Column("surely in"),
        )
        yield Table(columns, tuple(rows), keys=3, fold=5)
    if len(changes) > MOST_CHANGES:
        yield Line(f"{len(changes) - MOST_CHANGES:,} more changes are in --json.", Tone.UNSURE)
    yield from _causes(history, changes[:MOST_CHANGES])


def _causes(history: History, changes: Sequence[tuple[HistoryLine, Change]]) -> Iterator[Line]:
    """What else is another at these runs, once for each; kernels stand in the table of runs."""
    told: dict[str, list[str]] = {}
    for line, change in changes:
        for phrase in behind(history.stratum, line, change, kernels=False)[:MOST_BEHIND]:
            places = told.setdefault(phrase, [])
            if history.name(change.run) not in places:
                places.append(history.name(change.run))
    for phrase, places in told.items():
        yield Line(f"{phrase}.", Tone.DIM, lead=f"At {', '.join(places)}: ")


def _value(line: HistoryLine, value: float) -> str:
    """Exact counts to the last digit."""
    if line.way is Way.EXACT and value == int(value):
        return f"{int(value):,} {scale_for(0, line.unit)[1]}".rstrip()
    return f"{number(value)} ×" if line.control else with_unit(value, line.unit)


def _lines(history: History) -> Table:
    rows = []
    for line in sorted(history.lines, key=lambda line: (line.guest, part_of_boot(line))):
        first, last = line.points[0].estimate, line.points[-1].estimate
        spread = (last.high or 0.0) - (last.low or 0.0)
        bounds = (last.low, last.high)
        divisor = 1.0 if line.control else scale_for(last.value, line.unit)[0]
        changes = str(len(line.changes)) if line.counted or line.tested else "too few runs"
        rows.append(
            (
                Cell(cut(line.guest)),
                Cell(cut(line.benchmark)),
                Cell(str(len(line.points))),
                Cell(_value(line, first.value)),
                Cell(_value(line, last.value)),
                Cell("exact" if line.way is Way.EXACT else interval(bounds, divisor, spread / divisor)),
                *map(Cell, _told(line)),
                Cell(changes, Tone.STRONG if line.changes else Tone.PLAIN),
            )
        )
    columns = (
        Column("guest", cuts=True),
        Column("benchmark", cuts=True),
        Column("runs", right=True),
        Column("first run", right=True),
        Column("last run", right=True),
        Column("95 % interval", stays=True),
        Column("scatter", right=True),
        Column("seen from", right=True),
        Column("changes", right=True),
    )
    return Table(columns, tuple(rows), keys=2, fold=6)


def _runs(history: History) -> Table:
    stratum = history.stratum
    guests = [guest for guest in stratum.sides if any(guest in run.kernels for run in stratum.runs)]
    rows = []
    before: HistoryRun | None = None
    for place, run in enumerate(stratum.runs, 1):
        cells = [Cell(str(place)), Cell(cut(run.label)), Cell(run.when[:16].replace("T", " ")), Cell(str(run.boots))]
        for guest in guests:
            new = before is not None and before.versions.get(guest, "") != run.versions.get(guest, "")
            cells.append(Cell(cut(run.kernels.get(guest, "–"), 30), Tone.STRONG if new else Tone.PLAIN))
        rows.append(tuple(cells))
        before = run
    columns = (
        Column("no.", right=True),
        Column("run", cuts=True),
        Column("measured (UTC)"),
        Column("boots", right=True),
        *(Column(f"kernel of {cut(guest, 24)}", cuts=True) for guest in guests),
    )
    return Table(columns, tuple(rows), keys=2, fold=4)


def _notes(history: History, controls: Sequence[str]) -> Iterator[Line]:
    stratum = history.stratum
    facts = "; ".join(f"{name} {value}" for name, value in stratum.facts.items())
    yield Line(f"{facts}.", Tone.DIM, lead="In all runs: ")
    open_ = [line for line in history.lines if not line.counted]
    if controls and any(line.control for line in open_):
        yield Line(f"All but {' and '.join(map(cut, controls))} are divided by {_it(controls)}, block by block.")
    undivided = [line.benchmark for line in open_ if not line.control and line.guest not in controls]
    if controls and undivided:
        names = ", ".join(dict.fromkeys(map(cut, undivided)))
        yield Line(f"Note: {_it(controls)} has no {names}, so that is not divided.", Tone.UNSURE)
    if not controls and any(line.unit is not Unit.INSTRUCTIONS for line in open_) and (spare := unchanged(stratum)):
        yield Line(
            f"Note: the kernel of {' and '.join(map(cut, spare))} is the same in all runs: --control "
            f"{cut(spare[0])} divides out what hit all guests of a run.",
            Tone.UNSURE,
        )
    if any(line.way is Way.EXACT for line in history.lines) and any(run.boots == 1 for run in stratum.runs):
        yield Line("Note: runs of one boot do not show that their counts repeat; two boots would.", Tone.UNSURE)
    alike = [f"{cut(line.guest)} {cut(line.benchmark)}" for line in history.lines if line.resemble is not None]
    if alike:
        more = f" and {len(alike) - MOST_BEHIND} more" if len(alike) > MOST_BEHIND else ""
        names = ", ".join(alike[:MOST_BEHIND])
        yield Line(
            f"Note: neighbouring runs of {names}{more} resemble each other, so chance shows changes more often than is "
            "said below. A control takes out what they have in common.",
            Tone.UNSURE,
        )
    for line in history.lines:
        if line.without:
            names_ = ", ".join(history.name(run) for run in line.without[:MOST_BEHIND])
            more = f" and {len(line.without) - MOST_BEHIND} more" if len(line.without) > MOST_BEHIND else ""
            what = f"{cut(line.guest)} {cut(line.benchmark)}"
            yield Line(f"Note: {what} has no value that can be compared in {names_}{more}.", Tone.UNSURE)


def _it(controls: Sequence[str]) -> str:
    return cut(controls[0]) if len(controls) == 1 else "the controls"
