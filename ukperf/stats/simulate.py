"""Made-up campaigns with a known truth, to measure our own error rates on. Vectorised over trials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from ukperf.stats.arrays import Floats

SPREAD = 0.02  # standard deviation of the log of one iteration of the baseline: boots and iterations together
DRIFT = 0.05  # of the host over a whole campaign
RARE = 0.05  # share of the boots that take twice as long


class Skew(StrEnum):
    """Shape of the scatter between boots."""

    NONE = "none"  # normal
    MODERATE = "moderate"  # gamma with shape 4: skewness 1
    HEAVY = "heavy"  # log-normal with sigma 1: skewness 6.2
    RARE = "rare"  # normal, and 5 % of boots take twice as long


class Drift(StrEnum):
    NONE = "none"
    LINEAR = "linear"
    STEP = "step"  # at a random moment


class Layout(StrEnum):
    """In which order the boots of two guests are run."""

    BLOCKS = "blocks"  # ours: both guests in each block, in random order
    SHUFFLED = "shuffled"  # any order: no blocks
    ONE_AFTER_THE_OTHER = "one after the other"


@dataclass(frozen=True)
class Point:
    """One point of the grid: what a campaign of two guests is like.

    unequal: the guest scatters three times as much as the baseline. lost: chance that a boot fails. baseline_boots: of
    the baseline, where the two sides have no common blocks; 0: as many as the guest.
    """

    boots: int = 10
    iterations: int = 1
    icc: float = 1.0
    skew: Skew = Skew.NONE
    unequal: bool = False
    drift: Drift = Drift.NONE
    lost: float = 0.0
    baseline_boots: int = 0

    def __str__(self) -> str:
        parts = [f"{self.boots}:{self.baseline_boots} boots" if self.baseline_boots else f"{self.boots} boots"]
        if self.iterations > 1:
            parts.append(f"× {self.iterations}, ICC {self.icc:g}")
        if self.skew is Skew.RARE:
            parts.append(f"{100 * RARE:g} % of boots at 2 ×")
        elif self.skew is not Skew.NONE:
            parts.append(f"{self.skew} skew")
        if self.unequal:
            parts.append("σ 3:1")
        if self.drift is not Drift.NONE:
            parts.append(f"{self.drift} drift")
        if self.lost:
            parts.append(f"{100 * self.lost:g} % lost")
        return ", ".join(parts)


@dataclass(frozen=True)
class Campaigns:
    """Values in shape (trials, boots, iterations); a lost boot is NaN throughout. True ratio as asked for."""

    guest: Floats
    baseline: Floats


def campaigns(
    point: Point,
    trials: int,
    random: np.random.Generator,
    *,
    ratio: float = 1.0,
    spread: float = SPREAD,
    layout: Layout = Layout.BLOCKS,
) -> Campaigns:
    """Simulate `trials` campaigns of two guests whose geometric means over boots differ by `ratio`.

    log(value) = truth + drift of the host at that moment + scatter of the boot + scatter of the iteration. Drift is for
    equal numbers of boots only.
    """
    scale = 3.0 if point.unequal else 1.0
    guest = _scatter(point, trials, random, spread * scale)
    other = replace(point, boots=point.baseline_boots or point.boots)
    baseline = _scatter(other, trials, random, spread)
    if point.drift is not Drift.NONE:
        moments = _moments(point.boots, trials, random, layout)
        when = random.random((trials, 1))
        heights = [moment if point.drift is Drift.LINEAR else moment > when for moment in moments]
        guest += np.log1p(DRIFT) * heights[0][:, :, None]
        baseline += np.log1p(DRIFT) * heights[1][:, :, None]
    guest += np.log(ratio)
    for side in (guest, baseline):
        np.exp(side, out=side)
        if point.lost:
            side[random.random(side.shape[:2]) < point.lost] = np.nan
    return Campaigns(guest, baseline)


def _scatter(point: Point, trials: int, random: np.random.Generator, spread: float) -> Floats:
    boots = _standard(point.skew, (trials, point.boots, 1), random) * spread * np.sqrt(point.icc)
    deviation = spread * np.sqrt(1 - point.icc)
    if point.skew is Skew.RARE:
        boots += np.log(2) * (random.random(boots.shape) < RARE)
    iterations = random.standard_normal((trials, point.boots, point.iterations)) * deviation
    # a boot is compared by the mean of its iterations: their factor has mean 1, else the side that scatters more would
    # truly be slower, by half the variance, and every method that finds it would be blamed for it
    return np.asarray(boots + iterations - deviation**2 / 2)


def _standard(skew: Skew, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    """Mean 0, variance 1, of the asked-for shape."""
    if skew is Skew.MODERATE:
        return np.asarray((random.gamma(4.0, 1.0, shape) - 4.0) / 2.0)
    if skew is Skew.HEAVY:
        mean, deviation = np.exp(0.5), np.sqrt((np.e - 1) * np.e)
        return np.asarray((random.lognormal(0.0, 1.0, shape) - mean) / deviation)
    return random.standard_normal(shape)


def _moments(boots: int, trials: int, random: np.random.Generator, layout: Layout) -> tuple[Floats, Floats]:
    """When each boot runs, as a share of the campaign, for guest and baseline: shape (trials, boots) each."""
    if layout is Layout.ONE_AFTER_THE_OTHER:
        order = np.broadcast_to(np.arange(2 * boots), (trials, 2 * boots)) / (2 * boots)
        return np.asarray(order[:, boots:]), np.asarray(order[:, :boots])
    if layout is Layout.SHUFFLED:
        order = random.permuted(np.broadcast_to(np.arange(2 * boots), (trials, 2 * boots)), axis=1) / (2 * boots)
        return np.asarray(order[:, :boots]), np.asarray(order[:, boots:])
    first = random.integers(0, 2, (trials, boots))
    block = 2 * np.arange(boots)
    return (block + first) / (2 * boots), (block + 1 - first) / (2 * boots)
