"""`ukperf resume`: go on with a run that was broken off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.output import show_result


def command(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    json: o.Json = False,
    share_host: o.ShareHost = False,
) -> None:
    """Go on with a run that was broken off, and show its table; a finished run is only shown again.

    At most the trial that was under way is lost. Order, seed and limits are those of the run's plan.
    """
    from ukperf.campaign import plan as plans
    from ukperf.campaign.session import resume
    from ukperf.reports.progress import progress

    folder = run.absolute()
    with progress(plans.load(folder).limits) as observer:
        result = resume(folder, observer=observer, share_host=share_host)
    if result.damaged:
        many = len(result.damaged)
        o.sayer()(f"{many} damaged line{'s' * (many > 1)} of the journal {'were' if many > 1 else 'was'} left out.")
    show_result(result, json)
