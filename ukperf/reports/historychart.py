"""Pictures of histories: a row for each line, every run a dot over its number, levels between changes, and changes as
lines across."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ukperf.model import Unit
from ukperf.reports.names import cut
from ukperf.reports.pictures import Chart, ChartAxis, Dot, Mark, Middle, Slope, Strip, Words, colours
from ukperf.reports.units import number, with_unit
from ukperf.stats.history import HistoryLine, Stratum, part_of_boot
from ukperf.text import many

TALL = 110  # px of a row
MOST_ROWS = 12  # of a picture
MOST_PICTURES = 6  # of a history
ABOUT = (
    "Every dot is a run, over its number in the table of runs; the bar through it is the 95 % interval of its boots. "
    "Level lines are the runs between two changes, and a line across is a change. Each row has a scale of its own, "
    "whose ends stand beside it."
)


def history_charts(stratum: Stratum, lines: Sequence[HistoryLine], of: str = "") -> Iterator[Chart]:
    """One picture for each unit, those lines first that changed. of: behind their titles."""
    classes = colours(tuple(dict.fromkeys(line.guest for line in lines)))
    groups: dict[str, list[HistoryLine]] = {}
    for line in lines:
        groups.setdefault("relative to the control" if line.control else _noun(line.unit), []).append(line)
    pictures = 0
    for noun, group in groups.items():
        group.sort(key=lambda line: (not line.changes, part_of_boot(line)))
        for start in range(0, len(group), MOST_ROWS):
            if pictures == MOST_PICTURES:
                return
            pictures += 1
            rows = tuple(_strip(stratum, line, classes[line.guest]) for line in group[start : start + MOST_ROWS])
            more = f" ({start // MOST_ROWS + 1})" if len(group) > MOST_ROWS else ""
            last = len(stratum.runs)
            axis = ChartAxis(0.5, last + 0.5, title="run", whole=True)
            yield Chart(f"From run to run, {noun}{of}{more}", axis, rows, ABOUT, tall=TALL)


def _noun(unit: Unit) -> str:
    return {Unit.SECONDS: "time", Unit.PER_SECOND: "rates", Unit.COUNT: "counts", Unit.SCORE: "scores"}.get(
        unit, unit.value
    )


def _strip(stratum: Stratum, line: HistoryLine, css: str) -> Strip:
    ends = [
        end
        for point in line.points
        for end in (point.estimate.value, point.estimate.low, point.estimate.high)
        if end is not None
    ]
    low, high = min(ends), max(ends)

    def up(value: float) -> float:
        return 0.5 if not high > low else 0.9 - 0.8 * (min(max(value, low), high) - low) / (high - low)

    marks: list[Mark] = []
    for level in line.levels:
        y = up(level.value)
        marks.append(Slope((level.first + 0.6, y), (level.last + 1.4, y), css, 3.0))
    size = 3.5 if len(line.points) <= 60 else 2.0
    for point in line.points:
        x, estimate = point.run + 1.0, point.estimate
        if estimate.low is not None and estimate.high is not None and estimate.low < estimate.high:
            marks.append(Slope((x, up(estimate.low)), (x, up(estimate.high)), css))
        marks.append(Dot(x, up(estimate.value), css, size=size))
    marks += [Middle(change.run + 0.5, 0.02, 0.98) for change in line.changes]
    shown = [number(v) + " ×" if line.control else with_unit(v, line.unit) for v in (high, low)]
    words = [Words(f"top {shown[0]}"), Words(f"bottom {shown[1]}")] if high > low else [Words(shown[0])]
    last = line.changes[-1] if line.changes else None
    if last is not None:
        words.append(Words(f"{100 * (last.ratio - 1):+.3g} % at {cut(stratum.runs[last.run].label, 24)}"))
        if len(line.changes) > 1:
            words.append(Words(many(len(line.changes), "change")))
    else:
        words.append(Words("no change seen" if line.counted or line.tested else "too few runs to test"))
    said = f"{line.guest}, {line.benchmark}: {many(len(line.points), 'run')}, {many(len(line.changes), 'change')}"
    return Strip(cut(line.guest, 30), tuple(marks), tuple(words), group=cut(line.benchmark), css=css, said=said)
