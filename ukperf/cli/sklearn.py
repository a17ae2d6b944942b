"""`ukperf sklearn`: train and infer inside guests with the same Python tree, and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.model import Accelerator, Launch

Scale = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", help="Shrink the synthetic data. Default: 1; 0.02 under emulation."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Six boots of each guest: a first look.")]


def command(
    guest: o.Guests = None,
    baseline: o.Baseline = "linux",
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="An estimator; may be repeated. Default: multinomialnb and extratrees."),
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="synthetic|newsgroups|FILE", help="Data set; FILE is an .npz or .svmlight file.")
    ] = "synthetic",
    scale: Scale = None,
    model_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own fitted estimator (joblib, pickle); only ever loaded in guests."),
    ] = None,
    package: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Pack another installed package, for --model-file; may be repeated."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of BLAS and OpenMP. Default: --vcpus.")
    ] = None,
    quick: Quick = False,
    boots: o.Boots = None,
    precision: o.Precision = None,
    max_time: o.MaxTime = None,
    delta: o.Delta = 1.0,
    seed: o.Seed = None,
    accel: o.Accel = Accelerator.AUTO,
    machine: o.Kind = "q35",
    memory: o.Memory = 1024,
    vcpus: o.Vcpus = 1,
    pin: o.Pin = None,
    launch: o.LaunchBy = Launch.LIBVIRT,
    connect: o.Connect = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A boot that takes longer counts as hung.")
    ] = None,
    kernel: o.Kernel = None,
    append: o.Append = None,
    run: o.RunDir = None,
    json: o.Json = False,
    share_host: o.ShareHost = False,
    shared_path: o.SharedPath = False,
) -> None:
    """Train and test scikit-learn models inside each guest, ask single rows, and compare.

    Every guest gets the same files: this Python, the standard library, NumPy, SciPy and scikit-learn, with the same
    data. In each boot the program imports, trains, predicts a batch, and predicts row by row; the answers of all guests
    must be equal, or nothing is compared. Quantiles of the latency (p50, p99, p99.9) are those of one boot's calls, and
    are left out where a boot has too few calls for them.

    The baseline joins by itself. Under emulation the data is small by default; times of emulated guests say how many
    instructions the guests spend, not how fast they would be on a real CPU.
    """
    from ukperf.campaign.sklearn_run import Ask, run_sklearn
    from ukperf.cli.output_sklearn import show_sklearn
    from ukperf.hosts.connection import EMBED
    from ukperf.reports.progress import progress

    if boots is None and precision is None:
        boots = 6 if quick else 10
    limits = o.limits(boots, precision, max_time)
    ask = Ask(
        guests=o.with_baseline(guest, baseline),
        baseline=baseline,
        models=tuple(model or ()),
        data=data,
        scale=scale,
        model_file=model_file.absolute() if model_file else None,
        packages=tuple(package or ()),
        threads=vcpus if threads is None else threads,
        machine=o.machine(machine, memory, vcpus, pin),
        accelerator=accel,
        launch=launch,
        connect=tuple(connect or [EMBED]),
        seed=seed,
        limits=limits,
        delta=o.percent(delta, "--delta"),
        timeout_s=None if timeout is None else o.seconds(timeout, "--timeout"),
        kernels=o.kernels(kernel),
        cmdlines=o.pairs(append, "--append"),
        folder=run.absolute() if run else None,
        share_host=share_host,
        shared_path=shared_path,
        command=("ukperf", *sys.argv[1:]),
    )
    with progress(limits) as observer:
        answer = run_sklearn(ask, say=o.sayer(), observer=observer)
    show_sklearn(answer, json)
