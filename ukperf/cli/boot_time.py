"""`ukperf boot-time`: boot guests, time their phases, say which is faster."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ukperf.cli.measuring import Shared, measuring
from ukperf.cli.output import run_workload, show_least_memory


@measuring(after="append")
def command(
    shared: Shared,
    min_memory: Annotated[
        bool,
        typer.Option(
            "--min-memory", help="Find the least memory in which each guest reaches main three times out of three."
        ),
    ] = False,
) -> None:
    """Boot each guest many times, and compare each phase.

    A boot is one start of a fresh virtual machine. Boots go in blocks, one of every guest in random order, so that
    whatever drifts on this machine falls on all guests alike. The answer for each guest and phase is a ratio to the
    baseline with its 95 % interval and a verdict: faster, slower, equivalent, or inconclusive with the boots still
    needed.

    Every boot is in the run's journal before the next begins; `ukperf resume DIR` goes on with a broken-off run.

    Example: ukperf boot-time --guest floor --guest linux --boots 6
    """
    from ukperf.workloads.base import NoOptions

    request = shared.request()
    if min_memory:
        from ukperf.imaging.programs import boot_program

        show_least_memory(replace(request, program=boot_program(), check_clocks=True), shared.json, shared.brief)
        return
    run_workload("boot", NoOptions(), request, shared.json, shared.brief)
