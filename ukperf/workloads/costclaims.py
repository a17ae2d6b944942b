"""The paper's two factors beside what a run measured: "up to 20 times a function call" and "up to 60 times cheaper"."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from ukperf.model import BootRecord, kind_of
from ukperf.stats.perboot import collect
from ukperf.stats.within_boot import BootRatio, block_ratio
from ukperf.workloads.costs import VSYSCALL
from ukperf.workloads.paperfigures import COST_CLAIMS


def claims(records: Sequence[BootRecord], suffix: str) -> tuple[tuple[str, BootRatio], ...]:
    """(the paper's words, measured ratio) for each claim that this run has both sides of.

    records: samples of one unit only; suffix: what benchmarks have behind the operation's name.
    """
    tables = {guest: collect(records, guest) for guest in dict.fromkeys(r.trial.guest for r in records)}
    measured = []
    for claim in COST_CLAIMS:
        (over_guest, over), (under_guest, under) = claim.over, claim.under
        for one, other in product(tables, tables):
            if (_any_version(one), _any_version(other)) != (over_guest, under_guest) or not _same_kernel(one, other):
                continue
            ratio = block_ratio(
                tables[one].get(over + suffix),
                tables[other].get(under + suffix),
                (one, f"{one} {over}", f"{other} {under}"),
            )
            if ratio is not None:
                measured.append((claim.words, ratio))
    return tuple(measured)


def _any_version(guest: str) -> str:
    return kind_of(guest) + (VSYSCALL if guest.endswith(VSYSCALL) else "")


def _same_kernel(one: str, other: str) -> bool:
    """False for two kernels of one guest: a claim is about one of them."""
    return kind_of(one) != kind_of(other) or one.removesuffix(VSYSCALL) == other.removesuffix(VSYSCALL)
