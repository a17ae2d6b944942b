"""/proc/PID/smaps: what is a guest's memory, what the emulator's code, what the VMM's; whatever the text says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.hosts.smaps import GuestRam, Mapping, habits, mappings, memory_of, sharers, split, taken_by, together
from ukperf.model import FleetMemory

MIB = 1 << 20
RAM = GuestRam(32 * MIB)
NAMES = ("", "[heap]", "/usr/bin/qemu-system-x86_64", "/memfd:pc.ram (deleted)", "/a b\\012c", "Pss: 5 kB", "[anon:x]")
MODES = ("rw-p", "rwxp", "r-xp", "r--p", "---p", "rw-s", "r-xs")


def text_of_mapping(mapping: Mapping, start: int = 0x7F0000000000) -> str:
    head = f"{start:x}-{start + mapping.size:x} {mapping.mode} 00000000 fe:01 {mapping.inode}"
    return (
        f"{head:<72} {mapping.path}\nSize: {mapping.size // 1024} kB\nRss: 99 kB\nPss: {mapping.pss // 1024} kB\n"
        f"Pss_Dirty: 7 kB\nSwap: 3 kB\nSwapPss: {mapping.swapped // 1024} kB\n"
        f"AnonHugePages: {mapping.huge // 1024} kB\nVmFlags: rd wr mr mw me dc ac hg\n"
    )


kib = st.integers(0, 1 << 30).map(lambda n: n * 1024)
a_mapping = st.builds(
    Mapping, st.integers(1, 1 << 34).map(lambda n: n * 4096), st.sampled_from(MODES), st.integers(0, 1 << 40),
    st.sampled_from(NAMES), kib, kib, kib,
)  # fmt: skip


@given(st.lists(a_mapping, max_size=20))
def test_what_the_kernel_writes_is_read_back(several: list[Mapping]) -> None:
    assert list(mappings("".join(map(text_of_mapping, several)))) == several


@given(st.lists(a_mapping, max_size=20), st.integers(1, 1 << 34).map(lambda n: n * 4096))
def test_nothing_is_lost_and_nothing_counted_twice(several: list[Mapping], size: int) -> None:
    whole = split(several, GuestRam(size))
    if whole is None:
        assert not any(GuestRam(size).holds(mapping) for mapping in several)
        return
    assert whole.total == sum(mapping.pss + mapping.swapped for mapping in several)
    assert whole.swapped == sum(mapping.swapped for mapping in several)
    assert min(whole.guest, whole.code_cache, whole.vmm) >= 0


@given(st.one_of(st.text(), st.lists(st.sampled_from([
    "7f00-7f10 rw-p 0 fe:01 0", "Pss: 99999999999999999999 kB", "Pss: -5 kB", "Pss:5 kB", "7f10-7f00 rw-p 0 fe:01 0",
    "x-y rw-p 0 0:0 0", "7f00-7f10 rwxp 0 fe:01 0 /memfd:tcg-jit", "SwapPss:  12 kB", "\r", "Pss: 1 MB",
])).map("\n".join)))  # fmt: skip
def test_hostile_text_is_no_error_and_no_negative_number(text: str) -> None:
    assert all(m.size > 0 and min(m.pss, m.swapped, m.huge) >= 0 for m in mappings(text))
    split(mappings(text), RAM)


def test_a_guests_memory_the_emulators_code_and_the_rest_are_told_apart() -> None:
    parts = [
        Mapping(32 * MIB, "rw-p", 0, "", pss=16 * MIB),
        Mapping((1 << 30) - 4096, "rwxp", 0, "", pss=4 * MIB),
        Mapping(4096, "---p", 0, ""),
        Mapping(5 * MIB, "r-xp", 77, "/usr/bin/qemu-system-x86_64", pss=3 * MIB),
        Mapping(9 * MIB, "rw-p", 0, "[heap]", pss=8 * MIB),
    ]
    whole = split(parts, RAM, tables=5)
    assert whole == FleetMemory(1, 16 * MIB, 4 * MIB, 11 * MIB, 5)


def test_code_that_may_not_be_written_where_it_is_executed_is_found_by_its_name() -> None:
    jit = "/memfd:tcg-jit (deleted)"
    parts = [
        Mapping(32 * MIB, "rw-p", 0, "", pss=MIB),
        Mapping(1 << 30, "rw-s", 9, jit, pss=2 * MIB),
        Mapping(1 << 30, "r-xs", 9, jit, pss=2 * MIB),
    ]
    whole = split(parts, RAM)
    assert whole is not None and whole.code_cache == 4 * MIB


def test_a_code_cache_as_large_as_the_guests_memory_is_no_guests_memory() -> None:
    parts = [Mapping(32 * MIB, "rwxp", 0, "", pss=4 * MIB), Mapping(32 * MIB, "rw-p", 0, "", pss=MIB)]
    whole = split(parts, RAM)
    assert whole is not None and (whole.guest, whole.code_cache) == (MIB, 4 * MIB)


@pytest.mark.parametrize("path", ["/memfd:pc.ram (deleted)", "/dev/zero (deleted)"])
def test_shared_anonymous_memory_is_a_guests_too(path: str) -> None:
    whole = split([Mapping(32 * MIB, "rw-s", 12, path, pss=MIB)], RAM)
    assert whole is not None and whole.guest == MIB


def test_a_template_is_a_guests_memory_by_its_inode_and_another_file_of_that_size_is_not() -> None:
    template, other = (Mapping(32 * MIB, "rw-p", inode, f"/t/{inode}", pss=inode * MIB) for inode in (5, 6))
    whole = split([template, other], GuestRam(32 * MIB, inode=5))
    assert whole is not None and (whole.guest, whole.vmm) == (5 * MIB, 6 * MIB)


def test_where_no_mapping_is_surely_the_guests_nothing_is_told_apart() -> None:
    assert split([Mapping(33 * MIB, "rw-p", 0, "", pss=MIB)], RAM) is None
    assert split([Mapping(32 * MIB, "r--p", 0, "", pss=MIB)], RAM) is None


def test_a_process_of_this_machine_is_read_and_one_that_is_gone_is_none() -> None:
    taken = taken_by(os.getpid())
    assert taken is not None and taken > MIB
    biggest = max(mappings(Path("/proc/self/smaps").read_text()), key=lambda m: m.size * m.mode.startswith("rw-p"))
    assert taken_by(1 << 30) is None and memory_of(1 << 30, GuestRam(biggest.size)) is None


def test_fleets_are_sums() -> None:
    one = FleetMemory(1, 2, 3, 4, 5, 6, 7)
    assert together([one, one, one]) == FleetMemory(3, 6, 9, 12, 15, 18, 21)


def test_what_the_machine_does_with_memory_is_told_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert habits(tmp_path) == {"KSM": "none", "huge pages": "none", "swap": "none"}
    for name, text in {
        "sys/kernel/mm/ksm/run": "1\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "proc/meminfo": "MemTotal: 9 kB\nSwapTotal:  2097152 kB\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert habits(tmp_path) == {"KSM": "on", "huge pages": "madvise", "swap": "2,048 MiB"}


def test_processes_of_the_same_program_are_counted_but_for_ones_own(tmp_path: Path) -> None:
    program, other = tmp_path / "qemu", tmp_path / "sh"
    program.touch()
    other.touch()
    proc = tmp_path / "proc"
    for pid, exe in (("1", other), ("7", program), ("8", program), ("9", program), ("self", program)):
        (proc / pid).mkdir(parents=True)
        (proc / pid / "exe").symlink_to(exe)
    (proc / "10").mkdir()
    assert sharers([7, 8], proc) == {"other VMMs": "1"}
    assert sharers([7, 8, 9], proc) == {"other VMMs": "none"}
