"""Pages on a terminal and in a pipe: aligned columns, colours only on a terminal and without NO_COLOR (no-color.org).

On a terminal nothing but what is to be copied is longer than it is wide; in a pipe a sentence is a line. Only names in
columns that may be cut lose their middle: they come from files and guests, and one alone would make a table too wide.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ukperf.reports.fitting import INDENT, LEAST_WIDTH, STYLE, fitted, whole, wrapped
from ukperf.reports.page import Line, Page, Part, Quote, Tone
from ukperf.text import clean

USUAL_WIDTH = 80  # cells


class _SafeConsole(Console):
    """A console whose only escape sequences are rich's own: names in a table come from guests, files and servers."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else clean(segment.text, keep="\n")
            yield segment if shown == segment.text else segment._replace(text=shown)


def stdout_console() -> Console:
    return _console(sys.stdout)


def stderr_console() -> Console:
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    file: TextIO = getattr(stream, "styled", stream)
    console = _SafeConsole(file=file, highlight=False, no_color=True if os.environ.get("NO_COLOR") else None)
    if console.width < LEAST_WIDTH:  # COLUMNS=0, as some shells and CI systems set it, would leave no room for anything
        console.width = LEAST_WIDTH if console.width > 0 else USUAL_WIDTH
    return console


def render(page: Page, console: Console, *, brief: bool = False) -> None:
    """Print a page. brief: its answers and tables alone."""
    draw(page.brief() if brief else page.parts(), console)


def draw(parts: Iterable[Part], console: Console) -> None:
    """Print tables, lines and quotes. Nothing is ever cut but names, and quotes to their last line: a terminal that is
    too narrow gets tables in another form; a pipe gets whole lines whatever its width is said to be."""
    for part in parts:
        if isinstance(part, Line):
            lead = Text(part.lead, style=STYLE[part.tone])
            text = lead + Text(part.text, style="" if part.lead else STYLE[part.tone])
            _show(console, text, part.wraps, set_in=bool(part.lead))
        elif isinstance(part, Quote):
            _show(console, Text(part.lead), wraps=True)
            _show(console, Text(INDENT + part.last.strip(), style=STYLE[Tone.DIM]), wraps=False)
        else:
            for line in fitted(part, console) if console.is_terminal else whole(part):
                _show(console, line, wraps=False)


def _show(console: Console, text: Text, wraps: bool, set_in: bool = False) -> None:
    """One line; wrapped at words on a terminal if it may be, never in a pipe. set_in: its further lines are."""
    lines = wrapped(text, console, set_in=set_in) if wraps and console.is_terminal else [text]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
