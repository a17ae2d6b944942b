"""`ukperf syscall-cost`: what a system call costs in each guest."""

from __future__ import annotations

from typing import Annotated

import typer

from ukperf.cli.measuring import Shared, measuring

Only = Annotated[str, typer.Option(metavar="GLOB", help="Operations to measure, like 'get*' or 'noop.*,read1.raw'.")]
List = Annotated[bool, typer.Option("--list", help="Name the operations and do nothing else.")]
Cycles = Annotated[bool, typer.Option("--cycles", help="Show cycles of the CPU's counter instead of nanoseconds.")]
Scale = Annotated[
    str | None, typer.Option(metavar="call", help="call: show each cost in function calls of the same guest.")
]
Vsyscall = Annotated[
    bool, typer.Option("--vsyscall/--no-vsyscall", help="Probe Unikraft's function-call entry, in boots of its own.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Find out again which operations each guest can do.")]


@measuring(after="guest", without=("vcpus",))
def command(
    shared: Shared,
    only: Only = "*",
    list_: List = False,
    cycles: Cycles = False,
    scale: Scale = None,
    vsyscall: Vsyscall = True,
    fresh: Fresh = False,
) -> None:
    """Measure what a system call costs in each guest.

    What is measured: the instruction itself, the C library's functions, and plain function calls, by the same program
    in every guest. Each operation is timed in batches that are long enough for the clock, the empty loop is subtracted,
    and an operation that a guest refuses, hangs or crashes in is named, never timed. Under icount the figures are guest
    instructions, exact.

    Example: ukperf syscall-cost --guest linux --only 'getuid.*'
    """
    from ukperf.cli.output import run_workload
    from ukperf.workloads.syscall_cost import CostOptions

    if list_:
        from ukperf.cli.output import show_page
        from ukperf.reports.costtable import OperationsPage, Row
        from ukperf.workloads.costs import list_operations

        show_page(
            OperationsPage([Row(op.name, op.group, op.what) for op in list_operations(only)]),
            shared.json,
            brief=shared.brief,
        )
        return
    options = CostOptions(only, cycles, scale, vsyscall, fresh)
    run_workload("syscall_cost", options, shared.request(), shared.json, shared.brief)
