"""The history of a workload: a line for each guest and benchmark over many runs, and what changed when.

The run is the unit (stats.changes). What the figures are decides the way. Counts that repeat in every boot of every
run are exact: each run whose count differs from the one before is a change, and no chance is in it. Counts of icount
that nearly repeat (QEMU now and then delivers an interrupt a little earlier) change where a run's boots are all further
than 0.01 %, what icount promises, from all those before. Everything else has change points, at one false alarm rate for
the whole page. A control, a guest whose kernel did not change, divides out
what hits all guests of a run: a night's mood, a busier host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ukperf.model import Estimate, Phase, Unit
from ukperf.stats.between import Side
from ukperf.stats.changes import LEAST_RUNS, Track, change_points, levels, resemblance, scatter, steps, would_be_seen
from ukperf.stats.estimate import geometric_mean as estimated
from ukperf.stats.perboot import PHASES, Series
from ukperf.stats.provenance import differences, shown
from ukperf.stats.sides import divided, geometric_mean, usable

Sides = Mapping[str, Sequence[Side | None]]  # guest → its side in each run; None: it is not there, or was left out


@dataclass(frozen=True)
class HistoryRun:
    """One run on the axis. when: ISO 8601; kernels: guest → version, or the beginning of its sha256; versions: guest →
    sha256 or version, to tell whether a kernel changed; boots: the fewest good ones of a guest."""

    label: str
    path: str
    when: str
    kernels: Mapping[str, str]
    versions: Mapping[str, str]
    boots: int


@dataclass(frozen=True)
class Stratum:
    """Runs that are comparable, in order. facts: what they have in common, over all guests. apart: by which they differ
    from the largest stratum, as phrases; empty for that one."""

    runs: tuple[HistoryRun, ...]
    sides: Sides
    facts: Mapping[str, str]
    apart: tuple[str, ...] = ()


class Way(StrEnum):
    """How changes are found."""

    EXACT = "exact"  # every boot of a run repeats
    NEARLY = "nearly exact"  # boots of icount that repeat to 0.01 %
    TESTED = "tested"


NEARLY_EXACT = 1e-4  # docs/icount.md; tests/real/test_boot_time.py holds it


@dataclass(frozen=True)
class RunPoint:
    """One run of a line. run: its place on the axis; estimate: geometric mean over its boots with the interval of these
    alone, in the line's unit or, divided by a control, without one; least, most: of its boots."""

    run: int
    estimate: Estimate
    least: float
    most: float


@dataclass(frozen=True)
class Plateau:
    """From the first to the last run of a stretch without a change: the geometric mean of these."""

    first: int
    last: int
    value: float


@dataclass(frozen=True)
class Change:
    """run: the first with the new level; earliest, latest: where else that may be, with 95 %. ratio: new level ÷ old
    one; low, high: its 95 % interval, both `ratio` where it is exact."""

    run: int
    earliest: int
    latest: int
    ratio: float
    low: float | None
    high: float | None
    before: float
    after: float


@dataclass(frozen=True)
class HistoryLine:
    """One guest and benchmark. way: how its changes were found. scatter: of runs around their levels, as a fraction;
    seen: the change half-way that would be seen in four of five cases, as a fraction; tested: were there runs enough?
    resemble: the autocorrelation of neighbouring runs, where it shows.
    control: by which guests it is divided; without: runs that have the guest and no value to show."""

    guest: str
    benchmark: str
    unit: Unit
    points: tuple[RunPoint, ...]
    levels: tuple[Plateau, ...]
    changes: tuple[Change, ...]
    way: Way
    scatter: float | None = None
    seen: float | None = None
    tested: bool = True
    resemble: float | None = None
    control: tuple[str, ...] = ()
    without: tuple[int, ...] = ()

    @property
    def counted(self) -> bool:
        """Is no chance in its changes?"""
        return self.way is not Way.TESTED


def unchanged(stratum: Stratum) -> list[str]:
    """Guests that could be controls: in every run, with one kernel throughout, while another's changes."""
    kernels = {guest: {run.versions.get(guest, "") for run in stratum.runs} for guest in stratum.sides}
    if not any(len(versions) > 1 for versions in kernels.values()):
        return []
    return [guest for guest, sides in stratum.sides.items() if None not in sides and len(kernels[guest]) == 1]


def behind(stratum: Stratum, line: HistoryLine, change: Change, kernels: bool = True) -> list[str]:
    """What else is another at the first run of a new level than at the run before, as phrases: the kernel, ukperf's
    version, … The cause may be among them, or not. kernels: the kernel too."""
    place = [point.run for point in line.points].index(change.run)
    sides = [stratum.sides[line.guest][line.points[i].run] for i in (place - 1, place)]
    before, now = (dict(side.context) if side is not None else {} for side in sides)
    said = []
    if before.get("program", "") != now.get("program", ""):
        said.append(f"the program differs: {shown(before['program'])} against {shown(now['program'])}")
    for context in () if kernels else (before, now):
        for name in ("kernel", "kernel_sha256", "image"):
            context.pop(name, None)
    return [*said, *differences(before, now, line.guest)]


def part_of_boot(line: HistoryLine) -> bool:
    """Is it a phase that is a part of another?"""
    return line.benchmark in PHASES and line.benchmark != Phase.TOTAL


def lines_of(sides: Sides, controls: Sequence[str] = ()) -> tuple[HistoryLine, ...]:
    """A line for each guest and benchmark that two runs or more have a value of, guests and benchmarks in the order in
    which they come. controls: guests by which the others are divided, where chance is in the figures."""
    bare = [
        line
        for guest, runs in sides.items()
        for name in dict.fromkeys(name for side in runs if side is not None for name in side.benchmarks)
        if (line := _line(guest, name, _series(runs, name))) is not None
    ]
    freed = [_freed(line, sides, controls) for line in bare]
    tracks = [Track(tuple(p.run for p in line.points), tuple(map(_log, line.points))) for line in freed]
    open_ = [i for i, line in enumerate(freed) if not line.counted]
    cuts = dict(zip(open_, change_points([tracks[i] for i in open_]), strict=True))
    return tuple(
        _counted(line) if line.counted else _tested(line, tracks[i].logs, cuts[i]) for i, line in enumerate(freed)
    )


def _series(runs: Sequence[Side | None], name: str) -> dict[int, Series | None]:
    """Place on the axis → the series; None: the run has the guest and no value."""
    return {place: side.series.get(name) for place, side in enumerate(runs) if side is not None}


def _line(guest: str, name: str, series: Mapping[int, Series | None]) -> HistoryLine | None:
    good = {place: one for place, one in series.items() if one is not None and usable(one)}
    units = [one.unit for one in good.values()]
    if len(good) < 2:
        return None
    unit = max(dict.fromkeys(units), key=units.count)
    good = {place: one for place, one in good.items() if one.unit is unit}
    points = tuple(_point(place, one, unit) for place, one in good.items())
    without = tuple(place for place in series if place not in good)
    return HistoryLine(guest, name, unit, points, (), (), _way(points, unit), without=without)


def _way(points: Sequence[RunPoint], unit: Unit) -> Way:
    """Seconds that repeat show the steps of a clock, and are no counts."""
    if unit is not Unit.SECONDS and all(point.least == point.most for point in points):
        return Way.EXACT
    if unit is Unit.INSTRUCTIONS and all(point.most <= point.least * (1 + NEARLY_EXACT) for point in points):
        return Way.NEARLY
    return Way.TESTED


def _point(place: int, series: Series, unit: Unit) -> RunPoint:
    return RunPoint(place, estimated(list(series.values), unit), min(series.values), max(series.values))


def _log(point: RunPoint) -> float:
    return math.log(point.estimate.value)


def _freed(line: HistoryLine, sides: Sides, controls: Sequence[str]) -> HistoryLine:
    """Divided by the controls, block by block; a run in which one has no value is left out. Exact counts, and the
    controls themselves, stay as they are."""
    if not controls or line.counted or line.guest in controls:
        return line
    points = []
    for point in line.points:
        by = [_by_block(sides[name][point.run], line.benchmark, line.unit) for name in controls]
        blocks = set.intersection(*map(set, by))
        divisor = {block: geometric_mean([table[block] for table in by]) for block in blocks}
        side = sides[line.guest][point.run]
        assert side is not None
        series = divided(side.series[line.benchmark], divisor)
        if series.values:
            points.append(_point(point.run, series, line.unit))
    if len(points) < 2:  # controls have no such benchmark
        return line
    lost = {p.run for p in line.points} - {p.run for p in points}
    without = tuple(sorted({*line.without, *lost}))
    return replace(line, points=tuple(points), control=tuple(controls), without=without)


def _by_block(side: Side | None, benchmark: str, unit: Unit) -> Mapping[int, float]:
    series = side.series.get(benchmark) if side is not None else None
    return series.by_block() if series is not None and series.unit is unit and usable(series) else {}


def _counted(line: HistoryLine) -> HistoryLine:
    """Each run whose count is another one than those since the last change."""
    made: list[Plateau] = []
    changes: list[Change] = []
    start = 0
    low, high = line.points[0].least, line.points[0].most
    for i, point in enumerate(line.points[1:], 1):
        least, most = min(low, point.least), max(high, point.most)
        exact = low == high and point.least == point.most
        apart = max(point.least / high, low / point.most) - 1
        if not (point.least != low if exact else apart > NEARLY_EXACT):
            low, high = least, most
            continue
        before, after = _middle(line.points[start:i]), point.estimate.value
        ends = (1.0, 1.0) if exact else (point.least / high * before / after, point.most / low * before / after)
        ratio = after / before
        # between the two there may be runs without a value
        earliest = line.points[i - 1].run + 1
        changes.append(Change(point.run, earliest, point.run, ratio, ratio * ends[0], ratio * ends[1], before, after))
        made.append(Plateau(line.points[start].run, line.points[i - 1].run, before))
        start, low, high = i, point.least, point.most
    made.append(Plateau(line.points[start].run, line.points[-1].run, _middle(line.points[start:])))
    return replace(line, levels=tuple(made), changes=tuple(changes))


def _middle(points: Sequence[RunPoint]) -> float:
    values = [point.estimate.value for point in points]
    return values[0] if min(values) == max(values) else geometric_mean(values)


def _tested(line: HistoryLine, logs: Sequence[float], cuts: Sequence[int]) -> HistoryLine:
    points = line.points
    made = tuple(Plateau(points[a].run, points[b - 1].run, math.exp(mean)) for a, b, mean in levels(logs, cuts))
    changes = []
    for step, before, after in zip(steps(logs, cuts), made, made[1:], strict=False):
        half = step.half
        changes.append(
            Change(
                points[step.cut].run,
                points[step.first - 1].run + 1,
                points[step.last].run,
                math.exp(step.log_ratio),
                None if half is None else math.exp(step.log_ratio - half),
                None if half is None else math.exp(step.log_ratio + half),
                before.value,
                after.value,
            )
        )
    spread, free = scatter(logs, cuts)
    seen = would_be_seen(spread, len(points))
    return replace(
        line,
        levels=made,
        changes=tuple(changes),
        scatter=math.expm1(spread) if free > 0 else None,
        seen=None if seen is None else math.expm1(seen),
        tested=len(points) >= LEAST_RUNS,
        resemble=resemblance(logs, cuts),
    )
