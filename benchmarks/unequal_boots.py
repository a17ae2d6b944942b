"""Comparisons between two runs with unequal numbers of boots: error rates and power of the methods that were tried.

    python benchmarks/unequal_boots.py [TRIALS]

For each method: share of trials called different at ratio 1, share called equivalent at an edge of the margin (the
worst of 1, 5 and 20 %), and on normal data the factor of boots that it needs for Welch's power of 80 %. Brunner-Munzel
and Yuen test other hypotheses (stochastic equality, equal trimmed means); Brunner-Munzel has no equivalence here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from scipy.special import stdtr
from scipy.stats import rankdata

from ukperf.stats.arrays import Floats
from ukperf.stats.selftest import MARGINS, between_grid
from ukperf.stats.simulate import Skew, campaigns

# log-values of both sides -> difference, standard error, degrees of freedom
Test = Callable[[Floats, Floats], tuple[Floats, Floats, Floats]]


def welch(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    n, m = x.shape[1], y.shape[1]
    a, b = x.var(1, ddof=1) / n, y.var(1, ddof=1) / m
    return x.mean(1) - y.mean(1), np.sqrt(a + b), (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))


def student(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    n, m = x.shape[1], y.shape[1]
    pooled = ((n - 1) * x.var(1, ddof=1) + (m - 1) * y.var(1, ddof=1)) / (n + m - 2)
    return x.mean(1) - y.mean(1), np.sqrt(pooled * (1 / n + 1 / m)), np.full(len(x), n + m - 2.0)


def larger(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Welch with the larger of the two variances on both sides."""
    n, m = x.shape[1], y.shape[1]
    difference, _, df = welch(x, y)
    return difference, np.sqrt(np.maximum(x.var(1, ddof=1), y.var(1, ddof=1)) * (1 / n + 1 / m)), df


def johnson(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Johnson's (1978) correction of Welch's t for skewness."""
    difference, error, df = welch(x, y)
    third = [((s - s.mean(1, keepdims=True)) ** 3).mean(1) / s.shape[1] ** 2 for s in (x, y)]
    return difference + (third[0] - third[1]) / (6 * error**2), error, df


def yuen(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Yuen (1974): 20 % trimmed means, Winsorized variances."""
    parts = []
    for side in (x, y):
        ordered, n = np.sort(side, axis=1), side.shape[1]
        g = int(0.2 * n)
        h = n - 2 * g
        spread = np.clip(ordered, ordered[:, [g]], ordered[:, [n - g - 1]]).var(1, ddof=1) * (n - 1) / (h * (h - 1))
        parts.append((ordered[:, g : n - g].mean(1), spread, h))
    (a, va, h), (b, vb, k) = parts
    return a - b, np.sqrt(va + vb), (va + vb) ** 2 / (va**2 / (h - 1) + vb**2 / (k - 1))


def brunner_munzel(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    n, m = x.shape[1], y.shape[1]
    both = rankdata(np.concatenate([x, y], axis=1), axis=1)
    rx, ry = both[:, :n], both[:, n:]
    sx = ((rx - rankdata(x, axis=1) - rx.mean(1, keepdims=True) + (n + 1) / 2) ** 2).sum(1) / (n - 1)
    sy = ((ry - rankdata(y, axis=1) - ry.mean(1, keepdims=True) + (m + 1) / 2) ** 2).sum(1) / (m - 1)
    df = (n * sx + m * sy) ** 2 / np.maximum((n * sx) ** 2 / (n - 1) + (m * sy) ** 2 / (m - 1), 1e-12)
    error = (n + m) * np.sqrt(np.maximum(n * sx + m * sy, 1e-12)) / (n * m)
    return rx.mean(1) - ry.mean(1), error, df


METHODS: dict[str, tuple[Test, ...]] = {
    "Welch": (welch,),
    "Student": (student,),
    "wider of both": (welch, student),
    "larger variance": (larger,),
    "Johnson": (johnson,),
    "Yuen": (yuen,),
    "Brunner-Munzel": (brunner_munzel,),
}


def p_values(tests: tuple[Test, ...], x: Floats, y: Floats, edge: float = 0.0) -> Floats:
    """Two-sided for a difference; one-sided for an equivalence within +-edge."""
    found = []
    for test in tests:
        difference, error, df = test(x, y)
        excess = edge - np.abs(difference) if edge else np.abs(difference)
        found.append(stdtr(df, -excess / error) * (1 if edge else 2))
    return np.asarray(np.maximum.reduce(found))


def factor(tests: tuple[Test, ...], n: int, m: int, trials: int) -> float:
    """Boots that the method needs, in those by which Welch's test sees a difference of normal data in 80 %."""
    random = np.random.default_rng(3)
    x, y = random.standard_normal((trials, n)), random.standard_normal((trials, m))
    effects = np.linspace(0.3, 3.0, 271)
    effect = next(e for e in effects if (p_values((welch,), x + e, y) <= 0.05).mean() >= 0.8)
    for times in np.arange(1.0, 2.0, 0.025):
        sizes = [round(times * size) for size in (n, m)]
        x, y = (random.standard_normal((trials, size)) for size in sizes)
        if (p_values(tests, x + effect, y) <= 0.05).mean() >= 0.8:
            return float(times)
    return float("inf")


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    print(f"{trials:,} trials a point. Per cent called different at ratio 1 / equivalent at the edge of the margin.\n")
    print("| boots | " + " | ".join(METHODS) + " |\n|---|" + "--:|" * len(METHODS))
    worst = {name: [0.0, 0.0] for name in METHODS}
    for i, point in enumerate(between_grid()):
        data = campaigns(point, trials, np.random.default_rng(i))
        x, y = (np.log(side[:, :, 0]) for side in (data.guest, data.baseline))
        cells = []
        for name, tests in METHODS.items():
            different = 100 * (p_values(tests, x, y) <= 0.05).mean()
            edges = [(np.log1p(margin), sign) for margin in MARGINS for sign in (1, -1)]
            same = 100 * max((p_values(tests, x + sign * edge, y, edge) <= 0.05).mean() for edge, sign in edges)
            known = name != "Brunner-Munzel"
            cells.append(f"{different:.1f} / {same:.1f}" if known else f"{different:.1f}")
            worst[name] = [max(worst[name][0], different), max(worst[name][1], same) if known else float("nan")]
        if point.skew is not Skew.NONE or point.unequal or point.boots < point.baseline_boots:
            print(f"| {point} | " + " | ".join(cells) + " |")
    print("| worst of all | " + " | ".join(f"{d:.1f} / {e:.1f}" for d, e in worst.values()) + " |")
    for n, m in ((6, 20), (6, 50), (10, 100), (20, 60), (10, 10)):
        times = " | ".join(f"{factor(tests, n, m, trials):.2f} ×" for tests in METHODS.values())
        print(f"| boots for Welch's power, {n}:{m} | {times} |")


if __name__ == "__main__":
    main()
