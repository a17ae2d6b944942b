"""`ukperf history`: runs of one workload over builds or nights, and what changed when."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o


class Called(StrEnum):
    RUN = "run"
    TIME = "time"
    KERNEL = "kernel"


class Ordered(StrEnum):
    TIME = "time"
    GIVEN = "given"


def command(
    run: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Runs, bundles, files of pyperf, or folders with runs in them."),
    ],
    guest: Annotated[
        list[str] | None, typer.Option("--guest", "-g", metavar="GUEST", help="Only this guest; may be repeated.")
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option("--benchmark", "-b", metavar="NAME", help="Only this one, like total or 'fit*'; may be repeated."),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(metavar="GUEST", help="Divide by this guest, whose kernel does not change; may be repeated."),
    ] = None,
    axis: Annotated[Called, typer.Option(metavar="NAME", help="What runs are called: run, time or kernel.")] = (
        Called.RUN
    ),
    label: Annotated[
        list[str] | None, typer.Option(metavar="RUN=NAME", help="Call this run so; may be repeated.")
    ] = None,
    order: Annotated[
        Ordered, typer.Option(metavar="ORDER", help="time: as they were measured; given: as they are named.")
    ] = Ordered.TIME,
    any_program: Annotated[
        bool, typer.Option("--any-program", help="The program is what is built: its bytes may differ.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write an HTML page with pictures, too.")
    ] = None,
    json: o.Json = False,
    brief: o.Brief = False,
) -> None:
    """Say which run of many changed what, and by how much.

    For nightly runs, or runs over builds of a kernel. The run is the unit: where nothing changed, a change is found
    anywhere on the page in at most 5 % of cases; 8 runs are the fewest that are tested. Counts that repeat exactly
    (icount) need no test, and the first run that differs is named. Runs that differ in what they ran, in their
    accelerator, machine or QEMU make histories of their own.

    Example: ukperf history nights --html history.html
    """
    from ukperf.cli.options import pairs
    from ukperf.cli.output import show_page, write_html
    from ukperf.cli.runtools import opened
    from ukperf.reports.historytable import History, HistoryPage
    from ukperf.runs.history import HistoryAsked, NamedBy, RunOrder, gather, refuse_changed_controls
    from ukperf.stats.history import lines_of

    controls = tuple(dict.fromkeys(control or ()))
    guests = tuple(dict.fromkeys([*(guest or ()), *(controls if guest else ())]))
    labels = pairs(label, "--label", "run")
    asked = HistoryAsked(
        guests, tuple(benchmark or ()), labels, NamedBy(axis), RunOrder(order), any_program=any_program
    )
    gathered = gather(run, opened, asked)
    refuse_changed_controls(gathered.strata, controls)
    histories = [History(stratum, lines_of(stratum.sides, controls)) for stratum in gathered.strata]
    page = HistoryPage(histories, gathered.left_out, controls)
    if html is not None:
        write_html(html, [page], "history")
    show_page(page, json, brief=brief)
