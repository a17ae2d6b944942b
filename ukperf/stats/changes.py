"""Change points in series of runs, with one false alarm rate for all series of a page.

A run gives one number (the log of its geometric mean), and runs are exchangeable where nothing changed: whatever mood
a night had, it might have been another night's. So the order of the runs is drawn anew many times, the same order for
all series, and what is seen is compared with what chance alone shows. Two patterns are looked for in each stretch of a
series: a *step* (all runs from one on have another level) and a *spell* (the runs between two places do, and then the
old level is back), which a search for steps alone hides. The statistic of both is the sum of squares between the two
groups, at the best place or places. The smallest p-value over all series, stretches and patterns is judged by its own
distribution over the same draws: series that move together (phases of one boot, guests on one machine) are not counted
as if they were independent. A stretch with a change is cut there, and its parts are looked at again.

Sources: permutation tests of changes, Matteson and James (2014), J. Am. Stat. Assoc. 109 (E-divisive); spells, Olshen,
Venkatraman, Lucito and Wigler (2004), Biostatistics 5 (circular binary segmentation); the smallest p-value, Westfall
and Young, *Resampling-Based Multiple Testing* (1993), step-down.

Why no library: ruptures (Truong, Oudre and Vayatis 2020), the best kept one, finds the cuts that a penalty pays for and
says nothing of how often it finds some where there are none; the few dozen runs of a history need no fast search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ukperf.stats.special import stdtrit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA = 0.05  # of a false change anywhere on a page on which nothing changed
DRAWS = 1999  # random orders besides the one that is seen
LEAST_RUNS = 8  # of 7, the best possible step has p = 2/35 (3 runs against 4)
LEAST_TO_RESEMBLE = 12
LEAST_SIDE = 2  # runs on either side: one run alone is no level
MOST_RUNS = 500
SEED = 20180613  # of the orders: the same runs give the same answer
_TIED = 1e-9  # of a statistic: what rounding leaves


@dataclass(frozen=True)
class Track:
    """A series over runs. runs: their places on the axis, ascending; logs: of their values, shape (len(runs),)."""

    runs: tuple[int, ...]
    logs: tuple[float, ...]


@dataclass(frozen=True)
class Shift:
    """cut: index in the track of the first run behind it; first, last: where else it may be, with 95 %. log_ratio: new
    level ÷ old one; half: half the width of its 95 % interval, None where too few runs are left to tell their scatter.
    """

    cut: int
    first: int
    last: int
    log_ratio: float
    half: float | None


@dataclass(frozen=True)
class _Stretch:
    track: int
    start: int
    end: int


def change_points(tracks: Sequence[Track], alpha: float = ALPHA) -> list[tuple[int, ...]]:
    """For each track the indices of the first runs behind a change, ascending.

    Where no series changes, chance finds a change in any of them in at most `alpha` of cases. Raises ValueError for
    more than MOST_RUNS runs and for logs that are not finite.
    """
    import numpy as np

    if any(len(t.runs) != len(t.logs) or not all(map(math.isfinite, t.logs)) for t in tracks):
        raise ValueError("a track's runs and finite logs are of one number")
    length = max((t.runs[-1] + 1 for t in tracks if t.runs), default=0)
    if length > MOST_RUNS:
        raise ValueError(f"more than {MOST_RUNS} runs")
    keys = np.random.default_rng(SEED).random((DRAWS, length))
    cuts: list[set[int]] = [set() for _ in tracks]
    open_ = [_Stretch(i, 0, len(t.runs)) for i, t in enumerate(tracks) if len(t.runs) >= LEAST_RUNS]
    while open_:
        ranked = [_ranked(tracks[s.track], s, keys) for s in open_]
        least = np.minimum.reduce([p for patterns, _ in ranked for p in patterns])
        closed: list[_Stretch] = []
        parts: list[_Stretch] = []
        for stretch, (patterns, places) in zip(open_, ranked, strict=True):
            own = min(float(p[0]) for p in patterns)
            if np.count_nonzero(least <= own * (1 + _TIED)) / len(least) > alpha:
                closed.append(stretch)
                continue
            # of a step and a spell that are equally surprising, the step is the simpler one
            at = places[0] if patterns[0][0] <= patterns[1][0] else places[1]
            cuts[stretch.track].update(at)
            ends = [stretch.start, *at, stretch.end]
            parts += [_Stretch(stretch.track, a, b) for a, b in pairwise(ends) if b - a >= LEAST_RUNS]
        if len(closed) == len(open_):
            break
        open_ = [*closed, *parts]
    return [_settled(t.logs, sorted(c)) for t, c in zip(tracks, cuts, strict=True)]


def _ranked(
    track: Track, stretch: _Stretch, keys: NDArray[np.float64]
) -> tuple[list[NDArray[np.float64]], tuple[tuple[int, ...], tuple[int, ...]]]:
    """p-values of both patterns, shape (1 + draws,) each, those of the order that is seen first; and their places."""
    import numpy as np

    part = slice(stretch.start, stretch.end)
    logs = np.asarray(track.logs[part])
    logs = logs - logs.mean()
    order = np.argsort(keys[:, list(track.runs[part])], axis=1)
    sums = np.cumsum(np.vstack([logs, logs[order]]), axis=1)
    step, cut = _best_step(sums)
    spell, (first, last) = _best_spell(sums)
    start = stretch.start
    return [_p_values(step), _p_values(spell)], ((start + cut,), (start + first, start + last))


def _best_step(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The largest sum of squares between the runs before a place and those behind it. sums: cumulative, centred, shape
    (orders, runs). → (one for each order, the place in the first order)."""
    import numpy as np

    n = sums.shape[1]
    k = np.arange(LEAST_SIDE, n - LEAST_SIDE + 1)
    squares = sums[:, k - 1] ** 2 * (n / (k * (n - k)))
    return squares.max(axis=1), int(k[int(squares[0].argmax())])


def _best_spell(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The same for the runs between two places and all others, at least LEAST_SIDE of these before and behind it."""
    import numpy as np

    orders, n = sums.shape
    padded = np.concatenate([np.zeros((orders, 1)), sums], axis=1)
    best, where, seen = np.zeros(orders), (LEAST_SIDE, n - LEAST_SIDE), -1.0
    for long in range(LEAST_SIDE, n - 2 * LEAST_SIDE + 1):
        inside = padded[:, LEAST_SIDE + long : n - LEAST_SIDE + 1] - padded[:, LEAST_SIDE : n - LEAST_SIDE - long + 1]
        squares = inside**2 * (n / (long * (n - long)))
        np.maximum(best, squares.max(axis=1), out=best)
        if (own := float(squares[0].max())) > seen:
            first = LEAST_SIDE + int(squares[0].argmax())
            seen, where = own, (first, first + long)
    return best, where


def _p_values(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each order the share of all orders that are at least as surprising."""
    import numpy as np

    ordered = np.sort(squares)
    below = np.searchsorted(ordered, squares * (1 - _TIED), side="left")
    return np.asarray((len(squares) - below) / len(squares), np.float64)


def _settled(logs: Sequence[float], cuts: Sequence[int]) -> tuple[int, ...]:
    """Each cut at its best place between its neighbours: while it was looked for, others were not known yet."""
    import numpy as np

    placed = list(cuts)
    for i in range(len(placed)):
        start = placed[i - 1] if i else 0
        end = placed[i + 1] if i + 1 < len(placed) else len(logs)
        if end - start >= 2 * LEAST_SIDE:
            part = np.asarray(logs[start:end])
            placed[i] = start + _best_step(np.cumsum(part - part.mean())[None, :])[1]
    return tuple(placed)


def levels(logs: Sequence[float], cuts: Sequence[int]) -> list[tuple[int, int, float]]:
    """(first, behind the last, mean) of each stretch between cuts."""
    ends = [0, *cuts, len(logs)]
    return [(a, b, math.fsum(logs[a:b]) / (b - a)) for a, b in pairwise(ends)]


def scatter(logs: Sequence[float], cuts: Sequence[int]) -> tuple[float, int]:
    """Standard deviation of runs around their levels (logs), and its degrees of freedom."""
    squares = [(x - mean) ** 2 for a, b, mean in levels(logs, cuts) for x in logs[a:b]]
    free = len(logs) - len(cuts) - 1
    return (math.sqrt(math.fsum(squares) / free) if free > 0 else 0.0), free


def resemblance(logs: Sequence[float], cuts: Sequence[int]) -> float | None:
    """The autocorrelation of neighbouring runs around their levels, where a one-sided test at 1 % shows it: then chance
    alone shows changes more often than is said. None where it does not, or below LEAST_TO_RESEMBLE runs."""
    n = len(logs)
    rest = [x - mean for a, b, mean in levels(logs, cuts) for x in logs[a:b]]
    total = math.fsum(x * x for x in rest)
    if n < LEAST_TO_RESEMBLE or total == 0:
        return None
    r = math.fsum(a * b for a, b in pairwise(rest)) / total
    return r if (r + (1 + len(cuts)) / n) * math.sqrt(n) > 2.326 else None


def steps(logs: Sequence[float], cuts: Sequence[int]) -> list[Shift]:
    """How large each change is: the difference of the levels' means. Its interval is from the scatter of all runs
    around their levels, which few runs on one side alone would not tell."""
    spread, free = scatter(logs, cuts)
    parts = levels(logs, cuts)
    made: list[Shift] = []
    for (a, b, before), (_, c, after) in pairwise(parts):
        error = spread * math.sqrt(1 / (b - a) + 1 / (c - b))
        half = stdtrit(free, 0.975) * error if free > 0 else None
        squares = _step_squares(logs[a:c])
        enough = squares[b - a] - _PLACES * spread**2 * (1 + 4 / max(free, 1))
        places = [a + k for k, square in squares.items() if square >= enough]
        made.append(Shift(b, min(places), max(places), after - before, half))
    return made


def _step_squares(logs: Sequence[float]) -> dict[int, float]:
    """Place → the sum of squares between the runs before it and those behind it."""
    n, mean, before, squares = len(logs), math.fsum(logs) / len(logs), 0.0, {}
    for k in range(1, n):
        before += logs[k - 1] - mean
        squares[k] = before**2 * (n / (k * (n - k)))
    return squares


def would_be_seen(spread: float, runs: int) -> float | None:
    """The change (log) half-way through so many runs that would be seen in four of five cases, where they scatter by
    `spread`; None below LEAST_RUNS. The constant is measured (docs/history.md)."""
    return None if runs < LEAST_RUNS else _SEEN * spread * 2 / math.sqrt(runs - _LOST)


_SEEN, _LOST = 3.7, 4.5
_PLACES = 5.0  # log-likelihood ratios, doubled, that a place may be behind the best one: measured too
