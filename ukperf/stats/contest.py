"""Ours beside what other tools do, on the same made-up campaigns: false alarms at ratio 1, coverage of the interval.

Each method takes campaigns (values in trials × boots × iterations, NaN for lost boots) and answers for every trial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from ukperf.stats.arrays import Floats
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.figures import LEAST_ITERATIONS
from ukperf.stats.simulate import Campaigns
from ukperf.stats.steady import steady_state

ALPHA = 0.05
RESAMPLES = 499


@dataclass(frozen=True)
class Answers:
    """For each trial: is there an interval, and its ends on the log scale (NaN where not). significant: 0 is outside.

    Mann-Whitney has no interval of a ratio: low and high are NaN, significant is what it says.
    """

    tested: NDArray[np.bool_]
    significant: NDArray[np.bool_]
    low: Floats
    high: Floats

    def covers(self, log_ratio: float) -> NDArray[np.bool_]:
        return (self.low <= log_ratio) & (log_ratio <= self.high)


def boot_means(values: Floats) -> Floats:
    """trials × boots: the mean of each boot's steady iterations, as `perboot` takes it."""
    trials, boots, iterations = values.shape
    if iterations < LEAST_ITERATIONS:
        return np.asarray(values.mean(axis=2))
    flat = values.reshape(-1, iterations)
    good = np.isfinite(flat).all(axis=1)
    means = np.full(flat.shape[0], np.nan)
    if good.any():
        means[good] = steady_state(flat[good]).means
    return means.reshape(trials, boots)


def _moments(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Count, mean and variance over the last axis without the NaNs."""
    seen = np.isfinite(values)
    count = seen.sum(axis=-1)
    mean = np.where(seen, values, 0.0).sum(axis=-1) / np.maximum(count, 1)
    deviations = np.where(seen, values - mean[..., None], 0.0)
    return count.astype(float), mean, (deviations**2).sum(axis=-1) / np.maximum(count - 1, 1)


def _interval(mean: Floats, error: Floats, df: Floats, tested: NDArray[np.bool_]) -> Answers:
    half = stdtrit(np.maximum(df, 1), 1 - ALPHA / 2) * error
    low, high = (np.where(tested, edge, np.nan) for edge in (mean - half, mean + half))
    return Answers(tested, tested & ((low > 0) | (high < 0)), low, high)


def paired(data: Campaigns) -> Answers:
    """Ours inside a run: paired t on log-ratios over blocks; a lost boot takes its pair along."""
    n, mean, variance = _moments(np.log(boot_means(data.guest)) - np.log(boot_means(data.baseline)))
    return _interval(mean, np.sqrt(variance / np.maximum(n, 1)), n - 1, n >= MIN_BOOTS)


@dataclass(frozen=True)
class Unpaired:
    """Two sides without pairs, for each trial: the difference of mean logs, and (standard error, degrees of freedom) by
    Welch and by Student."""

    difference: Floats
    welch: tuple[Floats, Floats]
    student: tuple[Floats, Floats]
    tested: NDArray[np.bool_]


def unpaired(data: Campaigns) -> Unpaired:
    """The moments of the boots' logs."""
    n, mean, variance = _moments(np.log(boot_means(data.guest)))
    m, other, spread = _moments(np.log(boot_means(data.baseline)))
    a, b = variance / np.maximum(n, 1), spread / np.maximum(m, 1)
    spreads = a**2 / np.maximum(n - 1, 1) + b**2 / np.maximum(m - 1, 1)
    df = (a + b) ** 2 / np.where(spreads > 0, spreads, 1.0)
    together = np.maximum(n + m - 2, 1)
    pooled = ((n - 1) * variance + (m - 1) * spread) / together * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))
    error = np.sqrt(np.maximum(pooled, 0))
    return Unpaired(mean - other, (np.sqrt(a + b), df), (error, together), np.minimum(n, m) >= MIN_BOOTS)


def welch(data: Campaigns) -> Answers:
    """Welch's t on the logs of the boots: the usual choice, which unequal numbers with rare slow boots break."""
    test = unpaired(data)
    return _interval(test.difference, *test.welch, test.tested)


def wider(data: Campaigns) -> Answers:
    """Ours between runs: the wider of Welch's and Student's intervals on the logs of the boots."""
    test = unpaired(data)
    halves = [stdtrit(np.maximum(df, 1), 1 - ALPHA / 2) * error for error, df in (test.welch, test.student)]
    half = np.maximum(*halves)
    low, high = (np.where(test.tested, edge, np.nan) for edge in (test.difference - half, test.difference + half))
    return Answers(test.tested, test.tested & ((low > 0) | (high < 0)), low, high)


def pooled_t(data: Campaigns) -> Answers:
    """Student's t on all values of all boots (pyperf's way): iterations count as independent."""
    n, mean, variance = _moments(np.log(data.guest.reshape(data.guest.shape[0], -1)))
    m, other, spread = _moments(np.log(data.baseline.reshape(data.baseline.shape[0], -1)))
    df = n + m - 2
    pooled = ((n - 1) * variance + (m - 1) * spread) / np.maximum(df, 1)
    return _interval(mean - other, np.sqrt(pooled * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))), df, df >= 2)


def pooled_mann_whitney(data: Campaigns) -> Answers:
    """Mann-Whitney on all values of all boots (benchstat's and asv's way), normal approximation."""
    trials = data.guest.shape[0]
    left, right = data.guest.reshape(trials, -1), data.baseline.reshape(trials, -1)
    both = np.concatenate([left, right], axis=1)
    # mid-ranks: the mean of the ranks with ties broken forwards and backwards; NaNs come last and are left out
    forwards = both.argsort(axis=1, kind="stable").argsort(axis=1)
    backwards = both[:, ::-1].argsort(axis=1, kind="stable").argsort(axis=1)[:, ::-1]
    ranks = (forwards + backwards) / 2 + 1.0
    n, m = (np.isfinite(side).sum(axis=1).astype(float) for side in (left, right))
    u = np.where(np.isfinite(left), ranks[:, : left.shape[1]], 0.0).sum(axis=1) - n * (n + 1) / 2
    z = (u - n * m / 2) / np.sqrt(np.maximum(n * m * (n + m + 1) / 12, 1))
    nothing = np.full(trials, np.nan)
    return Answers(n * m > 0, np.abs(z) > ndtri(1 - ALPHA / 2), nothing, nothing)


def bootstrap(data: Campaigns) -> Answers:
    """Percentile bootstrap of the log-ratio with boots as units: what a careful script would do."""
    random = np.random.default_rng(20_260_101)  # the same resamples for every trial: trials stay independent
    ends = []
    for side in (data.guest, data.baseline):
        logs = np.log(boot_means(side))
        seen = np.isfinite(logs)
        boots = logs.shape[1]
        weights = random.multinomial(boots, np.full(boots, 1 / boots), RESAMPLES).T.astype(float)
        ends.append((np.where(seen, logs, 0.0) @ weights) / np.maximum(seen @ weights, 1))
    low, high = np.quantile(ends[0] - ends[1], [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    return Answers(np.full(low.shape, True), (low > 0) | (high < 0), low, high)


Method = Callable[[Campaigns], Answers]
METHODS: dict[str, Method] = {
    "paired": paired,
    "between": wider,
    "welch": welch,
    "pooled t": pooled_t,
    "pooled Mann-Whitney": pooled_mann_whitney,
    "bootstrap": bootstrap,
}
