"""From effects to verdicts, with the error rate of the whole family kept.

The rule, for a family of k comparisons in one report and a margin delta (1 %):

* equivalent: the 90 % interval is inside [1/(1+delta), 1+delta], that is TOST p <= 0.05, Holm-adjusted over the family;
* faster / slower: the two-sided t test of "ratio = 1" has p <= 0.05, Holm-adjusted over the family. For one comparison
  alone this is: the 95 % interval excludes 1;
* equivalent wins where both hold: a difference that is surely there and surely smaller than delta is not worth a name;
* inconclusive otherwise, with the number of blocks that would settle it.

Printed intervals are those of each comparison alone (95 %); where Holm alone withholds a verdict, a warning says so.
For any one true ratio at most one of the two claims can be false (outside the margin equivalence is, at 1 difference
is), so each family of claims is adjusted by itself. Sources: Holm (1979); Schuirmann (1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ukperf.model import Unit, Verdict, direction
from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, as_list
from ukperf.stats.special import stdtrit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

ALPHA = 0.05
POWER = 0.80  # of the number of boots that we ask for, if the estimate stands
MOST_BOOTS = 10_000_000


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it rests on; p_value is the Holm-adjusted one of "ratio = 1"."""

    verdict: Verdict
    p_value: float | None
    boots_needed: int | None
    warnings: tuple[str, ...] = ()


def holm(p_values: ArrayLike) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given. Raises ValueError for a p-value outside [0, 1]."""
    numbers = as_list(p_values)
    if any(not 0 <= p <= 1 for p in numbers):
        raise ValueError("a p-value is outside [0, 1]")
    adjusted = [0.0] * len(numbers)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(numbers)), key=numbers.__getitem__)):
        largest = max(largest, numbers[i] * (len(numbers) - rank))
        adjusted[i] = min(largest, 1.0)
    return adjusted


def blocks_to_settle(deviation: float, log_ratio: float, delta: float, family: int = 1) -> int:
    """The least number of blocks that would end in a verdict.

    deviation: standard deviation of one block's log-ratio. Either the interval gets so narrow that some verdict must
    follow whatever the ratio is, or, with 80 % power if log_ratio stands, a difference or an equivalence is shown.
    """
    alpha = ALPHA / family
    room = math.log1p(delta)
    # (level of the test, power, distance to go); equivalence can be missed at both ends of the margin
    claims = [(1 - alpha / 2, POWER, abs(log_ratio)), (1 - alpha, (1 + POWER) / 2, room - abs(log_ratio))]

    def settled(n: int) -> bool:
        error, df = deviation / math.sqrt(n), n - 1
        if (stdtrit(df, 1 - alpha / 2) + stdtrit(df, 1 - alpha)) * error <= room:
            return True
        return any((stdtrit(df, level) + stdtrit(df, power)) * error <= distance for level, power, distance in claims)

    low, high = MIN_BOOTS - 1, MIN_BOOTS
    while not settled(high):
        low, high = high, high * 2
        if high > MOST_BOOTS:
            return MOST_BOOTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high


def _needed(effect: Effect, delta: float, family: int) -> int | None:
    if effect.se is None:
        return MIN_BOOTS
    if effect.slack:
        return None  # more boots do not make the clock's steps smaller
    if effect.pooled is not None and effect.sizes is not None:  # two runs: boots on each side, both alike
        error, _ = effect.pooled
        n, m = effect.sizes
        deviation = error * (2 / (1 / n + 1 / m)) ** 0.5
        return max(min(n, m) + 1, blocks_to_settle(deviation, effect.log_ratio, delta, family))
    return max(effect.n + 1, blocks_to_settle(effect.se * effect.n**0.5, effect.log_ratio, delta, family))


def verdicts_of(effects: Sequence[Effect], delta: float = 0.01, units: Sequence[Unit | None] = ()) -> list[Judgement]:
    """Verdicts for a family of effects, in the order given. Effects without an interval are not in Holm's family.

    units: of each effect, where they are not all times: they say which direction is faster.
    """
    if not 0 < delta < 1:
        raise ValueError("delta must be between 0 and 1")
    tested = [i for i, effect in enumerate(effects) if effect.se is not None]
    raw = [(effects[i].p_difference() or 0.0, effects[i].p_equivalence(delta) or 0.0) for i in tested]
    different = dict(zip(tested, holm([p for p, _ in raw]), strict=True))
    same = dict(zip(tested, holm([p for _, p in raw]), strict=True))
    alone = dict(zip(tested, raw, strict=True))
    family = max(len(tested), 1)
    answers = []
    for i, effect in enumerate(effects):
        if i not in different:
            answers.append(Judgement(Verdict.INCONCLUSIVE, None, MIN_BOOTS))
        elif same[i] <= ALPHA:
            answers.append(Judgement(Verdict.EQUIVALENT, different[i], None))
        elif different[i] <= ALPHA:
            answers.append(Judgement(direction(effect.log_ratio, units[i] if units else None), different[i], None))
        else:
            by_itself = "different" if alone[i][0] <= ALPHA else "equivalent"
            said = f"{by_itself} alone, not after Holm over {family} comparisons"
            notes = (said,) if min(alone[i]) <= ALPHA else ()
            answers.append(Judgement(Verdict.INCONCLUSIVE, different[i], _needed(effect, delta, family), notes))
    return answers
