"""The figures of the paper that ukperf starts from, as data. Which guests are named here, the paper decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ukperf.model import QuotedCalls

BASELINE = "linux"  # what it divides by

# Table I: the number of calls "supported", as its authors quote it.
TABLE_I = {
    "linux": QuotedCalls("Linux 3.7", 393),
    "unikraft": QuotedCalls("Unikraft", 146),
    "nanos": QuotedCalls("nanos", 148),
}


@dataclass(frozen=True)
class PaperNumber:
    """One line of Table II or III. seconds: by guest, on an EC2 t2.micro (Xen)."""

    table: str
    benchmark: str
    seconds: Mapping[str, float]


TABLES_II_AND_III = (
    PaperNumber("II", "multinomialnb train", {"nanos": 0.27, "linux": 0.25}),
    PaperNumber("II", "multinomialnb test", {"nanos": 0.039, "linux": 0.038}),
    PaperNumber("III", "extratrees train", {"nanos": 44.19, "linux": 43.58}),
    PaperNumber("III", "extratrees test", {"nanos": 1.31, "linux": 1.32}),
)


@dataclass(frozen=True)
class CostClaim:
    """A factor: one guest's operation over another's, and whose words say so."""

    over: tuple[str, str]
    under: tuple[str, str]
    words: str


# "Up to 20 times a function call" and "up to 60 times cheaper" both come from Unikraft's EuroSys'21 table, in cycles:
# Linux 222 (154 without mitigations), Unikraft's run-time translation 84, a function call 4. 84 / 4 = 21 is the "20
# times", 222 / 4 = 55.5 the "60 times". `+vsyscall`: the guest entered by a function call.
_TRANSLATION = "the paper: run-time translation up to 20× a function call"
_LINUX = "EuroSys'21: 222 / 4 cycles = 55.5×, the paper's 60×"
COST_CLAIMS = (
    CostClaim(("unikraft", "noop.raw"), ("unikraft", "call.direct"), _TRANSLATION),
    CostClaim(("nanos", "noop.raw"), ("nanos", "call.direct"), _TRANSLATION),
    CostClaim(("linux", "noop.raw"), ("linux", "call.direct"), _LINUX),
    CostClaim(("native", "noop.raw"), ("native", "call.direct"), _LINUX),
    CostClaim(
        ("linux", "noop.raw"),
        ("unikraft+vsyscall", "noop.vsyscall"),
        "the paper: Unikraft's function-call entry up to 60× cheaper than Linux",
    ),
    CostClaim(
        ("unikraft", "noop.raw"),
        ("unikraft+vsyscall", "noop.vsyscall"),
        "EuroSys'21: 84 / 4 cycles = 21×, run-time translation over function call",
    ),
    CostClaim(
        ("linux", "getuid.raw"),
        ("unikraft+vsyscall", "getuid.vsyscall"),
        "the same with a call that does something: getuid",
    ),
)
