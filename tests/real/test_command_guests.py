"""Guests that are command lines, with real monitors: QEMU without libvirt, and Solo5 where it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from realrun import QUICK, World, journal

# Built outside of the project: https://github.com/Solo5/solo5, apt-get install libseccomp-dev, ./configure.sh, make.
SOLO5 = Path(os.environ.get("UKPERF_TEST_SOLO5", "/work/kernels/solo5"))
HELLO = SOLO5 / "tests" / "test_hello"


def one_q35() -> bool:
    """Ubuntu's QEMU has two machines of the name q35: its own, which libvirt takes, and upstream's."""
    if shutil.which("qemu-system-x86_64") is None:
        return True
    said = subprocess.run(["qemu-system-x86_64", "-machine", "help"], capture_output=True, text=True, check=True).stdout
    return sum(line.startswith("q35 ") for line in said.splitlines()) == 1


ONE_Q35 = pytest.mark.skipif("not one_q35()", reason="libvirt and QEMU take different machines of the name q35")


@ONE_Q35
@pytest.mark.skipif("UKPERF_SLOW_TESTS" not in os.environ, reason="floor shows it; UKPERF_SLOW_TESTS=1 runs it")
@pytest.mark.real
def test_qemu_by_a_recipe_counts_the_instructions_that_it_counts_by_libvirts_command_line(uk: World) -> None:
    run = uk.path("run")
    words = ["boot-time", "-g", "linux", "-g", "qemu-linux", "--accel", "icount", "--launch", "direct"]
    words += [word for name in ("linux", "qemu-linux") for word in ("--append", f"{name}={QUICK}")]
    uk.run(*words, "--boots", "1", "--share-host", "--run", run)
    lines = journal(run)
    assert sorted(line["trial"]["guest"] for line in lines) == ["linux", "qemu-linux"]
    assert all(set(line["phases"]) == {"kernel", "init", "stop", "total"} for line in lines)
    assert len({(line["phases"]["kernel"], line["phases"]["init"]) for line in lines}) == 1
    totals = [line["phases"]["total"] for line in lines]  # now and then one stops some thousands sooner: docs/icount.md
    assert max(totals) - min(totals) < 20_000
    facts = next(line["facts"] for line in journal(run) if line["trial"]["guest"] == "qemu-linux")
    assert facts["vmm"].startswith("QEMU emulator version") and facts["accelerator"] == "icount"


@ONE_Q35
@pytest.mark.real
def test_floor_by_a_recipe_counts_what_it_counts_by_libvirts_command_line(uk: World) -> None:
    """Another builder, with its way to end the machine, in a recipe of the user's own."""
    recipe = uk.path("mine.toml")
    recipe.write_text(FLOOR)
    run = uk.path("run")
    words = ["boot-time", "-g", "floor", "--guest-file", recipe, "--baseline", "floor", "--accel", "icount"]
    uk.run(*words, "--launch", "direct", "--boots", "2", "--share-host", "--run", run)
    phases = {tuple(sorted(line["phases"].items())) for line in journal(run)}
    assert len(journal(run)) == 4 and len(phases) == 1


FLOOR = """
builder = "floor"
[command]
arguments = [
    "qemu-system-x86_64", "-machine", "q35,usb=off", "{accelerator}", "-m", "{memory_mib}", "-smp", "{vcpus}",
    "-boot", "strict=on", "-display", "none", "-no-user-config", "-nodefaults", "-no-reboot", "-kernel", "{kernel}",
    "-chardev", "socket,id=c,path={console}", "-device", "isa-serial,chardev=c,index=0",
    "-device", "isa-debug-exit,iobase=0x501,iosize=4",
]
console = "socket"
status = "debug-exit"

[command.accelerators]
icount = [
    "-accel", "tcg", "-cpu", "max,avx2=off", "-icount", "shift=0,align=off,sleep=off", "-seed", "1",
    "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-uuid", "75b4bed0-0000-4000-8000-000000000001",
]
"""


@pytest.mark.real
@pytest.mark.skipif(not (HELLO / "test_hello.spt").exists(), reason="Solo5 is not built: see SOLO5 above")
def test_solo5s_spt_stands_beside_native_and_says_what_it_can(uk: World) -> None:
    run = uk.path("run")
    uk.extra = {"PATH": f"{SOLO5 / 'tenders' / 'spt'}:{os.environ['PATH']}"}
    words = ["boot-time", "-g", "native", "-g", "solo5-spt", "--baseline", "native", "--boots", "6"]
    words += ["--kernel", f"solo5-spt={HELLO / 'test_hello.spt'}", "--append", "solo5-spt=Hello_Solo5"]
    out = uk.run(*words, "--share-host", "--run", run)
    mine = [line for line in journal(run) if line["trial"]["guest"] == "solo5-spt"]
    assert len(mine) == 6 and all(line["outcome"] == "ok" for line in mine)
    assert all(set(line["phases"]) == {"kernel", "total"} for line in mine)
    assert mine[0]["facts"]["vmm"].startswith("solo5-spt tender, version") and "solo5-spt" in out
    assert all(line["facts"]["accelerator"] == "native" for line in mine)


@pytest.mark.real
@pytest.mark.skipif(shutil.which("runsc") is None, reason="gVisor's runsc is not installed")
def test_gvisor_runs_the_program_of_native_under_a_kernel_of_its_own(uk: World) -> None:
    run = uk.path("run")
    words = ["run", "-g", "native", "-g", "runsc", "--baseline", "native", "--boots", "2", "--share-host", "--run", run]
    uk.run(*words, "--", "/bin/sh", "-c", "echo $((6 * 7))")
    mine = [line for line in journal(run) if line["trial"]["guest"] == "runsc"]
    assert [line["outcome"] for line in mine] == ["ok", "ok"]
    assert len({line["checks"]["output"] for line in journal(run)}) == 1  # it wrote what native wrote
    assert all(sample["benchmark"] == "run" for line in mine for sample in line["samples"])
    facts = mine[0]["facts"]
    assert facts["vmm"].startswith("runsc version") and facts["machine"] == "by its recipe" and "kernel" not in facts
