"""What a run over machines has of its plan and journal: who had what, the next blocks' shares, each machine's seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ukperf.model import BootRecord, Plan
from ukperf.stats.apportion import Apportionment


def guests_of(records: Sequence[BootRecord]) -> dict[int, set[str]]:
    """Block → the guests that it booted."""
    had: dict[int, set[str]] = {}
    for record in records:
        had.setdefault(record.trial.block, set()).add(record.trial.guest)
    return had


def shares_of(plan: Plan, records: Sequence[BootRecord]) -> Apportionment | None:
    """With --precision what machines have told so far; None where the number of blocks is all that counts."""
    if plan.limits.precision is None:
        return None
    shares = Apportionment(plan.baseline, plan.limits.precision, plan.strata)
    blocks: dict[tuple[str, int], list[BootRecord]] = {}
    for record in records:
        blocks.setdefault((record.host, record.trial.block), []).append(record)
    for (machine, _), mine in blocks.items():
        shares.add(machine, mine)
    return shares


def seed_of(seed: int, machine: str) -> int:
    """Each machine's orders are its own, so that what an order does falls out over machines too."""
    return int.from_bytes(hashlib.sha256(f"ukperf/{seed}/{machine}".encode()).digest()[:4], "big")
