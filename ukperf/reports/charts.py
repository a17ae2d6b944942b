"""The drawings of the HTML report: intervals, boots over time, distributions, phases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ukperf.model import Comparison, Outcome, Unit, Verdict
from ukperf.reports.story import Story
from ukperf.reports.svg import WIDTH, Scale, figure, padded, tag, text, title
from ukperf.reports.units import interval, number, scale_for, with_unit
from ukperf.stats.perboot import final_records
from ukperf.text import many

_CLASS = {
    Verdict.FASTER: "faster",
    Verdict.SLOWER: "slower",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.INCONCLUSIVE: "inconclusive",
}
_LEFT, _RIGHT = 12.0, WIDTH - 12.0
_STACKED = ("vmm", "kernel", "init", "stop")
MOST_DOTS = 20_000
CHARACTER = 6.5  # how wide one is in `.t`, at most about


def colours(story: Story) -> Mapping[str, str]:
    """Guest → CSS class of its colour, the same in every drawing of the page."""
    return {guest.guest: f"g{i % 8}" for i, guest in enumerate(story.summary.guests)}


def forest(story: Story, guest: str) -> str:
    """Every comparison of a guest: its interval on a logarithmic axis of ratios, the margin of equivalence behind."""
    drawn = [c for c in story.summary.comparisons if c.guest == guest and _drawable(c)]
    if not drawn:
        return ""
    edges = [1.0, *(v for c in drawn for v in (c.ratio, c.low, c.high) if v)]
    scale = Scale(*padded(edges, 0.08, log=True), _LEFT, _RIGHT, log=True)
    row, top = 34.0, 8.0
    bottom = top + row * len(drawn)
    low, high = scale(1 / (1 + story.summary.delta)), scale(1 + story.summary.delta)
    parts = [
        tag("rect", x=low, y=top, width=max(high - low, 0.5), height=bottom - top, class_="margin"),
        tag("line", x1=scale(1), x2=scale(1), y1=top, y2=bottom, class_="one"),
    ]
    for i, comparison in enumerate(drawn):
        parts.append(_interval_row(comparison, scale, top + row * i))
    for value in scale.ticks():
        parts.append(tag("line", x1=scale(value), x2=scale(value), y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(text(scale(value), bottom + 16, f"{value:g}", "middle", "t dim"))
    parts.append(tag("line", x1=_LEFT, x2=_RIGHT, y1=bottom, y2=bottom, class_="axis"))
    label = f"{guest} ÷ {story.summary.baseline}: ratios with 95 % intervals"
    return figure(bottom + 22, parts, label)


def _drawable(comparison: Comparison) -> bool:
    return comparison.ratio is not None and math.isfinite(comparison.ratio) and comparison.ratio > 0


def _interval_row(comparison: Comparison, scale: Scale, y: float) -> str:
    ratio = comparison.ratio or 1.0
    low, high = comparison.low or ratio, comparison.high or ratio
    name = _CLASS.get(comparison.verdict, "inconclusive")
    spread = high - low
    figures = f"{number(ratio, spread)} {interval((comparison.low, comparison.high))} {comparison.word}"
    return tag(
        "g",
        title(f"{comparison.guest} ÷ {comparison.baseline}, {comparison.benchmark}: {figures}")
        + text(_LEFT, y + 12, comparison.benchmark)
        + text(_RIGHT, y + 12, figures, "end", f"t {name}")
        + tag("line", x1=scale(low), x2=scale(high), y1=y + 22, y2=y + 22, class_=f"bar {name}")
        + tag("circle", cx=scale(ratio), cy=y + 22, r=4, class_=f"dot {name}"),
    )


def timeline(story: Story, benchmark: str) -> str:
    """Every boot of a benchmark in the order of execution, coloured by guest; failed boots are crosses below."""
    points: list[tuple[int, float, str, Unit]] = []
    for guest in story.summary.guests:
        series = story.series[guest.guest].get(benchmark)
        order = {b: r.trial.index for b, r in final_records(story.records, guest.guest).items()}
        if series is not None:
            rows = zip(series.blocks, series.values, strict=True)
            points += [(order[b], v, guest.guest, series.unit) for b, v in rows if math.isfinite(v) and v > 0]
    if not points:
        return ""
    unit = max((p[3] for p in points), key=[p[3] for p in points].count)
    points = [p for p in points if p[3] is unit][:MOST_DOTS]
    values = [p[1] for p in points]
    log = max(values) / min(values) > 4
    last = max(r.trial.index for r in story.records)
    up = Scale(*padded(values, 0.08, log), 188, 14, log)
    labels = _value_labels(up, unit, max(values))
    left = max(60.0, _LEFT + CHARACTER * max(map(len, labels.values()), default=0))
    across = Scale(0, max(last, 1), left + 12, _RIGHT - 6)
    classes = colours(story)
    parts = _value_axis(up, labels, left)
    parts += [
        tag(
            "circle",
            title(f"{guest}, boot {index}: {with_unit(value, unit)}"),
            cx=across(index),
            cy=up(value),
            r=2.6,
            class_=f"boot {classes[guest]}",
        )
        for index, value, guest, _ in points
    ]
    for record in story.records:
        if record.outcome is not Outcome.OK:
            what = f"{record.trial.guest}, boot {record.trial.index}: {record.outcome.value}"
            cross = text(across(record.trial.index), 203, "×", "middle", f"t lost {classes[record.trial.guest]}")
            parts.append(tag("g", title(what) + cross))
    parts.append(text(left + 12, 220, "boot 0", "start", "t dim"))
    parts.append(text(_RIGHT, 220, f"boot {last}", "end", "t dim"))
    return figure(228, parts, f"{benchmark}: every boot in the order of execution")


def _value_labels(up: Scale, unit: Unit, largest: float) -> dict[float, str]:
    """Tick → what stands beside it."""
    labels = {}
    for value in up.ticks(5):
        divisor, symbol = scale_for(value if up.log else largest, unit)
        labels[value] = f"{value / divisor:,.4g} {symbol}"
    return labels


def _value_axis(up: Scale, labels: Mapping[float, str], left: float) -> list[str]:
    """Lines across, and their labels in front of them."""
    parts = []
    for value, label in labels.items():
        parts.append(tag("line", x1=left + 2, x2=_RIGHT, y1=up(value), y2=up(value), class_="grid"))
        parts.append(text(left - 2, up(value) + 4, label, "end", "t dim"))
    return parts


def distributions(story: Story, benchmark: str) -> str:
    """A histogram for each guest on its own scale, median marked; the bins are those of Freedman and Diaconis."""
    classes = colours(story)
    parts: list[str] = []
    y = 0.0
    for guest in story.summary.guests:
        series = story.series[guest.guest].get(benchmark)
        values = np.array([v for v in series.values if math.isfinite(v)]) if series else np.array([])
        if series is None or values.size < 2:
            continue
        parts.append(_histogram(guest.guest, values, series.unit, classes[guest.guest], y))
        y += 92
    return figure(y, parts, f"{benchmark}: distribution over boots") if parts else ""


def _histogram(guest: str, values: NDArray[np.float64], unit: Unit, class_: str, y: float) -> str:
    middle = float(np.median(values))
    head = text(_LEFT, y + 14, f"{guest}: median {with_unit(middle, unit)}, {many(values.size, 'boot')}")
    if values.max() == values.min():
        return head + text(_LEFT, y + 36, "every boot the same", "start", "t dim")
    low, high = np.quantile(values, [0.25, 0.75])
    width = 2 * (high - low) / np.cbrt(values.size)
    span = values.max() - values.min()
    # numpy's own "fd" would make billions of bins for one boot that is far from very quiet others
    bins = 60 if span > 60 * width else max(5, math.ceil(span / width))
    counts, edges = np.histogram(values, bins=max(1, min(bins, int(span / np.spacing(np.abs(values).max()) / 4))))
    across = Scale(*padded(values.tolist(), 0.03), _LEFT, _RIGHT)
    base, tall = y + 72, 48.0
    bars = "".join(
        tag(
            "rect",
            title(f"{many(int(count), 'boot')} from {with_unit(float(a), unit)} to {with_unit(float(b), unit)}"),
            x=across(float(a)),
            y=base - tall * count / counts.max(),
            width=max(across(float(b)) - across(float(a)) - 0.6, 0.6),
            height=tall * count / counts.max(),
            class_=f"fill {class_}",
        )
        for count, a, b in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    )
    mark = tag("line", x1=across(middle), x2=across(middle), y1=base - tall - 3, y2=base, class_="one")
    ends = text(_LEFT, base + 13, with_unit(float(values.min()), unit), "start", "t dim")
    ends += text(_RIGHT, base + 13, with_unit(float(values.max()), unit), "end", "t dim")
    return head + bars + mark + tag("line", x1=_LEFT, x2=_RIGHT, y1=base, y2=base, class_="axis") + ends


def phases(story: Story) -> str:
    """Medians of the phases, end to end, a bar for each guest; guests in another unit than the first are left out."""
    rows = []
    for guest in story.summary.guests:
        lengths = [(p, guest.estimates[p].value) for p in _STACKED if p in guest.estimates]
        if lengths and guest.unit is story.summary.guests[0].unit:
            rows.append((guest.guest, lengths, guest.unit))
    if not rows:
        return ""
    widest = max(sum(value for _, value in lengths) for _, lengths, _ in rows)
    across = Scale(0, widest or 1.0, _LEFT, _RIGHT)
    parts: list[str] = []
    for i, (name, lengths, unit) in enumerate(rows):
        y, at = 40.0 * i, 0.0
        parts.append(text(_LEFT, y + 13, name))
        parts.append(text(_RIGHT, y + 13, with_unit(sum(value for _, value in lengths), unit), "end", "t dim"))
        for phase, value in lengths:
            box = tag(
                "rect",
                title(f"{name}, {phase}: {with_unit(value, unit)}"),
                x=across(at),
                y=y + 18,
                width=max(across(at + value) - across(at), 0.0),
                height=14,
                class_=f"fill p{_STACKED.index(phase)}",
            )
            parts.append(box)
            at += value
    return figure(40.0 * len(rows) + 2, parts, "medians of the phases, end to end")


def legend(items: Sequence[tuple[str, str]]) -> str:
    """(CSS class, name) pairs as a row of coloured squares, in HTML."""
    return "".join(f'<span class="key"><i class="{class_}"></i>{_plain(name)}</span>' for class_, name in items)


def _plain(name: str) -> str:
    from html import escape

    return escape(name)


def phase_legend(story: Story) -> str:
    there = {name for guest in story.summary.guests for name in guest.estimates}
    return legend([(f"p{i}", name) for i, name in enumerate(_STACKED) if name in there])


def guest_legend(story: Story) -> str:
    return legend([(class_, guest) for guest, class_ in colours(story).items()])
