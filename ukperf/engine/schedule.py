"""Randomized complete blocks: every block boots every guest once, in an order that the seed decides.

What a boot leaves behind (a warm cache, a busy disk) falls on the boot after it. In blocks of independent orders a
guest follows another more often than itself: a boot after guest B that is 3 % slower makes B look 1.5 % faster than A,
both being equal. So each block begins with the guest that the one before ended with, and is random otherwise: then
every guest follows every guest, itself included, equally often (of two guests exactly, of more on average), and what
is left behind falls on all alike. Source: Williams (1949), Aust. J. Sci. Res. 2, balances within rows what is balanced
here over a run.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

from ukperf.model import INDEPENDENT


def block_order(guests: Sequence[str], seed: int, block: int, schedule: int = INDEPENDENT) -> tuple[str, ...]:
    """The order of the guests in one block; a pure function of its arguments, so a resumed run goes on as planned.

    schedule: INDEPENDENT or BALANCED, as the plan says.
    """
    names = tuple(sorted(guests))
    if schedule == INDEPENDENT or len(names) < 2:
        return _shuffled(names, seed, block)
    return _chained(names, seed, block)


@lru_cache(maxsize=64)  # each trial asks for its block's
def _shuffled(names: tuple[str, ...], seed: int, block: int) -> tuple[str, ...]:
    order = list(names)
    random.Random(f"ukperf/{seed}/{block}").shuffle(order)
    return tuple(order)


@lru_cache(maxsize=8)
def _lasts(names: tuple[str, ...], seed: int) -> list[str]:
    """The last guest of each block so far; it grows as blocks are asked for."""
    return [_shuffled(names, seed, 0)[-1]]


def _chained(names: tuple[str, ...], seed: int, block: int) -> tuple[str, ...]:
    lasts = _lasts(names, seed)
    while len(lasts) < block:
        lasts.append(_after(lasts[-1], names, seed, len(lasts))[-1])
    return _after(lasts[block - 1], names, seed, block) if block else _shuffled(names, seed, 0)


def _after(first: str, names: tuple[str, ...], seed: int, block: int) -> tuple[str, ...]:
    return (first, *_shuffled(tuple(name for name in names if name != first), seed, block))
