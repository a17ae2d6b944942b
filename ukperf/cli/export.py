"""`ukperf export`: a run in the format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.registry import Registry

# the registry of `reports.exports`, whose import is heavy
_FORMATS = Registry[object]("ukperf.exports", "format").names()


def _formats(incomplete: str) -> list[str]:
    return [name for name in _FORMATS if name.startswith(incomplete)]


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder, or a pyperf file.")],
    format_name: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(_FORMATS), autocompletion=_formats, help="The format.")
    ],
    guest: Annotated[
        list[str] | None,
        typer.Option(
            "--guest",
            "-g",
            metavar="GUEST",
            help="Only this guest, several times for several. The name of a single one is left out of benchmark names.",
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            "-b",
            metavar="NAME",
            help="Only benchmarks of this name, whole or by a glob like '*p99'; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to. Default: standard output.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(metavar="GUEST", help="Default: the run's baseline.")] = None,
) -> None:
    """Write a run for pyperf, CSV, GitHub and others.

    For pyperf, spreadsheets, GitHub, hyperfine's scripts, Bencher, benchstat or a benchmark action. One value a boot
    wherever the other tool takes its values as independent; pyperf gets every iteration.

    Example: ukperf export my-run --format csv --output my-run.csv
    """
    from ukperf.cli.runtools import spare
    from ukperf.errors import UkperfError
    from ukperf.files import write_atomically
    from ukperf.reports.exports import Exportable, export
    from ukperf.runs.loaded import load
    from ukperf.stats.between import fits
    from ukperf.text import meant

    loaded = load(run)
    summary = loaded.summary(baseline)
    for name in guest or ():
        if name not in loaded.guests:
            raise UkperfError(f"{run} has no guest {name!r}.", hint=meant(name, loaded.guests, "It has"))
    wanted: dict[str, None] = {}
    for pattern in benchmark or ():
        fit = [name for name in summary.benchmarks if fits(name, pattern)]
        if not fit:
            raise UkperfError(f"{run} has no benchmark {pattern!r}.", hint=meant(pattern, summary.benchmarks, "It has"))
        wanted |= dict.fromkeys(fit)
    # a file that names no guest goes on naming none, so that what is written matches what was read
    only = tuple(dict.fromkeys(guest or (loaded.guests if loaded.plain else ())))
    text = export(format_name, Exportable(loaded.records, summary, loaded.facts, only, tuple(wanted)))
    if output is None:
        print(text, end="")
        return
    try:
        write_atomically(spare(loaded, output), text)
    except OSError as error:
        raise UkperfError(f"{output} cannot be written: {error.strerror}.") from error
