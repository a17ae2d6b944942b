"""The self-test: our own error rates, measured on a grid of campaigns with a known truth.

Limits: false alarms of a 5 % test at most 6 % and coverage of 95 % intervals at least 94 % at every point with six
boots or more, under sequential stopping too; between runs with unequal numbers of boots at most 6 % false alarms, 5 %
false failures of the gate and 5 % `equivalent` at the edge; over machines at most 6 % false alarms
and 94 % coverage, whatever their number, blocks and heterogeneity; blocks need at most half the boots of an unpaired
run to see 1 % while the host drifts by 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import stdtr, stdtrit

from ukperf.stats.arrays import Floats
from ukperf.stats.contest import METHODS, Method, Unpaired, paired, unpaired, welch, wider
from ukperf.stats.machines import LEAST_FOR_A_FURTHER
from ukperf.stats.machinetrials import POINTS as MACHINES_POINTS
from ukperf.stats.machinetrials import MachinesPoint, covers_further, draw, misses, unlike
from ukperf.stats.precision import running_half_widths, stops
from ukperf.stats.simulate import Drift, Layout, Point, Skew, campaigns

MOST_FALSE_ALARMS = 0.06
LEAST_COVERAGE = 0.94
MOST_ONE_SIDED = 0.05  # of the gate, and of `equivalent` at the edge of its margin
MARGINS = (0.01, 0.05, 0.20)
LEAST_TRIALS = 4000
TRIALS = 10_000
_TRUE_RATIO = 1.03  # where coverage is measured
_SKEWS = (Skew.NONE, Skew.MODERATE, Skew.HEAVY)  # rare slow boots have a grid of their own
_CHUNK = 2_000_000  # values simulated at once


@dataclass(frozen=True)
class PointResult:
    """false_alarms: method → share of trials at ratio 1; coverage: of our interval. excuse: why theory cannot deliver
    here; then the figures are shown and not judged."""

    point: Point
    trials: int
    false_alarms: Mapping[str, float]
    coverage: float
    excuse: str

    @property
    def kept(self) -> bool:
        return self.false_alarms["paired"] <= MOST_FALSE_ALARMS and self.coverage >= LEAST_COVERAGE


@dataclass(frozen=True)
class StoppingResult:
    """Coverage when a campaign stops on width. noise: standard deviation of a block's log-ratio over the target."""

    noise: float
    skew: Skew
    trials: int
    coverage: float
    blocks: float  # mean number of blocks at the stop

    @property
    def kept(self) -> bool:
        return self.coverage >= LEAST_COVERAGE


@dataclass(frozen=True)
class PowerResult:
    """Boots a side that see a ratio of 1.01 with 80 %, while the host drifts by 5 %."""

    drift: Drift
    trials: int
    paired: int
    unpaired: int
    one_after_the_other: float  # false alarms between runs when the guests run one after the other, at `paired` boots

    @property
    def kept(self) -> bool:
        return 2 * self.paired <= self.unpaired


@dataclass(frozen=True)
class BetweenResult:
    """Two runs with unequal numbers of boots. Shares of trials: different: called different at ratio 1, by ours and by
    Welch alone; gate: `check` fails where the ratio is just at the margin; equivalent: said where the ratio is at an
    edge of the margin (the worst of 1, 5 and 20 %, either edge); welch_equivalent: the same by Welch alone."""

    point: Point
    trials: int
    different: float
    gate: float
    equivalent: float
    welch: float
    welch_equivalent: float

    @property
    def kept(self) -> bool:
        most = MOST_ONE_SIDED + slack(MOST_ONE_SIDED, self.trials)
        return self.different <= MOST_FALSE_ALARMS and max(self.gate, self.equivalent) <= most


@dataclass(frozen=True)
class MachinesResult:
    """One figure over machines. different: share of trials at ratio 1 that are called different; coverage: of the
    interval, at another ratio; unlike: machines called unlike, where they are alike, None where they are not; further:
    how often a further machine is in the interval for one, None below three. excuse: why `further` is not judged."""

    point: MachinesPoint
    trials: int
    different: float
    coverage: float
    unlike: float | None
    further: float | None
    excuse: str = ""

    @property
    def kept(self) -> bool:
        more = slack(MOST_FALSE_ALARMS, self.trials)
        alarms = [rate for rate in (self.different, self.unlike) if rate is not None]
        covers = [rate for rate in (self.coverage, None if self.excuse else self.further) if rate is not None]
        return max(alarms) <= MOST_FALSE_ALARMS + more and min(covers) >= LEAST_COVERAGE - more


def slack(limit: float, trials: int) -> float:
    """Where a promise is met exactly, the simulation's own error goes either way: three standard errors of it."""
    return float(3 * (limit * (1 - limit) / trials) ** 0.5)


@dataclass(frozen=True)
class SelfTest:
    points: tuple[PointResult, ...]
    between: tuple[BetweenResult, ...]
    stopping: tuple[StoppingResult, ...]
    power: tuple[PowerResult, ...]
    machines: tuple[MachinesResult, ...] = ()
    full: bool = False

    @property
    def passed(self) -> bool:
        counted = (p for p in self.points if not p.excuse)
        parts = (counted, self.between, self.machines, self.stopping, self.power)
        return all(result.kept for part in parts for result in part)


def grid(full: bool = False) -> list[Point]:
    """The default grid: every factor at every size, and the pairs that hurt. full: all combinations."""
    sizes = (6, 10, 20, 50)
    if full:
        return [
            Point(boots, iterations, icc, skew, unequal, drift, lost)
            for boots, (iterations, icc), skew, unequal, drift, lost in product(
                sizes, ((1, 1.0), (10, 0.1), (10, 0.9)), _SKEWS, (False, True), Drift, (0.0, 0.1)
            )
        ]
    points: list[Point] = []
    for boots in sizes:
        points += [Point(boots), Point(boots, 10, 0.1), Point(boots, 10, 0.5), Point(boots, 10, 0.9)]
        points += [Point(boots, unequal=True), Point(boots, lost=0.1), Point(boots, 50, 0.5)]
        points += [Point(boots, drift=drift) for drift in (Drift.LINEAR, Drift.STEP)]
        points += [Point(boots, skew=skew) for skew in (Skew.MODERATE, Skew.HEAVY)]
        points += [Point(boots, skew=skew, unequal=True) for skew in (Skew.MODERATE, Skew.HEAVY)]
        points += [Point(boots, 10, 0.5, unequal=True, drift=drift, lost=0.1) for drift in (Drift.LINEAR, Drift.STEP)]
    return points


def between_grid() -> list[Point]:
    """Unequal numbers of boots, either side the smaller, with each kind of scatter; unequal scatter on either side."""
    numbers = [pair for n, m in ((6, 20), (6, 50), (10, 100), (20, 60)) for pair in ((n, m), (m, n))]
    kinds = [Point(skew=skew) for skew in (Skew.NONE, Skew.RARE, Skew.MODERATE, Skew.HEAVY)] + [Point(unequal=True)]
    return [replace(kind, boots=n, baseline_boots=m) for n, m in numbers for kind in kinds]


def excuse(point: Point) -> str:
    """Why no t interval can be exact at a point, or nothing.

    When both sides are skewed alike the difference is symmetric and t is safe. When one side scatters more, the
    difference keeps its skew, and few boots cannot show it (Bradley 1978; the central limit theorem needs many more).
    """
    if point.unequal and point.skew is Skew.HEAVY:
        return "heavy skew on one side: the difference stays skewed"
    if point.unequal and point.skew is Skew.MODERATE and point.boots * (1 - point.lost) ** 2 < 20:
        return "skew on one side, below 20 pairs"
    return ""


def run_point(point: Point, trials: int, seed: int) -> PointResult:
    """False alarms and coverage at one point. Raises ValueError below 4,000 trials: too few to tell 5 % from 6 %."""
    if trials < LEAST_TRIALS:
        raise ValueError(f"at least {LEAST_TRIALS} trials a point")
    random = np.random.default_rng(seed)
    alarms = dict.fromkeys(METHODS, 0)
    covered = tested = done = 0
    step = max(1, _CHUNK // (point.boots * point.iterations))
    while done < trials:
        now = min(step, trials - done)
        null = campaigns(point, now, random)
        for name, method in METHODS.items():
            alarms[name] += int(method(null).significant.sum())
        answers = paired(campaigns(point, now, random, ratio=_TRUE_RATIO))
        covered += int(answers.covers(np.log(_TRUE_RATIO)).sum())
        tested += int(answers.tested.sum())
        done += now
    rates = {name: count / trials for name, count in alarms.items()}
    return PointResult(point, trials, rates, covered / tested if tested else 1.0, excuse(point))


def _p_beyond(test: Unpaired, excess: Floats, tests: Sequence[str]) -> Floats:
    """One-sided p-values of "the true distance is at most 0"; of several tests the largest."""
    both = {"welch": test.welch, "student": test.student}
    return np.asarray(np.maximum.reduce([stdtr(both[name][1], -excess / both[name][0]) for name in tests]))


def run_between(point: Point, trials: int, seed: int) -> BetweenResult:
    """Error rates of comparisons between two runs. Raises ValueError below 4,000 trials."""
    if trials < LEAST_TRIALS:
        raise ValueError(f"at least {LEAST_TRIALS} trials a point")
    data = campaigns(point, trials, np.random.default_rng(seed))
    test = unpaired(data)
    ours = ("welch", "student")

    def equivalent(tests: Sequence[str]) -> float:
        edges = [(np.log1p(margin), sign) for margin in MARGINS for sign in (1, -1)]
        rates = [
            (_p_beyond(test, edge - np.abs(test.difference + sign * edge), tests) <= MOST_ONE_SIDED).mean()
            for edge, sign in edges
        ]
        return float(max(rates))

    return BetweenResult(
        point,
        trials,
        different=float(wider(data).significant.mean()),
        gate=float((_p_beyond(test, test.difference, ours) <= MOST_ONE_SIDED).mean()),
        equivalent=equivalent(ours),
        welch=float(welch(data).significant.mean()),
        welch_equivalent=equivalent(("welch",)),
    )


def run_machines(point: MachinesPoint, trials: int, seed: int) -> MachinesResult:
    """Error rates of one figure over machines. Raises ValueError below 4,000 trials."""
    if trials < LEAST_TRIALS:
        raise ValueError(f"at least {LEAST_TRIALS} trials a point")
    random = np.random.default_rng(seed)
    counts: dict[str, float] = dict.fromkeys(("different", "missed", "unlike", "further"), 0.0)
    log_ratio, step, done = float(np.log(_TRUE_RATIO)), max(1, _CHUNK // point.machines), 0
    while done < trials:
        now = min(step, trials - done)
        null, other = draw(point, now, random), draw(point, now, random, log_ratio)
        counts["different"] += now * misses(null)
        counts["missed"] += now * misses(other, log_ratio)
        counts["unlike"] += float((unlike(null) <= 0.05).sum())
        counts["further"] += float(covers_further(other).sum()) if point.machines >= LEAST_FOR_A_FURTHER else 0
        done += now
    rates = {name: count / trials for name, count in counts.items()}
    return MachinesResult(
        point,
        trials,
        rates["different"],
        1 - rates["missed"],
        None if point.between else rates["unlike"],
        rates["further"] if point.machines >= LEAST_FOR_A_FURTHER else None,
        "machines that are odd come more often than t has it" if point.heavy else "",
    )


def run_stopping(noise: float, skew: Skew, trials: int, seed: int, most_blocks: int = 400) -> StoppingResult:
    """Coverage of the interval at the moment when `precise_enough` ends the campaign."""
    random = np.random.default_rng(seed)
    covered, blocks, done = 0, 0, 0
    while done < trials:
        now = min(_CHUNK // most_blocks, trials - done)
        point = Point(most_blocks, skew=skew)
        data = campaigns(point, now, random, spread=noise / np.sqrt(2))
        differences = (np.log(data.guest) - np.log(data.baseline))[:, :, 0]
        widths = running_half_widths(differences)
        stop = stops(widths, 1.0)
        stop[:, -1] = True
        at = stop.argmax(axis=1)
        rows = np.arange(now)
        means = differences.cumsum(axis=1)[rows, at] / (at + 1)
        covered += int((np.abs(means) <= widths[rows, at]).sum())
        blocks += int((at + 1).sum())
        done += now
    return StoppingResult(noise, skew, trials, covered / trials, blocks / trials)


def run_power(drift: Drift, trials: int, seed: int, effect: float = 1.01, power: float = 0.80) -> PowerResult:
    """Boots needed with blocks and without, by bisection on simulated power. One boot scatters by 1 %."""
    boots = {}
    for layout, method in ((Layout.BLOCKS, paired), (Layout.SHUFFLED, wider)):

        def seen(n: int, layout: Layout = layout, method: Method = method) -> float:
            random = np.random.default_rng(seed)
            data = campaigns(Point(n, icc=1.0, drift=drift), trials, random, ratio=effect, spread=0.01, layout=layout)
            answers = method(data)
            return float(answers.significant.mean())

        low, high = 5, 8
        while seen(high) < power:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if seen(middle) >= power else (middle, high)
        boots[layout] = high
    n = boots[Layout.BLOCKS]
    apart = campaigns(
        Point(n, icc=1.0, drift=drift),
        trials,
        np.random.default_rng(seed),
        spread=0.01,
        layout=Layout.ONE_AFTER_THE_OTHER,
    )
    return PowerResult(drift, trials, n, boots[Layout.SHUFFLED], float(wider(apart).significant.mean()))


def run_selftest(
    trials: int = TRIALS,
    seed: int = 1,
    full: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SelfTest:
    """The whole self-test. trials: campaigns a point, at least 4,000. progress is called with (steps done, steps)."""
    points, pairs = grid(full), between_grid()
    noises: Sequence[float] = (0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
    total = len(points) + len(pairs) + len(MACHINES_POINTS) + len(noises) * 2 + 2
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    results, between, machines, stopping, power = [], [], [], [], []
    for i, point in enumerate(points):
        results.append(run_point(point, trials, seed + i))
        step()
    for i, point in enumerate(pairs):
        between.append(run_between(point, trials, seed + 3000 + i))
        step()
    for i, place in enumerate(MACHINES_POINTS):
        machines.append(run_machines(place, trials, seed + 4000 + i))
        step()
    for i, (noise, skew) in enumerate(product(noises, (Skew.NONE, Skew.HEAVY))):
        stopping.append(run_stopping(noise, skew, trials, seed + 1000 + i))
        step()
    for i, drift in enumerate((Drift.LINEAR, Drift.STEP)):
        power.append(run_power(drift, LEAST_TRIALS, seed + 2000 + i))
        step()
    return SelfTest(tuple(results), tuple(between), tuple(stopping), tuple(power), tuple(machines), full)


def smallest_detectable(deviation: float, blocks: int, power: float = 0.80) -> float:
    """The ratio that `blocks` blocks see with 80 %; deviation: standard deviation of one block's log-ratio."""
    df = blocks - 1
    return float(np.exp((stdtrit(df, 0.975) + stdtrit(df, power)) * deviation / np.sqrt(blocks)))
