"""What guests execute, counted by our plugin in QEMU: exact, by libvirt and by direct launch, whatever ends them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ukperf import guests
from ukperf.engine.counting import keep_counts
from ukperf.engine.setting import setting_of
from ukperf.guests.base import BuildOptions
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import compile_c
from ukperf.imaging.plugin import FLAGS, counting_plugin
from ukperf.imaging.programs import boot_program, count_program
from ukperf.model import Accelerator, Counting, Launch, Machine, MachineKind, Observation, Outcome
from ukperf.profile.counts import Counts, encoded, read_counts
from ukperf.resources import data

pytestmark = pytest.mark.real

LOOPS, VALUES = 100_000, 3
TURNS = (VALUES + 1) * (LOOPS - 1)  # one value is for warming up; the first turn of each belongs to another block


def counted(
    host: LibvirtHost,
    folder: Path,
    guest: str = "floor",
    launch: Launch = Launch.DIRECT,
    accelerator: Accelerator = Accelerator.ICOUNT,
    loops: int = LOOPS,
    vcpus: int = 1,
    timeout_s: float = 120,
    plugin: Path | None = None,
) -> tuple[Observation, Counts]:
    program = count_program(loops, VALUES) if guest == "floor" else boot_program()
    machine = Machine(kind=MachineKind.Q35, memory_mib=128, vcpus=vcpus)
    setting = setting_of(guests.get(guest), host, accelerator, program, machine)
    spec = replace(setting.spec("profile", timeout_s=timeout_s), launch=launch)
    counting = Counting(plugin or counting_plugin(Cache()), folder / "now, and then")
    seen = host.boot(replace(spec, counting=counting))
    keep_counts(counting, folder / "kept.gz", seen)
    assert not counting.file.exists()
    return seen, read_counts(folder / "kept.gz")


def before_the_last(counts: Counts) -> Counts:
    rows = counts.executed[:-1]
    seen = rows.any(axis=0)
    return replace(
        counts,
        windows=counts.windows[:-1],
        executed=rows[:, seen],
        address=counts.address[seen],
        instructions=counts.instructions[seen],
        size=counts.size[seen],
        code=counts.code[seen],
        rest=counts.rest[:-1],
        total=counts.total[:-1],
        ticks=counts.ticks[:-1],
    )


def turns(counts: Counts) -> int:
    """How often the loop went round, which is two instructions: what its own window executed most."""
    window = next(i for i, name in enumerate(counts.windows) if name.startswith("main"))
    loop = int(np.argmax(counts.executed[window]))
    assert counts.instructions[loop] == 2
    return int(counts.executed[window, loop])


@pytest.mark.parametrize("launch", list(Launch))
def test_a_loop_is_counted_to_the_turn_and_a_window_to_the_instruction(
    host: LibvirtHost, tmp_path: Path, launch: Launch
) -> None:
    seen, counts = counted(host, tmp_path, launch=launch)
    assert seen.outcome is Outcome.OK, seen.reason
    assert counts.windows == ("", "main → count", "count → exit", "exit →") and counts.marks == 3
    assert turns(counts) == TURNS
    # What a window executed is what the counter says, which is read beside the marker.
    assert counts.ticks[3] - counts.ticks[2] == counts.total[2]
    assert abs(counts.ticks[2] - int(counts.total[:2].sum())) < 300  # firmware's accesses to devices among them
    assert counts.lost == 0 and not counts.rest.any()


def test_two_boots_of_a_kernel_that_repeats_have_the_same_counts(host: LibvirtHost, tmp_path: Path) -> None:
    # Without the last window: how long it is depends on when the host ends the guest.
    one, two = (before_the_last(counted(host, tmp_path)[1]) for _ in range(2))
    assert encoded(one) == encoded(two)


def test_several_cpus_are_counted_right(host: LibvirtHost, tmp_path: Path) -> None:
    seen, counts = counted(host, tmp_path, accelerator=Accelerator.TCG, vcpus=2)
    assert seen.outcome is Outcome.OK and counts.vcpus == 2
    assert turns(counts) == TURNS


def test_code_that_finds_no_place_is_counted_together(host: LibvirtHost, tmp_path: Path) -> None:
    folder = tmp_path / "workloads" / "profile"
    shutil.copytree(data("workloads", "profile"), folder)
    (tmp_path / "workloads" / "common").symlink_to(data("workloads", "common"))
    text = data("workloads", "profile", "plugin.c").read_text()
    assert "BLOCKS = 1 << 19" in text
    (folder / "plugin.c").write_text(text.replace("BLOCKS = 1 << 19", "BLOCKS = 1 << 9"))
    small = tmp_path / "small.so"
    compile_c([folder / f"{name}.c" for name in ("plugin", "flow", "decode")], small, FLAGS, base=tmp_path)
    seen, counts = counted(host, tmp_path, plugin=small)
    assert seen.outcome is Outcome.OK and len(counts.address) < 512
    assert counts.lost > 0 and counts.rest[1] > 2 * TURNS
    assert abs(counts.ticks[3] - int(counts.total[:3].sum())) < 0.01 * counts.ticks[3]


def test_what_was_counted_before_a_guest_was_killed_is_kept(host: LibvirtHost, tmp_path: Path) -> None:
    seen, counts = counted(host, tmp_path, loops=1 << 40, timeout_s=2)
    assert seen.outcome is not Outcome.OK
    assert turns(counts) > LOOPS and counts.windows[-1] == "main →"


def test_windows_of_a_linux_guest_are_between_its_frames(host: LibvirtHost, tmp_path: Path) -> None:
    if not guests.get("linux-lean").availability(BuildOptions()).ok:
        pytest.skip("no kernel for linux-lean: ukperf images build-kernel linux-lean")
    seen, counts = counted(host, tmp_path, "linux-lean")
    assert seen.outcome is Outcome.OK
    assert counts.windows == ("", "init → main", "main → exit", "exit → status", "status →")
    for (one, total), (two, _) in pairwise(zip(counts.ticks, counts.total.tolist(), strict=True)):
        # A block that a page fault breaks off is begun again: some instructions are counted twice.
        assert 0 <= total - (two - one) <= max(300, 0.001 * total)
