"""Randomized complete blocks: every block boots every guest once, in an order that the seed decides."""

from __future__ import annotations

import random
from collections.abc import Sequence


def block_order(guests: Sequence[str], seed: int, block: int) -> tuple[str, ...]:
    """The order of the guests in one block; a pure function of its arguments, so a resumed run goes on as planned."""
    order = sorted(guests)
    random.Random(f"ukperf/{seed}/{block}").shuffle(order)
    return tuple(order)
