"""The least memory in which a guest works: a figure that unikernels are sold by, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TIMES = 3  # a size counts as enough when that many boots out of that many reach main


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
