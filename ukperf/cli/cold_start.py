"""`ukperf cold-start`: from create to the first answer, booted and restored."""

from __future__ import annotations

from typing import Annotated

import typer

from ukperf.cli.measuring import Shared, measuring
from ukperf.cli.programs import Cwd, Env, File, Interpreter, Package, Python

Words = Annotated[
    list[str] | None, typer.Argument(metavar="-- PROGRAM [ARG]…", help="A program and its arguments, behind --.")
]
Sklearn = Annotated[bool, typer.Option("--sklearn", help="Start a scikit-learn model of ukperf sklearn instead.")]
InferIn = Annotated[
    str | None, typer.Option("--infer", metavar="RUNTIME", help="Start a model in a runtime of ukperf infer instead.")
]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="With --sklearn, --infer: which model.")]
StartBy = Annotated[
    str, typer.Option("--path", metavar="boot|restore|both", help="How guests are started; both: in the same blocks.")
]
RestoreBy = Annotated[
    str,
    typer.Option(
        "--restore-by",
        metavar="template|libvirt",
        help="From a template whose memory is mapped, or by libvirt's own save and restore.",
    ),
]
Ready = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Save a guest at the first line of its output that this matches.")
]
Answer = Annotated[
    str | None, typer.Option(metavar="REGEX", help="The line that is its first answer. Default: the program's end.")
]
Port = Annotated[
    int | None, typer.Option(metavar="N", help="The first answer is one to an HTTP request on this port of the guest.")
]
Get = Annotated[str, typer.Option(metavar="PATH", help="With --port: what is asked for.")]
Cold = Annotated[bool, typer.Option("--cold", help="Drop what a guest is started from from the page cache before.")]


@measuring(after="append", timeout=None)
def command(
    shared: Shared,
    program: Words = None,
    sklearn: Sklearn = False,
    infer: InferIn = None,
    model: Model = None,
    path: StartBy = "both",
    restore_by: RestoreBy = "template",
    ready: Ready = None,
    answer: Answer = None,
    port: Port = None,
    get: Get = "/",
    cold: Cold = False,
    file: File = None,
    env: Env = None,
    cwd: Cwd = "/",
    python: Python = False,
    package: Package = None,
    interpreter: Interpreter = None,
) -> None:
    """Compare first answers: of booted guests, and of restored.

    A guest is saved once, when it is ready: before the program's first statement, at the line that --ready names, when
    it has answered on --port, or when its model is loaded. Restored guests go on from there, in the same random blocks
    as booted ones. Each is compared with the baseline started in the same way, and with itself booted.

    Example: ukperf cold-start --guest linux -- factor 1000000016000000063
    """
    from ukperf.cli.output import run_workload
    from ukperf.paths import absolute
    from ukperf.workloads.cold_ways import ColdOptions

    options = ColdOptions(
        words=tuple(program or ()),
        sklearn=sklearn,
        infer=infer or "",
        model=model or "",
        path=path,
        restorer=restore_by,
        ready=ready or "",
        answer=answer or "",
        port=port or 0,
        get=get,
        cold=cold,
        files=tuple(file or ()),
        env=tuple(env or ()),
        cwd=cwd,
        python=python,
        packages=tuple(package or ()),
        interpreter=absolute(interpreter) if interpreter else None,
        timeout_s=shared.timeout_s(),
    )
    run_workload("cold_start", options, shared.request(boots=10), shared.json, shared.brief)
