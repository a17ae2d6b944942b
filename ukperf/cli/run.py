"""`ukperf run`: any program, in any guest."""

from __future__ import annotations

from typing import Annotated

import typer

from ukperf.cli.measuring import Shared, measuring
from ukperf.cli.programs import Cwd, Env, File, Interpreter, Package, Python, Requirements, Stdin

Words = Annotated[
    list[str], typer.Argument(metavar="-- PROGRAM [ARG]…", help="The program and its arguments, behind --.")
]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=REGEX[:UNIT[:higher]]",
        help="A number that the program prints: the pattern's first group. higher: more is better.",
    ),
]
Ready = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Time until the first line of its output that this matches.")
]
UntilReady = Annotated[bool, typer.Option("--until-ready", help="End the guest as soon as it is ready.")]
Ignore = Annotated[
    list[str] | None, typer.Option(metavar="REGEX", help="Lines of its output that may differ between guests.")
]
Output = Annotated[
    str, typer.Option(metavar="equal|may-differ", help="Must the program write the same in every guest?")
]


Pyperf = Annotated[
    bool | None,
    typer.Option("--pyperf/--no-pyperf", help="With --python: run it as pyperf's worker. Default: if it uses Runner."),
]

Why = Annotated[
    bool,
    typer.Option(
        "--why/--no-why", help="Where a guest cannot run it, look for why: by its system calls, under strace."
    ),
]


@measuring(after="append")
def command(
    shared: Shared,
    program: Words,
    file: File = None,
    env: Env = None,
    cwd: Cwd = "/",
    stdin: Stdin = None,
    metric: Metric = None,
    ready: Ready = None,
    until_ready: UntilReady = False,
    ignore: Ignore = None,
    output: Output = "equal",
    python: Python = False,
    package: Package = None,
    requirements: Requirements = None,
    interpreter: Interpreter = None,
    pyperf: Pyperf = None,
    why: Why = True,
) -> None:
    """Run any program in each guest; compare time and output.

    A program of this machine goes into every guest as it is, the same bytes: with its libraries, a script with its
    interpreter. Timed are the program itself, from its start to its end, and the boot around it; under icount both are
    guest instructions, exact. What it writes must be the same in every guest, or they did not do the same work and are
    not compared.

    Example: ukperf run --boots 6 -- factor 1000000016000000063
    """
    from ukperf.cli.output import run_workload
    from ukperf.paths import absolute
    from ukperf.workloads.run import RunOptions

    options = RunOptions(
        words=tuple(program),
        files=tuple(file or ()),
        env=tuple(env or ()),
        cwd=cwd,
        stdin=absolute(stdin) if stdin else None,
        metrics=tuple(metric or ()),
        ready=ready or "",
        until_ready=until_ready,
        ignore=tuple(ignore or ()),
        output=output,
        python=python,
        packages=tuple(package or ()),
        requirements=absolute(requirements) if requirements else None,
        interpreter=absolute(interpreter) if interpreter else None,
        pyperf=pyperf,
        why=why,
    )
    run_workload("run", options, shared.request(), shared.json, shared.brief)
