"""Workloads by name: what runs in guests and is measured. Entry points `ukperf.workloads`, ours in pyproject.toml.

The name of an entry point is what plan.json calls the workload, and the command of those that other packages bring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from ukperf.errors import UkperfError
from ukperf.registry import OURS, Registry

if TYPE_CHECKING:
    from ukperf.model import BootRecord
    from ukperf.workloads.base import Workload

WORKLOADS: Registry[Callable[[], Workload]] = Registry("ukperf.workloads", "workload")


def get(name: str) -> Workload:
    """Raises UkperfError where there is none of that name, or it cannot be loaded."""
    from ukperf.workloads.base import Workload

    workload: Workload = WORKLOADS.call(name, kind=Workload)
    workload.name = name
    return workload


def records_of(workload: Workload, given: object) -> tuple[BootRecord, ...]:
    """What a workload says is compared. Raises UkperfError, with its package's name, where that is anything else."""
    from ukperf.model import BootRecord

    records = WORKLOADS.expect(workload.name, given, Iterable)  # type: ignore[type-abstract]
    return tuple(WORKLOADS.expect(workload.name, record, BootRecord) for record in records)


def of_run(name: str) -> Workload:
    """The workload that a plan names; where it is not installed any more, one that knows nothing of its own."""
    from ukperf.workloads.base import Plain

    if name not in WORKLOADS.names():
        return Plain()
    try:
        return get(name)
    except UkperfError:
        return Plain()


def built_ahead() -> dict[str, Workload]:
    """Name → workload, of those whose program `images build` can make; what cannot be loaded is none of them."""
    made = {}
    for name in WORKLOADS.names():
        with suppress(UkperfError):
            if (workload := get(name)).builds_ahead:
                made[name] = workload
    return made


def strangers() -> tuple[str, ...]:
    """Names of the workloads that other packages bring: each becomes a command."""
    return tuple(name for name in WORKLOADS.names() if WORKLOADS.origin(name) != OURS)
