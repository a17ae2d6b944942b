"""`ukperf syscall-cost`: what a system call costs in each guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.measuring import Shared, measuring
from ukperf.model import Accelerator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ukperf.campaign.syscall_cost import Costs
    from ukperf.model import BootRecord, Unit
    from ukperf.reports.costtable import View

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
    """Measure what system calls cost: the instruction itself, the C library's functions, and plain function calls.

    The same program runs in every guest. Each operation is timed in batches that are long enough for the clock, the
    empty loop is subtracted, and an operation that a guest refuses, hangs or crashes in is named, never timed. Under
    icount the figures are guest instructions, exact.
    """
    from ukperf.campaign.session import Request
    from ukperf.campaign.syscall_cost import cost_program, list_operations, measure
    from ukperf.errors import UkperfError
    from ukperf.reports.progress import progress

    if scale not in (None, "call"):
        raise UkperfError(f"There is no scale {scale!r}.", hint="Write --scale call, or leave it out.")
    if list_:
        _show_list(list_operations(only), shared.json)
        return
    request = Request(
        program=cost_program(),
        **shared.settings(),
    )
    with progress(request.limits) as observer:
        costs = measure(request, only, probe_vsyscall=vsyscall, fresh=fresh, say=o.sayer(), observer=observer)
    show_costs(costs, cycles=cycles, as_calls=scale == "call", as_json=shared.json)


def show_costs(costs: Costs, *, cycles: bool, as_calls: bool, as_json: bool) -> None:
    import json

    from ukperf.campaign.facts import facts_of
    from ukperf.campaign.syscall_cost import frequencies, samples_in
    from ukperf.cli.output import one_page, refuse_if_none_good, refuse_if_not_compared, save_suite
    from ukperf.model import Unit
    from ukperf.reports.costtable import render, to_json
    from ukperf.reports.terminal import stdout_console
    from ukperf.stats.summary import by_host, summarize
    from ukperf.text import shell

    result = costs.result
    unit = Unit.CYCLES if cycles else Unit.SECONDS
    if result.plan.accelerator is Accelerator.ICOUNT:
        unit = Unit.INSTRUCTIONS
    hosts = by_host(result.records)
    clocks = {host: frequencies(mine, result.plan.accelerator) for host, mine in hosts.items()}
    save_suite(
        result,
        {
            **facts_of(result.plan, result.records, result.why),
            **(next(iter(clocks.values())) if len(hosts) == 1 else {}),
        },
    )
    refuse_if_none_good(result)
    pages = {}
    for host, mine in hosts.items():
        records = samples_in(mine, unit)
        view = _view(costs, host, records, unit, as_calls)
        facts = {**facts_of(result.plan, result.records, result.why, host), **clocks[host]}
        summary = summarize(records, result.plan.baseline, result.plan.delta)
        if as_json:
            pages[host] = to_json(summary, view, facts)
        else:
            render(summary, view, facts, stdout_console())
    if as_json:
        print(json.dumps({**one_page(pages), "run": str(result.folder)}, indent=1, allow_nan=False))
    else:
        print(f"Run: {shell(result.folder)} (suite.json is for python -m pyperf)")
    refuse_if_not_compared(result)


def _view(costs: Costs, host: str, records: Sequence[BootRecord], unit: Unit, as_calls: bool) -> View:
    """What is shown of one host's records, which are in one unit."""
    from ukperf.campaign.costclaims import claims
    from ukperf.campaign.syscall_cost import TICKS, missing
    from ukperf.model import Unit
    from ukperf.reports.costtable import SCALE, Claim, Row, View
    from ukperf.stats.within_boot import boot_ratios

    suffix = (TICKS if unit is Unit.CYCLES else "") + "/p50"
    ratios = boot_ratios(records, SCALE + suffix)
    return View(
        rows=tuple(Row(op.name, op.group, op.what, missing(costs, host, op.name)) for op in costs.operations),
        unit=unit.value,
        suffix=suffix,
        ratios={(guest, name.removesuffix(suffix)): ratio for (guest, name), ratio in ratios.items()},
        as_calls=as_calls,
        claims=tuple(Claim(words, ratio) for words, ratio in claims(records, suffix)),
    )


def _show_list(operations: object, as_json: bool) -> None:
    import json
    from collections.abc import Iterable
    from dataclasses import asdict
    from typing import cast

    from ukperf.campaign.syscall_cost import Operation
    from ukperf.reports.costtable import Row, render_operations
    from ukperf.reports.terminal import stdout_console

    found = list(cast("Iterable[Operation]", operations))
    if as_json:
        print(json.dumps([asdict(op) for op in found], indent=1))
    else:
        render_operations([Row(op.name, op.group, op.what) for op in found], stdout_console())
