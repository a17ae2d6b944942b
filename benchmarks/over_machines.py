"""One figure over machines: error rates of the methods that were tried, over machines x boots x heterogeneity.

    python benchmarks/over_machines.py [TRIALS]

A machine's true log-ratio is drawn around the one that is asked for, with a standard deviation of so many times that of
a block's log-ratio; each machine gives the mean of its blocks. In "unequal" every other machine has four times the
blocks, in "loud" every third machine scatters five times as much, in "heavy tail" machines differ by Student's t with
3 degrees of freedom. Per cent of trials in which equal sides are called different; coverage is what is left. Beside it
how often machines that are alike are called unlike, how often a further machine is within the interval for one, and the
width of our interval, in those of Hartung and Knapp's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from scipy.special import fdtrc, ndtri, stdtr, stdtrit

from ukperf.stats.arrays import Floats
from ukperf.stats.machinetrials import POINTS, MachinesPoint, Trials, covers_further, draw, unlike, unweighted

# estimates and squared standard errors, shape (trials, machines) -> mean, standard error, degrees of freedom
Method = Callable[[Trials], tuple[Floats, Floats, float]]


def _tau2(y: Floats, v: Floats) -> Floats:
    """Paule and Mandel's estimate, by bisection."""
    k = y.shape[1]
    low, high = np.zeros(len(y)), np.full(len(y), 4 * float(y.var(1, ddof=1).max()) + 1e-12)
    for _ in range(50):
        middle = (low + high) / 2
        w = 1 / (v + middle[:, None])
        mean = (w * y).sum(1) / w.sum(1)
        above = (w * (y - mean[:, None]) ** 2).sum(1) > k - 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray((low + high) / 2)


def _weighted(t: Trials) -> tuple[Floats, Floats, Floats]:
    """Mean, sum of weights, Hartung and Knapp's factor."""
    w = 1 / (t.squared_errors + _tau2(t.ratios, t.squared_errors)[:, None])
    mean = (w * t.ratios).sum(1) / w.sum(1)
    q = (w * (t.ratios - mean[:, None]) ** 2).sum(1) / (t.ratios.shape[1] - 1)
    return mean, w.sum(1), q


def hartung_knapp(t: Trials) -> tuple[Floats, Floats, float]:
    mean, total, q = _weighted(t)
    return mean, np.sqrt(q / total), t.ratios.shape[1] - 1


def modified(t: Trials) -> tuple[Floats, Floats, float]:
    """Hartung and Knapp's with the factor at least 1 (Knapp and Hartung 2003)."""
    mean, total, q = _weighted(t)
    return mean, np.sqrt(np.maximum(q, 1) / total), t.ratios.shape[1] - 1


def normal(t: Trials) -> tuple[Floats, Floats, float]:
    """What meta-analysis long did: random effects and the normal distribution (DerSimonian and Laird)."""
    mean, total, _ = _weighted(t)
    return mean, np.sqrt(1 / total), np.inf


def fixed(t: Trials) -> tuple[Floats, Floats, float]:
    """As if all machines had one ratio."""
    w = 1 / t.squared_errors
    return (w * t.ratios).sum(1) / w.sum(1), np.sqrt(1 / w.sum(1)), np.inf


METHODS: dict[str, Method] = {
    "t on machines": unweighted,
    "Hartung-Knapp": hartung_knapp,
    "the same, at least 1": modified,
    "random effects, normal": normal,
    "fixed effect": fixed,
}


def misses(method: Method, trials: Trials) -> float:
    mean, error, df = method(trials)
    p = 2 * (stdtr(df, -np.abs(mean) / error) if np.isfinite(df) else stdtr(1e9, -np.abs(mean) / error))
    return float((p <= 0.05).mean())


def width(method: Method, trials: Trials) -> float:
    _, error, df = method(trials)
    return float(np.mean(error)) * float(stdtrit(df, 0.975) if np.isfinite(df) else ndtri(0.975))


def welch_unlike(trials: Trials) -> Floats:
    """Welch's (1951) analysis of variance: p-values of "all machines are alike", shape (trials,)."""
    y, k = trials.ratios, trials.ratios.shape[1]
    w = 1 / trials.squared_errors
    total = w.sum(1, keepdims=True)
    mean = (w * y).sum(1, keepdims=True) / total
    between = (w * (y - mean) ** 2).sum(1) / (k - 1)
    lack = ((1 - w / total) ** 2 / (np.asarray(trials.sizes) - 1)).sum(1)
    statistic = between / (1 + 2 * (k - 2) / (k * k - 1) * lack)
    return np.asarray(fdtrc(k - 1, (k * k - 1) / (3 * lack), statistic))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{count:,} trials a point. Per cent of equal sides called different.\n")
    print("| campaign | " + " | ".join(METHODS) + " | called unlike | Welch | a further one within | width |")
    print("|---|" + "--:|" * (len(METHODS) + 4))
    worst = dict.fromkeys(METHODS, 0.0)
    for number, point in enumerate(POINTS):
        trials = draw(point, count, np.random.default_rng(number))
        rates = {name: misses(method, trials) for name, method in METHODS.items()}
        worst = {name: max(worst[name], rate) for name, rate in rates.items()}
        print(
            f"| {point} | "
            + " | ".join(f"{100 * rate:.1f}" for rate in rates.values())
            + " | "
            + _others(point, trials)
        )
    print("| worst of all | " + " | ".join(f"{100 * rate:.1f}" for rate in worst.values()) + " | | | | |")


def _others(point: MachinesPoint, trials: Trials) -> str:
    alike = " | ".join(f"{100 * float((p <= 0.05).mean()):.1f}" for p in (unlike(trials), welch_unlike(trials)))
    inside = f"{100 * float(covers_further(trials).mean()):.1f}" if point.machines > 2 else ""
    return f"{alike} | {inside} | {width(unweighted, trials) / width(hartung_knapp, trials):.2f} |"


if __name__ == "__main__":
    main()
