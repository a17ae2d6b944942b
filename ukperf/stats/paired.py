"""Paired comparison over randomized complete blocks: what falls on a whole block (drift) falls out of the difference.

Source: Box, Hunter & Hunter, Statistics for Experimenters (2nd ed.), ch. 3; Fleming & Wallace (1986) for the
geometric mean of ratios.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, as_floats


def paired_effect(guest: ArrayLike, baseline: ArrayLike) -> Effect:
    """Paired t on log(guest) - log(baseline).

    guest, baseline: shape (blocks,), positive and finite, entry i of both from block i. Below 6 pairs the effect has no
    standard error. Raises ValueError for other shapes and values, or no pairs.
    """
    over, under = as_floats(guest), as_floats(baseline)
    if over.shape != under.shape:
        raise ValueError("the two sides have different numbers of blocks")
    if over.size == 0:
        raise ValueError("no pairs")
    if (over <= 0).any() or (under <= 0).any():
        raise ValueError("a value is zero or less: it has no logarithm")
    n = over.size
    same = over.max() == over.min() and under.max() == under.min()
    if same and over[0] == under[0]:  # exact repeats: no rounding may turn equal into different
        return Effect(0.0, 0.0 if n >= MIN_BOOTS else None, n - 1, n)
    differences = np.log(over) - np.log(under)
    if same:
        return Effect(float(differences[0]), 0.0 if n >= MIN_BOOTS else None, n - 1, n)
    error = float(differences.std(ddof=1)) / n**0.5 if n >= MIN_BOOTS else None
    return Effect(float(differences.mean()), error, n - 1, n)
