"""`ukperf selftest`: measures ukperf's own error rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.model import Accelerator


def command(
    trials: Annotated[int, typer.Option(metavar="N", help="Made-up campaigns at each point, at least 4000.")] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", callback=o.seed_of, help="Decides the made-up campaigns.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="All 432 combinations of the grid's factors.")] = False,
    aa: Annotated[
        str | None, typer.Option("--aa", metavar="GUEST", help="Boot GUEST on this machine and compare it with itself.")
    ] = None,
    aa_run: Annotated[
        Path | None, typer.Option("--aa-run", metavar="RUN", help="The same on the boots of a run of one guest.")
    ] = None,
    boots: Annotated[int, typer.Option(metavar="N", help="Boots for --aa.")] = 40,
    share_host: Annotated[
        bool, typer.Option("--share-host", help="Boot although another ukperf is measuring on this machine.")
    ] = False,
    accel: o.Accel = Accelerator.AUTO,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of the documentation.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure ukperf's own rates of false alarms.

    It simulates campaigns with a known truth, on one machine and over several, and counts false alarms and missed
    intervals, ours and other methods'. Exit status 1 when a rate is beyond its limit: 6 % false alarms of a 5 % test,
    94 % coverage. Points at which no t interval can keep the promise are named and shown, not judged. With --aa or
    --aa-run only the real boots are tested: their labels are randomly assigned thousands of times, and whatever is then
    called different is a false alarm.

    Example: ukperf selftest --trials 4000
    """
    from ukperf.cli.output import show_page
    from ukperf.cli.selftest_steps import real_boots, with_progress
    from ukperf.errors import UkperfError
    from ukperf.reports.selftest_table import SelftestPage
    from ukperf.reports.selftest_table import markdown as for_docs
    from ukperf.stats.aa import aa_rates
    from ukperf.stats.selftest import LEAST_TRIALS

    if not LEAST_TRIALS <= trials <= 10_000_000:
        raise UkperfError(f"--trials {trials} is not between {LEAST_TRIALS} and 10000000.")
    if not 12 <= boots <= 100_000:
        raise UkperfError(f"--boots {boots} is not between 12 and 100000.")
    real = aa_rates(real_boots(aa, aa_run, boots, seed, accel, share_host), trials, seed) if aa or aa_run else []
    result = None if aa or aa_run else with_progress(trials, seed, full)
    page = SelftestPage(result, real)
    if markdown and not json:
        print("\n".join(for_docs(title, table) for title, table in page.sections()))
    else:
        show_page(page, json)
    if not page.passed:
        raise typer.Exit(1)
