"""Warm-up: from which iteration on a boot is steady, by one rule for every boot, and said aloud when there is none.

The rule, on the logs of one boot's iterations (on the values where some are not positive):

1. scale: the level is the median of the last half, the noise 1.4826 MAD of first differences / sqrt(2), which a slow
   trend or a shift of level does not blow up. Values without a logarithm are divided by their median first, or by 1e-9
   of the largest where that is more;
2. values further than 6 noises from the level are clipped there: an outlier is no change of level (it is flagged and
   kept). A leading run of such values that the last half has nothing like is warm-up;
3. the rest is cut where the CUSUM of the mean is largest, if its square exceeds 15 ln n (the penalty of Barrett et al.)
   and the levels differ by more than 0.1 %. Where iterations depend on each other (their differences say how much) the
   penalty grows as the scatter of their means does. Then the part behind the cut is looked at again, until nothing is
   to cut;
4. what is behind the last cut is the steady state. If it is shorter than a quarter of the boot there is none, and all
   iterations count.

Boots of fewer than 20 iterations are taken as they are. Source: Barrett, Bolz-Tereick, Killick, Mount & Tratt, Virtual
Machine Warmup Blows Hot and Cold (OOPSLA 2017), who cut with PELT; binary segmentation behind the last cut finds the
same last change here, and does a thousand boots at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ukperf.stats.arrays import Floats
from ukperf.stats.figures import LEAST_ITERATIONS, Warmth

PENALTY = 15.0
CLIP = 6.0
TOLERANCE = 1e-3
LEAST_STEADY = 0.25
MOST_DEPENDENCE = 0.95  # beyond it a boot has no level that it could return to
_MOST_CUTS = 50
_LEAST_SCALE = 1e-9  # of the largest value: a level of about zero is no measure of a change
_CHUNK = 2_000_000  # values looked at together: bounds the memory


@dataclass(frozen=True)
class Steady:
    """For each boot: starts[i] is its first steady iteration, warmth[i] what came before (of costs:
    of rates warming up and slowing down change places); means[i] the steady mean."""

    starts: NDArray[np.intp]
    warmth: tuple[Warmth, ...]
    means: Floats


def steady_state(values: ArrayLike) -> Steady:
    """The rule on many boots of equal length.

    values: shape (boots, iterations), finite. Raises ValueError for another shape or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError("expected boots × iterations")
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite")
    boots, n = array.shape
    # every row is brought below 1 by a power of two, which is exact: so no sum of huge values can overflow
    exponents = np.frexp(np.abs(array).max(axis=1))[1]
    scaled = np.ldexp(array, -exponents[:, None])
    if n < LEAST_ITERATIONS:
        return Steady(np.zeros(boots, np.intp), (Warmth.SHORT,) * boots, np.ldexp(scaled.mean(axis=1), exponents))
    step = max(1, _CHUNK // n)
    starts = np.concatenate([_starts(array[i : i + step], scaled[i : i + step]) for i in range(0, boots, step)])
    unsteady = starts > n * (1 - LEAST_STEADY)
    used = np.where(unsteady, 0, starts)
    sums = np.concatenate([np.zeros((boots, 1)), scaled.cumsum(axis=1)], axis=1)
    rows = np.arange(boots)
    means = np.where(used > 0, (sums[:, n] - sums[rows, used]) / (n - used), scaled.mean(axis=1))
    before = sums[rows, used] / np.maximum(used, 1)
    warmth = tuple(map(_warmth, unsteady, starts, before > means))
    same = array.max(axis=1) == array.min(axis=1)
    return Steady(used, warmth, np.where(same, array[:, 0], np.ldexp(means, exponents)))


def _warmth(unsteady: bool, start: int, falls: bool) -> Warmth:
    if unsteady:
        return Warmth.UNSTEADY
    if start == 0:
        return Warmth.FLAT
    return Warmth.WARMING_UP if falls else Warmth.SLOWING_DOWN


def _starts(array: Floats, scaled: Floats) -> NDArray[np.intp]:
    """scaled: the same rows, brought below 1."""
    n = array.shape[1]
    logs = np.log(array) if (array > 0).all() else _logs_or_shares(array, scaled)
    tail = logs[:, n // 2 :]
    level = _medians(tail)
    steps = np.diff(logs, axis=1)
    centre = _medians(steps)
    noise = 1.4826 * _medians(np.abs(steps - centre)) / np.sqrt(2)
    noise = np.maximum(noise, TOLERANCE / CLIP)  # exact repeats, and steps of a coarse clock, are no changes
    slow = _inflation(steps, noise)
    z = (logs - level) / noise
    ends = z[:, n // 2 :]
    unlike = (z > ends.max(axis=1, keepdims=True)) | (z < ends.min(axis=1, keepdims=True))
    wild = (np.abs(z) > CLIP) & unlike
    z = np.clip(z, -CLIP, CLIP)
    starts = np.where(wild.all(axis=1), 0, wild.argmin(axis=1)).astype(np.intp)
    active = np.arange(array.shape[0])
    for _ in range(_MOST_CUTS):
        cut = _cut(z[active], starts[active], TOLERANCE / noise[active, 0], slow[active])
        moved = cut > starts[active]
        starts[active[moved]] = cut[moved]
        active = active[moved]
        if not active.size:
            break
    return starts


def _medians(array: Floats) -> Floats:
    """The median of each row, shape (rows, 1). numpy's own looks for NaN besides, which takes half as long again."""
    n = array.shape[1]
    if n % 2:
        return np.partition(array, n // 2, axis=1)[:, [n // 2]]
    parted = np.partition(array, n // 2, axis=1)[:, : n // 2 + 1]
    return np.asarray((parted[:, :-1].max(axis=1) + parted[:, -1])[:, None] / 2)


def _logs_or_shares(array: Floats, scaled: Floats) -> Floats:
    """Logs of the rows that have them, the others as shares of their level."""
    positive = (array > 0).all(axis=1, keepdims=True)
    scale = np.maximum(np.abs(np.median(scaled, axis=1, keepdims=True)), _LEAST_SCALE)
    return np.where(positive, np.log(np.where(positive, array, 1.0)), scaled / scale)


def _inflation(steps: Floats, noise: Floats) -> Floats:
    """By how much the penalty grows where iterations depend on each other, shape (boots,); 1 where they do not.

    Of a stationary AR(1) with coefficient f, differences have the variance 2 s^2 (1 - f), so `noise` is s sqrt(1 - f),
    and the lag-1 correlation -(1 - f) / 2; a mean moves as if each value had the variance s^2 (1 + f) / (1 - f). Their
    ratio is (1 + f) / (1 - f)^2. f counts from where independence would show it in one boot of 2,000. Steps beyond CLIP
    noises, a change of level among them, do not count.
    """
    n = steps.shape[1]
    reach = CLIP * np.sqrt(2) * noise
    near = np.where(np.abs(steps) <= reach, steps, 0.0)
    total = (near**2).sum(axis=1)
    lag = (near[:, 1:] * near[:, :-1]).sum(axis=1) / np.where(total > 0, total, 1.0)
    seen = (total > 0) & (lag > -0.5 + 3.29 * np.sqrt(0.5 / n))
    share = np.where(seen, np.clip(1 + 2 * lag, 0.0, MOST_DEPENDENCE), 0.0)
    return np.asarray((1 + share) / (1 - share) ** 2)


def _cut(z: Floats, starts: NDArray[np.intp], tolerance: Floats, slow: Floats) -> NDArray[np.intp]:
    """For each row the best place to cut behind its start; the start itself where no cut is worth its penalty.

    slow: by how much the penalty of each row is larger.
    """
    boots, n = z.shape
    index = np.arange(1, n)
    sums = np.concatenate([np.zeros((boots, 1)), z.cumsum(axis=1)], axis=1)
    rows = np.arange(boots)
    offset = sums[rows, starts][:, None]
    total = sums[:, [n]] - offset
    left = index[None, :] - starts[:, None]
    right = n - index[None, :]
    inside = left >= 1
    safe = np.where(inside, left, 1)
    low = (sums[:, 1:n] - offset) / safe
    high = (total - (sums[:, 1:n] - offset)) / right
    gain = np.where(inside, (low - high) ** 2 * safe * right / (safe + right), 0.0)
    best = gain.argmax(axis=1)
    worth = gain[rows, best] > PENALTY * np.log(n) * slow
    apart = np.abs(low[rows, best] - high[rows, best]) > tolerance
    return np.where(worth & apart, best + 1, starts)


def steady_mean(values: Sequence[float]) -> tuple[float, int, Warmth]:
    """(mean of the steady iterations, first steady iteration, what came before) of one boot. Raises as steady_state."""
    steady = steady_state([values])
    return float(steady.means[0]), int(steady.starts[0]), steady.warmth[0]
