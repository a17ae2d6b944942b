"""`ukperf check`: is this run slower than that one? For CI."""

from __future__ import annotations

from typing import Annotated

import typer

_CHOICES = ("slower", "faster", "inconclusive", "not comparable")


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, RUN:GUEST or pyperf file to check.")],
    baseline: Annotated[str, typer.Option(metavar="RUN", help="What it is checked against.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", metavar="VERDICT", help="Verdicts that fail: slower (default); may be repeated."),
    ] = None,
    delta: Annotated[float, typer.Option(metavar="PCT", help="How much slower is still all right.")] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Exit with status 1 if RUN is slower than the baseline by more than ± delta, with the family's error rate kept.

    "Slower" fails only where it is sure that the ratio lies beyond 1 + delta: over all benchmarks together a run that
    is not slower fails in at most 5 % of cases. Nothing to compare at all is an error, status 2, never a pass.
    """
    import json as jsons

    from ukperf.campaign.runs import sides
    from ukperf.cli.runtools import margin
    from ukperf.errors import UkperfError
    from ukperf.reports.compare_table import comparisons_json, render_comparisons
    from ukperf.reports.terminal import stdout_console
    from ukperf.stats.between import compare_pairs
    from ukperf.stats.gate import beyond

    wanted = tuple(fail_on or ["slower"])
    for word in wanted:
        if word not in _CHOICES:
            raise UkperfError(f"--fail-on {word!r} is no verdict.", hint="There are: " + ", ".join(_CHOICES) + ".")
    used = margin(delta, 0.01)
    pairs = sides([baseline, run])
    comparisons = compare_pairs(pairs, used)
    failed = beyond(pairs, comparisons, used, wanted)
    if not any(c.ratio is not None for c in comparisons):
        reasons = "; ".join(dict.fromkeys(w for c in comparisons for w in c.warnings)) or "there is no common benchmark"
        raise UkperfError(f"Nothing can be compared: {reasons}.")
    if json:
        data = {**comparisons_json(comparisons, pairs, used), "failed": failed, "fail_on": list(wanted)}
        print(jsons.dumps(data, indent=1, allow_nan=False))
    else:
        render_comparisons(comparisons, pairs, used, stdout_console())
        print(f"check: failed ({', '.join(failed)})" if failed else f"check: passed ({', '.join(wanted)}: none)")
    if failed:
        raise typer.Exit(1)
