"""What a page draws: rows of marks on one common axis. Charts are made by `charts` and by workloads; `html` draws them.

All text of a chart (names, figures, verdicts, ticks) is HTML beside its marks, in columns of its own, where it wraps;
the SVG has marks alone. So nothing can be printed over anything else, at any width and in any font.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ukperf.model import Unit
from ukperf.reports.page import Tone


@dataclass(frozen=True)
class Dot:
    """x: on the chart's axis; y: 0 (top of its row) to 1; css: class of its colour; boot: the `Boot` that it is of."""

    x: float
    y: float
    css: str
    boot: int | None = None
    size: float = 3.0  # px, its radius
    lost: bool = False  # a cross: a boot that failed


@dataclass(frozen=True)
class Span:
    """From low to high on the axis, at y: an interval. thick: px."""

    low: float
    high: float
    y: float
    css: str
    thick: float = 2.5


@dataclass(frozen=True)
class Box:
    """A part of a bar. said: what a browser shows when the pointer rests on it."""

    low: float
    high: float
    css: str
    said: str = ""


@dataclass(frozen=True)
class Middle:
    """A short line across the row at x, like a median."""

    x: float
    top: float = 0.1
    bottom: float = 0.9


@dataclass(frozen=True)
class Level:
    """A line along the row at y; strong: the one that others are measured from."""

    y: float
    strong: bool = False


@dataclass(frozen=True)
class Slope:
    """A straight line from (x, y) to (x, y); x on the chart's axis, y as of a Dot."""

    start: tuple[float, float]
    end: tuple[float, float]
    css: str
    thick: float = 1.5  # px


Mark: TypeAlias = Dot | Span | Box | Middle | Level | Slope


@dataclass(frozen=True)
class Words:
    """css: class of the guest or part that this is of: a square of its colour stands before it."""

    text: str
    tone: Tone = Tone.PLAIN
    css: str = ""


@dataclass(frozen=True)
class Strip:
    """name: in front of its marks; words: behind them. group: a heading above the first of its rows."""

    name: str
    marks: tuple[Mark, ...]
    words: tuple[Words, ...] = ()
    group: str = ""
    css: str = ""
    said: str = ""  # what its marks are, for who cannot see them


@dataclass(frozen=True)
class ChartAxis:
    """low, high: its ends; log: both are positive. unit: of its values; None: plain numbers, like ratios.

    one: where a line stands; band: what is shaded. suffix: behind each number.
    """

    low: float
    high: float
    log: bool = False
    unit: Unit | None = None
    title: str = ""
    one: float | None = None
    band: tuple[float, float] | None = None
    suffix: str = ""
    whole: bool = False  # only whole numbers have ticks


@dataclass(frozen=True)
class Chart:
    """tall: px of a row. keys: what its colours are, CSS class → name."""

    title: str
    axis: ChartAxis
    rows: tuple[Strip, ...]
    about: str = ""
    tall: int = 28
    keys: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graphic:
    """An SVG with text of its own, as wide as it is: it scrolls in a box of its own. Its maker answers for the text."""

    svg: str


@dataclass(frozen=True)
class Slab:
    """A box of an icicle. start, width: shares of the picture's width; depth: 0 is the top. said: what a browser shows
    when the pointer rests on it; css: its colour; value: what it stands for, in the picture's unit."""

    start: float
    width: float
    depth: int
    name: str
    said: str
    css: str
    value: float


@dataclass(frozen=True)
class IcicleRow:
    """One tree, its root first, each slab before those below it."""

    name: str
    slabs: tuple[Slab, ...]
    words: tuple[Words, ...] = ()

    @property
    def levels(self) -> int:
        return 1 + max((slab.depth for slab in self.slabs), default=0)


@dataclass(frozen=True)
class Icicle:
    """Trees on one scale, which can be searched. keys: what its colours are, CSS class → name.

    A name stands in its slab where it fits: at widths where it does not, it is left out whole, and the table has it.
    """

    title: str
    rows: tuple[IcicleRow, ...]
    about: str = ""
    keys: tuple[tuple[str, str], ...] = ()


Picture: TypeAlias = Chart | Graphic | Icicle

PARTS = 6  # colours that parts of bars have, classes p0 …
GUESTS = 8  # colours that guests have, classes g0 …


def colours(names: Mapping[str, object] | tuple[str, ...]) -> dict[str, str]:
    """Name → CSS class of its colour, in the order given."""
    return {name: f"g{i % GUESTS}" for i, name in enumerate(names)}
