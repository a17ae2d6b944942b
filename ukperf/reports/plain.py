"""Tables of facts: aligned on a terminal and in a pipe alike, never cut."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ukperf.reports.columns import Column, lines, show
from ukperf.reports.terminal import stdout_console


def facts_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], console: Console | None = None, right: Sequence[int] = ()
) -> None:
    """Prints rows under their titles; right: the columns that are numbers."""
    columns = [Column(title, right=index in right) for index, title in enumerate(titles)]
    target = console or stdout_console()
    for line in lines([[Text(cell) for cell in row] for row in rows], columns):
        show(target, line, wrap=False)
