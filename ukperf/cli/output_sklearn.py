"""Showing a finished scikit-learn run: the common table, then throughput and whether the answers were equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ukperf.campaign.sklearn_run import Answer


def show_sklearn(answer: Answer, as_json: bool) -> None:
    """Print the table or JSON; sentences about the answers go below it, or to standard error with --json."""
    from ukperf.campaign.learning import throughput
    from ukperf.cli.options import sayer
    from ukperf.cli.output import show_result
    from ukperf.reports.units import number

    show_result(answer.result, as_json)
    lines = [
        f"{model}, batch: " + ", ".join(f"{guest} {number(rate)} rows/s" for guest, rate in table.items())
        for model, table in throughput(answer.result.records).items()
    ]
    say = sayer() if as_json else print
    for line in (*lines, *answer.notes):
        say(line)
