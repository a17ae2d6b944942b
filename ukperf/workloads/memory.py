"""`--min-memory`: the least memory in which each guest reaches `main`, three boots out of three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ukperf.errors import UkperfError
from ukperf.model import BootProtocol, Event, Plan, Request
from ukperf.workloads.base import Bench, Repeats
from ukperf.workloads.minmemory import TIMES, find_least

LEAST_MIB = 1
# A guest with too little memory mostly hangs: it gets this many times what a boot with enough took, and at least 5 s.
PATIENCE = 8.0
MIN_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class LeastMemory:
    """least_mib: None if the guest did not reach main even with greatest_mib; boots: how many were tried."""

    guest: str
    least_mib: int | None
    greatest_mib: int
    boots: int
    peak_rss: int | None  # bytes, of the VMM, in the last boot with enough


def measure(request: Request, bench: Bench, *, report: Callable[[str, int], None]) -> tuple[Plan, list[LeastMemory]]:
    """Plan as for a run, and bisect instead of running it.

    Raises UkperfError for everything that keeps guests from booting at all.
    """
    with bench.planned(request) as repeats:
        if all(image.protocol is BootProtocol.EXEC for image in repeats.plan.images.values()):
            raise UkperfError("A program on this machine has no memory of its own to find.", hint="Name a --guest.")
        return repeats.plan, least_memory(repeats, report)


def least_memory(repeats: Repeats, report: Callable[[str, int], None]) -> list[LeastMemory]:
    """Bisect for each guest of the plan that is a virtual machine; report(guest, MiB) is called before each boot.

    The largest size tried is the plan's machine memory.
    """
    virtual = (name for name, image in repeats.plan.images.items() if image.protocol is not BootProtocol.EXEC)
    return [_least(repeats, name, report) for name in virtual]


def _least(repeats: Repeats, guest: str, report: Callable[[str, int], None]) -> LeastMemory:
    boots = 0
    rss: int | None = None
    timeout = repeats.plan.timeout_s

    def works(mib: int) -> bool:
        nonlocal boots, rss, timeout
        boots += 1
        report(guest, mib)
        seen = repeats.boot(guest, mib, timeout)
        if Event.MAIN not in seen.events:
            return False
        rss = seen.vmm_peak_rss or rss
        took = (seen.events.get(Event.STOPPED, seen.events[Event.MAIN]) - seen.events[Event.START]) / 1e9
        timeout = min(repeats.plan.timeout_s, max(MIN_TIMEOUT_S, PATIENCE * took))
        return True

    greatest = repeats.plan.machine.memory_mib
    least = find_least(works, LEAST_MIB, greatest, times=TIMES)
    return LeastMemory(guest, least.least_mib, greatest, boots, rss)
