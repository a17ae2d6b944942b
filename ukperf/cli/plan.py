"""`ukperf plan`: how many boots would show an effect, from a pilot run."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A pilot run: its folder or a pyperf file, 6 blocks or more.")
    ],
    effect: Annotated[float, typer.Option(metavar="PCT", help="The difference that should be seen.")] = 1.0,
    power: Annotated[float, typer.Option(metavar="PCT", help="How often it should be seen when it is there.")] = 80.0,
    baseline: Annotated[str | None, typer.Option(metavar="GUEST", help="Default: the run's baseline.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say how many boots it takes to see a difference.

    And how many iterations each boot should run. Boots: the scatter of the pilot's paired log-ratios, the t
    distribution, and all comparisons of the run as one family. A pilot of one guest has nothing to compare: there
    --effect is how precisely a value shall be known, the half width of its 95 % interval. Iterations: Kalibera and
    Jones's optimum for the costs of a boot and of an iteration.

    Example: ukperf plan my-run --effect 2
    """
    from ukperf.cli.output import show_page
    from ukperf.errors import UkperfError
    from ukperf.reports.plan_table import PlanPage
    from ukperf.runs.loaded import load
    from ukperf.stats.variance import plan, plan_alone, sample_parts

    if not 0 < effect < 1000:
        raise UkperfError(f"--effect {effect:g} is not between 0 and 1000 percent.")
    if not 1 <= power <= 99.9:
        raise UkperfError(f"--power {power:g} is not between 1 and 99.9 percent.")
    loaded = load(run)
    divisor = loaded.baseline_or(baseline)
    if not loaded.records:
        raise loaded.without_boots()
    alone = plan_alone(loaded.records, effect / 100, power / 100) if len(loaded.guests) == 1 else []
    plans = plan(loaded.records, divisor, effect / 100, power / 100)
    parts = sample_parts(loaded.records)
    show_page(PlanPage(effect / 100, power / 100, plans, alone, parts), json)
