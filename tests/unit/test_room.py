"""How much memory guests may take: what the machine has left, and what control groups leave of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukperf.hosts import room
from ukperf.hosts.room import RESERVE_MIB, SPARE_MIB, Room, room_mib

MIB = 1 << 20


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available_mib", lambda: 20_000)


def group(root: Path, files: dict[str, str], *, v1: bool = False) -> Path:
    """A machine whose one group has these files."""
    (root / "proc/self").mkdir(parents=True)
    kind = "cgroup - cgroup memory rw,memory" if v1 else "cgroup - cgroup2 cgroup rw"
    (root / "proc/self/cgroup").write_text("4:memory:/ours\n" if v1 else "0::/ours\n")
    (root / "proc/self/mountinfo").write_text(f"30 20 0:26 / /{kind.replace('cgroup - ', 'cg rw - ')}\n")
    folder = root / "cg/ours"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return root


def test_without_limits_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert room_mib(group(tmp_path, {"memory.max": "max\n", "memory.current": "5\n"})) == 20_000


def test_a_groups_limit_counts_with_the_cached_files_that_it_would_give_back(tmp_path: Path) -> None:
    files = {
        "memory.max": str(3000 * MIB),
        "memory.current": str(1500 * MIB),
        "memory.stat": f"anon 5\ninactive_file {500 * MIB}\nactive_file 9\n",
    }
    assert room_mib(group(tmp_path, files)) == 2000


def test_the_first_version_of_control_groups_limits_memory_too(tmp_path: Path) -> None:
    files = {
        "memory.limit_in_bytes": str(1000 * MIB),
        "memory.usage_in_bytes": str(600 * MIB),
        "memory.stat": f"inactive_file {MIB}\ntotal_inactive_file {100 * MIB}\n",
    }
    assert room_mib(group(tmp_path, files, v1=True)) == 500


def test_a_limit_near_two_to_the_63_is_none(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": str((1 << 63) - 4096), "memory.usage_in_bytes": "7"}
    assert room_mib(group(tmp_path, files, v1=True)) == 20_000


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    assert room_mib(group(tmp_path, {"memory.max": str(MIB), "memory.current": str(9 * MIB)})) == 0


def test_one_more_guest_is_refused_before_a_fleet_might_take_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Room(most_mib=1000, each_mib=100)
    monkeypatch.setattr(room, "room_mib", lambda: 20_000)
    assert bounds.refuses([]) == ""
    assert bounds.refuses([(1000 - 100 - SPARE_MIB) * MIB]) == ""
    assert "--max-memory 1000 MiB" in bounds.refuses([(1000 - 100 - SPARE_MIB + 1) * MIB])


def test_one_more_guest_is_refused_before_the_machine_is_short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    least = 100 + SPARE_MIB + RESERVE_MIB
    bounds = Room(most_mib=1 << 20, each_mib=100)
    monkeypatch.setattr(room, "room_mib", lambda: least)
    assert bounds.refuses([]) == ""
    monkeypatch.setattr(room, "room_mib", lambda: least - 1)
    assert f"{least - 1:,} MiB left" in bounds.refuses([])
