"""`ukperf paper`: the experiments of the paper that ukperf starts from, each number beside ours."""

from __future__ import annotations

import sys

import typer  # noqa: F401 (options are typer's)

from ukperf.cli import options as o
from ukperf.cli.sklearn import Quick, Scale
from ukperf.model import Accelerator, Launch


def command(
    quick: Quick = False,
    guest: o.Guests = None,
    boots: o.Boots = None,
    max_time: o.MaxTime = None,
    delta: o.Delta = 1.0,
    scale: Scale = None,
    seed: o.Seed = None,
    accel: o.Accel = Accelerator.AUTO,
    memory: o.Memory = 1024,
    launch: o.LaunchBy = Launch.LIBVIRT,
    connect: o.Connect = None,
    run: o.RunDir = None,
    json: o.Json = False,
    share_host: o.ShareHost = False,
) -> None:
    """Run the paper's experiments end to end: system calls (Table I), MultinomialNB (II) and ExtraTrees (III).

    Prints each of the paper's numbers beside the one measured here, with its interval and verdict, and how many boots
    would be needed to see the 1 % that the paper reports. The same command goes on where it was broken off, or only
    prints the result again; `--run DIR` with another folder starts over.
    """
    from ukperf.cli.output import refuse_if_none_good, refuse_if_not_compared, show_page
    from ukperf.engine.campaign import EngineBench
    from ukperf.hosts import DEFAULT
    from ukperf.model import Request
    from ukperf.paths import absolute, data_dir
    from ukperf.reports.progress import progress
    from ukperf.text import shell
    from ukperf.workloads.learning import EMULATED_SCALE, QUICK_SCALE
    from ukperf.workloads.paper import LEARNING, page, reproduce
    from ukperf.workloads.paperfigures import BASELINE
    from ukperf.workloads.sklearn_run import LearnOptions

    limits = o.limits((6 if quick else 20) if boots is None else boots, None, max_time)
    options = LearnOptions(
        scale=scale,
        emulated_scale=QUICK_SCALE if quick else EMULATED_SCALE,
        single_rows=False,  # the paper has none
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
        bench = EngineBench(o.sayer(), observer, share_host)
        paper = reproduce(options, request, folder, bench)
    show_page(page(paper), json)
    if not json:
        detail = shell("ukperf", "report", paper.folder / LEARNING)
        print(f"Run: {shell(paper.folder)}; the scikit-learn part in detail: {detail}")
    refuse_if_none_good(paper.answer.result)
    refuse_if_not_compared(paper.answer.result)
