"""Ratios of two benchmarks: of the same boot, or of two guests in the same block, paired boot by boot.

Whatever falls on a whole boot or block (frequency, placement, noise) falls out of the ratio, as in `paired`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ukperf.model import BootRecord
from ukperf.stats.paired import paired_effect
from ukperf.stats.perboot import Series, collect
from ukperf.stats.within import refusal


@dataclass(frozen=True)
class BootRatio:
    """over / under: ratio of geometric means; low, high: 95 % t interval, None below 6 boots."""

    guest: str
    over: str
    under: str
    ratio: float
    low: float | None
    high: float | None
    n: int


def block_ratio(over: Series | None, under: Series | None, names: tuple[str, str, str]) -> BootRatio | None:
    """The ratio of two series, paired over the blocks that both have; None where one has no positive value.

    names: guest, over, under, as they are to be called.
    """
    if refusal(over, under, names[1], names[2]) or over is None or under is None:
        return None
    above, below = over.by_block(), under.by_block()
    shared = sorted(above.keys() & below.keys())
    if not shared:
        return None
    effect = paired_effect([above[block] for block in shared], [below[block] for block in shared])
    low, high = effect.interval() or (None, None)
    return BootRatio(*names, effect.ratio, low, high, effect.n)


def boot_ratios(records: Sequence[BootRecord], under: str) -> dict[tuple[str, str], BootRatio]:
    """(guest, benchmark) → every benchmark of every guest divided by `under` of the same boots."""
    ratios = {}
    for guest in sorted({record.trial.guest for record in records}):
        table = collect(records, guest)
        for over, series in table.items():
            ratio = block_ratio(series, table.get(under), (guest, over, under))
            if ratio is not None and over != under:
                ratios[guest, over] = ratio
    return ratios
