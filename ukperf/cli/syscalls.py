"""`ukperf syscalls`: which system calls each guest has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.measuring import CAMPAIGN, Shared, measuring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ukperf.model import CallTable

Only = Annotated[
    str | None, typer.Option(metavar="GLOB", help="Show these calls one by one, like 'get*' or '*at,mmap'.")
]
Diff = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="GUEST GUEST", help="Show what each of two guests supports and the other does not."),
]
List = Annotated[bool, typer.Option("--list", help="Show every call of every guest.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Probe again, although the answers of these kernels are known.")]


@measuring(after="guest", without=CAMPAIGN | {"vcpus", "pin"}, timeout=30.0)
def command(
    shared: Shared,
    only: Only = None,
    diff: Diff = None,
    list_: List = False,
    fresh: Fresh = False,
) -> None:
    """Try every x86-64 system call in each guest: which work, which answer with an error, which only pretend.

    A call that kills or hangs the guest is recorded and the next boot goes on behind it. The answers are kept by the
    kernel's digest, so the second time is quick. The table stands beside the numbers that the paper quotes.
    """
    from ukperf import guests
    from ukperf.engine.campaign import EngineBench
    from ukperf.model import Request
    from ukperf.workloads.syscall_probe import check_globs, prober, tables_by_host

    if only is not None:
        check_globs(only)  # now, and not after minutes of boots
    settings = shared.settings()
    settings["guests"] = tuple(dict.fromkeys([*settings["guests"], *(diff or ())]))
    request = Request(program=prober(), default_guests=guests.loading_programs(), **settings)
    hosts = tables_by_host(request, EngineBench(o.sayer(), share_host=request.share_host), fresh=fresh)
    if shared.json:
        _print_json(hosts, "*" if list_ else only, diff)
        return
    for host, found in hosts.items():
        if len(hosts) > 1:
            print(f"{host}:")
        _show(found, "*" if list_ else only, diff)


def _show(found: Sequence[CallTable], only: str | None, diff: tuple[str, str] | None) -> None:
    from ukperf.reports.calltable import matching, render, render_calls, render_difference
    from ukperf.reports.terminal import stdout_console

    if diff is not None:
        render_difference(*_two(found, diff), stdout_console())
    elif only is None:
        render(found, stdout_console())
    else:
        render_calls(found, matching(found, only), stdout_console())


def _print_json(hosts: Mapping[str, Sequence[CallTable]], only: str | None, diff: tuple[str, str] | None) -> None:
    """One host's page as it is; of several hosts a list."""
    import json

    from ukperf.reports.calltable import difference_json, matching, to_json

    pages = {
        host: difference_json(*_two(found, diff)) if diff else to_json(found, matching(found, only or "*"))
        for host, found in hosts.items()
    }
    several = {"hosts": [{"host": host, **page} for host, page in pages.items()]}
    print(json.dumps(several if len(pages) > 1 else next(iter(pages.values())), indent=1, allow_nan=False))


def _two(found: Sequence[CallTable], diff: tuple[str, str]) -> tuple[CallTable, CallTable]:
    here, there = (next(table for table in found if table.guest == name) for name in diff)
    return here, there
