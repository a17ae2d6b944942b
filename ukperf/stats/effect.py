"""A difference of mean logs with its standard error: what `paired` and `welch` make and `verdict` judges."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ukperf.stats.special import stdtr, stdtrit


def _exp(log_ratio: float) -> float:
    # beyond a double's range an absurd ratio is infinite, not an error
    return math.exp(log_ratio) if log_ratio < 709 else math.inf


@dataclass(frozen=True)
class Effect:
    """log(guest / baseline): estimate, standard error, degrees of freedom.

    n: pairs (paired) or the boots of the smaller side (between runs). se is None where there are too few boots for an
    interval, and 0 where all boots repeat exactly (icount); then the interval is the point. pooled: a second standard
    error with its degrees of freedom, by which an interval may be wider and a test weaker (see `welch`): what is said
    holds by both. sizes: the boots of either side, where they are no pairs. slack: how far off the log-ratio may be
    besides, by the steps of the clock.
    """

    log_ratio: float
    se: float | None
    df: float
    n: int
    warnings: tuple[str, ...] = ()
    pooled: tuple[float, float] | None = None
    sizes: tuple[int, int] | None = None
    slack: float = 0.0

    @property
    def ratio(self) -> float:
        """Ratio of geometric means."""
        return _exp(self.log_ratio)

    @property
    def errors(self) -> tuple[tuple[float, float], ...]:
        """(standard error, degrees of freedom) of each test that a claim must pass; empty without an interval."""
        if self.se is None:
            return ()
        return ((self.se, self.df), *([self.pooled] if self.pooled else []))

    def half_width(self, level: float = 0.95) -> float | None:
        """Half the width of the two-sided interval of the log-ratio."""
        widths = [0.0 if se == 0 else float(stdtrit(df, 0.5 + level / 2)) * se for se, df in self.errors]
        return max(widths) + self.slack if widths else None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Two-sided t interval of the ratio."""
        half = self.half_width(level)
        if half is None:
            return None
        return _exp(self.log_ratio - half), _exp(self.log_ratio + half)

    def p_beyond(self, excess: float) -> float | None:
        """One-sided p-value against "the true distance is at most 0", where it was measured as `excess` (logs)."""
        if self.se is None:
            return None
        excess -= self.slack
        return max(
            (0.0 if excess > 0 else 1.0) if se == 0 else float(stdtr(df, -excess / se)) for se, df in self.errors
        )

    def p_difference(self) -> float | None:
        """Two-sided p-value of "the ratio is 1"."""
        if self.se is None:
            return None
        if self.log_ratio == 0:
            return 1.0
        return min(1.0, 2 * (self.p_beyond(abs(self.log_ratio)) or 0.0))

    def p_equivalence(self, delta: float) -> float | None:
        """TOST: the p-value of "the ratio is outside [1/(1+delta), 1+delta]" (Schuirmann 1987).

        At most 0.05 exactly when the 90 % interval is inside the bounds.
        """
        return self.p_beyond(math.log1p(delta) - abs(self.log_ratio))
