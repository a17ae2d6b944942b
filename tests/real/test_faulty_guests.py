"""Guests that hang, crash, flood and lie, through the real host: the right outcome, the tail kept, in bounded time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.programs import boot_program, misbehave_program
from ukperf.model import Accelerator, BootSpec, Event, Launch, Machine, MachineKind, Observation, Outcome

pytestmark = pytest.mark.real

LAUNCHES = (Launch.LIBVIRT, Launch.DIRECT)
MICROVM = BuildOptions(MachineKind.MICROVM, Accelerator.TCG)


def floor_that(word: str, launch: Launch) -> BootSpec:
    image = guests.get("floor").build(boot_program(), replace(MICROVM, cmdline=word))
    return BootSpec(image, Machine(MachineKind.MICROVM, 32), Accelerator.TCG, launch, name=f"ukperf-{word}")


def linux_that(*words: str, launch: Launch = Launch.DIRECT) -> BootSpec:
    image = guests.get("linux").build(misbehave_program(*words), MICROVM)
    machine = Machine(MachineKind.MICROVM, 128)
    return BootSpec(image, machine, Accelerator.TCG, launch, console_limit=64 << 10, name="ukperf-misbehave")


def ended(host: LibvirtHost, spec: BootSpec) -> Observation:
    """The spec boots until it had time to reach `main`, however busy this machine is."""
    for timeout_s in (2.0, 8.0, 32.0, 128.0):
        seen = host.boot(replace(spec, timeout_s=timeout_s))
        if Event.MAIN in seen.events or Event.STOPPED in seen.events:
            return seen
    raise AssertionError(f"no main within 128 s: {seen.reason}")


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_guest_that_says_nothing_is_silent(host: LibvirtHost, launch: Launch) -> None:
    seen = host.boot(replace(floor_that("silent", launch), timeout_s=1.0))
    assert (seen.outcome, seen.console_bytes) == (Outcome.SILENT, 0)
    assert seen.reason == "not one byte in 1 s"


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_guest_that_stops_speaking_is_hung_and_its_words_are_kept(host: LibvirtHost, launch: Launch) -> None:
    seen = ended(host, floor_that("hang", launch))
    assert seen.outcome is Outcome.HUNG
    assert "no end of the program" in seen.reason
    assert '"event":"main"' in seen.console_tail


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_guest_that_dies_has_crashed(host: LibvirtHost, launch: Launch) -> None:
    seen = ended(host, floor_that("crash", launch))
    assert seen.outcome is Outcome.CRASHED
    assert "after main without an exit frame" in seen.reason
    assert '"event":"main"' in seen.console_tail


def test_a_status_of_the_floor_guest_is_its_exit_status(host: LibvirtHost) -> None:
    seen = ended(host, floor_that("status=3", Launch.DIRECT))
    assert (seen.outcome, seen.exit_status) == (Outcome.FAILED, 3)


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_flood_of_random_bytes_is_cut_off(host: LibvirtHost, launch: Launch, tmp_path: Path) -> None:
    spec = replace(linux_that("flood=random", launch=launch), console_path=tmp_path / "console.log")
    seen = host.boot(spec)
    assert seen.outcome is Outcome.FLOODED
    assert spec.console_limit < seen.console_bytes < 4 * spec.console_limit
    assert (tmp_path / "console.log").stat().st_size < 4 * spec.console_limit
    assert 0 < len(seen.console_tail) <= 4096


def test_a_flood_of_good_frames_is_cut_off(host: LibvirtHost) -> None:
    seen = host.boot(linux_that("flood=frames"))
    assert seen.outcome is Outcome.FLOODED
    assert seen.frames[0].event == "init" and seen.frames[-1].event == "samples"


@pytest.mark.parametrize(
    ("words", "outcome", "reason"),
    [
        (["status=7"], Outcome.FAILED, "exited with status 7"),
        (["segv"], Outcome.CRASHED, "killed by SIGSEGV"),
        (["lie=status"], Outcome.FAILED, "exited with status 9"),
        (["lie=order"], Outcome.LIED, "more than one main or exit frame|repeat"),
        (["lie=clock"], Outcome.LIED, "clock runs backwards"),  # ten seconds in one, and back to the truth at the end
    ],
)
def test_what_a_program_did_is_found_out(host: LibvirtHost, words: list[str], outcome: Outcome, reason: str) -> None:
    seen = host.boot(linux_that(*words))
    assert seen.outcome is outcome, seen.reason
    assert re.search(reason, seen.reason)
    assert '"event":"main"' in seen.console_tail


def test_frames_that_break_the_wires_bounds_are_dropped_and_counted(host: LibvirtHost) -> None:
    seen = host.boot(linux_that("lie=numbers", "lie=nested"))
    assert seen.outcome is Outcome.OK, seen.reason
    assert seen.bad_frames == 4
    assert [frame.event for frame in seen.frames] == ["init", "main", "exit", "status"]
