"""`ukperf density`: what one more guest costs."""

from __future__ import annotations

from typing import Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.measuring import Shared, measuring
from ukperf.cli.programs import Cwd, Env, File

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- PROGRAM [ARG]…]", help="A program that stays. Default: a small one, in every guest."),
]
Most = Annotated[int, typer.Option("--max", metavar="N", help="Guests of a fleet: looked at with 1, 2, 4 … and N.")]
Sizes = Annotated[str | None, typer.Option(metavar="N,N…", help="Look at it with so many guests instead.")]
Ready = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Suspend a guest at the first line that this matches, not at main.")
]
MadeBy = Annotated[
    str, typer.Option("--path", metavar="boot|restore|both", help="Boot guests, restore them, or both in each block.")
]
Budget = Annotated[int | None, typer.Option(metavar="MIB", help="Say how many guests fit into so much memory.")]
MaxMemory = Annotated[
    int | None, typer.Option(metavar="MIB", help="What a fleet may take. Default: half of what is available.")
]


@measuring(after="append")
def command(
    shared: Shared,
    program: Words = None,
    most: Most = 8,
    sizes: Sizes = None,
    path: MadeBy = "boot",
    ready: Ready = None,
    budget: Budget = None,
    max_memory: MaxMemory = None,
    file: File = None,
    env: Env = None,
    cwd: Cwd = "/",
) -> None:
    """Measure how much memory one more guest takes.

    Fleets of guests that live at the same time are booted. Each guest is suspended when it has reached main. Its memory
    is told apart: the guest's own, the VMM's, and the emulator's code cache, which KVM would not have. The answer is a
    slope, in MiB a guest, with its interval over fleets; beside it stands the time to create the first guest and the
    last. A fleet ends before memory is short. With --path both, guests are restored from a template too, and compared
    with the same booted.

    Example: ukperf density --guest linux --memory 128 --max 4
    """
    from ukperf.cli.output import run_workload
    from ukperf.errors import UkperfError
    from ukperf.workloads.density import DensityOptions

    for name, value in (("--budget", budget), ("--max-memory", max_memory)):
        if value is not None and not 1 <= value <= o.MAX_MEMORY_MIB:
            raise UkperfError(f"{name} {value} is not between 1 and {o.MAX_MEMORY_MIB} MiB.")
    options = DensityOptions(
        most=most,
        sizes=tuple(sizes.split(",")) if sizes is not None else (),
        words=tuple(program or ()),
        files=tuple(file or ()),
        env=tuple(env or ()),
        cwd=cwd,
        ready=ready or "",
        path=path,
        budget=budget or 0,
        max_memory=max_memory or 0,
    )
    run_workload("density", options, shared.request(boots=6), shared.json, shared.brief)
