"""`ukperf compare`: runs, guests of runs, or pyperf files against each other."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    run: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Folders of runs, RUN:GUEST, or pyperf files. The first is the baseline."),
    ],
    baseline: Annotated[
        str | None, typer.Option(metavar="GUEST", help="With one RUN: the guest that the others are divided by.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(metavar="PCT", help="Differences within ± PCT percent count as equivalent.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare runs with each other, guests inside a run, or files of plain pyperf.

    One RUN: its guests, paired over blocks. Several: each guest with the same guest of the first run, by Welch's t on
    the logs; what changed on the host between two runs is then in the ratio, and a note says so. RUN:GUEST picks one
    guest, so that different ones can be compared. In pyperf files the processes are the units, not the values.
    """
    import os

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's others would spin and find nothing to do

    from ukperf.cli.output import show_page, show_pages
    from ukperf.cli.runtools import margin
    from ukperf.reports.compare_table import ComparePage
    from ukperf.reports.table import RunPage
    from ukperf.runs.loaded import load, sides
    from ukperf.stats.between import compare_pairs

    if len(run) == 1:
        loaded = load(run[0])
        summaries = loaded.summaries(baseline, margin(delta, loaded.delta))
        pages = {
            host: RunPage(summary, facts={**loaded.facts, **({"host": host} if host else {})})
            for host, summary in summaries.items()
        }
        show_pages(pages, json)
        return
    pairs = sides(run)
    used = margin(delta, 0.01)
    show_page(ComparePage(compare_pairs(pairs, used), pairs, used), json)
