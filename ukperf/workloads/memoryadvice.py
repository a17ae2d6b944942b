"""How much memory would have been enough for a guest that died: found by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ukperf.model import BootRecord, Outcome

GROWN = 3  # sizes that are tried upwards, each twice the one before
# A guest without memory may say so, be killed, or just stop answering.
SILENT_DEATHS = frozenset({Outcome.CRASHED, Outcome.HUNG, Outcome.SILENT})
SIGNS = ("memory", "oom", "signal 9", "sigkill", "bad_alloc", "sigsegv", "signal 11")


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
    """Guests without one good boot whose deaths look like a lack of memory."""
    good = {r.trial.guest for r in records if r.outcome is Outcome.OK}
    last = {r.trial.guest: r for r in records if r.trial.guest not in good}
    return [guest for guest, record in last.items() if guest != "native" and _looks_like_memory(record)]


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
    found = next((mib for mib in sizes if enough(mib)), None)
    while found is not None and found // 2 > had_mib and found // 2 not in tried and enough(found // 2):
        found //= 2
    return Advice(guest, had_mib, found, tuple(tried))
