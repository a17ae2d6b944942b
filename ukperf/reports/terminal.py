"""Pages on a terminal and in a pipe: aligned columns, colours only on a terminal and without NO_COLOR (no-color.org).

Lines may be longer than the terminal is wide, words stay whole. Only names in columns that may be cut lose their
middle: they come from files and guests, and one of them alone would make a table too wide.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ukperf.reports.page import Cell, Column, Line, Page, Part, Quote, Table, Tone
from ukperf.text import clean

LEAST_WIDTH, USUAL_WIDTH = 20, 80  # cells
LONGEST_NAME, LEAST_NAME = 60, 16
INDENT = "  "
_STYLE = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.DIM: "dim",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.ALIKE: "cyan",
    Tone.UNSURE: "yellow",
    Tone.GRAVE: "bold red",
}


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


def render(page: Page, console: Console) -> None:
    """Print a page."""
    draw(page.parts(), console)


def draw(parts: Iterable[Part], console: Console) -> None:
    """Print tables, lines and quotes. Nothing is ever cut but names, and quotes to their last line: a terminal that is
    too narrow gets tighter columns, then two lines a row; a pipe gets whole lines whatever its width is said to be."""
    for part in parts:
        if isinstance(part, Line):
            lead = Text(part.lead, style=_STYLE[part.tone])
            _show(console, lead + Text(part.text, style="" if part.lead else _STYLE[part.tone]), part.wraps)
        elif isinstance(part, Quote):
            _show(console, Text(part.lead), wraps=True)
            _show(console, Text(INDENT + part.last.strip(), style=_STYLE[Tone.DIM]), wraps=False)
        else:
            for line in _fitting(part, console):
                _show(console, line, wraps=False)


def _show(console: Console, text: Text, wraps: bool) -> None:
    """One line; wrapped at words on a terminal if it may be, never in a pipe."""
    console.print(text, soft_wrap=not (wraps and console.is_terminal), highlight=False)


def cut(name: str, longest: int = LONGEST_NAME) -> str:
    """A name in at most so many cells: of a longer one the beginning and the end, which is where names differ."""
    if len(name) <= longest // 2 or cell_len(name) <= longest:
        return name
    end = longest // 3
    tail = name[-end:]
    while cell_len(tail) > end:
        tail = tail[1:]
    head = name[: longest - end - 1]
    while cell_len(head) > longest - end - 1:
        head = head[:-1]
    return f"{head}…{tail}"


def _fitting(table: Table, console: Console) -> list[Text]:
    """The lines of a table in the first form that fits into the terminal, or the narrowest."""
    columns, rows = _columns(table), _rows(table)
    if not console.is_terminal or _width(rows, columns, table.gap) <= console.width:
        return _lines(rows, columns, table)
    if columns[-1].wraps:
        return _lines(_wrapped(rows, columns, table.gap, console), columns, table)
    rows = _rows(table, brief=True)
    excess = _width(rows, columns, gap=1) - console.width
    if excess > 0 and any(column.cuts for column in columns):
        names = [cell_len(cut(row[i].text)) for row in table.rows for i, c in enumerate(table.columns) if c.cuts]
        rows = _rows(table, brief=True, longest=max(LEAST_NAME, max(names, default=0) - excess))
    elif excess > 0 and table.fold is not None:
        rows, columns = _folded(rows, columns, table.fold - table.grouped)
    return _lines(rows, columns, table, gap=1)


def _columns(table: Table) -> list[Column]:
    """Those that are printed: what rows are grouped by stands above them."""
    if table.bare:
        return [replace(column, title="") for column in table.columns]
    if not table.grouped:
        return list(table.columns)
    first = table.columns[1]
    return [Column(table.corner, first.right, first.least, first.cuts, first.wraps), *table.columns[2:]]


def _rows(table: Table, brief: bool = False, longest: int = LONGEST_NAME) -> list[list[Text]]:
    """Rows of styled cells; one with a single cell is the heading of those below it."""

    def styled(cell: Cell, column: Column) -> Text:
        text = cell.brief if brief and cell.brief is not None else cell.text
        # a name with a line feed in it must not look like a row of its own
        return Text(clean(cut(text, longest) if column.cuts else text), style=_STYLE[cell.tone])

    rows: list[list[Text]] = []
    group = None
    for row in table.rows:
        cells = [styled(cell, column) for cell, column in zip(row, table.columns, strict=True)]
        if table.grouped:
            if row[0].text != group:
                group = row[0].text
                rows.append([Text(cells[0].plain, style="bold")])
            cells = [Text(INDENT) + cells[1], *cells[2:]]
        rows.append(cells)
    return rows


def _folded(rows: list[list[Text]], columns: list[Column], at: int) -> tuple[list[list[Text]], list[Column]]:
    """Rows broken in two at a column, whose title is what the second line is called; one that says nothing is left
    out."""
    stacked: list[list[Text]] = []
    behind = len(columns) - at + 1 - at  # cells that the second line has more than the first
    for row in rows:
        if len(row) == 1:
            stacked.append(row)
            continue
        stacked.append([*row[:at], *[Text("")] * behind])
        if any(cell.plain for cell in row[at:]):
            stacked.append([Text(INDENT + columns[at].title, style="dim"), *row[at:]])
    return stacked, [*columns[:at], *columns[len(columns) - behind :]]


def _wrapped(rows: list[list[Text]], columns: list[Column], gap: int, console: Console) -> list[list[Text]]:
    """Sentences in the last column on as many lines as they take."""
    taken = sum(_widths(rows, columns)[:-1]) + gap * (len(columns) - 1)
    room = max(LEAST_WIDTH, console.width - taken)
    wrapped: list[list[Text]] = []
    for row in rows:
        first, *more = row[-1].wrap(console, room) or [Text("")]
        wrapped.append([*row[:-1], first])
        wrapped += [[*[Text("")] * (len(columns) - 1), line] for line in more]
    return wrapped


def _lines(
    rows: Sequence[Sequence[Text]], columns: Sequence[Column], table: Table, gap: int | None = None
) -> list[Text]:
    """The titles, and one line a row."""
    titles = [] if table.bare else [[Text(column.title, style="bold") for column in columns]]
    widths = _widths(rows, columns)
    return [_line(row, columns, widths, table.gap if gap is None else gap) for row in (*titles, *rows)]


def _width(rows: Sequence[Sequence[Text]], columns: Sequence[Column], gap: int) -> int:
    """Cells that the widest line takes."""
    return sum(_widths(rows, columns)) + gap * (len(columns) - 1)


def _widths(rows: Sequence[Sequence[Text]], columns: Sequence[Column]) -> list[int]:
    full = [row for row in rows if len(row) == len(columns)]
    return [
        max([column.least, Text(column.title).cell_len, *(row[i].cell_len for row in full)])
        for i, column in enumerate(columns)
    ]


def _line(row: Sequence[Text], columns: Sequence[Column], widths: Sequence[int], gap: int) -> Text:
    if len(row) < len(columns):
        return Text(INDENT).join(row)
    line = Text()
    for cell, column, room in zip(row, columns, widths, strict=True):
        blank = " " * (room - cell.cell_len)
        if line.cell_len or column is not columns[0]:
            line.append(" " * gap)
        line.append_text(Text(blank) + cell if column.right else cell + Text(blank))
    line.rstrip()
    return line
