"""What is said of it: estimates, comparisons with their verdicts, tables of system calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ukperf.model.seen import Status, Unit, cost_of


class Verdict(StrEnum):
    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Estimate:
    """A location with its confidence interval; low/high are None below the boots that an interval needs.

    status: what most of the boots behind it are. off: boots whose value is not `value`.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    unit: Unit
    status: Status = Status.MEASURED
    off: int = 0


@dataclass(frozen=True)
class Comparison:
    """guest / baseline for one benchmark: ratio of geometric means with its interval and verdict."""

    benchmark: str
    guest: str
    baseline: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    n: int  # boots (pairs) behind it
    p_value: float | None = None  # two-sided, Holm-adjusted where a family was given
    boots_needed: int | None = None  # inconclusive only: blocks that would settle it; between runs: boots of each side
    warnings: tuple[str, ...] = ()
    unit: Unit | None = None  # of both sides, where they are comparable

    @property
    def word(self) -> str:
        """The verdict in the words of its unit: `faster` of time, `fewer` of counts, `higher` of rates."""
        return verdict_word(self.verdict, self.unit)


def direction(log_ratio: float, unit: Unit | None) -> Verdict:
    """What a difference is called: FASTER is whatever is better, less time or a higher rate."""
    return Verdict.FASTER if cost_of(unit) * log_ratio < 0 else Verdict.SLOWER


_RATE_WORDS = {Verdict.FASTER: "higher", Verdict.SLOWER: "lower"}
_COUNT_WORDS = {Verdict.FASTER: "fewer", Verdict.SLOWER: "more"}


_WORDS: Mapping[Unit, Mapping[Verdict, str]] = {
    Unit.INSTRUCTIONS: _COUNT_WORDS,
    Unit.BYTES: _COUNT_WORDS,
    Unit.COUNT: _COUNT_WORDS,
    Unit.PER_SECOND: _RATE_WORDS,
    Unit.SCORE: _RATE_WORDS,
}


# What differences are called in any unit → the verdict: one question, asked of each unit in its words.
VERDICT_OF_WORD: Mapping[str, Verdict] = {word: v for words in _WORDS.values() for v, word in words.items()}


def verdict_word(verdict: Verdict, unit: Unit | None) -> str:
    """A verdict for people: `faster` and `slower` of time, `fewer` and `more` of instructions, bytes and counts,
    `higher` and `lower` of rates."""
    words = _WORDS.get(unit, {}) if unit is not None else {}
    return words.get(verdict, verdict.value)


class CallClass(StrEnum):
    """What a guest does with a system call number (docs/syscalls.md says how each is found out)."""

    WORKS = "works"
    ERROR = "error"  # answers with an error other than ENOSYS: it knows the call
    STUB = "stub"  # a success that cannot be true
    ENOSYS = "enosys"
    KILLS = "kills"  # the guest ended in it
    HANGS = "hangs"  # the guest did not come back from it
    UNPROBED = "unprobed"  # no probe, or none that is safe here


@dataclass(frozen=True)
class SystemCall:
    """One system call number in one guest. errno: the answer of ERROR and ENOSYS; detail: one phrase, for people."""

    nr: int
    name: str
    kind: CallClass
    errno: int = 0
    detail: str = ""


@dataclass(frozen=True)
class QuotedCalls:
    """How many system calls somebody else says that a kernel supports."""

    kernel: str
    supported: int


@dataclass(frozen=True)
class CallTable:
    """Every x86-64 system call in one guest, by number."""

    guest: str
    kernel_version: str
    kernel_digest: str
    program_digest: str
    calls: tuple[SystemCall, ...]
    boots: int
    complaint: str = ""  # why the table is incomplete, if it is

    def call(self, nr: int) -> SystemCall | None:
        return next((call for call in self.calls if call.nr == nr), None)
