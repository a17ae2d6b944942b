"""Memory: the least in which a guest reaches `main` (`--min-memory`, a figure that unikernels are sold by, found by
bisection), and how much would have been enough for a guest that died, found by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ukperf.errors import UkperfError
from ukperf.hosts.procfiles import available_mib
from ukperf.model import BootProtocol, BootRecord, Event, Outcome, Plan, Request
from ukperf.reports.page import Line, Page, Part, fact_lines, table
from ukperf.workloads.base import Bench, Repeats

LEAST_MIB = 1
# A guest with too little memory mostly hangs: it gets this many times what a boot with enough took, and at least 5 s.
PATIENCE = 8.0
MIN_TIMEOUT_S = 5.0
TIMES = 3  # a size counts as enough when that many boots out of that many reach main
GROWN = 3  # sizes that are tried upwards, each twice the one before
# A guest without memory may say so, be killed, or just stop answering.
SILENT_DEATHS = frozenset({Outcome.CRASHED, Outcome.HUNG, Outcome.SILENT})
SIGNS = ("memory", "oom", "signal 9", "sigkill", "bad_alloc", "sigsegv", "signal 11")


# ---- the least ----


@dataclass(frozen=True)
class LeastMemory:
    """least_mib: None if the guest did not reach main even with greatest_mib; boots: how many were tried."""

    guest: str
    least_mib: int | None
    greatest_mib: int
    boots: int
    peak_rss: int | None  # bytes, of the VMM, in the last boot with enough


@dataclass(frozen=True)
class LeastMemoryPage(Page):
    """MiB of guest memory, and of the VMM's peak resident memory."""

    least: Sequence[LeastMemory]

    def body(self) -> Iterator[Part]:
        rows = [
            (
                item.guest,
                f"> {item.greatest_mib} MiB" if item.least_mib is None else f"{item.least_mib} MiB",
                f"{item.peak_rss / (1 << 20):.0f} MiB" if item.peak_rss else "–",
                str(item.boots),
            )
            for item in self.least
        ]
        yield table(("", "least memory", "VMM peak", "boots"), rows, right=(1, 2, 3))
        yield from fact_lines(self.facts)
        yield Line("least memory: with it, three boots out of three reached main; with 1 MiB less, one did not.")

    def said(self) -> Mapping[str, object]:
        return {"min_memory": self.least, "facts": self.facts}


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


@dataclass(frozen=True)
class MinMemory:
    """The answer. least_mib: the smallest size that was enough, None when not even the greatest was.

    tried: size in MiB → how many of its boots worked, in the order of trying; a size is given up at its first failure.
    """

    least_mib: int | None
    tried: dict[int, int]


def find_least(works: Callable[[int], bool], low: int, high: int, *, times: int = TIMES) -> MinMemory:
    """Bisects between low and high (MiB, both may be the answer) for the least size that works `times` out of `times`.

    works(mib): one boot with that much memory; did the program reach main? Assumes that more memory is never worse; a
    guest for which that is not so gets *a* size that is enough next to one that is not. At most
    times · (2 + log2(high − low)) boots. Raises ValueError unless 1 ≤ low ≤ high and times ≥ 1.
    """
    if not 1 <= low <= high or times < 1:
        raise ValueError(f"low {low}, high {high}, times {times}")
    tried: dict[int, int] = {}

    def enough(mib: int) -> bool:
        tried[mib] = 0
        while tried[mib] < times and works(mib):
            tried[mib] += 1
        return tried[mib] == times

    if not enough(high):
        return MinMemory(None, tried)
    if low == high or enough(low):
        return MinMemory(low, tried)
    bad, good = low, high
    while good - bad > 1:
        middle = (bad + good) // 2
        if enough(middle):
            good = middle
        else:
            bad = middle
    return MinMemory(good, tried)


# ---- enough ----


@dataclass(frozen=True)
class Advice:
    """enough_mib: the smallest size tried that worked, None where none did; tried: all sizes, MiB, in that order."""

    guest: str
    had_mib: int
    enough_mib: int | None
    tried: tuple[int, ...]

    @property
    def sentence(self) -> str:
        if not self.tried:
            return f"{self.guest} had {self.had_mib} MiB; this host has no more to try."
        if self.enough_mib is None:
            return f"{self.guest} fails with {max(self.tried):,} MiB too, so memory is not all that it lacks."
        return f"{self.guest} does not get through with {self.had_mib:,} MiB; with {self.enough_mib:,} MiB it does."


def suspects(records: Sequence[BootRecord]) -> list[str]:
    """Guests without one good boot whose deaths look like a lack of memory; records: of virtual machines."""
    good = {r.trial.guest for r in records if r.outcome is Outcome.OK}
    last = {r.trial.guest: r for r in records if r.trial.guest not in good}
    return [guest for guest, record in last.items() if _looks_like_memory(record)]


def _looks_like_memory(record: BootRecord) -> bool:
    text = f"{record.reason}\n{record.console_tail}".lower()
    signs = any(sign in text for sign in SIGNS)
    return record.outcome in SILENT_DEATHS or (record.outcome is Outcome.FAILED and signs)


def find_enough(guest: str, had_mib: int, usual_mib: int, most_mib: int, works: Callable[[int], bool]) -> Advice:
    """Tries sizes until works(mib), and then halves while that works.

    usual_mib: what is enough as a rule, tried first where it is at least twice had_mib; then twice and four times as
    much, but never more than most_mib.
    """
    tried: list[int] = []

    def enough(mib: int) -> bool:
        tried.append(mib)
        return works(mib)

    first = min(max(2 * had_mib, usual_mib), most_mib)
    sizes = [mib for mib in (first << n for n in range(GROWN)) if had_mib < mib <= most_mib]
    enough_mib = next((mib for mib in sizes if enough(mib)), None)
    while (
        enough_mib is not None
        and enough_mib // 2 > had_mib
        and enough_mib // 2 not in tried
        and enough(enough_mib // 2)
    ):
        enough_mib //= 2
    return Advice(guest, had_mib, enough_mib, tuple(tried))


class _Tries:
    """Boots of one guest with other memories. One that works says how long it takes: what needs PATIENCE times that
    long is not enough, for a guest that is short of memory may read its files again and again and never end."""

    PATIENCE = 2

    def __init__(self, repeats: Repeats, guest: str) -> None:
        self._repeats, self._guest = repeats, guest
        self._timeout_s = repeats.plan.timeout_s

    def work(self, mib: int) -> bool:
        """Does the guest get through with this much memory?"""
        started = time.monotonic()
        good = self._repeats.boot(self._guest, mib, self._timeout_s).outcome is Outcome.OK
        if good:
            self._timeout_s = min(self._repeats.plan.timeout_s, 10 + self.PATIENCE * (time.monotonic() - started))
        return good


def enough(repeats: Repeats, guest: str, usual_mib: int, most_mib: int | None = None) -> Advice:
    """How much memory would have been enough for a guest of a plan, by booting it. usual_mib: as for `find_enough`.
    most_mib: half of what this machine has left at most."""
    half = available_mib() // 2
    had = repeats.plan.machine_of(guest).memory_mib
    most = half if most_mib is None else min(most_mib, half)
    return find_enough(guest, had, usual_mib, most, _Tries(repeats, guest).work)
