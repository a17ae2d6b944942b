"""`ukperf export`: a run in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FORMATS = "pyperf|csv|markdown|hyperfine|bencher|benchfmt|github-action"


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder.")],
    format_name: Annotated[str, typer.Option("--format", "-f", metavar=_FORMATS, help="The format.")],
    guest: Annotated[
        str | None, typer.Option(metavar="GUEST", help="Only this guest; its name is left out of benchmark names.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to. Default: standard output.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(metavar="GUEST", help="Default: the run's baseline.")] = None,
) -> None:
    """Write a run for pyperf, spreadsheets, GitHub, hyperfine's scripts, Bencher, benchstat or a benchmark action.

    One value a boot wherever the other tool takes its values as independent; pyperf gets every iteration.
    """
    from ukperf.campaign.runs import load
    from ukperf.errors import UkperfError
    from ukperf.reports.exports import Exportable, export
    from ukperf.reports.pyperf_suite import write_atomically

    loaded = load(run)
    if guest is not None and guest not in loaded.guests:
        raise UkperfError(f"{run} has no guest {guest!r}.", hint=f"It has: {', '.join(loaded.guests)}.")
    text = export(format_name, Exportable(loaded.records, loaded.summary(baseline), loaded.facts, guest))
    if output is None:
        print(text, end="")
        return
    try:
        write_atomically(output, text)
    except OSError as error:
        raise UkperfError(f"{output} cannot be written: {error.strerror}.") from error
