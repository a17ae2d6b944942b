"""Paired comparison over randomized complete blocks: what falls on a whole block (drift) falls out of the difference.

Source: Box, Hunter & Hunter, Statistics for Experimenters (2nd ed.), ch. 3; Fleming & Wallace (1986) for the
geometric mean of ratios.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, as_list, moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def paired_effect(guest: ArrayLike, baseline: ArrayLike) -> Effect:
    """Paired t on log(guest) - log(baseline).

    guest, baseline: shape (blocks,), positive and finite, entry i of both from block i. Below 6 pairs the effect has no
    standard error. Raises ValueError for other shapes and values, or no pairs.
    """
    over, under = as_list(guest), as_list(baseline)
    if len(over) != len(under):
        raise ValueError("the two sides have different numbers of blocks")
    if not over:
        raise ValueError("no pairs")
    if min(over) <= 0 or min(under) <= 0:
        raise ValueError("a value is zero or less: it has no logarithm")
    n = len(over)
    same = max(over) == min(over) and max(under) == min(under)
    if same and over[0] == under[0]:  # exact repeats: no rounding may turn equal into different
        return Effect(0.0, 0.0 if n >= MIN_BOOTS else None, n - 1, n)
    differences = [math.log(left) - math.log(right) for left, right in zip(over, under, strict=True)]
    if same:
        return Effect(differences[0], 0.0 if n >= MIN_BOOTS else None, n - 1, n)
    mean, variance = moments(differences)
    return Effect(mean, math.sqrt(variance / n) if n >= MIN_BOOTS else None, n - 1, n)
