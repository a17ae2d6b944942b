"""README's pictures, drawn from the runs by matplotlib, and the recording of a terminal; called by make.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import recording
from make import BASELINE, LEFT_OUT, OVERVIEW, Asked, comparison, guests

from ukperf.reports.units import number

mpl.use("svg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Look:
    """Colours of a picture on a page of one kind."""

    name: str
    ink: str
    faint: str
    mark: str
    band: str

    @property
    def settings(self) -> dict[str, object]:
        """What matplotlib is told. The salt keeps names in the file the same, paths need no font where it is shown."""
        ink = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), self.ink)
        return {"svg.hashsalt": "ukperf", "svg.fonttype": "path", "font.size": 9, "axes.edgecolor": self.faint, **ink}


LOOKS = (
    Look("light", "#1f2328", "#8c959f", "#0969da", "#0969da22"),
    Look("dark", "#e6edf3", "#6e7681", "#58a6ff", "#58a6ff33"),
)


def draw_all(folder: Path) -> None:
    """All pictures, into this folder."""
    for look in LOOKS:
        overview(OVERVIEW, "icount", look, folder / f"overview-{look.name}.svg")
    recording.write("boot-icount", folder / "terminal.svg")


def overview(columns: Sequence[Asked], suffix: str, look: Look, path: Path) -> None:
    """A panel for each column, guests on one axis that all share: ratio to the baseline with its interval."""
    there = guests([f"{column.run}-{suffix}" for column in columns])
    names = [name for name in there if name not in (BASELINE, *LEFT_OUT)]
    rows = {
        (column, name): comparison(f"{column.run}-{suffix}", name, column.benchmark)
        for column in columns
        for name in names
    }
    ratios = [row["ratio"] for row in rows.values() if row is not None and row["ratio"]]
    limits = min(0.8, *ratios) / 1.6, max(1.25, *ratios) * 1.6
    across = math.ceil(len(columns) / 2)  # two rows: it is read on phones too
    with plt.rc_context(look.settings):
        size = (4 * across, 2 * (0.75 + 0.27 * len(names)))
        figure, panels = plt.subplots(2, across, figsize=size, sharey=True, sharex=True, squeeze=False)
        for axes, column in zip(panels.flat, columns, strict=False):
            _prepare(axes, limits, column.title.replace("`", ""), look)
            for place, name in enumerate(names):
                _mark(axes, rows[column, name], place, limits, look)
        panels[0][0].set_yticks(range(len(names)), names)
        panels[0][0].set_ylim(len(names) - 0.4, -0.6)  # the first on top, and no row on the axis
        said = f"guest instructions ÷ those of {BASELINE}, logarithmic; the band: within 1 %"
        figure.supxlabel(said, fontsize=9, color=look.ink)
        figure.tight_layout(w_pad=0.6)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _prepare(axes: Any, limits: tuple[float, float], title: str, look: Look) -> None:
    axes.set_xscale("log")
    axes.set_xlim(limits)
    axes.axvspan(0.99, 1.01, color=look.band, lw=0)
    axes.axvline(1, color=look.faint, lw=0.8)
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=look.faint, alpha=0.25, lw=0.5)


def _mark(axes: Any, row: Mapping[str, Any] | None, place: int, limits: tuple[float, float], look: Look) -> None:
    """Dot, interval, and the ratio on the side where there is more room."""
    middle = math.sqrt(limits[0] * limits[1])
    if row is None or row["ratio"] is None:
        axes.text(middle, place, "–", ha="center", va="center", color=look.faint)
        return
    ratio, low, high = row["ratio"], row["low"] or row["ratio"], row["high"] or row["ratio"]
    axes.plot([low, high], [place, place], color=look.mark, lw=2, solid_capstyle="butt")
    axes.plot([ratio], [place], "o", color=look.mark, ms=4.5)
    right = ratio < middle
    axes.text(high * 1.25 if right else low / 1.25, place, number(ratio), ha="left" if right else "right", va="center")
