"""`ukperf check`: is this run slower than that one? For CI."""

from __future__ import annotations

from typing import Annotated

import typer

_CHOICES = ("slower", "faster", "inconclusive", "not comparable")


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run, RUN:GUEST or pyperf file to check.")],
    baseline: Annotated[str, typer.Option(metavar="RUN", help="What it is checked against.")],
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark", "-b", metavar="NAME", help="Only this benchmark or phase, like total or 'fit*'; repeatable."
        ),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="VERDICT",
            help="Verdicts that fail: slower (default; of counts: more, of rates: lower); may be repeated.",
        ),
    ] = None,
    delta: Annotated[float, typer.Option(metavar="PCT", help="How much slower is still all right.")] = 1.0,
    allow_untested: Annotated[
        bool, typer.Option("--allow-untested", help="Pass although benchmarks could not be tested.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Pass although benchmarks of the baseline are gone.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="Print the answer and the table alone. JSON is always whole.")
    ] = False,
) -> None:
    """Fail where a run is slower than another: for CI.

    Exit status 1 if RUN is slower than the baseline by more than ± delta. It fails only where it is sure that the ratio
    lies beyond 1 + delta: over all benchmarks together a run that is not slower fails in at most 5 % of cases. A
    benchmark of the baseline that is gone, or that could not be tested (fewer than six boots on a side, units or
    programs that differ, no finite value), is named and gives status 2.

    Example: ukperf check new-run --baseline old-run
    """
    from ukperf.cli.output import show_page
    from ukperf.cli.runtools import margin, opened
    from ukperf.errors import UkperfError
    from ukperf.model import VERDICT_OF_WORD
    from ukperf.reports.compare_table import CheckPage
    from ukperf.runs.loaded import sides
    from ukperf.stats.between import chosen, compare_pairs
    from ukperf.stats.gate import gate
    from ukperf.text import many

    wanted = tuple(dict.fromkeys(str(VERDICT_OF_WORD.get(word, word)) for word in fail_on or ["slower"]))
    for word in wanted:
        if word not in _CHOICES:
            there = ", ".join((*_CHOICES, *VERDICT_OF_WORD))
            raise UkperfError(f"--fail-on {word!r} is no verdict.", hint=f"There are: {there}.")
    used = margin(delta, 0.01)
    pairs = chosen(sides([baseline, run], opened), benchmark or ())
    comparisons = compare_pairs(pairs, used)
    verdict = gate(pairs, comparisons, used, wanted)
    if not any(c.ratio is not None for c in comparisons):
        reasons = "; ".join(dict.fromkeys(w for c in comparisons for w in c.warnings)) or "there is no common benchmark"
        raise UkperfError(f"Nothing can be compared: {reasons}.")
    refused = [f"{len(verdict.untested)} could not be tested"] if verdict.untested and not allow_untested else []
    refused += [f"{len(verdict.missing)} gone"] if verdict.missing and not allow_missing else []
    show_page(CheckPage(comparisons, pairs, used, verdict, wanted, tuple(refused)), json, brief=brief)
    if verdict.failed:
        raise typer.Exit(1)
    if refused:
        raise UkperfError(
            f"The check did not pass: of {many(len(comparisons), 'comparison')}, {' and '.join(refused)}.",
            hint="--allow-untested and --allow-missing say that this is all right.",
        )
