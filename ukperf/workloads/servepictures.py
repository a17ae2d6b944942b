"""The pictures of a run of servers: latency of every boot on one axis, and over the time since the boot began."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ukperf.decode import Within, decode_stored
from ukperf.files import read_json
from ukperf.model import BootRecord, Outcome, Result, Unit
from ukperf.reports.charts import guest_classes
from ukperf.reports.page import Tone
from ukperf.reports.pictures import Chart, ChartAxis, Dot, Level, Mark, Picture, Span, Strip, Words
from ukperf.reports.svg import padded
from ukperf.reports.units import with_unit
from ukperf.stats.summary import RunSummary
from ukperf.text import many
from ukperf.workloads.loads import QUANTILES
from ukperf.workloads.serving import FOLDER, FORMAT

MAX_FILE = 4 << 20  # bytes of one boot's
MAX_FILES = 400
MOST_POINTS = 400  # of a guest
_S = Within(0, 1e6, "seconds")


@dataclass(frozen=True)
class _StoredLoad:
    name: str
    warmup: bool
    bins_a_decade: int
    histogram: tuple[tuple[int, int], ...]
    over_time: tuple[tuple[Annotated[float, _S], int, Annotated[float, _S], Annotated[float, _S]], ...]


@dataclass(frozen=True)
class _Stored:
    loads: tuple[_StoredLoad, ...]


def pictures(result: Result, summary: RunSummary) -> tuple[Picture, ...]:
    """One chart for each load, and one of all boots over time."""
    good = [record for record in result.records if record.outcome is Outcome.OK]
    loads = dict.fromkeys(
        sample.benchmark.removeprefix("p50 at ")
        for record in good
        for sample in record.samples
        if sample.benchmark.startswith("p50 at ")
    )
    classes = guest_classes(summary)
    drawn = [*(_distribution(good, load, classes) for load in loads), _over_time(result.folder, good, classes)]
    return tuple(chart for chart in drawn if chart is not None)


def _distribution(good: Sequence[BootRecord], load: str, classes: Mapping[str, str]) -> Chart | None:
    """A row for each guest; in it a line for each boot, from its median to its p99, and a dot at its p99.9."""
    known: dict[str, list[tuple[int, dict[str, float]]]] = {}
    for record in good:
        told = {s.benchmark: s.values[0] for s in record.samples if s.unit is Unit.SECONDS and s.values}
        mine = {name: told[f"{name} at {load}"] for name in QUANTILES if told.get(f"{name} at {load}", 0) > 0}
        if "p50" in mine and record.trial.guest in classes:
            known.setdefault(record.trial.guest, []).append((record.trial.index, mine))
    values = [value for boots in known.values() for _, mine in boots for value in mine.values()]
    if not values:
        return None
    low, high = padded(values, 0.05, log=True)
    rows = []
    for guest in (name for name in classes if name in known):
        boots = known[guest]
        marks: list[Mark] = []
        for place, (index, mine) in enumerate(boots):
            y = (place + 1) / (len(boots) + 1)
            last = mine.get("p99", mine["p50"])
            if last > mine["p50"]:
                marks.append(Span(mine["p50"], last, y, classes[guest]))
            marks.append(Dot(mine["p50"], y, classes[guest], index, 3.0))
            if "p99.9" in mine:
                marks.append(Dot(mine["p99.9"], y, classes[guest], index, 2.0))
        middle = _median([mine["p50"] for _, mine in boots])
        tail = _median([mine["p99"] for _, mine in boots if "p99" in mine])
        words = [Words(f"p50 {with_unit(middle, Unit.SECONDS)}", css=classes[guest])]
        words += [Words(f"p99 {with_unit(tail, Unit.SECONDS)}")] if tail else []
        words.append(Words(many(len(boots), "boot"), Tone.DIM))
        said = f"{guest} at {load}: " + ", ".join(word.text for word in words)
        rows.append(Strip(guest, tuple(marks), tuple(words), css=classes[guest], said=said))
    most = max(len(boots) for boots in known.values())
    about = "A line for each boot, from its median to its p99; the small dot is its p99.9."
    axis = ChartAxis(low, high, log=True, unit=Unit.SECONDS)
    return Chart(f"Latency at {load}", axis, tuple(rows), about, tall=min(120, max(40, 9 * most)))


def _over_time(folder: Path, good: Sequence[BootRecord], classes: Mapping[str, str]) -> Chart | None:
    """A row for each guest: medians and greatest latencies of quarter seconds, by the time since the boot began."""
    points: dict[str, list[tuple[float, float, float]]] = {}
    for guest, stored in _stored(folder, good):
        for load in stored.loads:
            points.setdefault(guest, []).extend((at, p50, most) for at, _, p50, most in load.over_time)
    values = [value for mine in points.values() for _, p50, most in mine for value in (p50, most) if value > 0]
    if not values:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    span = high - low or 1.0

    def up(seconds: float) -> float:
        return 0.95 - 0.9 * (math.log10(max(seconds, 1e-9)) - low) / span

    powers = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]
    rows = []
    for guest, css in classes.items():
        mine = sorted(points.get(guest, ()))
        if not mine:
            continue
        shown = mine[:: math.ceil(len(mine) / MOST_POINTS)]
        marks: list[Mark] = [Level(up(power)) for power in powers]
        marks += [Dot(at, up(most), css, size=1.3) for at, _, most in shown if most > 0]
        marks += [Dot(at, up(p50), css, size=2.6) for at, p50, _ in shown if p50 > 0]
        first, last = with_unit(mine[0][1], Unit.SECONDS), with_unit(mine[-1][1], Unit.SECONDS)
        words = (Words(f"at first {first}"), Words(f"at last {last}", Tone.DIM))
        rows.append(Strip(guest, tuple(marks), words, css=css, said=f"{guest}: {words[0].text}, {words[1].text}"))
    ends = [at for mine in points.values() for at, _, _ in mine]
    lines = ", ".join(with_unit(power, Unit.SECONDS) for power in powers)
    about = "Each quarter second of every boot: its median (large) and greatest latency (small), upwards on a log scale"
    axis = ChartAxis(0.0, max(ends) * 1.02 or 1.0, unit=Unit.SECONDS, title="since the boot began")
    return Chart(
        "Latency since boot, warm-up among it",
        axis,
        tuple(rows),
        f"{about}{f' with lines at {lines}' if lines else ''}. The loads follow one another, a closed loop last.",
        tall=110,
    )


def _stored(folder: Path, good: Sequence[BootRecord]) -> Iterator[tuple[str, _Stored]]:
    """(guest, what is kept of a boot); what is gone or damaged is left out."""
    names = {record.trial.index: record.trial.guest for record in good[:MAX_FILES]}
    for path in sorted((folder / FOLDER).glob("*.json"))[: 2 * MAX_FILES]:
        number = path.name.partition("-")[0]
        guest = names.get(int(number)) if number.isdigit() and len(number) < 10 else None
        if guest is None:
            continue
        try:
            yield guest, decode_stored(_Stored, read_json(path, MAX_FILE), FORMAT)
        except (OSError, ValueError):
            continue


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
