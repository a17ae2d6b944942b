"""`ukperf bisect`: one step of `git bisect run`: is this build like the good runs or like the bad ones?"""

from __future__ import annotations

from typing import Annotated

import typer

from ukperf.cli import options as o

GOOD, BAD, SKIP = 0, 1, 125


def command(
    words: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND…", help="What measures the build: @run is its folder, @boots a number."),
    ],
    good: Annotated[list[str], typer.Option(metavar="RUN", help="A run of the good build; may be repeated.")],
    bad: Annotated[list[str], typer.Option(metavar="RUN", help="A run of the bad build; may be repeated.")],
    guest: Annotated[str, typer.Option("--guest", "-g", metavar="GUEST", help="Which of several guests.")] = "",
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", metavar="NAME", help="What is looked at.")] = "total",
    control: Annotated[
        str, typer.Option(metavar="GUEST", help="Divide every boot by this guest, which does not change.")
    ] = "",
    certainty: Annotated[
        float, typer.Option(metavar="PCT", help="How sure the commit shall be that the whole bisection names.")
    ] = 95.0,
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of it: 10 for up to 1,000 commits.")] = 10,
    most: Annotated[int, typer.Option(metavar="BOOTS", help="A build that so many boots do not tell is skipped.")] = 64,
    json: o.Json = False,
) -> None:
    """Tell whether a build is good or bad: for git bisect run.

    Measures the build with 2 boots, 4, 8 and so on, until a sequential test can tell whether it is like the good runs
    or like the bad ones; counts that repeat (icount) are told after two. Exit status 0: good; 1: bad; 125: neither, or
    the command failed; 128: the call is wrong, which ends git bisect.

    Example: ukperf bisect --good g --bad b -- ./measure @run @boots
    """
    from ukperf.cli.output import show_page
    from ukperf.cli.runtools import opened
    from ukperf.errors import UkperfError
    from ukperf.reports.bisecttable import BisectPage
    from ukperf.runs.bisecting import BisectAsked, run_command, step
    from ukperf.stats.bisecting import Leaning, error_of_step

    if not 50 < certainty < 100:
        raise UkperfError(f"--certainty {certainty:g} is not between 50 and 100 percent.")
    if not 1 <= steps <= 64 or not 2 <= most <= 10_000:
        raise UkperfError("--steps is 1 to 64, and --most 2 to 10,000.")
    error = error_of_step(1 - certainty / 100, steps)
    asked = BisectAsked(tuple(good), tuple(bad), tuple(words), guest, benchmark, control, error, most)
    answer = step(asked, opened, run_command)
    show_page(BisectPage(answer.weighed, answer.boots, answer.status, error, benchmark), json)
    leaning = Leaning.OPEN if answer.weighed is None else answer.weighed.leaning
    raise typer.Exit({Leaning.GOOD: GOOD, Leaning.BAD: BAD}.get(leaning, SKIP))
