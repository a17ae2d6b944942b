"""Runs on more than one host: everything is said for each of them, and nothing is pooled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from costs import Costs
from records import run_of

from ukperf import workloads
from ukperf.cli import syscalls
from ukperf.cli.output import show, show_pages
from ukperf.deps.papers import needs_of
from ukperf.engine.campaign import EngineBench
from ukperf.engine.facts import facts_of, of_host
from ukperf.errors import UkperfError
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    CallClass,
    CallTable,
    Image,
    Launch,
    Limits,
    Machine,
    MachineKind,
    Plan,
    Request,
    Result,
    SystemCall,
    Unit,
)
from ukperf.workloads.base import Finished
from ukperf.workloads.costs import FOUND, Finding, Operation, Scouted, missing, on_all_hosts
from ukperf.workloads.paper import reproduce
from ukperf.workloads.paperparts import PaperOptions
from ukperf.workloads.sklearn_run import LearnOptions
from ukperf.workloads.syscall_cost import CostOptions

HERE, THERE = "qemu:///embed", "qemu+ssh://root@there/system"
XEN = "xen+tcp://there/"


def plan_on(hosts: tuple[str, ...], facts: Mapping[str, str], kinds: Mapping[str, MachineKind] | None = None) -> Plan:
    return Plan(
        run_id="0123456789abcdef",
        created_at="2026-01-01T00:00:00+00:00",
        workload="boot",
        images={name: Image(name, "boot", "cd" * 32, "ab" * 32, BootProtocol.KERNEL) for name in ("linux", "nanos")},
        baseline="linux",
        machine=Machine(),
        accelerator=Accelerator.TCG,
        launch=Launch.LIBVIRT,
        hosts=hosts,
        seed=1,
        limits=Limits(boots=8),
        kinds=kinds or {},
        facts=facts,
    )


PLAN = plan_on((HERE, THERE), {"cpu": "mine", "qemu": "7.2.0"} | of_host({"qemu": "9.0.0"}, THERE))


def records(samples: tuple[str, ...] = (), unit: Unit = Unit.SECONDS) -> list[BootRecord]:
    """Eight blocks on each host; nanos takes twice as long as linux here, and half as long there."""
    found: list[BootRecord] = []
    for host, nanos in ((HERE, 2.0), (THERE, 0.5)):
        made = run_of({"linux": 1.0, "nanos": nanos}, 8, sigma=0.01, samples=samples, unit=unit)
        found += [replace(record, host=host) for record in made]
    return found


def result(tmp_path: Path, made: list[BootRecord]) -> Result:
    return Result(tmp_path, PLAN, tuple(made), "8 blocks were done")


def verdicts(page: Mapping[str, Any], benchmark: str) -> dict[str, str]:
    return {c["host"]: c["verdict"] for c in page["comparisons"] if c["benchmark"] == benchmark}


def test_each_hosts_facts_are_its_own() -> None:
    here, there = facts_of(PLAN, host=HERE), facts_of(PLAN, host=THERE)
    assert (here["host"], here["qemu"], here["cpu"]) == (HERE, "7.2.0", "mine")
    assert (there["host"], there["qemu"], there["cpu"]) == (THERE, "9.0.0", "?")
    assert (here["console"], there["console"]) == ("serial port", "serial port, by libvirt stream")


def test_on_xen_it_is_said_who_writes_to_which_kind_of_console() -> None:
    kinds = {"linux": MachineKind.XENPVH, "nanos": MachineKind.XENHVM}
    mixed = plan_on((XEN,), {}, kinds)
    assert facts_of(mixed)["console"] == "Xen's console (linux) and serial port, by libvirt stream"
    rings = plan_on((XEN,), {}, dict.fromkeys(kinds, MachineKind.XENPV))
    assert facts_of(rings)["console"] == "Xen's console, by libvirt stream"


FINDINGS = {
    HERE: {
        "linux": Finding("linux", ("noop.raw",)),
        "nanos": Finding("nanos", (), {"read1.raw": 2}, {"pipe.raw": "hangs"}),
    },
    THERE: {"linux": Finding("linux", ("noop.raw", "pipe.raw")), "nanos": Finding("nanos", ("noop.raw",))},
}


def costs(tmp_path: Path) -> Costs:
    operations = (Operation("noop.raw", "entry", "nothing"), Operation("pipe.raw", "ipc", "a pipe"))
    made = [
        replace(
            record,
            samples=tuple(replace(s, metadata={"quantiles": "0.5"}) for s in record.samples),
            ticks={"main": 0, "exit": 4_000 if record.host == HERE else 2_000},
            events={"main": 0, "exit": 2_000},
        )
        for record in records(("noop.raw", "call.direct"))
    ]
    return Costs(result(tmp_path, made), Scouted(operations, FINDINGS))


def test_an_operation_that_ends_a_guest_on_one_host_is_left_out_on_all() -> None:
    merged = on_all_hosts(FINDINGS)
    assert merged["nanos"].ended == {"pipe.raw": "hangs"}
    assert merged["linux"].works == ("noop.raw",)
    silent = on_all_hosts({**FINDINGS, "third": {"nanos": Finding("nanos", complaint="not one byte")}})
    assert silent["nanos"].complaint == "not one byte"


def test_why_there_is_no_figure_is_said_for_each_host(tmp_path: Path) -> None:
    found = costs(tmp_path).scouted
    assert missing(found, HERE, "pipe.raw") == {"nanos": "hangs"}
    assert missing(found, THERE, "pipe.raw") == {"nanos": "hangs elsewhere"}
    assert missing(found, HERE, "read1.raw") == {"nanos": "ENOENT"}
    assert missing(found, THERE, "read1.raw") == {}


def show_costs(found: Costs, *, as_json: bool) -> None:
    (found.result.folder / FOUND).write_text(found.scouted.text())
    show(workloads.get("syscall_cost"), Finished(found.result), CostOptions(), as_json=as_json)


def test_syscall_cost_answers_for_each_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_costs(costs(tmp_path), as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert verdicts(page, "noop.raw") == {HERE: "slower", THERE: "faster"}
    assert [host["facts"]["host"] for host in page["hosts"]] == [HERE, THERE]
    assert page["hosts"][0]["facts"]["linux TSC"].startswith("2.000 GHz by the host's clock")
    assert page["hosts"][1]["facts"]["linux TSC"].startswith("1.000 GHz by the host's clock")
    assert [guest["boots"] for host in page["hosts"] for guest in host["guests"]] == [8] * 4
    show_costs(costs(tmp_path), as_json=False)
    text = capsys.readouterr().out
    assert text.count("into the kernel and back") == 2
    assert f"host {HERE};" in text and f"host {THERE};" in text


def test_sklearn_answers_for_each_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"data": {"name": "synthetic"}, "notes": ["Same work."]}
    learnt = Finished(result(tmp_path, records(("knn test",))), ("Same work.",), more)
    workload = workloads.get("sklearn")
    show(workload, learnt, LearnOptions(), as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert verdicts(page, "knn test") == {HERE: "slower", THERE: "faster"}
    assert page["notes"] == ["Same work."] and page["data"] == {"name": "synthetic"}
    show(workload, learnt, LearnOptions(), as_json=False)
    text = capsys.readouterr().out
    assert text.count("knn test") >= 2 and text.count("Same work.") == 1


def test_one_hosts_page_has_no_list_of_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = [record for record in records(("knn test",)) if record.host == HERE]
    show(workloads.get("sklearn"), Finished(result(tmp_path, mine)), LearnOptions(), as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert "hosts" not in page and page["facts"]["host"] == HERE


def table(kind: CallClass) -> tuple[CallTable, ...]:
    calls = (SystemCall(0, "read", kind), SystemCall(1, "write", CallClass.WORKS))
    works = (SystemCall(0, "read", CallClass.WORKS), SystemCall(1, "write", CallClass.WORKS))
    return CallTable("nanos", "1", "k", "p", calls, 1), CallTable("linux", "6", "k", "p", works, 1)


def test_system_calls_are_listed_for_each_host(capsys: pytest.CaptureFixture[str]) -> None:
    found = {HERE: table(CallClass.WORKS), THERE: table(CallClass.ENOSYS)}
    show_pages({host: syscalls._page(tables, None, None, f"{host}:") for host, tables in found.items()}, as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert [host["guests"][0]["supported"] for host in page["hosts"]] == [2, 1]
    pair = ("linux", "nanos")
    show_pages({host: syscalls._page(tables, None, pair, "") for host, tables in found.items()}, as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert [len(host["linux only"]) for host in page["hosts"]] == [0, 1]


def test_the_papers_numbers_are_those_of_one_host(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="one host"):
        reproduce(PaperOptions(), Request(connect=(HERE, THERE)), tmp_path, EngineBench(print), needs_of)
