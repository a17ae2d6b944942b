"""`ukperf infer`: a model in a runtime inside guests, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ukperf.cli.measuring import Shared, measuring


@measuring(after="baseline", memory=512, timeout=None)
def command(
    shared: Shared,
    runtime: Annotated[
        str, typer.Argument(metavar="RUNTIME", help="What runs the model: onnxruntime, litert, torch, …")
    ],
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A model that ukperf makes. Default: the first that it reads.")
    ] = None,
    model_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A model of your own. Pickles and TorchScript are loaded in guests only."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows for it, float32 in a .npy. Default: made, if it tells how."),
    ] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="Threads of the runtime. Default: --vcpus.")] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", help="Rows of one batch. Default: all of the model's.")
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option(metavar="N", help="Single rows of each boot, and one batch. Default: what takes some seconds."),
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="Give no guest a /proc/cpuinfo: what a user would meet there.")
    ] = False,
    interpreter: Annotated[
        Path | None,
        typer.Option(metavar="PYTHON", help="Where the runtime is installed; the same version of Python as ukperf's."),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why/--no-why", help="Where a guest cannot run it, try it with more memory.")
    ] = True,
) -> None:
    """Run a model in its runtime in each guest; compare.

    Every guest gets the same files: this Python, the runtime, and the model. In each boot the program imports the
    runtime, loads the model, predicts one row for the first time, then single rows and batches. Outputs must be equal
    bit for bit, and so must what the runtime says of itself (its version, instruction set, kernels): a guest that ran
    another engine is not compared, and the reason is said.

    Example: ukperf infer sklearn --guest linux --boots 6
    """
    from ukperf.cli.output import run_workload
    from ukperf.errors import UkperfError
    from ukperf.paths import absolute
    from ukperf.workloads.infer import InferOptions

    for name, value in (("--threads", threads), ("--batch", batch), ("--calls", calls)):
        if value is not None and value < 1:
            raise UkperfError(f"{name} {value} is less than 1.")
    options = InferOptions(
        runtime=runtime,
        model=model or "",
        model_file=absolute(model_file) if model_file else None,
        inputs=absolute(inputs) if inputs else None,
        threads=threads or 0,
        batch=batch or 0,
        calls=calls or 0,
        bare=bare,
        interpreter=absolute(interpreter) if interpreter else None,
        timeout_s=shared.timeout_s(),
        why=why,
    )
    run_workload("infer", options, shared.request(boots=6), shared.json, shared.brief)
