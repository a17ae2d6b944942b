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

    n: pairs (paired) or the boots of the smaller side (Welch). se is None where there are too few boots for an
    interval, and 0 where all boots repeat exactly (icount); then the interval is the point.
    """

    log_ratio: float
    se: float | None
    df: float
    n: int
    warnings: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Ratio of geometric means."""
        return _exp(self.log_ratio)

    def half_width(self, level: float = 0.95) -> float | None:
        """Half the width of the two-sided interval of the log-ratio."""
        if self.se is None:
            return None
        return 0.0 if self.se == 0 else float(stdtrit(self.df, 0.5 + level / 2)) * self.se

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Two-sided t interval of the ratio."""
        half = self.half_width(level)
        if half is None:
            return None
        return _exp(self.log_ratio - half), _exp(self.log_ratio + half)

    def p_difference(self) -> float | None:
        """Two-sided p-value of "the ratio is 1"."""
        if self.se is None:
            return None
        if self.se == 0:
            return 1.0 if self.log_ratio == 0 else 0.0
        return 2 * float(stdtr(self.df, -abs(self.log_ratio) / self.se))

    def p_equivalence(self, delta: float) -> float | None:
        """TOST: the p-value of "the ratio is outside [1/(1+delta), 1+delta]" (Schuirmann 1987).

        At most 0.05 exactly when the 90 % interval is inside the bounds.
        """
        if self.se is None:
            return None
        room = math.log1p(delta) - abs(self.log_ratio)
        if self.se == 0:
            return 0.0 if room > 0 else 1.0
        return float(stdtr(self.df, -room / self.se))
