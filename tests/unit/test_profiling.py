"""profile, without boots: what cannot be counted is refused with a sentence; what a run remembers; QEMU's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from ukperf import guests
from ukperf.engine.campaign import measure
from ukperf.engine.counting import refuse_counting, refuse_uncounted
from ukperf.engine.session import silent
from ukperf.errors import HostError, UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.counting import check_plugins
from ukperf.hosts.domainxml import Console, Owner, domain_xml
from ukperf.hosts.fake import FakeHost
from ukperf.model import Accelerator, BootProtocol, BootSpec, Counting, Fleet, Image, Machine, Request
from ukperf.profile.counts import Counts
from ukperf.profile.model import START, WHOLE
from ukperf.workloads import get
from ukperf.workloads.profile import Executed, ProfileOptions, Profiling, ProgramSeen, _inner, known_of, symbol_files
from ukperf.workloads.profiling import counter_of

NOBODY = cast(Any, None)  # a bench that is not asked
IMAGE = Image("linux", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL, kernel=Path("/k"))


@pytest.mark.parametrize("accelerator", [Accelerator.KVM, Accelerator.XEN, Accelerator.NATIVE])
def test_guests_that_the_cpu_executes_are_refused(accelerator: Accelerator) -> None:
    with pytest.raises(HostError, match="the CPU executes them itself") as caught:
        Profiling().prepare(ProfileOptions(), Request(accelerator=accelerator), NOBODY)
    assert "--accel icount" in str(caught.value.hint)


def test_a_qemu_without_plugins_is_refused(tmp_path: Path) -> None:
    for name, said in (("with", "-plugin [file=]<file>"), ("without", "-pflash file")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}'\n")
        (tmp_path / name).chmod(0o755)
    check_plugins(str(tmp_path / "with"), Accelerator.ICOUNT)
    with pytest.raises(HostError, match="built without plugins"):
        check_plugins(str(tmp_path / "without"), Accelerator.TCG)
    with pytest.raises(HostError, match="does not run"):
        check_plugins(str(tmp_path / "nothing"), Accelerator.TCG)


def test_hosts_that_run_no_qemu_of_ours_fleets_and_programs_of_this_machine_are_refused() -> None:
    with pytest.raises(HostError, match="no QEMU runs there that ukperf starts itself"):
        refuse_counting(Request(counted=True), Accelerator.ICOUNT, [FakeHost()])
    with pytest.raises(UkperfError, match="one at a time"):
        refuse_counting(Request(counted=True, fleet=Fleet((1,), 1024)), Accelerator.ICOUNT, [])
    with pytest.raises(HostError, match="no guest of QEMU's"):
        refuse_uncounted("native", BootProtocol.EXEC)
    refuse_uncounted("linux", IMAGE.protocol)


@pytest.mark.parametrize("also", [(), ("floor",)])
def test_a_profile_of_native_says_that_qemu_counts_and_not_what_it_executes(also: tuple[str, ...]) -> None:
    request = Request(guests=("native", *also), baseline="native", accelerator=Accelerator.ICOUNT)
    with pytest.raises(HostError, match="native executes cannot be counted") as caught:
        measure(get("profile"), ProfileOptions(), request, say=silent)
    assert "Leave native out" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ProfileOptions(of="boot", words=("ls",)), "two things to profile"),
        (ProfileOptions(of="profile"), "profile of a profile"),
        (ProfileOptions(of="nothing"), "no workload 'nothing'"),
        (ProfileOptions(set=("only=x",)), "--set is for a workload's options"),
        (ProfileOptions(of="syscall_cost", set=("any=x",)), "no option of it"),
        (ProfileOptions(of="syscall_cost", set=("only",)), "no option of it"),
        (ProfileOptions(of="syscall_cost", set=("cycles=7",)), "does not fit"),
        (ProfileOptions(symbols=("nanos",)), "names no guest and file"),
        (ProfileOptions(symbols=("nanos=/nonexistent",)), "names no guest and file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(options: ProfileOptions, said: str) -> None:
    with pytest.raises(UkperfError, match=said):
        Profiling().prepare(options, Request(), NOBODY)


def test_options_of_the_workload_are_its_own() -> None:
    for given, wanted in (("only=getuid*", {"only": "getuid*"}), ("cycles=true", {"cycles": True})):
        options = ProfileOptions(of="syscall_cost", set=(given,))
        _, chosen = _inner(options)
        assert {name: getattr(chosen, name) for name in wanted} == wanted
    assert _inner(ProfileOptions(of="sklearn", set=("models=multinomialnb,extratrees",)))[1].models == (
        "multinomialnb",
        "extratrees",
    )


def test_files_of_symbols_are_of_guests(tmp_path: Path) -> None:
    (tmp_path / "a=b").touch()
    assert symbol_files([f"nanos={tmp_path}/a=b"]) == {"nanos": tmp_path / "a=b"}


def test_the_plugin_is_on_qemu_s_command_line_with_its_commas_doubled() -> None:
    spec = BootSpec(IMAGE, Machine(), Accelerator.ICOUNT, counting=Counting(Path("/a,b/p.so"), Path("/c,d/now")))
    owner = Owner("r", "h", "b", 1, 2)
    words = "/a,,b/p.so,counts=/c,,d/now,flow=/c,,d/now.flow"
    assert f'value="{words}"' in domain_xml(spec, Console("/s"), owner)
    stacked = replace(spec, counting=Counting(Path("/a,b/p.so"), Path("/c,d/now"), stacks=True))
    assert f'value="{words},stacks=on"' in domain_xml(stacked, Console("/s"), owner)
    assert "-plugin" not in domain_xml(replace(spec, counting=None), Console("/s"), owner)


@pytest.mark.parametrize("name", ["linux", "debian", "ubuntu"])
def test_linux_lies_at_the_same_addresses_where_it_is_counted(name: str) -> None:
    assert guests.get(name).recipe.extra["fixed_cmdline"] == "nokaslr norandmaps"
    assert BuildOptions().fixed is False


def test_a_run_s_state_that_is_damaged_is_a_sentence(tmp_path: Path) -> None:
    assert ProgramSeen("/p", True, ("/a",)).program.path == Path("/p")
    assert Executed({}).programs == {}
    for text in (None, "{", '{"format":1,"programs":{"":{"path":1}}}'):
        if text is not None:
            (tmp_path / "profiled.json").write_text(text)
        with pytest.raises(UkperfError, match="cannot be read"):
            known_of(tmp_path)


def counts_with(ticks: tuple[int, ...], total: tuple[int, ...]) -> Counts:
    none = np.zeros(0, np.uint64)
    windows = ("", *(f"w{i}" for i in range(1, len(total))))
    executed = np.zeros((len(total), 0), np.uint64)
    code = np.zeros((0, 16), np.uint8)
    sums = np.array(total, np.uint64)
    small = np.zeros(0, np.uint32)
    return Counts(none, small, small, code, windows, executed, 0, sums, sums, ticks=ticks)


def test_the_counter_is_known_of_windows_between_two_frames_and_of_all_up_to_the_last() -> None:
    known = counter_of(counts_with((0, 100, 250), (90, 150, 7)))
    assert known == {START: 100, "w1": 150, WHOLE: 257}
    assert counter_of(counts_with((0, 0, 250), (90, 150, 7))) == {}
    assert counter_of(counts_with((), (5,))) == {}
