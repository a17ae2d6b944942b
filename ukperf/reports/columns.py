"""Aligned columns of styled text that are never cut, whatever the width is: lines may be longer, words stay whole.

Only names may be cut, by `cut`: they come from files and guests, and one of them alone would make a table too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ukperf.text import clean


@dataclass(frozen=True)
class Column:
    title: str
    right: bool = False


LONGEST_NAME, LEAST_NAME = 60, 16  # cells


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


def width(rows: Sequence[Sequence[Text]], columns: Sequence[Column], gap: int = 2) -> int:
    """Cells that the widest line takes."""
    return sum(_widths(rows, columns)) + gap * (len(columns) - 1)


def lines(rows: Sequence[Sequence[Text]], columns: Sequence[Column], gap: int = 2) -> list[Text]:
    """The header and one line a row. A row with fewer cells than columns is a heading: it may run over all of them."""
    widths = _widths(rows, columns)
    header = [Text(column.title, style="bold") for column in columns]
    return [_line([_flat(cell) for cell in row], columns, widths, gap) for row in (header, *rows)]


def _flat(cell: Text) -> Text:
    """A cell in one line: a name with a line feed in it must not look like a row of its own."""
    shown = clean(cell.plain)
    return cell if shown == cell.plain else Text(shown, style=cell.style, spans=cell.spans)


def _widths(rows: Sequence[Sequence[Text]], columns: Sequence[Column]) -> list[int]:
    full = [row for row in rows if len(row) == len(columns)]
    return [
        max([Text(column.title).cell_len, *(row[i].cell_len for row in full)], default=0)
        for i, column in enumerate(columns)
    ]


def _line(row: Sequence[Text], columns: Sequence[Column], widths: Sequence[int], gap: int) -> Text:
    if len(row) < len(columns):
        return Text("  ").join(row)
    line = Text()
    for cell, column, room in zip(row, columns, widths, strict=True):
        blank = " " * (room - cell.cell_len)
        if line.cell_len or column is not columns[0]:
            line.append(" " * gap)
        line.append_text(Text(blank) + cell if column.right else cell + Text(blank))
    line.rstrip()
    return line


def show(console: Console, text: Text, wrap: bool) -> None:
    """One line; wrapped at words on a terminal if asked for, never in a pipe."""
    console.print(text, soft_wrap=not (wrap and console.is_terminal), highlight=False)
