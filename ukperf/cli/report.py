"""`ukperf report`: a run's whole story, on the terminal or as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's folder.")],
    html: Annotated[bool, typer.Option("--html", help="Write one self-contained HTML file.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to. Default: RUN/report.html.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(metavar="GUEST", help="Default: the run's baseline.")] = None,
    delta: Annotated[
        float | None, typer.Option(metavar="PCT", help="Differences within ± PCT percent count as equivalent.")
    ] = None,
    json: o.Json = False,
    brief: o.Brief = False,
) -> None:
    """Show what a run found, here or as an HTML page.

    The answer comes first, then every comparison, every boot, failures, and how to do it again. The HTML file needs no
    network and nothing beside it; it opens on a phone, in light and dark.

    Example: ukperf report my-run --html
    """
    from ukperf.cli.runtools import machines_of, margin, spare, tell
    from ukperf.errors import UkperfError
    from ukperf.runs.loaded import load

    loaded = load(run)
    stories = tell(loaded, loaded.baseline_or(baseline), margin(delta, loaded.delta))
    if json and (html or output is not None):
        raise UkperfError("--json prints JSON, --html and --output write HTML.", hint="Ask for one of them.")
    if not html and output is None:
        from ukperf.cli.output import machines_said, show_machines, show_pages
        from ukperf.reports.story import ReportPage

        several = len(stories) > 1
        titles = {story.host: f"Host {story.host or 'local'}" if several else "" for story in stories}
        shown = {story.host: ReportPage(story, title=titles[story.host]) for story in stories}
        over = machines_of(stories)
        show_pages(shown, json, machines_said(over), brief=brief)
        if not json:
            show_machines(over, brief=brief)
        return
    from ukperf.files import write_atomically
    from ukperf.reports import html as pages

    if output is None and not loaded.path.is_dir():
        raise UkperfError(f"{run} is a file, so the report needs a name.", hint="Add --output FILE.")
    target = spare(loaded, output or loaded.path / "report.html")
    try:
        write_atomically(target, pages.report(stories, machines_of(stories)))
    except OSError as error:
        raise UkperfError(f"{target} cannot be written: {error.strerror}.") from error
    print(target)
