"""The paper's two factors beside what a run measured: "up to 20 times a function call" and "up to 60 times cheaper".

Both come from Unikraft's EuroSys'21 table, in cycles: Linux 222 (154 without mitigations), Unikraft's run-time
translation 84, a function call 4. 84 / 4 = 21 is the "20 times", 222 / 4 = 55.5 the "60 times".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from ukperf.model import BootRecord, kind_of
from ukperf.stats.perboot import collect
from ukperf.stats.within_boot import BootRatio, block_ratio
from ukperf.workloads.costs import VSYSCALL

# over, under: (guest of any version, operation); the paper's words
_CLAIMS = (
    (
        ("unikraft", "noop.raw"),
        ("unikraft", "call.direct"),
        "the paper: run-time translation up to 20× a function call",
    ),
    (("nanos", "noop.raw"), ("nanos", "call.direct"), "the paper: run-time translation up to 20× a function call"),
    (("linux", "noop.raw"), ("linux", "call.direct"), "EuroSys'21: 222 / 4 cycles = 55.5×, the paper's 60×"),
    (("native", "noop.raw"), ("native", "call.direct"), "EuroSys'21: 222 / 4 cycles = 55.5×, the paper's 60×"),
    (
        ("linux", "noop.raw"),
        ("unikraft+vsyscall", "noop.vsyscall"),
        "the paper: Unikraft's function-call entry up to 60× cheaper than Linux",
    ),
    (
        ("unikraft", "noop.raw"),
        ("unikraft+vsyscall", "noop.vsyscall"),
        "EuroSys'21: 84 / 4 cycles = 21×, run-time translation over function call",
    ),
    (
        ("linux", "getuid.raw"),
        ("unikraft+vsyscall", "getuid.vsyscall"),
        "the same with a call that does something: getuid",
    ),
)


def claims(records: Sequence[BootRecord], suffix: str) -> tuple[tuple[str, BootRatio], ...]:
    """(the paper's words, measured ratio) for each claim that this run has both sides of.

    records: samples of one unit only; suffix: what benchmarks have behind the operation's name.
    """
    tables = {guest: collect(records, guest) for guest in dict.fromkeys(r.trial.guest for r in records)}
    found = []
    for (over_guest, over), (under_guest, under), words in _CLAIMS:
        for one, other in product(tables, tables):
            if (_any_version(one), _any_version(other)) != (over_guest, under_guest) or not _same_kernel(one, other):
                continue
            ratio = block_ratio(
                tables[one].get(over + suffix),
                tables[other].get(under + suffix),
                (one, f"{one} {over}", f"{other} {under}"),
            )
            if ratio is not None:
                found.append((words, ratio))
    return tuple(found)


def _any_version(guest: str) -> str:
    return kind_of(guest) + (VSYSCALL if guest.endswith(VSYSCALL) else "")


def _same_kernel(one: str, other: str) -> bool:
    """False for two kernels of one guest: a claim is about one of them."""
    return kind_of(one) != kind_of(other) or one.removesuffix(VSYSCALL) == other.removesuffix(VSYSCALL)
