"""The paper's two factors beside what a run measured: "up to 20 times a function call" and "up to 60 times cheaper".

Both come from Unikraft's EuroSys'21 table, in cycles: Linux 222 (154 without mitigations), Unikraft's run-time
translation 84, a function call 4. 84 / 4 = 21 is the "20 times", 222 / 4 = 55.5 the "60 times".
"""

from __future__ import annotations

from collections.abc import Sequence

from ukperf.model import BootRecord
from ukperf.stats.perboot import Series, collect
from ukperf.stats.within_boot import BootRatio, block_ratio

# over, under: (guest, operation); the paper's words
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
    tables: dict[str, dict[str, Series]] = {}
    found = []
    for (over_guest, over), (under_guest, under), words in _CLAIMS:
        for guest in (over_guest, under_guest):
            if guest not in tables:
                tables[guest] = collect(records, guest)
        ratio = block_ratio(
            tables[over_guest].get(over + suffix),
            tables[under_guest].get(under + suffix),
            (over_guest, f"{over_guest} {over}", f"{under_guest} {under}"),
        )
        if ratio is not None:
            found.append((words, ratio))
    return tuple(found)
