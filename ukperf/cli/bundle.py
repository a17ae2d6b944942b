"""`ukperf bundle`: runs as one archive that anybody can check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o


def command(
    run: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: NAME.tar.gz.")],
    with_names: Annotated[
        bool, typer.Option("--with-names", help="Leave home folders, user names and host names in.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Leave nothing out: the counts of a profile too, a MiB a boot.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Pack runs into one archive, for others to check.

    For the artifact of a paper, or a bug report. In it are plan, journal, consoles, suite and page of each run, the
    digests of all that was booted, and how to do it again; of a profile its functions, but not its counts. Home
    folders, and the names of users and hosts that are known, are replaced. The same runs give the same bytes. Every
    command that reads a run reads a bundle: `ukperf report FILE`, `ukperf compare FILE RUN`; of several runs in it
    FILE/NAME is one.

    Example: ukperf bundle my-run -o my-run.tar.gz
    """
    from ukperf.cli.output import show_page
    from ukperf.cli.runtools import machines_of, portable, tell
    from ukperf.reports import html
    from ukperf.reports.jsonout import members
    from ukperf.reports.page import sentences
    from ukperf.runs.bundle import bundle
    from ukperf.runs.loaded import load
    from ukperf.text import many, shell

    def draw(folder: Path) -> str:
        loaded = load(folder)
        stories = tell(loaded, loaded.baseline, loaded.delta)
        return html.report(stories, machines_of(stories))

    written = bundle(run, output, draw, with_names=with_names, ship=portable, whole=whole)
    size = f"{many(len(written.runs), 'run')}, {many(written.files, 'file')}, {written.size:,} bytes"
    lines = [f"{output}: {size}, sha256 {written.sha256}"]
    if written.left_out:
        lines.append(f"Left out, being no plain files of a run: {', '.join(written.left_out[:8])}")
    if written.replaced:
        lines.append(f"Not in it, since reports do not need them: {', '.join(written.replaced[:8])} (--whole)")
    if not with_names:
        lines.append("Names that ukperf knows were replaced. Look through it before you publish it.")
    first = str(output if len(written.runs) == 1 else output / written.runs[0])
    lines.append(f"Read it: ukperf report {shell(f'./{first}' if first.startswith('-') else first)}")
    show_page(sentences({"bundle": output, **members(written)}, *lines), json)
