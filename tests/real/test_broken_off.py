"""A run that is broken off, by ^C or by kill -9: what stays, what the next start removes, and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from realrun import World, journal, processes, wait_for

pytestmark = pytest.mark.real

LAUNCHES = ("libvirt", "direct")


@pytest.fixture
def stranger(uk: World) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's QEMU, whose files are near ours."""
    (uk.path("other")).mkdir()
    words = ["-machine", "none", "-nodefaults", "-display", "none", "-S"]
    words += ["-name", f"near-{uk.cache}", "-pidfile", str(uk.path("other") / "qemu.pid")]
    with subprocess.Popen(["qemu-system-x86_64", *words]) as process:
        try:
            yield process
        finally:
            process.kill()


def begin(uk: World, launch: str) -> tuple[subprocess.Popen[str], int]:
    """A run of two linux boots, in the middle of its second one, which is stopped so that it cannot end."""
    run = uk.path("run")
    how = ("--accel", "tcg", "--machine", "microvm", "--boots", "2", "--launch", launch)
    process = uk.start("boot-time", "-g", "linux", *how, "--run", run)
    wait_for(lambda: journal(run), "first record", process)
    (vmm,) = wait_for(uk.vmms, "second guest", process)
    os.kill(vmm, signal.SIGSTOP)
    assert len(journal(run)) == 1, "it ended while we looked: the machine is too fast for this test"
    return process, vmm


def kill_with_guardian(uk: World, process: subprocess.Popen[str]) -> None:
    """As a machine without memory might: then nobody ends the guest before the next start."""
    guardians = [pid for pid, argv in processes() if any(str(uk.cache / "children") in word for word in argv)]
    assert len(guardians) == 1
    for pid in (*guardians, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_guest_that_runs_ends_with_a_ukperf_that_is_killed(
    uk: World, stranger: subprocess.Popen[bytes], launch: str
) -> None:
    how = ("--accel", "tcg", "--append", "floor=hang", "-g", "floor", "--baseline", "floor", "--launch", launch)
    process = uk.start("boot-time", *how)
    books = uk.cache / "children"
    wait_for(lambda: any(path.stat().st_size for path in books.glob("*")), "record of the guest", process)
    (vmm,) = uk.vmms()
    process.kill()
    process.communicate()
    wait_for(lambda: vmm not in [pid for pid, _ in processes()], "end of the guest")
    wait_for(lambda: list(books.iterdir()) == [], "end of the guardian")
    assert stranger.poll() is None
    uk.run("boot-time", "-g", "native", "--baseline", "native", "--boots", "1")
    assert uk.left_behind() == []


@pytest.mark.parametrize("launch", LAUNCHES)
def test_resume_after_kill_9_keeps_every_record_and_ends_the_stray_guest_alone(
    uk: World, stranger: subprocess.Popen[bytes], launch: str
) -> None:
    run = uk.path("run")
    process, vmm = begin(uk, launch)
    kill_with_guardian(uk, process)
    before = (run / "journal.ndjson").read_bytes()
    assert vmm in [pid for pid, _ in processes()] and uk.left_behind(), "nothing was left, so nothing is tested"

    answer = uk.json("resume", run)
    assert uk.left_behind() == []
    assert vmm not in [pid for pid, _ in processes()]
    assert stranger.poll() is None
    after = (run / "journal.ndjson").read_bytes()
    assert after.startswith(before)
    assert [(r["trial"]["index"], r["trial"]["block"], r["outcome"]) for r in journal(run)] == [
        (0, 0, "ok"),
        (1, 1, "ok"),
    ]
    assert answer["blocks"] == 2


def test_strays_go_when_any_run_starts(uk: World) -> None:
    """Not only with `resume`: also if the broken-off run is never touched again."""
    process, vmm = begin(uk, "libvirt")
    kill_with_guardian(uk, process)
    uk.run("boot-time", "-g", "floor", "--baseline", "floor", "--accel", "tcg", "--boots", "1")
    assert vmm not in [pid for pid, _ in processes()]


@pytest.mark.parametrize("launch", LAUNCHES)
def test_interrupt_ends_the_guest_and_keeps_what_was_measured(uk: World, launch: str) -> None:
    run = uk.path("run")
    process, vmm = begin(uk, launch)
    os.kill(vmm, signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"ukperf resume {run}" in said and "Traceback" not in said
    assert uk.left_behind() == []
    assert [record["outcome"] for record in journal(run)] == ["ok"]


def test_interrupts_while_guests_are_being_created_leave_nothing(uk: World) -> None:
    """libvirt's call takes a quarter of a second and cannot be broken off; ^C comes earlier and earlier in it."""
    how = ("--accel", "tcg", "--append", "floor=hang", "-g", "floor", "--baseline", "floor")
    for delay in (0.0, 0.1):
        process = uk.start("boot-time", *how)
        wait_for(lambda: list((uk.cache / "embed").glob("*/console.sock")), "listening console", process)
        time.sleep(delay)  # where in the call does not matter, only that it differs
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert uk.left_behind() == []
