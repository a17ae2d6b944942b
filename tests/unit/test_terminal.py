"""Consoles of any width, or of none."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from ukperf.reports import spans, terminal
from ukperf.reports.fitting import fitted, whole
from ukperf.reports.names import cut, shortest
from ukperf.reports.page import Cell, Column, Span, Table


@pytest.mark.parametrize("columns", ["0", "1", "00", "19"])
def test_a_table_is_printed_whatever_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    out = io.StringIO()
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "stdout", out)
    console = terminal.stdout_console()
    console.print("ratio  verdict", soft_wrap=True)
    assert out.getvalue() == "ratio  verdict\n"
    assert console.width >= terminal.LEAST_WIDTH


def test_a_width_that_can_be_meant_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "133")
    assert terminal.stdout_console().width == 133


# -- tables on narrow and wide terminals -------------------------------------------------------------------------------

NAMES = st.text("abcdefghijklmnop.-é漢", min_size=1, max_size=14)
FIGURES = st.one_of(
    st.just(""),
    st.just("–"),
    st.just("exact"),
    st.floats(1e-3, 1e6).map(lambda value: f"{value:,.2f} M instr"),
    st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)).map(lambda ends: f"[{ends[0]:.4f}, {ends[1]:.4f}]"),
)


@st.composite
def tables(draw: st.DrawFn, *, wraps: bool = False) -> Table:
    """Any table of names and figures, grouped or not, that may be folded or not, of any number of columns."""
    grouped, many = draw(st.booleans()), draw(st.integers(1, 12))
    first = [Column("guest", cuts=draw(st.booleans()))] if grouped else []
    keys = draw(st.integers(1, 2)) if many > 2 else 1
    columns = [*first, *(Column(draw(NAMES)) for _ in range(keys))]
    columns += [Column(draw(NAMES), draw(st.booleans()), stays=draw(st.booleans())) for _ in range(many)]
    groups = sorted(draw(st.lists(NAMES, min_size=1, max_size=6))) if grouped else [""] * draw(st.integers(0, 6))
    rows = []
    for i, group in enumerate(groups):
        key = [Cell(group)] if grouped else []
        cells = [Cell(f"{draw(FIGURES)}") for _ in range(many)]
        rows.append((*key, *(Cell(f"{draw(NAMES)}{i}") for _ in range(keys)), *cells))
    if wraps:
        columns.append(Column("why", wraps=True))
        rows = [(*row, Cell(draw(st.lists(NAMES, max_size=30).map(" ".join)))) for row in rows]
    fold = None
    if not wraps and keys == 1 and many > 1:
        shown = len(columns) - grouped
        fold = draw(st.none() | st.integers(1, (shown + 1) // 2).map(lambda at: at + grouped))
    spans = tuple(draw(st.none() | SPANS) for _ in rows) if draw(st.booleans()) else ()
    return Table(tuple(columns), tuple(rows), grouped=grouped, keys=keys, fold=fold, spans=spans)


SPANS = st.tuples(*[st.floats(1e-6, 1e6)] * 3).map(lambda ends: (min(ends), sorted(ends)[1], max(ends)))


def drawn(table: Table, width: int, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    return [line.plain for line in fitted(table, console)]


@settings(deadline=None)
@given(tables() | tables(wraps=True), st.integers(30, 240))
def test_no_line_of_a_table_is_wider_than_the_terminal(table: Table, width: int) -> None:
    assert all(cell_len(line) <= width for line in drawn(table, width))


@settings(deadline=None)
@given(tables(), st.integers(30, 240))
def test_each_figure_of_a_table_is_there_once_and_whole_at_any_width(table: Table, width: int) -> None:
    """Names of rows are in each block again; a figure is in one place."""
    marked, wanted = [], []
    keys = table.grouped + table.keys
    for i, row in enumerate(table.rows):
        cells = [
            replace(cell, text=f"{cell.text}@{i}.{j}@") if cell.text else cell for j, cell in enumerate(row[keys:])
        ]
        wanted += [cell.text for cell in cells if cell.text]
        marked.append((*row[:keys], *cells))
    shown = "\n".join(drawn(replace(table, rows=tuple(marked)), width))
    together = " ".join(shown.split())  # a list breaks `1,234.00 M instr` between its words, never within one
    for text in wanted:
        assert together.count(text) == 1, (text, shown)
    for row in table.rows:
        for name in row[table.grouped : keys]:
            assert name.text in shown


@pytest.mark.parametrize("width", [80, 120, 200])
def test_costs_of_six_guests_fold_into_blocks_that_each_name_their_rows(width: int) -> None:
    guests = ("floor", "nanos", "unikraft", "debian", "native")
    columns = [Column("group"), Column("operation"), Column("linux", right=True)]
    for guest in guests:
        columns += [Column(guest, right=True), Column("÷", right=True, stays=True)]
        columns += [Column("95 % interval", stays=True), Column("verdict", stays=True)]
    row = [Cell("time"), Cell("clock_gettime.vdso"), Cell("24.31")]
    for i in range(len(guests)):
        row += [Cell(f"3{i}.11"), Cell(f"1.{i}22×"), Cell(f"[1.{i}11, 1.{i}33]"), Cell("slower")]
    lines = drawn(Table(tuple(columns), (tuple(row),), grouped=True, corner="ns"), width)
    heads = [line for line in lines if line.startswith("ns")]
    assert len(heads) == lines.count("time") == sum(line.startswith("  clock_gettime.vdso ") for line in lines)
    assert len(heads) == {80: 5, 120: 3, 200: 2}[width]
    assert all(len(line) <= width for line in lines)
    for i, guest in enumerate(guests):
        [head] = [line for line in heads if guest in line]
        figures = lines[lines.index(head) + 2]
        assert f"3{i}.11 1.{i}22× [1.{i}11, 1.{i}33] slower" in " ".join(figures.split())
        assert head.index(guest) + len(guest) == figures.index(f"3{i}.11") + 5  # right below its title


def test_names_that_are_cut_stay_different() -> None:
    names = [f"{'x' * 30}{i}{'y' * 40}" for i in range(3)]
    assert all(cut(name, shortest(names, 16)) != cut(names[0], shortest(names, 16)) for name in names[1:])
    table = Table((Column("benchmark", cuts=True), Column("median")), tuple((Cell(n), Cell("1.000 s")) for n in names))
    shown = [line.split()[0] for line in drawn(table, 80)[1:]]
    assert len(set(shown)) == 3 and all("…" in name for name in shown)


# -- intervals ---------------------------------------------------------------------------------------------------------

RATIOS = ((0.5, 0.5, 0.5), (0.9, 1.0, 1.1), (1.5, 2.0, 2.0), None)


def ratios(spans: tuple[Span | None, ...]) -> Table:
    rows = tuple((Cell(f"guest{i}"), Cell("1.000 s")) for i in range(len(spans)))
    return Table((Column("guest"), Column("median")), rows, spans=spans)


def test_intervals_are_drawn_on_one_axis_where_there_is_room() -> None:
    title, *rows = drawn(ratios(RATIOS), 120)
    one = title.index(" 1 ") + 1
    assert [row[one] for row in rows] == ["│", "●", "│", "│"]
    assert title.index("0.50") == rows[0].index("●") and title.rstrip().endswith("2.0")
    assert "├" in rows[1] and "┤" in rows[1] and rows[1].index("├") < one < rows[1].index("┤")
    assert one < rows[2].index("├") < rows[2].index("●")
    assert not any(sign in line for line in drawn(ratios(RATIOS), 30) for sign in "├●│┤")


def test_a_pipe_gets_no_drawn_intervals() -> None:
    assert whole(ratios(RATIOS))[0].plain == "guest   median"


def test_a_terminal_that_is_not_utf_8_gets_intervals_in_ascii() -> None:
    title, *rows = drawn(ratios(RATIOS), 120, "latin-1")
    assert all(line.isascii() for line in (title, *rows))
    assert "[" in rows[1] and "]" in rows[1] and "o" in rows[1] and "|" in rows[3]


@given(st.lists(st.none() | SPANS, min_size=1, max_size=9), st.integers(16, 40))
def test_any_interval_stays_on_its_axis(given_spans: list[Span | None], cells: int) -> None:
    axis = spans.axis(given_spans, cells, spans.Signs())
    assert (axis is None) == all(span is None for span in given_spans)
    for span in given_spans if axis else ():
        assert axis is not None
        line = axis.drawn(span)
        assert len(line) == cells == len(axis.title()) and line[axis.cell(1.0)] in "│┼●├┤"
        assert line.count("●") == (span is not None)
        assert [axis.cell(end) for end in span or ()] == sorted(axis.cell(end) for end in span or ())


@given(st.none() | st.floats(), st.none() | st.floats(), st.none() | st.floats())
def test_only_what_has_a_logarithm_is_drawn(ratio: float | None, low: float | None, high: float | None) -> None:
    span = spans.span_of(ratio, low, high)
    assert span is None or (0 < span[0] <= span[1] <= span[2] < math.inf and spans.axis([span], 16, spans.ASCII))
