"""`ukperf resume`: go on with a run that was broken off."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.output import show_result
from ukperf.cli.output_sklearn import show_sklearn

if TYPE_CHECKING:
    from ukperf.campaign.session import Result


def command(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    json: o.Json = False,
    share_host: o.ShareHost = False,
) -> None:
    """Go on with a run that was broken off, and show its table; a finished run is only shown again.

    At most the trial that was under way is lost. Order, seed and limits are those of the run's plan.
    """
    from ukperf.campaign import plan as plans
    from ukperf.paths import absolute
    from ukperf.reports.progress import progress

    folder = absolute(run)
    plan = plans.load(folder)
    with progress(plan.limits) as observer:
        if plan.workload == "sklearn":
            from ukperf.campaign import sklearn_run

            answer = sklearn_run.go_on(folder, say=o.sayer(), observer=observer, share_host=share_host)
        elif plan.workload == "syscall_cost":
            from ukperf.campaign import syscall_cost

            costs = syscall_cost.go_on(folder, say=o.sayer(), observer=observer, share_host=share_host)
        else:
            from ukperf.campaign.session import resume

            result = resume(folder, say=o.sayer(), observer=observer, share_host=share_host)
    if plan.workload == "sklearn":
        _say_damaged(answer.result)
        show_sklearn(answer, json)
    elif plan.workload == "syscall_cost":
        from ukperf.cli.syscall_cost import show_costs

        _say_damaged(costs.result)
        words = plan.command  # how the table was to look
        as_calls = "--scale=call" in words or ("--scale", "call") in pairwise(words)
        show_costs(costs, cycles="--cycles" in words, as_calls=as_calls, as_json=json)
    else:
        _say_damaged(result)
        show_result(result, json)


def _say_damaged(result: Result) -> None:
    if result.damaged:
        many = len(result.damaged)
        o.sayer()(f"{many} damaged line{'s' * (many > 1)} of the journal {'were' if many > 1 else 'was'} left out.")
