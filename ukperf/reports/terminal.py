"""Consoles for tables and progress: colours only on a terminal, NO_COLOR honoured (https://no-color.org)."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def stdout_console() -> Console:
    return Console(highlight=False, no_color=True if os.environ.get("NO_COLOR") else None)


def stderr_console() -> Console:
    return Console(file=sys.stderr, highlight=False, no_color=True if os.environ.get("NO_COLOR") else None)
