"""syscall-cost from its options to what was found, for tests on any host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ukperf import workloads
from ukperf.engine.campaign import measure
from ukperf.model import Request, Result
from ukperf.workloads.costs import Scouted, read_scouted
from ukperf.workloads.syscall_cost import CostOptions


@dataclass(frozen=True)
class Costs:
    """A measured run with what its scouts found."""

    result: Result
    scouted: Scouted


def measured(request: Request, only: str, *, say: Callable[[str], None], vsyscall: bool = True) -> Costs:
    """Scouts afresh, then the run."""
    options = CostOptions(only, vsyscall=vsyscall, fresh=True)
    result = measure(workloads.get("syscall_cost"), options, request, say=say).result
    return Costs(result, read_scouted(result.folder))
