"""`ukperf syscalls`: which system calls each guest has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf.cli import options as o
from ukperf.cli.measuring import CAMPAIGN, Shared, measuring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ukperf.model import CallTable
    from ukperf.reports.page import Page

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
    """Find out which system calls each guest has.

    Each x86-64 system call is tried: it works, answers with an error, or only pretends to work. One that kills or hangs
    the guest is recorded, and the next boot goes on behind it. The answers are kept by the kernel's digest, so the
    second time is quick. The table stands beside the numbers that the paper quotes.

    Example: ukperf syscalls --guest linux --only 'get*'
    """
    from ukperf import guests
    from ukperf.cli.output import show_pages
    from ukperf.engine.campaign import EngineBench
    from ukperf.workloads.syscall_probe import check_globs, prober, tables_by_host

    if only is not None:
        check_globs(only)  # now, and not after minutes of boots
    asked = shared.request()
    request = replace(
        asked,
        guests=tuple(dict.fromkeys([*asked.guests, *(diff or ())])),
        program=prober(),
        default_guests=tuple(guest.name for guest in guests.loading_programs()),
    )
    hosts = tables_by_host(request, EngineBench(o.sayer(), share_host=request.share_host), fresh=fresh)
    show_pages(
        {
            host: _page(tables, "*" if list_ else only, diff, f"{host}:" if len(hosts) > 1 else "")
            for host, tables in hosts.items()
        },
        shared.json,
        brief=shared.brief,
    )


def _page(tables: Sequence[CallTable], only: str | None, diff: tuple[str, str] | None, title: str) -> Page:
    from ukperf.reports.calltable import CallDifferencePage, CallListPage, CallsPage, matching
    from ukperf.workloads.paperfigures import TABLE_I

    if diff is not None:
        here, there = (next(table for table in tables if table.guest == name) for name in diff)
        return CallDifferencePage(here, there, title=title)
    names = matching(tables, only or "*")
    kind = CallsPage if only is None else CallListPage
    return kind(tables, names, TABLE_I, title=title)
