"""`ukperf resume`: go on with a run that was broken off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.output import show

if TYPE_CHECKING:
    from ukperf.model import Result


def command(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    json: o.Json = False,
    brief: o.Brief = False,
    fleet: Annotated[
        str | None,
        typer.Option("--fleet", metavar="SCHEDULER", help="Another fleet's, for what is left of a run over a fleet."),
    ] = None,
    share_host: o.ShareHost = False,
) -> None:
    """Go on with a run that was broken off.

    It ends with the run's table; of a finished run only that is shown. At most the boot that was under way is lost.
    Order, seed and limits are those of the run's plan, which must be one of your own: it is executed. Somebody else's
    run is for `ukperf report`.

    Example: ukperf resume my-run
    """
    from ukperf import workloads
    from ukperf.engine import plan as plans
    from ukperf.engine.campaign import go_on
    from ukperf.errors import UkperfError
    from ukperf.reports.progress import progress
    from ukperf.runs.unpack import bundle_in
    from ukperf.text import shell

    folder = run.absolute()
    if bundle_in(folder) is not None:
        raise UkperfError(
            f"{run} is a bundle, and a bundle is only read.", hint=f"What was measured: ukperf report {shell(run)}"
        )
    plan = plans.load(folder)
    workload = workloads.of_run(plan.workload)
    with progress(plan.limits) as observer:
        finished = go_on(
            workload,
            folder,
            say=o.sayer(),
            observer=observer,
            share_host=share_host,
            scheduler=o.scheduler(fleet),
        )
    _say_damaged(finished.result)
    show(workload, finished, workload.options_of(finished.result), as_json=json, brief=brief)


def _say_damaged(result: Result) -> None:
    if result.damaged:
        many = len(result.damaged)
        o.sayer()(f"{many} damaged line{'s' * (many > 1)} of the journal {'were' if many > 1 else 'was'} left out.")
