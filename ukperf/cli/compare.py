"""`ukperf compare`: runs, guests of runs, or files of pyperf and hyperfine against each other."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="Folders of runs, RUN:GUEST, or files of pyperf or hyperfine. The first is the baseline.",
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN…",
            help="Several runs a side: those before it are the baseline, all words behind it are compared with them.",
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="BENCHMARK", help="Divide every boot by this benchmark, which should not change."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="GUEST", help="With one RUN: the guest that the others are divided by.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(metavar="PCT", help="Differences within ± PCT percent count as equivalent.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="Print the answer and the table alone. JSON is always whole.")
    ] = False,
) -> None:
    """Compare runs, guests of a run, or pyperf's files.

    A run is a folder, a bundle, or a file of pyperf or hyperfine. One RUN: its guests, paired over blocks. Several:
    each guest with the same guest of the first run, by Welch's t on the logs; what changed on the host between two runs
    is then in the ratio, and a note says so. RUN:GUEST picks one guest, so that different ones can be compared. In
    files of pyperf and hyperfine (--export-json) the processes are the units, not the values.

    OLD… --against NEW…: several builds or nights a side. The run is then the unit, so that what changes from run to run
    is in the interval; six runs a side give one. Two benchmarks or more also get one line: their geometric mean.

    Example: ukperf compare old-run new-run
    """
    import os

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's others would spin and find nothing to do

    from ukperf.cli.output import show_page, show_pages
    from ukperf.cli.runtools import margin, opened
    from ukperf.errors import UkperfError
    from ukperf.reports.compare_table import ComparePage
    from ukperf.reports.table import RunPage
    from ukperf.runs.loaded import sides, sides_of_runs
    from ukperf.stats.between import compare_pairs
    from ukperf.stats.sides import relative_to, suites

    if len(run) == 1 and not against and control is None:
        loaded = opened(run[0])
        summaries = loaded.summaries(baseline, margin(delta, loaded.delta))
        pages = {
            host: RunPage(summary, facts={**loaded.facts, **({"host": host} if host else {})})
            for host, summary in summaries.items()
        }
        show_pages(pages, json, brief=brief)
        return
    if len(run) == 1 and not against:
        raise UkperfError("--control divides runs that are compared, and there is one.", hint="Name two runs.")
    pairs = sides_of_runs(run, against, opened) if against else sides(run, opened)
    if control is not None:
        pairs = [(relative_to(side, control), relative_to(base, control)) for side, base in pairs]
    used = margin(delta, 0.01)
    suite = compare_pairs(suites(pairs), used)
    show_page(ComparePage(compare_pairs(pairs, used), pairs, used, suite=suite), json, brief=brief)
