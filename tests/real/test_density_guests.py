"""`ukperf density` as a person runs it: fleets of real guests under emulation, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from cprograms import compiled
from realrun import World, journal, processes, wait_for

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.imaging.kernelstore import KernelStore
from ukperf.workloads.density import FLEET

pytestmark = pytest.mark.real

FLOOR = ("density", "-g", "floor", "--baseline", "floor", "--memory", "32", "--boots", "1")
LAUNCHES = ("libvirt", "direct")
MIB = 1 << 20


def fleet_of(run: Any) -> dict[str, Any]:
    (record,) = journal(run)
    assert record["outcome"] == "ok", record["reason"]
    fleet: dict[str, Any] = json.loads(record["samples"][0]["metadata"][FLEET])
    return fleet


@pytest.mark.parametrize(("launch", "accelerator"), [("libvirt", "tcg"), ("direct", "icount")])
def test_four_guests_live_at_once_and_their_memory_is_told_apart(uk: World, launch: str, accelerator: str) -> None:
    run = uk.path("run")
    how = ("--max", "4", "--budget", "100000", "--accel", accelerator, "--launch", launch)
    answer = uk.json(*FLOOR, *how, "--run", run)
    fleet = fleet_of(run)
    assert [point["guests"] for point in fleet["points"]] == [1, 2, 4]
    for point in fleet["points"]:
        each = {part: point[part] / point["guests"] / MIB for part in ("guest", "vmm", "code_cache")}
        assert 0 < each["guest"] <= 32 and 5 < each["vmm"] < 60 and 0 < each["code_cache"] < 20
    assert len(fleet["created_ns"]) == len(fleet["ready_ns"]) == 4
    assert all(0 < created <= ready for created, ready in zip(fleet["created_ns"], fleet["ready_ns"], strict=True))
    (row,) = answer["per_guest"]
    assert 10 < row["one_more"]["value"] / MIB < 60
    assert not row["fits"]["measured"] and 1000 < row["fits"]["guests"] < 10_000
    assert {"KSM", "huge pages", "swap"} <= answer["facts"].keys()


@pytest.mark.parametrize("launch", LAUNCHES)
def test_restored_guests_share_their_template_and_take_less_than_booted_ones(uk: World, launch: str) -> None:
    run = uk.path("run")
    how = ("--max", "4", "--path", "both", "--accel", "tcg", "--launch", launch, "--run", run)
    answer = uk.json(*FLOOR, *how)
    rows = {row["guest"]: row for row in answer["per_guest"]}
    assert set(rows) == {"floor", "floor@restore"}
    guest = {name: row["parts"]["guest"]["value"] / MIB for name, row in rows.items()}
    assert guest["floor@restore"] < 0.5 < guest["floor"], "a restored guest has all pages to itself"
    assert all(len(row["create_s"][0]) == 4 for row in rows.values())
    records = {record["trial"]["guest"]: record for record in journal(run)}
    fleet = json.loads(records["floor@restore"]["samples"][0]["metadata"][FLEET])
    assert [point["guests"] for point in fleet["points"]] == [1, 2, 4]


def test_a_fleet_ends_before_it_takes_more_than_it_may(uk: World) -> None:
    run = uk.path("run")
    answer = uk.json(*FLOOR, "--max", "32", "--max-memory", "390", "--accel", "tcg", "--launch", "direct", "--run", run)
    fleet = fleet_of(run)
    assert "--max-memory 390 MiB" in fleet["stopped"] and 2 <= fleet["points"][-1]["guests"] < 20
    assert any("stopped after" in note for note in answer["notes"])


def test_a_program_that_ends_without_the_line_is_no_fleet_and_says_so(uk: World) -> None:
    how = ("--memory", "128", "--boots", "1", "--no-retry", "--max", "2", "--accel", "tcg", "--launch", "direct")
    said = uk.run("density", "-g", "linux", *how, "--ready", "^never$", "--", "true", status=2)
    assert "guest 1 of 2: it ended, and no line of its output matched --ready" in said


STAYS = """
#include <stdio.h>
#include <unistd.h>
int main(void) { puts("up"); fflush(stdout); for (;;) pause(); }
"""


def test_two_nanos_guests_are_suspended_at_a_line_of_their_program(uk: World) -> None:
    if not guests.get("nanos").availability(BuildOptions()).ok:
        pytest.skip("there is no kernel of nanos")
    uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    run, program = uk.path("run"), compiled(uk.path("stays"), STAYS)
    how = ("--memory", "256", "--boots", "1", "--sizes", "1,2", "--accel", "tcg", "--ready", "^up", "--run", run)
    answer = json.loads(uk.run("density", "-g", "nanos", "--baseline", "nanos", *how, "--json", "--", program))
    assert [point["guests"] for point in fleet_of(run)["points"]] == [1, 2]
    assert 20 < answer["per_guest"][0]["one_more"]["value"] / MIB < 150


def begin(uk: World, launch: str, guests: int) -> tuple[subprocess.Popen[str], list[int]]:
    """A fleet that grows, when it has so many guests."""
    how = ("--max", "40", "--accel", "tcg", "--launch", launch, "--max-memory", "9000", "--run", uk.path("run"))
    process = uk.start(*FLOOR, *how)
    vmms: list[int] = wait_for(lambda: len(found := uk.vmms()) >= guests and found, f"{guests} guests", process)
    return process, vmms


@pytest.mark.parametrize("launch", LAUNCHES)
def test_nothing_is_left_of_a_fleet_whose_ukperf_is_killed(uk: World, launch: str) -> None:
    process, vmms = begin(uk, launch, 5)
    process.kill()
    process.communicate()
    wait_for(lambda: not uk.vmms(), "end of the guests")
    assert not {pid for pid, _ in processes()} & set(vmms)
    uk.run("boot-time", "-g", "native", "--baseline", "native", "--boots", "1")
    assert uk.left_behind() == []


@pytest.mark.parametrize("launch", LAUNCHES)
def test_the_next_start_ends_a_fleet_that_outlived_its_guardian_too(uk: World, launch: str) -> None:
    process, vmms = begin(uk, launch, 4)
    guardians = [pid for pid, argv in processes() if any(str(uk.cache / "children") in word for word in argv)]
    assert len(guardians) == 1
    for pid in (*guardians, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    # One that libvirt is just about to start goes with its parent.
    assert set(vmms) & {pid for pid, _ in processes()}, "nothing was left, so nothing is tested"
    uk.run("boot-time", "-g", "native", "--baseline", "native", "--boots", "1")
    assert uk.vmms() == [] and uk.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_middle_of_a_fleet_leaves_nothing(uk: World, number: signal.Signals) -> None:
    process, _ = begin(uk, "direct", 4)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number and "Traceback" not in err, out + err
    assert uk.left_behind() == []
