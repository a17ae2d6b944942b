"""Campaigns over machines whose truth is known: how often what `machines` says of them is false.

The unit of everything is one block's standard deviation on a quiet machine. All draws come from the generator that is
given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import fdtrc, stdtr, stdtrit

from ukperf.stats.apportion import Apportionment
from ukperf.stats.arrays import Floats
from ukperf.text import many


@dataclass(frozen=True)
class MachinesPoint:
    """between: standard deviation between machines. unequal: every other machine has four times the blocks. loud: every
    third machine scatters five times as much. heavy: machines differ by Student's t with 3 degrees of freedom, scaled
    to `between`."""

    machines: int
    blocks: int
    between: float
    unequal: bool = False
    loud: bool = False
    heavy: bool = False

    def __str__(self) -> str:
        how = [f"σ between {self.between:g}"]
        how += ["unequal"] * self.unequal + ["loud"] * self.loud + ["heavy tail"] * self.heavy
        return f"{many(self.machines, 'machine')} × {self.blocks} blocks, {', '.join(how)}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Blocks of each machine."""
        return tuple(self.blocks * (4 if self.unequal and place % 2 else 1) for place in range(self.machines))


POINTS = (
    *(MachinesPoint(*p) for p in product((2, 3, 5, 12, 40), (6, 20), (0.0, 0.3, 1.0))),
    *(MachinesPoint(*p, True, True) for p in product((2, 3, 5, 12, 40), (6, 20), (0.0, 0.3, 1.0))),
    *(MachinesPoint(m, 6, 1.0, False, False, True) for m in (3, 5, 12, 40)),
)


@dataclass(frozen=True)
class Trials:
    """ratios, squared_errors: shape (trials, machines): each machine's mean log-ratio and its squared standard error.
    fresh: shape (trials,): what a further machine would show, which is as the first one is."""

    ratios: Floats
    squared_errors: Floats
    sizes: tuple[int, ...]
    fresh: Floats


def draw(point: MachinesPoint, trials: int, random: np.random.Generator, log_ratio: float = 0.0) -> Trials:
    """Campaigns in which the mean log-ratio of all machines that there could be is `log_ratio`."""
    sizes = np.asarray(point.sizes)
    loud = [5.0 if point.loud and place % 3 == 2 else 1.0 for place in range(point.machines)]
    scatter = np.asarray(loud) / np.sqrt(sizes)
    true = log_ratio + _machines(point, (trials, point.machines), random)
    ratios = true + random.standard_normal(true.shape) * scatter
    squared = scatter**2 * random.chisquare(sizes - 1, true.shape) / (sizes - 1)
    fresh = log_ratio + _machines(point, (trials,), random) + random.standard_normal(trials) * scatter[0]
    return Trials(ratios, squared, point.sizes, fresh)


def _machines(point: MachinesPoint, shape: tuple[int, ...], random: np.random.Generator) -> Floats:
    drawn = random.standard_t(3, shape) / np.sqrt(3) if point.heavy else random.standard_normal(shape)
    return np.asarray(point.between * drawn)


def unweighted(trials: Trials) -> tuple[Floats, Floats, float]:
    """What `machines.over` gives: mean, standard error, degrees of freedom."""
    k = trials.ratios.shape[1]
    return trials.ratios.mean(1), np.sqrt(trials.ratios.var(1, ddof=1) / k), k - 1


def misses(trials: Trials, log_ratio: float = 0.0) -> float:
    """Share of the trials in which the 95 % interval misses a log-ratio; the true one 0: false alarms of the test."""
    mean, error, df = unweighted(trials)
    return float((2 * stdtr(df, -np.abs(mean - log_ratio) / error) <= 0.05).mean())


def unlike(trials: Trials) -> Floats:
    """What `machines.p_unlike` gives, shape (trials,)."""
    y, n = trials.ratios, np.asarray(trials.sizes, dtype=np.float64)
    share, variance = n / n.sum(), trials.squared_errors * n
    mean = (share * y).sum(1, keepdims=True)
    top, bottom = (n * (y - mean) ** 2).sum(1), ((1 - share) * variance).sum(1)
    square = variance**2
    over = bottom**2 / (square.sum(1) + (share * variance).sum(1) ** 2 - 2 * (share * square).sum(1))
    under = bottom**2 / ((1 - share) ** 2 * square / (n - 1)).sum(1)
    return np.asarray(fdtrc(over, under, top / bottom))


def covers_further(trials: Trials) -> Floats:
    """Is what a further machine shows within the interval that `machines.further` gives? Shape (trials,)."""
    k = trials.ratios.shape[1]
    reach = stdtrit(k - 1, 0.975) * trials.ratios.std(1, ddof=1) * np.sqrt(1 + 1 / k)
    return np.asarray(np.abs(trials.fresh - trials.ratios.mean(1)) <= reach)


@dataclass(frozen=True)
class Stop:
    """How a campaign with --precision over machines ended. covers: is the true ratio, 1, in its interval? narrow: was
    the interval as asked?"""

    covers: bool
    narrow: bool
    blocks: tuple[int, ...]  # of each machine

    @property
    def total(self) -> int:
        return sum(self.blocks)


def until_precise(
    machines: int, between: float, target: float, random: np.random.Generator, *, loud: bool, worth: float, most: int
) -> Stop:
    """One campaign by the rule of `apportion`: in each round every machine whose block is worth it gets one.

    between, target: in standard deviations of a quiet machine's block. loud: every third machine scatters five times as
    much. worth: as `apportion.WORTH`; 0: every machine gets a block in each round.
    """
    names = [f"{place}" for place in range(machines)]
    scatter = {name: 0.01 * (5 if loud and place % 3 == 2 else 1) for place, name in enumerate(names)}
    true = dict(zip(names, 0.01 * between * random.standard_normal(machines), strict=True))
    key, guests = ("total", "guest", "baseline"), ("guest", "baseline")
    shares = Apportionment("baseline", math.expm1(0.01 * target))
    why = ""
    while not why and sum(shares.blocks.values()) < most:
        gains = shares.gains(names, guests, {})
        for name in names:
            if not worth or gains[name] >= worth * max(gains.values()):
                shares.blocks[name] = shares.blocks.get(name, 0) + 1
                shares.tell(name, key, true[name] + scatter[name] * random.standard_normal())
        why = shares.ended(names, guests)
    means = list(shares.means(key).values())
    widths = shares.widths(key, names)
    assert widths is not None
    return Stop(abs(sum(means) / machines) <= widths.seen, "narrow enough" in why, tuple(shares.blocks.values()))
