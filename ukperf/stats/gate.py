"""The gate for CI: which comparisons are surely beyond the margin.

`check` asks another question than the verdict `slower`: not "is the ratio 1?" but "is it at most 1 + delta?". One-sided
t test of the ratio against the edge of the margin, Holm over all comparisons: a run of which nothing got slower by more
than delta fails in at most 5 % of cases, however many benchmarks it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import stdtr

from ukperf.model import Comparison
from ukperf.stats.between import Side, effect_of
from ukperf.stats.effect import Effect
from ukperf.stats.verdict import ALPHA, holm


def p_beyond(effect: Effect, delta: float, slower: bool) -> float | None:
    """One-sided p-value of "the ratio is at most 1 + delta" (slower) or "at least 1 / (1 + delta)" (faster)."""
    if effect.se is None:
        return None
    excess = (effect.log_ratio if slower else -effect.log_ratio) - math.log1p(delta)
    if effect.se == 0:
        return 0.0 if excess > 0 else 1.0
    return float(stdtr(effect.df, -excess / effect.se))


def beyond(
    pairs: Sequence[tuple[Side, Side]], comparisons: Sequence[Comparison], delta: float, wanted: Sequence[str]
) -> list[str]:
    """`guest benchmark` of every comparison that fails the gate. wanted: verdicts that fail.

    `slower` and `faster` are tested against the margin as above; other words are compared with the verdict as it is.
    """
    failed: list[str] = []
    sides = {(side.label, baseline.label): (side, baseline) for side, baseline in pairs}
    for word in wanted:
        if word not in ("slower", "faster"):
            failed += [f"{c.guest} {c.benchmark}" for c in comparisons if c.verdict.value == word]
            continue
        tested: list[tuple[Comparison, float]] = []
        for comparison in comparisons:
            if comparison.ratio is None:
                continue
            effect = effect_of(*sides[comparison.guest, comparison.baseline], comparison.benchmark)
            p = p_beyond(effect, delta, word == "slower") if effect else None
            if p is not None:
                tested.append((comparison, p))
        adjusted = holm([p for _, p in tested])
        failed += [f"{c.guest} {c.benchmark}" for (c, _), p in zip(tested, adjusted, strict=True) if p <= ALPHA]
    return list(dict.fromkeys(failed))
