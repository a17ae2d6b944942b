"""The charts of a run: ratios with intervals, every boot as a dot, drift, parts stacked, levels, variance.

Each is made of typed figures and has one axis for all its rows. Workloads make theirs with the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.model import Comparison, Estimate, Outcome, Unit, Verdict
from ukperf.reports.page import Tone, tone_of
from ukperf.reports.pictures import PARTS, Box, Chart, ChartAxis, Dot, Level, Mark, Middle, Span, Strip, Words, colours
from ukperf.reports.plan_table import percent
from ukperf.reports.story import Story
from ukperf.reports.svg import LARGEST, padded
from ukperf.reports.table import difference
from ukperf.reports.units import common_scale, interval, number, with_unit
from ukperf.stats.drift import DriftResult
from ukperf.stats.perboot import Series, final_records
from ukperf.stats.summary import GuestSummary, RunSummary
from ukperf.stats.variance import SampleParts
from ukperf.text import many

MOST_ROWS = 160  # of one chart; tables have the rest
MOST_DOTS = 2_000  # boots that are drawn of a run: a page of so many stays under 4 MB
FAR = 30.0  # an interval that goes so many times further than every ratio is cut off at the chart's edge
_STACKED = ("vmm", "kernel", "init", "stop")
_CSS = {
    Verdict.FASTER: "faster",
    Verdict.SLOWER: "slower",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.INCONCLUSIVE: "inconclusive",
}


def guest_classes(summary: RunSummary) -> dict[str, str]:
    """Guest → CSS class of its colour, the same in every chart of the page."""
    return colours(tuple(guest.guest for guest in summary.guests))


# ---- ratios ----


def ratios(
    comparisons: Sequence[Comparison],
    delta: float | None,
    title: str,
    about: str = "",
    paper: Mapping[tuple[str, str], float] | None = None,
) -> Chart | None:
    """Comparisons on one axis of ratios, by benchmark, the band of equivalence behind, verdicts beside. None: nothing
    can be drawn. paper: (guest, benchmark) → the ratio that a paper says, a line across."""
    shown = [c for c in comparisons if _ratio(c) is not None][:MOST_ROWS]
    if not shown:
        return None
    theirs = {key: value for key, value in (paper or {}).items() if 1e-300 < value < 1e300}
    centres = [*(ratio for c in shown if (ratio := _ratio(c)) is not None), *theirs.values()]
    least, most = min([1.0, *centres]) / FAR, max([1.0, *centres]) * FAR
    ends = [min(max(v, least), most) for c in shown for v in (c.low, c.high) if v is not None and v > 0]
    band = None if delta is None else (1 / (1 + delta), 1 + delta)
    low, high = padded([1.0, *centres, *ends, *(band or ())], 0.05, log=True)
    axis = ChartAxis(low, high, log=True, title="ratio", one=1.0, band=band)
    several = len({c.baseline for c in shown}) > 1
    rows = tuple(_ratio_row(c, theirs.get((c.guest, c.benchmark)), several=several) for c in shown)
    without = sum(_ratio(c) is None for c in comparisons)
    far = any(v is not None and not least <= v <= most for c in shown for v in (c.low, c.high))
    left = len(comparisons) - len(shown) - without
    notes = [f"{many(left, 'comparison')} more {'is' if left == 1 else 'are'} in the table."] if left else []
    if without:
        notes.append(f"{many(without, 'comparison')} {'has' if without == 1 else 'have'} no ratio; the table says why.")
    if far:
        notes.append("An interval that reaches an edge of the picture goes on beyond it.")
    return Chart(title, axis, rows, about, notes=tuple(notes))


def _ratio(comparison: Comparison) -> float | None:
    ratio = comparison.ratio
    return ratio if ratio is not None and 1e-300 < ratio < 1e300 else None


def _ratio_row(comparison: Comparison, theirs: float | None, *, several: bool) -> Strip:
    """several: rows are divided by different guests."""
    ratio, benchmark = _ratio(comparison), comparison.benchmark
    assert ratio is not None
    css = _CSS.get(comparison.verdict, "inconclusive")
    low = comparison.low if comparison.low is not None else ratio
    high = comparison.high if comparison.high is not None else ratio
    value, span, verdict = difference(comparison)
    figures = value.text if span.text in ("", "–") else f"{value.text} {span.text}"
    words = [Words(figures), Words(verdict.text, tone_of(comparison.verdict))]
    said = f"{comparison.guest} ÷ {comparison.baseline}, {benchmark}: {figures}, {comparison.word}"
    marks: list[Mark] = [Span(low, high, 0.5, css), Dot(ratio, 0.5, css, size=4.5)]
    if theirs is not None:
        marks.append(Middle(theirs))
        words.append(Words(f"paper {theirs:.3g}", Tone.DIM))
    name = f"{comparison.guest} ÷ {comparison.baseline}" if several else comparison.guest
    return Strip(name, tuple(marks), tuple(words), group=benchmark, said=said)


def run_ratios(story: Story, rates: bool) -> Chart | None:
    """Every comparison of a run: what it was made for first, then its phases."""
    summary = story.summary
    order = list(dict.fromkeys([*story.primary, *reversed(summary.benchmarks)]))
    chosen = sorted(summary.comparisons, key=lambda c: order.index(c.benchmark) if c.benchmark in order else len(order))
    about = (
        f"Guest ÷ {summary.baseline}: geometric means over boots with 95 % intervals, paired over blocks, Holm over "
        f"all of them. Left of the line at 1 is less{'; of rates, more is better' if rates else ''}. The band is "
        f"±{100 * summary.delta:g} %, inside which guests count as equivalent."
    )
    if any(name != summary.baseline for name in summary.divisors):
        about = about.replace(f"Guest ÷ {summary.baseline}:", "Each row says what is divided by what:", 1)
        return ratios(chosen, summary.delta, "Every guest against what it is compared with", about)
    return ratios(chosen, summary.delta, f"Every guest against {summary.baseline}", about)


# ---- boots ----


def drawn_boots(story: Story, most: int = MOST_DOTS) -> frozenset[int]:
    """Boots, by the index of their trials, that are drawn and listed: all, or of very many some, evenly, and those that
    failed."""
    indices = [record.trial.index for record in story.records]
    step = math.ceil(len(indices) / most) or 1
    failed = [record.trial.index for record in story.records if record.outcome is not Outcome.OK]
    return frozenset([*indices[::step], *failed[:most]])


def boots(story: Story, benchmark: str, drawn: frozenset[int]) -> Chart | None:
    """Every boot of a benchmark that is drawn as a dot, a row for each guest; the line across is the median of all."""
    unit, there = _series(story, benchmark)
    values = [v for series in there.values() for v in series.values if _drawable(v)]
    if not values:
        return None
    log = min(values) > 0 and max(values) / min(values) > 6
    classes = guest_classes(story.summary)
    low, high = padded(values, 0.04, log)
    scale = common_scale(values, unit)
    most = max(len(series.values) for series in there.values())
    size = 3.0 if most <= 60 else 2.0  # px: many lie over each other
    rows = []
    for guest, series in there.items():
        order = {block: r.trial.index for block, r in final_records(story.records, guest).items()}
        dots = [
            Dot(value, 0.18 + 0.64 * (order[block] * 0.6180339887 % 1), classes[guest], order[block], size)
            for block, value in zip(series.blocks, series.values, strict=True)
            if _drawable(value) and order[block] in drawn
        ]
        estimate = _estimate(story.summary, guest, benchmark)
        middle = (Middle(estimate.value),) if estimate is not None and _drawable(estimate.value) else ()
        words = _median_words(estimate, series, unit if log else None, scale)
        shown = [v for v in series.values if _drawable(v)]
        said = f"{guest}, {benchmark}: {many(len(shown), 'boot')}"
        if shown:
            said += f" from {with_unit(min(shown), unit)} to {with_unit(max(shown), unit)}"
        rows.append(Strip(guest, (*dots, *middle), words, css=classes[guest], said=said))
    return Chart(benchmark, ChartAxis(low, high, log, unit), tuple(rows), tall=40 if most <= 60 else 56)


def _series(story: Story, benchmark: str) -> tuple[Unit, dict[str, Series]]:
    """The unit that most guests have it in, and the series of those."""
    known = {g.guest: s for g in story.summary.guests if (s := story.series[g.guest].get(benchmark)) and s.values}
    units = [series.unit for series in known.values()]
    unit = max(units, key=units.count) if units else Unit.SECONDS
    return unit, {guest: series for guest, series in known.items() if series.unit is unit}


def _drawable(value: float) -> bool:
    return 0 <= value < LARGEST and (value == 0 or value > 1e-300)


def _estimate(summary: RunSummary, guest: str, benchmark: str) -> Estimate | None:
    known = summary.guest(guest)
    return known.estimates.get(benchmark) if known else None


def _median_words(
    estimate: Estimate | None, series: Series, unit: Unit | None, scale: tuple[float, str]
) -> tuple[Words, ...]:
    """unit: each value has its own scale; None: all have `scale`, as the axis has."""
    if estimate is None or not math.isfinite(estimate.value):
        return ()
    if unit is not None:
        middle = with_unit(estimate.value, unit)
    else:
        spread = max(series.values) - min(series.values)
        middle = f"{number(estimate.value / scale[0], spread / scale[0])} {scale[1]}".rstrip()
    alike = len(series.values) > 1 and max(series.values) == min(series.values)
    count = f"{'all of ' if alike else ''}{many(len(series.values), 'boot')}"
    return (Words(f"median {middle}" if not alike else middle), Words(count, Tone.DIM))


def drift(story: Story, benchmark: str, result: DriftResult | None, drawn: frozenset[int]) -> Chart | None:
    """Every boot that is drawn against the median of its guest, over the blocks. Failed ones are crosses."""
    _, there = _series(story, benchmark)
    classes = guest_classes(story.summary)
    places = {r.trial.index: r.trial.block + r.trial.position / (len(there) or 1) for r in story.records}
    points: dict[str, list[tuple[int, float]]] = {}
    for guest, series in there.items():
        estimate = _estimate(story.summary, guest, benchmark)
        if estimate is None or not 1e-300 < estimate.value < LARGEST:
            continue
        order = {block: r.trial.index for block, r in final_records(story.records, guest).items()}
        pairs = zip(series.blocks, series.values, strict=True)
        points[guest] = [(order[b], value / estimate.value - 1) for b, value in pairs if _drawable(value)]
    sizes = [abs(away) for rows in points.values() for _, away in rows if math.isfinite(away)]
    blocks = [record.trial.block for record in story.records]
    if not sizes or max(blocks) < 3:
        return None
    most = max(*sizes, 1e-9)
    step = _round_down(most)
    rows = []
    for guest, pairs_of in points.items():
        lost = [r.trial.index for r in story.records if r.trial.guest == guest and r.outcome is not Outcome.OK]
        marks: list[Mark] = [Level(_up(away, most), away == 0) for away in (step, 0.0, -step)]
        marks += [
            Dot(places[index], _up(away, most), classes[guest], index, 2.6)
            for index, away in pairs_of
            if index in drawn and math.isfinite(away)
        ]
        marks += [Dot(places[index], 0.93, classes[guest], index, lost=True) for index in lost if index in drawn]
        farthest = max((abs(away) for _, away in pairs_of), default=0.0)
        count = many(len(pairs_of), "boot")
        said = f"{guest}, {benchmark} over the run: {count} within {percent(farthest)} of its median"
        words = (Words(f"within ±{percent(farthest)}" if farthest else "every boot the same", Tone.DIM),)
        rows.append(Strip(guest, tuple(marks), words, css=classes[guest], said=said))
    axis = ChartAxis(min(blocks) - 0.2, max(blocks) + 1.2, title="block", whole=True)
    lines = f"The lines are the median of each guest, and {100 * step:g} % above and below it."
    notes = (result.sentence(),) if result is not None else ()
    return Chart(benchmark, axis, tuple(rows), lines if most > 1e-9 else "", tall=72, notes=notes)


def _up(away: float, most: float) -> float:
    return 0.5 - 0.42 * max(-1.0, min(away / most, 1.0))


def _round_down(value: float) -> float:
    """The largest of 1, 2, 5 × 10ⁿ that is not above it."""
    power = 10.0 ** math.floor(math.log10(value))
    return float(max(m * power for m in (1, 2, 5) if m * power <= value * 1.0001))


# ---- parts of a whole ----


def stacked(summary: RunSummary, parts: Sequence[str], title: str, about: str = "") -> Chart | None:
    """Medians of benchmarks end to end, a bar for each guest; guests in another unit than most are left out."""
    lengths = {
        guest.guest: {p: e for p in parts if (e := guest.estimates.get(p)) is not None and _drawable(e.value)}
        for guest in summary.guests
    }
    units = [e.unit for known in lengths.values() for e in known.values()]
    if not units:
        return None
    unit = max(units, key=units.count)
    there = [p for p in parts if any(p in known for known in lengths.values())]
    css = {part: f"p{i % PARTS}" for i, part in enumerate(there)}
    rows, widest = [], 0.0
    for guest, known in lengths.items():
        mine = {part: e.value for part, e in known.items() if e.unit is unit}
        total = min(math.fsum(mine.values()), LARGEST) if mine else 0.0
        if not mine:
            continue
        widest, at = max(widest, total), 0.0
        boxes = []
        for part, value in mine.items():
            boxes.append(Box(at, at + value, css[part], f"{guest}, {part}: {with_unit(value, unit)}"))
            at += value
        words = [Words(with_unit(total, unit), Tone.STRONG)]
        words += [Words(with_unit(value, unit), css=css[part]) for part, value in mine.items()]
        said = f"{guest}: " + ", ".join(f"{part} {with_unit(value, unit)}" for part, value in mine.items())
        rows.append(Strip(guest, tuple(boxes), tuple(words), said=said))
    axis = ChartAxis(0.0, widest * 1.01 or 1.0, unit=unit)
    return Chart(title, axis, tuple(rows), about, tall=34, keys=tuple((css[part], part) for part in there))


def until(summary: RunSummary, parts: Sequence[tuple[str, str]], title: str, about: str = "") -> Chart | None:
    """Medians of benchmarks that begin together and end one after the other, a bar for each guest, cut where they end.
    parts: (benchmark, what lies before its end); the last is the whole."""
    whole = parts[-1][0]
    ends = {
        guest.guest: [(p, words, e.value) for p, words in parts if (e := _in_seconds(guest, p)) is not None]
        for guest in summary.guests
    }
    ends = {guest: known for guest, known in ends.items() if known and known[-1][0] == whole}
    if not ends:
        return None
    css = {part: f"p{i % PARTS}" for i, (part, _) in enumerate(parts)}
    words_of, rows, widest = dict(parts), [], 0.0
    for guest, known in ends.items():
        total, at, boxes = known[-1][2], 0.0, []
        for part, what, end in known:
            if end > at:
                boxes.append(Box(at, end, css[part], f"{guest}, {what}: {with_unit(end - at, Unit.SECONDS)}"))
                at = end
        widest = max(widest, total)
        said = f"{guest}: " + ", ".join(f"{words_of[part]} at {with_unit(end, Unit.SECONDS)}" for part, _, end in known)
        rows.append(Strip(guest, tuple(boxes), (Words(with_unit(total, Unit.SECONDS), Tone.STRONG),), said=said))
    there = {part for known in ends.values() for part, _, _ in known}
    axis = ChartAxis(0.0, widest * 1.01 or 1.0, unit=Unit.SECONDS)
    keys = tuple((css[part], what) for part, what in parts if part in there)
    return Chart(title, axis, tuple(rows), about, tall=34, keys=keys)


def _in_seconds(guest: GuestSummary, benchmark: str) -> Estimate | None:
    estimate = guest.estimates.get(benchmark)
    return estimate if estimate is not None and estimate.unit is Unit.SECONDS and _drawable(estimate.value) else None


def phases(summary: RunSummary) -> Chart | None:
    """A boot's phases end to end."""
    return stacked(
        summary,
        _STACKED,
        "Phases, end to end",
        "Medians, one after the other; bold is their sum, which need not be the median of the totals.",
    )


def variance(parts: Sequence[SampleParts]) -> Chart | None:
    """Which share of each benchmark's variance lies between boots, and which between the iterations of a boot."""
    rows = []
    for part in parts[:MOST_ROWS]:
        if (icc := part.parts.icc) is None:
            continue
        boxes = (Box(0.0, 100 * icc, "p1", f"between boots: {icc:.0%}"), Box(100 * icc, 100.0, "p2"))
        words = (
            Words(f"σ {percent(part.parts.between_boots)}", css="p1"),
            Words(f"σ {percent(part.parts.between_iterations)}", css="p2"),
        )
        said = f"{part.guest}, {part.benchmark}: {round(100 * icc)} % of the variance lies between boots"
        rows.append(Strip(part.guest, boxes, words, group=part.benchmark, said=said))
    if not rows:
        return None
    keys = (("p1", "between boots"), ("p2", "between the iterations of a boot"))
    rows.sort(key=lambda row: row.group)
    return Chart("Where the variance lies", ChartAxis(0.0, 100.0, suffix=" %"), tuple(rows), keys=keys, tall=26)


# ---- levels ----


@dataclass(frozen=True)
class LevelLine:
    """One row of `levels`. benchmark: its name in the summary; missing: guest → why it has no figure."""

    name: str
    benchmark: str
    group: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


def levels(summary: RunSummary, lines: Iterable[LevelLine], title: str, about: str = "") -> Chart | None:
    """Medians with their intervals, all guests in one row, on one axis: what costs how much, and where."""
    given = list(lines)
    estimates = {(g.guest, line.benchmark): g.estimates.get(line.benchmark) for g in summary.guests for line in given}
    units = [e.unit for e in estimates.values() if e is not None]
    if not units:
        return None
    unit = max(units, key=units.count)
    known = {
        key: e
        for key, e in estimates.items()
        if e is not None and e.unit is unit and e.value > 0 and _drawable(e.value)
    }
    if not known:
        return None
    shown = [line for line in given if any((g.guest, line.benchmark) in known for g in summary.guests)]
    ends = [v for e in known.values() for v in (e.low, e.high) if v is not None and 1e-300 < v < LARGEST]
    values = [*(e.value for e in known.values()), *ends]
    classes = guest_classes(summary)
    rows = tuple(_level_row(line, known, classes, unit) for line in shown[:MOST_ROWS])
    left = len(shown) - len(rows)
    log = max(values) / min(values) > 6
    low, high = padded(values, 0.03, log)
    axis = ChartAxis(low if log else 0.0, high, log, unit)
    notes = (f"{left} more are in the table.",) if left else ()
    keys = tuple((css, guest) for guest, css in classes.items())
    return Chart(title, axis, rows, about, tall=max(28, 11 * len(classes) + 6), keys=keys, notes=notes)


def _level_row(
    line: LevelLine, known: Mapping[tuple[str, str], Estimate], classes: Mapping[str, str], unit: Unit
) -> Strip:
    marks: list[Mark] = []
    words: list[Words] = []
    said: list[str] = []
    for i, (guest, css) in enumerate(classes.items()):
        estimate = known.get((guest, line.benchmark))
        if estimate is None:
            if guest in line.missing:
                words.append(Words(line.missing[guest], Tone.DIM, css))
                said.append(f"{guest} {line.missing[guest]}")
            continue
        y = (i + 1) / (len(classes) + 1)
        if estimate.low is not None and estimate.high is not None and 0 < estimate.low < estimate.high < LARGEST:
            marks.append(Span(estimate.low, estimate.high, y, css))
        marks.append(Dot(estimate.value, y, css, size=4.0))
        words.append(Words(with_unit(estimate.value, unit), css=css))
        bounds = interval((estimate.low, estimate.high), 1.0)
        said.append(f"{guest} {with_unit(estimate.value, unit)}" + (" exactly" if bounds == "exact" else ""))
    return Strip(line.name, tuple(marks), tuple(words), group=line.group, said=f"{line.name}: {', '.join(said)}")
