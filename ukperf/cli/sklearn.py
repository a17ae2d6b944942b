"""`ukperf sklearn`: train and infer inside guests with the same Python tree, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli.measuring import Shared, measuring

Scale = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", help="Shrink the synthetic data. Default: 1; 0.02 under emulation."),
]
Rows = Annotated[
    bool, typer.Option("--rows/--no-rows", help="Ask single rows too. Without, most of a boot's time is saved.")
]
Quick = Annotated[bool, typer.Option("--quick", help="Six boots of each guest: a first look.")]


@measuring(after="baseline", memory=1024, timeout=None)
def command(
    shared: Shared,
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
    rows: Rows = True,
    quick: Quick = False,
) -> None:
    """Train and test scikit-learn models in each guest.

    Every guest gets the same files: this Python, the standard library, NumPy, SciPy and scikit-learn, with the same
    data. In each boot the program imports, trains, predicts a batch, and predicts row by row; the answers of all guests
    must be equal, or nothing is compared. Quantiles of the latency (p50, p99, p99.9) are those of one boot's calls, and
    are left out where a boot has too few calls for them.

    The baseline is always included. Under emulation the data is small by default; times of emulated guests say how many
    instructions the guests spend, not how fast they would be on a real CPU.

    Example: ukperf sklearn --quick --model multinomialnb
    """
    from ukperf.cli.output import run_workload
    from ukperf.paths import absolute
    from ukperf.workloads.sklearn_run import LearnOptions

    options = LearnOptions(
        models=tuple(model or ()),
        data=data,
        scale=scale,
        model_file=absolute(model_file) if model_file else None,
        packages=tuple(package or ()),
        threads=shared.vcpus if threads is None else threads,
        single_rows=rows,
        timeout_s=shared.timeout_s(),
    )
    run_workload("sklearn", options, shared.request(boots=6 if quick else 10), shared.json, shared.brief)
