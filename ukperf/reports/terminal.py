"""Consoles for tables and progress: colours only on a terminal, NO_COLOR honoured (https://no-color.org)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ukperf.text import clean

LEAST_WIDTH, USUAL_WIDTH = 20, 80  # cells


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


def _console(stream: Any) -> Console:
    file: IO[str] = getattr(stream, "styled", stream)
    console = _SafeConsole(file=file, highlight=False, no_color=True if os.environ.get("NO_COLOR") else None)
    if console.width < LEAST_WIDTH:  # COLUMNS=0, as some shells and CI systems set it, would leave no room for anything
        console.width = LEAST_WIDTH if console.width > 0 else USUAL_WIDTH
    return console
