"""linux-lean, where its kernel is in the user's store: it boots wherever linux does, in fewer instructions; programs
have the system calls there that they have in linux. Programs of all kinds run in it in the tests of every guest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from realrun import World, journal, world

from ukperf import guests
from ukperf.engine.bench import OpenBoots, single_boots
from ukperf.guests.base import BuildOptions
from ukperf.model import Accelerator, CallClass, Outcome, Request
from ukperf.paths import data_dir
from ukperf.workloads.syscall_probe import prober

NAME = "linux-lean"
GOAL = 0.15  # of the instructions of linux's boot
# What the cloud kernel has and this one not, by what options.toml leaves out.
LEFT_OUT = {
    "BPF": {"bpf"},
    "modules": {"init_module", "finit_module", "delete_module"},
    "swap": {"swapon", "swapoff"},
    "quotas and accounts": {"quotactl", "quotactl_fd", "acct"},
    "the next kernel": {"kexec_load", "kexec_file_load"},
    "sandboxes": {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"},
    "what nothing calls any more": {"sysfs"},
}

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
    pytest.mark.skipif(
        not guests.get(NAME).availability(BuildOptions()).ok,
        reason=f"no {NAME} kernel here: ukperf images build-kernel {NAME}",
    ),
]


@pytest.fixture
def lean(libvirt_here: None) -> Iterator[World]:
    """A world with the user's own kernels."""
    with world(extra={"UKPERF_DATA_DIR": str(data_dir())}) as ours:
        yield ours
        assert ours.left_behind() == []


@pytest.mark.parametrize("machine", ["q35", "microvm"])
def test_it_boots_in_a_fraction_of_linuxs_instructions(lean: World, machine: str) -> None:
    run = lean.path("run")
    how = ("--accel", "icount", "--boots", "2", "--share-host", "--machine", machine, "--run", run)
    lean.whole_boots = True
    lean.run("boot-time", "-g", "linux", "-g", NAME, *how)
    records = journal(run)
    assert [record["outcome"] for record in records] == ["ok"] * 4
    counts = {name: [r["ticks"]["exit"] for r in records if r["trial"]["guest"] == name] for name in ("linux", NAME)}
    assert max(counts[NAME]) < GOAL * min(counts["linux"])
    assert counts[NAME][0] == pytest.approx(counts[NAME][1], rel=0.001)
    assert [record["clock_ratio"] for record in records] == pytest.approx([1.0] * 4, abs=0.01)


@pytest.mark.parametrize("machine", ["q35", "microvm"])
def test_it_boots_with_several_cpus(lean: World, machine: str) -> None:
    how = ("--accel", "tcg", "--vcpus", "2", "--machine", machine, "--boots", "1", "--share-host")
    run = lean.path("run")
    lean.run("run", "-g", NAME, "--baseline", NAME, *how, "--run", run, "--", "/usr/bin/nproc")
    (record,) = journal(run)
    assert record["outcome"] == "ok"
    assert b"2" in b"".join(path.read_bytes() for path in (run / "console").iterdir())


def test_it_lacks_no_system_call_but_those_that_its_options_leave_out(libvirt_here: None) -> None:
    asked = Request(program=prober(), guests=("linux", NAME), accelerator=Accelerator.TCG, share_host=True)
    with single_boots(asked, lambda _: None) as boots:
        linux, lean = (_missing(boots, name) for name in ("linux", NAME))
    assert lean - linux == {name for names in LEFT_OUT.values() for name in names}


def _missing(boots: OpenBoots, guest: str) -> set[str]:
    seen = boots.boot(guest, prober("from=0"), 120.0)
    assert seen.outcome is Outcome.OK, seen.reason
    kinds = {str(f.fields["name"]): CallClass(str(f.fields["class"])) for f in seen.frames if f.event == "syscall"}
    assert CallClass.STUB not in kinds.values() and len(kinds) > 300
    return {name for name, kind in kinds.items() if kind is CallClass.ENOSYS}
