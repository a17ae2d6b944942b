"""The table of `ukperf boot-time --min-memory`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ukperf.reports.columns import Column, lines, show


def render(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, str], console: Console) -> None:
    """rows: campaign.memory.LeastMemory as dicts; MiB of guest memory, bytes of the VMM's peak resident memory."""
    columns = [
        Column(""),
        Column("least memory", right=True),
        Column("VMM peak", right=True),
        Column("boots", right=True),
    ]
    cells = []
    for row in rows:
        least = row["least_mib"]
        shown = f"{least} MiB" if least is not None else f"> {row['greatest_mib']} MiB"
        rss = f"{row['peak_rss'] / (1 << 20):.0f} MiB" if row["peak_rss"] else "–"
        cells.append([Text(row["guest"]), Text(shown), Text(rss), Text(str(row["boots"]))])
    for line in lines(cells, columns):
        show(console, line, wrap=False)
    show(console, Text("; ".join(f"{name} {value}" for name, value in facts.items()) + "."), wrap=True)
    show(
        console,
        Text("least memory: with it, three boots out of three reached main; with 1 MiB less, one did not."),
        wrap=True,
    )
