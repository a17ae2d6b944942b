"""Table I as text and as JSON."""

from __future__ import annotations

import io
import json

from rich.console import Console

from ukperf.model import CallClass, CallTable, SystemCall
from ukperf.reports import calltable
from ukperf.reports.page import Page
from ukperf.reports.terminal import render
from ukperf.workloads.paperfigures import TABLE_I

NAMES = ["read", "write", "open", "close", "stat", "fstat", "lstat"]
KINDS = list(CallClass)


def table(guest: str, *kinds: CallClass) -> CallTable:
    calls = tuple(
        SystemCall(nr, NAMES[nr], kind, 9 if kind is CallClass.ERROR else 0, "why" if kind is CallClass.STUB else "")
        for nr, kind in enumerate(kinds)
    )
    return CallTable(guest, "1.0", "k", "p", calls, 1)


def text(page: Page) -> str:
    out = io.StringIO()
    render(page, Console(file=out, width=200))
    return out.getvalue()


def test_supported_are_calls_that_work_or_say_why_not_and_provided_all_but_absent_ones() -> None:
    every = table("g", *KINDS)
    assert calltable.supported(every) == 2
    assert calltable.provided(every) == 5
    assert all(number == 1 for number in calltable.counts(every).values())


def test_the_table_stands_beside_the_papers_numbers() -> None:
    printed = text(calltable.CallsPage([table("linux", *KINDS), table("native", *KINDS)], (), TABLE_I))
    linux = next(line for line in printed.splitlines() if line.startswith("linux "))
    native = next(line for line in printed.splitlines() if line.startswith("native "))
    assert "393 (Linux 3.7)" in linux
    assert "–" in native
    assert "linux, stub: open" in printed
    assert "linux, kills: stat" in printed


def test_the_difference_is_what_one_supports_and_the_other_does_not() -> None:
    works, absent, stub = CallClass.WORKS, CallClass.ENOSYS, CallClass.STUB
    here, there = table("a", works, works, absent, CallClass.ERROR), table("b", works, stub, works, absent)
    assert [(d.name, d.there.kind) for d in calltable.difference(here, there)] == [("write", stub), ("close", absent)]
    assert [d.name for d in calltable.difference(there, here)] == ["open"]
    printed = text(calltable.CallDifferencePage(here, there))
    assert "a supports, b does not: 2" in printed
    assert "error EBADF" in printed
    data = json.loads(json.dumps(calltable.CallDifferencePage(here, there).json()))
    assert data["b only"] == [{"nr": 2, "name": "open", "a": "enosys"}]


def test_json_holds_every_call() -> None:
    data = json.loads(json.dumps(calltable.CallsPage([table("nanos", *KINDS)], NAMES, TABLE_I).json(), allow_nan=False))
    guest = data["guests"][0]
    assert guest["counts"]["stub"] == 1
    assert guest["calls"][1] == {"nr": 1, "name": "write", "class": "error", "errno": "EBADF", "detail": None}
    assert data["paper"]["nanos"]["supported"] == 148


def test_an_incomplete_table_says_so() -> None:
    broken = CallTable("g", "", "", "", (), 2, "the prober did not start")
    printed = text(calltable.CallsPage([broken], (), TABLE_I))
    assert "incomplete: the prober did not start" in printed


def test_calls_are_listed_by_name_for_all_guests() -> None:
    tables = [table("a", CallClass.WORKS, CallClass.STUB), table("b", CallClass.ENOSYS, CallClass.WORKS)]
    printed = text(calltable.CallListPage(tables, ["write"], TABLE_I))
    assert "stub (why)" in printed
    assert "read" not in printed
