"""How much memory guests may take here: what the machine has left, and what control groups leave of it (cgroups(7)).

In v2 a group's limit is in memory.max and its use in memory.current, in v1 in memory.limit_in_bytes and
memory.usage_in_bytes. Files that it has cached and that nobody uses (inactive_file) are given back when memory is
wanted, so they count as free, as they do in MemAvailable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ukperf.hosts import cgroup
from ukperf.hosts.procfiles import available_mib, text_of

MIB = 1 << 20
# Beside its own memory a guest's VMM takes this much at most until its guest is ready: QEMU some 20 MiB, and its code
# cache some 50 for a Linux kernel's boot.
SPARE_MIB = 160
# What is left for everybody else, whatever was asked for.
RESERVE_MIB = 256
_UNLIMITED = 1 << 60  # v1 has a number of pages near 2^63 for no limit
_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
_INACTIVE = re.compile(r"^(?:total_)?inactive_file (\d{1,20})$", re.MULTILINE)


def room_mib(root: Path = cgroup.ROOT) -> int:
    """MiB that programs of this process may still take."""
    left = [left for folder in cgroup.groups(root, "memory") if (left := _left(folder)) is not None]
    return max(0, min([available_mib(), *left]))


def _left(folder: Path) -> int | None:
    """MiB under a group's limit, None where it has none."""
    for limited, used in _FILES:
        most, now = text_of(folder / limited) or "", text_of(folder / used) or ""
        if most.isdecimal() and now.isdecimal() and int(most) < _UNLIMITED:
            files = _INACTIVE.findall(text_of(folder / "memory.stat") or "")
            # v1 tells that of the group alone and, as total_, that of all below it: the larger one.
            return (int(most) - int(now) + max(map(int, files), default=0)) // MIB
    return None


@dataclass(frozen=True)
class Room:
    """Bounds of a fleet. most_mib: what its guests may take together; each_mib: the memory of one."""

    most_mib: int
    each_mib: int

    def refuses(self, taken: Sequence[int]) -> str:
        """Why there is no room for one more guest, as a phrase; "" where there is. taken: bytes of those that live."""
        wanted = self.each_mib + SPARE_MIB
        together = sum(taken) // MIB
        if together + wanted > self.most_mib:
            return f"with one more they might take more than --max-memory {self.most_mib} MiB"
        left = room_mib()
        if left < wanted + RESERVE_MIB:
            return f"this machine has {left:,} MiB left, and one more might take {wanted}"
        return ""
