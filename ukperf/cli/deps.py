"""`ukperf deps`: what a program or a Python package depends on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o

if TYPE_CHECKING:
    from ukperf.deps.page import CompositionPage


def command(
    subject: Annotated[
        list[str], typer.Argument(metavar="PROGRAM | PACKAGE", help="A program of this machine, or a Python package.")
    ],
    interpreter: Annotated[
        Path | None, typer.Option(metavar="PYTHON", help="Whose packages; the same version of Python as ukperf's.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show every file on a line of its own.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page with a graph.")] = None,
    dot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the graph for graphviz.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")] = False,
    json: o.Json = False,
) -> None:
    """Say what a program or an installed Python package is made of: libraries, and who asks for whom.

    Libraries that were linked in are seen by their symbols, by texts in the files, by licence files and by what the
    runtime itself says. Each dependency that the paper names is seen, replaced by another, or gone. A name with a slash
    in it is a program; any other is a package if one of that name is installed, else a program.

    ukperf deps onnxruntime --html onnxruntime.html
    """
    from ukperf.cli.output import show_page
    from ukperf.deps.page import composition_graph
    from ukperf.deps.subject import compose
    from ukperf.paths import absolute
    from ukperf.reports import graph
    from ukperf.reports.html import document
    from ukperf.reports.markdown import render

    made = compose(subject, absolute(interpreter) if interpreter else None)
    page = _page(made, all_)
    if dot is not None:
        _write(dot, graph.dot(composition_graph(made), made.subject))
    if html is not None:
        _write(html, document([page], f"what {made.subject} is made of"))
    if markdown:
        print(render(page), end="")
    else:
        show_page(page, json)


def _page(made: object, everything: bool) -> CompositionPage:
    from ukperf.deps.composition import Composition
    from ukperf.deps.page import CompositionPage

    assert isinstance(made, Composition)
    return CompositionPage(made, everything)


def _write(path: Path, text: str) -> None:
    from ukperf.errors import UkperfError
    from ukperf.files import reason, write_atomically

    try:
        write_atomically(path, text)
    except OSError as error:
        raise UkperfError(f"{path} cannot be written: {reason(error)}.") from error
