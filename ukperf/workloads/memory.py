"""`--min-memory`: the least memory in which each guest reaches `main`, three boots out of three."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ukperf.engine.folders import alone
from ukperf.engine.plan import domain_name
from ukperf.engine.session import Say, checked, make_plan, open_hosts
from ukperf.errors import UkperfError
from ukperf.hosts.base import Host
from ukperf.model import BootProtocol, BootSpec, Event, Image, Plan, Request
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


def measure(request: Request, *, say: Say, report: Callable[[str, int], None]) -> tuple[Plan, list[LeastMemory]]:
    """Plan as for a run, and bisect instead of running it. say: as in session.start.

    Raises UkperfError for everything that keeps guests from booting at all.
    """
    run_id, request = secrets.token_hex(8), checked(request)
    with alone(request.share_host), open_hosts(request.connect, run_id, request.shared_path) as hosts:
        plan = make_plan(request, run_id, tuple(hosts.values()), say)
        if all(image.protocol is BootProtocol.EXEC for image in plan.images.values()):
            raise UkperfError("A program on this machine has no memory of its own to find.", hint="Name a --guest.")
        return plan, least_memory(plan, hosts, report)


def least_memory(plan: Plan, hosts: Mapping[str, Host], report: Callable[[str, int], None]) -> list[LeastMemory]:
    """Bisect for each guest of the plan that is a virtual machine; report(guest, MiB) is called before each boot.

    The largest size tried is the plan's machine memory.
    """
    host = hosts[plan.hosts[0]]
    return [
        _least(plan, image, host, report) for image in plan.images.values() if image.protocol is not BootProtocol.EXEC
    ]


def _least(plan: Plan, image: Image, host: Host, report: Callable[[str, int], None]) -> LeastMemory:
    boots = 0
    rss: int | None = None
    timeout = plan.timeout_s

    def works(mib: int) -> bool:
        nonlocal boots, rss, timeout
        boots += 1
        report(image.guest, mib)
        spec = BootSpec(
            image,
            replace(plan.machine_of(image.guest), memory_mib=mib),
            plan.accelerator,
            plan.launch,
            timeout,
            run_id=plan.run_id,
            name=domain_name(plan.run_id, image.guest),
        )
        seen = host.boot(spec)
        if Event.MAIN not in seen.events:
            return False
        rss = seen.vmm_peak_rss or rss
        took = (seen.events.get(Event.STOPPED, seen.events[Event.MAIN]) - seen.events[Event.START]) / 1e9
        timeout = min(plan.timeout_s, max(MIN_TIMEOUT_S, PATIENCE * took))
        return True

    found = find_least(works, LEAST_MIB, plan.machine.memory_mib, times=TIMES)
    return LeastMemory(image.guest, found.least_mib, plan.machine.memory_mib, boots, rss)
