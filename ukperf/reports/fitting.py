"""A table in the lines of a terminal: whole where it fits; else tighter, then folded, then in blocks, then as a list.

No form leaves a cell out or breaks it, but for sentences (at words), and names of columns that may be cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.console import Console
from rich.text import Text

from ukperf.reports import spans
from ukperf.reports.names import LEAST_NAME, LONGEST_NAME, cut, shortest
from ukperf.reports.page import Cell, Column, Table, Tone
from ukperf.text import clean

LEAST_WIDTH = 20  # cells
INDENT = "  "
STYLE = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.DIM: "dim",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.ALIKE: "cyan",
    Tone.UNSURE: "yellow",
    Tone.GRAVE: "bold red",
}


@dataclass(frozen=True)
class _Grid:
    """Rows of styled cells under titles; a row with a single cell of many is the heading of those below it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Text, ...], ...]
    gap: int
    bare: bool = False

    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.rows), len(self.columns)

    def widths(self) -> list[int]:
        full = [row for row in self.rows if len(row) == len(self.columns)]
        return [
            max([column.least, Text(column.title).cell_len, *(row[i].cell_len for row in full)])
            for i, column in enumerate(self.columns)
        ]

    def width(self) -> int:
        """Cells that the widest row of all cells takes."""
        return sum(self.widths()) + self.gap * (len(self.columns) - 1)

    def lines(self) -> Iterator[Text]:
        """The titles, and one line a row."""
        widths = self.widths()
        titles = [] if self.bare else [tuple(Text(column.title, style="bold") for column in self.columns)]
        for row in (*titles, *self.rows):
            yield row[0] if len(row) < len(self.columns) else self._line(row, widths)

    def _line(self, row: Sequence[Text], widths: Sequence[int]) -> Text:
        line = Text()
        for cell, column, room in zip(row, self.columns, widths, strict=True):
            blank = " " * (room - cell.cell_len)
            if line.cell_len or column is not self.columns[0]:
                line.append(" " * self.gap)
            line.append_text(Text(blank) + cell if column.right else cell + Text(blank))
        line.rstrip()
        return line


def whole(table: Table) -> list[Text]:
    """Its lines, however long they are: for a pipe."""
    return list(_grid(table, table.gap).lines())


def fitted(table: Table, console: Console) -> list[Text]:
    """Its lines in the first form that fits into the terminal. With room to spare its intervals are drawn as well."""
    room = console.width
    grid = _grid(table, table.gap)
    if grid.width() <= room:
        return _wrapped_lines(_with_spans(grid, table, console), console)
    for grids in _forms(table, console):
        if all(grid.width() <= room for grid in grids):
            one = (
                len(grids) == 1 and len(grids[0].rows) == len(grid.rows) and len(grids[0].columns) == len(grid.columns)
            )
            return _wrapped_lines(_with_spans(grids[0], table, console) if one else grids, console)
    return _listed(table, console)


def _forms(table: Table, console: Console) -> Iterator[list[_Grid]]:
    """What is tried in turn where the whole table does not fit: of each form one grid, or several one below another."""
    if table.columns[-1].wraps:
        yield from _sentences(_grid(table, table.gap), console)
        return
    tight = _grid(table, 1, brief=True)
    yield [tight]
    within = list(enumerate(table.columns))[table.grouped :]
    names = [row[i].text for row in table.rows for i, column in within if column.cuts]
    length = LONGEST_NAME
    if names:
        longest = max(Text(cut(name)).cell_len for name in names)
        length = shortest(names, max(LEAST_NAME, longest - (tight.width() - console.width)))
        yield [_grid(table, 1, brief=True, longest=length)]
        length = shortest(names, console.width // 3)
    short = _grid(table, 1, brief=True, longest=length)
    if table.fold is not None:
        yield [_folded(short, table.fold - table.grouped)]
    yield _blocks(short, table.keys, console.width)


def _grid(table: Table, gap: int, *, brief: bool = False, longest: int = LONGEST_NAME) -> _Grid:
    return _Grid(_columns(table), tuple(_rows(table, brief, longest)), gap, table.bare)


def _columns(table: Table) -> tuple[Column, ...]:
    """Those that are printed: what rows are grouped by stands above them."""
    if table.bare:
        return tuple(replace(column, title="") for column in table.columns)
    if not table.grouped:
        return table.columns
    return (replace(table.columns[1], title=table.corner), *table.columns[2:])


def _rows(table: Table, brief: bool, longest: int) -> Iterator[tuple[Text, ...]]:
    def styled(cell: Cell, column: Column) -> Text:
        text = cell.brief if brief and cell.brief is not None else cell.text
        # a name with a line feed in it must not look like a row of its own
        return Text(clean(cut(text, longest) if column.cuts else text), style=STYLE[cell.tone])

    group = None
    for row in table.rows:
        cells = [styled(cell, column) for cell, column in zip(row, table.columns, strict=True)]
        if table.grouped:
            if row[0].text != group:
                group = row[0].text
                heading = cut(group) if table.columns[0].cuts else group  # on a line of its own it has room
                yield (Text(clean(heading), style="bold"),)
            cells = [Text(INDENT) + cells[1], *cells[2:]]
        yield tuple(cells)


def _with_spans(grid: _Grid, table: Table, console: Console) -> list[_Grid]:
    """With its intervals drawn in a further column, where the terminal has the room."""
    cells = min(console.width - grid.width() - 2 * grid.gap, spans.MOST)
    signs = spans.Signs() if "utf" in console.encoding.lower() else spans.ASCII
    axis = spans.axis(table.spans, cells, signs) if cells >= spans.LEAST else None
    if axis is None:
        return [grid]
    drawn = iter(zip(table.spans, table.rows, strict=True))
    rows: list[tuple[Text, ...]] = []
    for row in grid.rows:
        if len(row) < len(grid.columns):
            rows.append(row)
            continue
        span, of_row = next(drawn)
        rows.append((*row, Text(axis.drawn(span), style=STYLE[of_row[-1].tone])))
    return [_Grid((*grid.columns, Column(axis.title())), tuple(rows), grid.gap)]


def _sentences(grid: _Grid, console: Console) -> Iterator[list[_Grid]]:
    """Sentences in the last column on as many lines as they take."""
    columns = len(grid.columns)
    room = console.width - sum(grid.widths()[:-1]) - grid.gap * (columns - 1)
    if room < LEAST_WIDTH:
        return
    rows: list[tuple[Text, ...]] = []
    for row in grid.rows:
        first, *more = wrapped(row[-1], console, room)
        rows.append((*row[:-1], first))
        rows += [(*[Text("")] * (columns - 1), line) for line in more]
    yield [replace(grid, rows=tuple(rows))]


def _folded(grid: _Grid, at: int) -> _Grid:
    """Rows broken in two at a column, whose title is what the second line is called; one that says nothing is left
    out."""
    stacked: list[tuple[Text, ...]] = []
    behind = len(grid.columns) - at + 1 - at  # cells that the second line has more than the first
    for row in grid.rows:
        if len(row) == 1:
            stacked.append(row)
            continue
        stacked.append((*row[:at], *[Text("")] * behind))
        if any(cell.plain for cell in row[at:]):
            stacked.append((Text(INDENT + grid.columns[at].title, style="dim"), *row[at:]))
    columns = (*grid.columns[:at], *grid.columns[len(grid.columns) - behind :])
    return replace(grid, columns=columns, rows=tuple(stacked))


def _blocks(grid: _Grid, keys: int, room: int) -> list[_Grid]:
    """As many columns as fit, then the next ones below, and the first `keys` of them in each block again. Columns that
    belong together stay together where a block has room for them."""
    starts = [i for i in range(keys, len(grid.columns)) if i == keys or not grid.columns[i].stays]
    parts = [list(range(a, b)) for a, b in pairwise([*starts, len(grid.columns)])]
    if any(_part(grid, keys, part).width() > room for part in parts):
        parts = [[i] for i in range(keys, len(grid.columns))]
    blocks: list[list[int]] = []
    for part in parts:
        if blocks and _part(grid, keys, [*blocks[-1], *part]).width() <= room:
            blocks[-1] += part
        else:
            blocks.append(part)
    return [_part(grid, keys, block, sparing=i > 0) for i, block in enumerate(blocks)]


def _part(grid: _Grid, keys: int, chosen: Sequence[int], *, sparing: bool = False) -> _Grid:
    """Some columns of a grid. sparing: without rows that say nothing there."""
    rows: list[tuple[Text, ...]] = []
    heading: tuple[Text, ...] | None = None
    for row in grid.rows:
        if len(row) < len(grid.columns):
            heading = row
        elif not sparing or any(row[i].plain for i in chosen):
            rows += [heading] if heading else []
            rows.append((*row[:keys], *(row[i] for i in chosen)))
            heading = None
    columns = (*grid.columns[:keys], *(grid.columns[i] for i in chosen))
    return replace(grid, columns=columns, rows=tuple(rows))


def _listed(table: Table, console: Console) -> list[Text]:
    """One line a cell with its title before it: fits wherever a single figure does."""
    grid = _grid(table, 1, brief=True, longest=max(LEAST_NAME, console.width - len(INDENT)))
    lines: list[Text] = []
    for row in grid.rows:
        lines += wrapped(row[0], console)
        if len(row) < len(grid.columns):
            continue
        for cell, column in zip(row[1:], grid.columns[1:], strict=True):
            if cell.plain:
                title = f"{column.title}: " if column.title else ""
                lines += wrapped(Text(f"{INDENT * 2}{title}") + cell, console)
    return lines


def _wrapped_lines(grids: Sequence[_Grid], console: Console) -> list[Text]:
    """Grids one below the other. Headings alone may be longer than the terminal is wide."""
    lines: list[Text] = []
    for grid in grids:
        lines += [Text("")] if lines else []
        for line in grid.lines():
            lines += wrapped(line, console)
    return lines


def wrapped(text: Text, console: Console, room: int = 0, *, set_in: bool = False) -> list[Text]:
    """A text on as many lines as it takes, at least one; words stay whole where they can. What is set in stays so.

    room: cells of a line; 0: the terminal's. set_in: further lines are set in beside the first.
    """
    width = room or console.width
    lines: list[Text] = []
    for part in text.split("\n", allow_blank=True) or [text]:
        indent = len(part.plain) - len(part.plain.lstrip())
        blank = Text(" " * min(indent, width // 2))
        more = blank + Text(INDENT) if set_in else blank
        if part.cell_len <= width:
            lines.append(part)
            continue
        first, *others = part[indent:].wrap(console, width - len(more))
        lines += [blank + first, *(more + line for line in others)]
    for line in lines:
        line.rstrip()
    return lines
