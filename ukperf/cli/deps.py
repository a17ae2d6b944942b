"""`ukperf deps`: what a program or a Python package depends on, and in which guests it will run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.measuring import CAMPAIGN, Shared, measuring
from ukperf.cli.programs import File, Interpreter

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="PROGRAM [ARG]… | PACKAGE | MODEL", help="A program, an installed package, or a model's file."
    ),
]
Trace = Annotated[bool, typer.Option("--trace", help="Run it here under strace: which calls and special files.")]
Forecast = Annotated[bool, typer.Option("--forecast", help="Say for each guest whether it will run there: tried here.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Forecast, then boot each guest and see.")]
Script = Annotated[Path | None, typer.Option(metavar="FILE", help="Of a package: what is run. Default: its import.")]
Inputs = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Rows for a model, float32 in a .npy. Default: made."),
]
All = Annotated[bool, typer.Option("--all", help="Show every file on a line of its own.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page with a graph.")]
Dot = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the graph for graphviz.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")]


@measuring(after="guest", without=CAMPAIGN | {"vcpus", "pin", "variant"}, timeout=300.0)
def command(
    shared: Shared,
    subject: Words,
    trace: Trace = False,
    forecast: Forecast = False,
    confirm: Confirm = False,
    script: Script = None,
    file: File = None,
    inputs: Inputs = None,
    interpreter: Interpreter = None,
    all_: All = False,
    html: Html = None,
    dot: Dot = None,
    markdown: Markdown = False,
) -> None:
    """Say what a program is made of, and where it will run.

    What a program, or an installed Python package, depends on. Libraries that were linked into it are seen by their
    symbols, by texts in the files, by licence files and by what the runtime itself says. Each dependency that the paper
    names is seen, replaced by another, or gone. A name with a slash in it is a program; any other is a package if one
    of that name is installed, else a program. A model (.onnx, .tflite, of LightGBM or XGBoost) stands for the runtime
    that loads it, and predicts a batch.

    --trace, --forecast and --confirm run it on this machine. A forecast runs it with a guest's files only and without
    the calls that the guest lacks (`ukperf syscalls`).

    Example: ukperf deps numpy --html numpy.html
    """
    from ukperf.cli.output import show_page, write_html, write_text
    from ukperf.deps.page import CompositionPage, composition_graph
    from ukperf.deps.subject import compose, subject_of
    from ukperf.paths import absolute
    from ukperf.reports import graph
    from ukperf.reports.markdown import render

    meant = subject_of(subject, absolute(interpreter) if interpreter else None, script, file or (), inputs)
    made = compose(meant)
    tried = None
    if trace or forecast or confirm:
        from ukperf.deps import trying
        from ukperf.engine.campaign import EngineBench

        request = shared.request()
        if forecast or confirm:
            bench = EngineBench(o.sayer(), share_host=request.share_host)
            tried = trying.tried(meant, request, bench, confirm=confirm)
        else:
            tried = trying.traced(meant, request.timeout_s)
    page = CompositionPage(made, all_, tried)
    if dot is not None:
        write_text(dot, graph.dot(composition_graph(made), made.subject))
    if html is not None:
        write_html(html, [page], f"what {made.subject} is made of")
    if markdown:
        print(render(page), end="")
    else:
        show_page(page, shared.json, brief=shared.brief)
