"""`ukperf paper`: the experiments of the paper that ukperf starts from, each number beside ours, each claim judged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.programs import Interpreter
from ukperf.cli.sklearn import Quick, Scale
from ukperf.model import Accelerator, Launch
from ukperf.workloads.paperpart import PaperPart

QUICK_RUNTIME_BOOTS = 2  # that it runs needs one, and an interval six
Parts = Annotated[
    list[PaperPart] | None,
    typer.Option(
        "--part",
        metavar="|".join(PaperPart),
        help="What to measure; may be repeated. Default: all. What was measured before is shown.",
    ),
]
Runtimes = Annotated[
    list[str] | None,
    typer.Option("--runtime", metavar="NAME", help="A runtime to run; may be repeated. Default: all that are there."),
]
Calls = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Single rows of each boot of a runtime, and one batch. Default: what takes some seconds.",
    ),
]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page as one HTML file too.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")]


def command(
    part: Parts = None,
    quick: Quick = False,
    guest: o.Guests = None,
    runtime: Runtimes = None,
    interpreter: Interpreter = None,
    calls: Calls = None,
    boots: o.Boots = None,
    max_time: o.MaxTime = None,
    delta: o.Delta = 1.0,
    scale: Scale = None,
    seed: o.Seed = None,
    accel: o.Accel = Accelerator.AUTO,
    memory: o.Memory = 1024,
    launch: o.LaunchBy = Launch.LIBVIRT,
    timeout: o.Timeout = None,
    connect: o.Connect = None,
    run: o.RunDir = None,
    json: o.Json = False,
    markdown: Markdown = False,
    html: Html = None,
    share_host: o.ShareHost = False,
) -> None:
    """Measure the paper's experiments; judge its claims.

    It is the paper of 2021 that ukperf starts from. Its tables (system calls, MultinomialNB, ExtraTrees) stand beside
    what is measured here; then boots, what system calls cost, machine-learning runtimes in each guest, its classifiers
    in scikit-learn and in ONNX Runtime, and the dependencies that it names. Each part is a folder of runs: the same
    command goes on where it was broken off, or only prints the result again; `--run DIR` with another folder starts
    over. docs/paper.md tells more.

    Example: ukperf paper --quick --part calls
    """
    from ukperf.cli.output import refuse_if_none_good, refuse_if_not_compared, show_page, write_html
    from ukperf.deps.papers import needs_of
    from ukperf.engine.campaign import EngineBench
    from ukperf.errors import UkperfError
    from ukperf.hosts import DEFAULT
    from ukperf.model import Request
    from ukperf.paths import absolute, data_dir
    from ukperf.reports.markdown import render
    from ukperf.reports.progress import progress
    from ukperf.text import shell
    from ukperf.workloads.learning import EMULATED_SCALE, QUICK_SCALE
    from ukperf.workloads.paper import page, reproduce
    from ukperf.workloads.paperfigures import BASELINE
    from ukperf.workloads.paperparts import PaperOptions
    from ukperf.workloads.sklearn_run import LearnOptions

    if json and markdown:
        raise UkperfError("--json and --markdown exclude each other.")
    limits = o.limits((6 if quick else 20) if boots is None else boots, None, max_time)
    timeout_s = None if timeout is None else o.seconds(timeout, "--timeout")
    options = PaperOptions(
        LearnOptions(
            scale=scale,
            emulated_scale=QUICK_SCALE if quick else EMULATED_SCALE,
            single_rows=False,  # the paper has none
            timeout_s=timeout_s,
        ),
        tuple(part or ()),
        tuple(dict.fromkeys(runtime or ())),
        absolute(interpreter) if interpreter else None,
        runtime_boots=QUICK_RUNTIME_BOOTS if quick and boots is None else None,
        timeout_s=timeout_s,
        calls=calls or 0,
    )
    request = Request(
        guests=o.with_baseline(guest, BASELINE),
        baseline=BASELINE,
        machine=o.machine("q35", memory, 1, None),
        accelerator=accel,
        launch=launch,
        connect=tuple(connect or [DEFAULT]),
        seed=seed,
        limits=limits,
        delta=o.percent(delta, "--delta"),
        share_host=share_host,
        command=("ukperf", *sys.argv[1:]),
    )
    folder = absolute(run) if run else data_dir() / "runs" / f"paper{'-quick' if quick else ''}-{accel.value}"
    with progress(limits) as observer:
        paper = reproduce(options, request, folder, EngineBench(o.sayer(), observer, share_host), needs_of)
    made = page(paper)
    if html is not None:
        write_html(html, [made], "the paper, measured")
    if markdown:
        print(render(made), end="")
    else:
        show_page(made, json)
    if not json and not markdown:
        detail = f"; a part in detail: {shell('ukperf', 'report', paper.detail)}" if paper.detail is not None else ""
        print(f"Run: {shell(paper.folder)}{detail}")
    if PaperPart.LEARNING in options.wanted and paper.answer is not None:
        refuse_if_none_good(paper.answer.result)
        refuse_if_not_compared(paper.answer.result)
    paper.check(options)
