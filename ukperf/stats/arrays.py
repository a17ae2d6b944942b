"""Arrays of one dimension, for what is done to many numbers at once. `estimate.as_list` is for few."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ukperf.stats.figures import LARGEST, SMALLEST

Floats = NDArray[np.float64]


def as_floats(values: ArrayLike) -> Floats:
    """A one-dimensional float array; raises ValueError for any other shape or for a value that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected one dimension, got {array.ndim}")
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite")
    return array


def within_reason(values: ArrayLike) -> Floats:
    """`figures.within_reason` for arrays of any shape."""
    array = np.array(values, dtype=np.float64)
    size = np.abs(array)
    if (size > LARGEST).any():
        array[size > LARGEST] = np.copysign(np.inf, array[size > LARGEST])
    array[size < SMALLEST] = 0.0
    return array
