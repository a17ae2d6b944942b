"""Inline SVG without a library: elements, scales, ticks, and the marks of one row. Colours are CSS classes of the page.

Why it is our own. A library that draws on the host (matplotlib, vl-convert, pygal) fixes the width of its text and its
colours when it draws: a page that is read at 360 and at 1,600 px, in light and dark, would need four drawings each, and
matplotlib's or vl-convert's wheels are 10 to 60 MB. One that draws in the page (plotly 4.6 MB, Vega 0.8 MB, bokeh 1 MB)
leaves nothing to read without scripts. What is left to do here is small, since text is HTML (`pictures`): x is given in
percent of whatever width the browser gives a row, so one drawing fits all widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from ukperf.reports.pictures import Box, ChartAxis, Dot, Level, Mark, Middle, Slope, Span, Strip
from ukperf.reports.units import scale_for

CHARACTER = 7.8  # px, how wide one of a tick's label is at most: DejaVu Sans at 12 px, the widest that is usual
NARROW, WIDE = 250, 420  # px that a row of marks has at least: on phones, and from 1,100 px on
LARGEST = 1.7e308


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; `class_` and `font_size` become class and font-size; numbers are shortened, text is escaped."""
    parts = [f'{key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()]
    head = " ".join([name, *parts])
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "t") -> str:
    return tag("text", escape(content), x=x, y=y, text_anchor=anchor, class_=class_)


def title(content: str) -> str:
    """What a browser shows when the pointer rests on the element around it."""
    return f"<title>{escape(content)}</title>"


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


# ---- scales ----


@dataclass(frozen=True)
class Scale:
    """From data to shares of the width, 0 to 1. log: both ends must be positive."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if not self.high > self.low:
            return 0.5
        low, high, at = (math.log(max(v, 1e-320)) if self.log else v / 2 for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values inside the scale."""
        if self.log and self.low > 0 and self.high / self.low > 3:
            return _powers(self.low, self.high, most)
        return _round_steps(self.low, self.high, most)


def _powers(low: float, high: float, most: int) -> list[float]:
    """Powers of ten; between few of them also 2 and 5 times those."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1.0, 2.0, 5.0) if last - first <= 3 else (1.0,)
    each = max(1, math.ceil((last - first) / most))
    values = [float(f"{m}e{power}") for power in range(first, last + 1, each) for m in steps]
    return [v for v in values if low <= v <= high]


def _round_steps(low: float, high: float, most: int) -> list[float]:
    rough = high / most - low / most
    if not rough > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough)) or rough
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999), rough)
    first = math.ceil(low / step - 1e-9)
    values = [
        float(f"{i * step:.12g}") for i in range(first, min(math.floor(high / step + 1e-9), first + 2 * most) + 1)
    ]
    return [v for v in dict.fromkeys(values) if low <= v <= high] or [low]


def padded(values: Sequence[float], share: float = 0.06, log: bool = False) -> tuple[float, float]:
    """Ends of a scale with air around the values."""
    low, high = min(values), max(values)
    if log:
        room = min(max(math.exp((math.log(high) - math.log(low)) * share), 1.002), 1e9)
        return max(low / room, 5e-324), min(high * room, LARGEST)
    room = (high - low) * share or abs(high) * 0.01 or 1.0
    if not math.isfinite(room):
        return max(low, -LARGEST), min(high, LARGEST)
    return max(low - room, -LARGEST), min(high + room, LARGEST)


# ---- ticks ----


@dataclass(frozen=True)
class Tick:
    """share: of the width; half: px, half of its label's width at most; wide: a phone has no room for its label."""

    share: float
    label: str
    half: float
    wide: bool


def ticks(axis: ChartAxis) -> tuple[list[Tick], str]:
    """Ticks whose labels do not touch each other, and the unit that stands beside the axis."""
    scale = Scale(axis.low, axis.high, axis.log)
    values = [v for v in scale.ticks() if not axis.whole or v == int(v)]
    labels, unit = _labels(axis, values)
    if axis.one is not None:  # it comes first, so that no other takes its room
        values = [axis.one, *(v for v in values if v != axis.one)]
        labels.setdefault(axis.one, plain(axis.one) + axis.suffix)
    made: list[Tick] = []
    for value in values:
        tick = Tick(scale(value), labels[value], CHARACTER * len(labels[value]) / 2 + 2, False)
        if not _touches(tick, [t for t in made if not t.wide], NARROW):
            made.append(tick)
        elif not _touches(tick, made, WIDE):
            made.append(Tick(tick.share, tick.label, tick.half, True))
    return sorted(made, key=lambda t: t.share), unit


def _touches(tick: Tick, others: Iterable[Tick], width: int) -> bool:
    def middle(t: Tick) -> float:
        return min(max(t.share * width, t.half), width - t.half)

    return any(abs(middle(tick) - middle(other)) < tick.half + other.half + 6 for other in others)


def _labels(axis: ChartAxis, values: Sequence[float]) -> tuple[dict[float, str], str]:
    if axis.unit is None:
        return {v: plain(v) + axis.suffix for v in values}, axis.title
    if axis.log:
        shown = {}
        for v in values:
            divisor, symbol = scale_for(v, axis.unit)
            shown[v] = f"{plain(v / divisor)} {symbol}".rstrip()
        return shown, axis.title
    divisor, symbol = scale_for(axis.high, axis.unit)
    return {v: plain(v / divisor) for v in values}, symbol or axis.title


def plain(value: float) -> str:
    """`1,500`, `0.001`, `2.5`: no exponent where it can be read without one."""
    if value == 0 or not 1e-6 <= abs(value) < 1e15:
        return f"{value:.6g}"
    places = max(0, 9 - math.floor(math.log10(abs(value))))
    shown = f"{value:,.{places}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


# ---- a row of marks ----


def marks_of(row: Strip, axis: ChartAxis, at: Sequence[Tick], boots: str = "") -> str:
    """The marks of one row, as wide and as tall as the box around it. boots: what ids of boots begin with."""
    scale = Scale(axis.low, axis.high, axis.log)
    parts: list[str] = []
    if axis.band is not None:
        low, high = (scale(v) for v in axis.band)
        parts.append(f'<rect class="margin" x="{_at(low)}" width="{_at(max(high - low, 0.001))}" height="100%"/>')
    for tick in at:
        parts.append(_upright(tick.share, "line"))
    if axis.one is not None:
        parts.append(_upright(scale(axis.one), "one"))
    below = [mark for mark in row.marks if not isinstance(mark, Dot | Middle)]
    parts += [_mark(mark, scale) for mark in below]
    parts += _dots([mark for mark in row.marks if isinstance(mark, Dot)], scale, boots)
    parts += [_mark(mark, scale) for mark in row.marks if isinstance(mark, Middle)]
    label = escape(row.said or ", ".join(word for word in (row.group, row.name) if word))
    return f'<svg role="img" aria-label="{label}" width="100%" height="100%">{"".join(parts)}</svg>'


def _at(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def _upright(share: float, css: str) -> str:
    return f'<line class="{css}" x1="{_at(share)}" x2="{_at(share)}" y1="0" y2="100%"/>'


def _mark(mark: Mark, scale: Scale) -> str:
    match mark:
        case Span(low, high, y, css, thick):
            ends = f'x1="{_at(scale(low))}" x2="{_at(scale(high))}" y1="{_at(y)}" y2="{_at(y)}"'
            return f'<line class="bar {css}" {ends} stroke-width="{thick:g}"/>'
        case Box(low, high, css, said):
            start, end = scale(low), scale(high)
            box = f'class="{css}" x="{_at(start)}" width="{_at(max(end - start, 0.0))}" y="20%" height="60%"'
            return f"<rect {box}>{title(said)}</rect>" if said else f"<rect {box}/>"
        case Middle(x, top, bottom):
            where = _at(scale(x))
            return f'<line class="middle" x1="{where}" x2="{where}" y1="{_at(top)}" y2="{_at(bottom)}"/>'
        case Slope((x1, y1), (x2, y2), css, thick):
            ends = f'x1="{_at(scale(x1))}" x2="{_at(scale(x2))}" y1="{_at(y1)}" y2="{_at(y2)}"'
            return f'<line class="bar {css}" {ends} stroke-width="{thick:g}"/>'
        case Level(y, strong):
            css = "one" if strong else "line"
            return f'<line class="{css}" x1="0" x2="100%" y1="{_at(y)}" y2="{_at(y)}"/>'
    raise TypeError(mark)  # pragma: no cover: dots are drawn by _dots


def _dots(dots: Sequence[Dot], scale: Scale, boots: str) -> list[str]:
    """One group for each colour, which says it once."""
    groups: dict[str, list[str]] = {}
    for dot in dots:
        known = f' data-b="{boots}{dot.boot}"' if dot.boot is not None else ""
        where = _at(scale(dot.x)), _at(dot.y)
        if dot.lost:
            cross = '<path d="M-4-4L4 4M-4 4L4-4"/>'
            drawn = f'<svg class="lost"{known} x="{where[0]}" y="{where[1]}" overflow="visible">{cross}</svg>'
        else:
            drawn = f'<circle{known} cx="{where[0]}" cy="{where[1]}" r="{dot.size:g}"/>'
        groups.setdefault(dot.css, []).append(drawn)
    return [f'<g class="{css}">{"".join(drawn)}</g>' for css, drawn in groups.items()]
