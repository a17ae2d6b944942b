"""Variance taken apart: between boots, between the iterations of a boot, and what that says about the next campaign.

Sources: one-way random effects for unequal groups, Searle, Casella & McCulloch, Variance Components (1992), ch. 3;
the best number of iterations: Kalibera & Jones, Rigorous Benchmarking in Reasonable Time (ISMM 2013), eq. 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, stdtrit

from ukperf.model import RESTORED, BootRecord, Outcome, Sample, Unit
from ukperf.stats.arrays import within_reason
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.figures import LARGEST
from ukperf.stats.paired import paired_effect
from ukperf.stats.perboot import Series, collect, final_records, merged, quantiles_of, sample_name
from ukperf.stats.within import divisors, refusal

MOST_ITERATIONS = 1_000_000


@dataclass(frozen=True)
class VarianceParts:
    """Standard deviations of the logs, so 0.01 is 1 %.

    icc: share of the variance that lies between boots; None where nothing varies. boots, iterations: what it rests on
    (iterations: mean number of steady ones a boot).
    """

    between_boots: float
    between_iterations: float
    icc: float | None
    boots: int
    iterations: float


def variance_parts(boots: Sequence[Sequence[float]]) -> VarianceParts | None:
    """σ between boots, σ between iterations and ICC by analysis of variance on logs.

    boots: positive finite iterations of each boot, as many as it has. None below 2 boots, or if no boot has two.
    Raises ValueError for values without a logarithm.
    """
    arrays = [np.asarray(values, dtype=np.float64) for values in boots if len(values)]
    if any(not np.isfinite(a).all() or (a <= 0).any() for a in arrays):
        raise ValueError("a value is zero, negative or not finite")
    sizes = np.array([a.size for a in arrays], dtype=np.float64)
    k, total = len(arrays), float(sizes.sum()) if arrays else 0.0
    if k < 2 or total <= k:
        return None
    logs = [np.log(a) if a.max() > a.min() else np.full(a.size, math.log(a[0])) for a in arrays]
    means = np.array([x.mean() if x.max() > x.min() else x[0] for x in logs])
    within = sum(float(((x - m) ** 2).sum()) for x, m in zip(logs, means, strict=True)) / (total - k)
    grand = float((sizes * (means - means[0])).sum() / total) + float(means[0])
    between = float((sizes * (means - grand) ** 2).sum()) / (k - 1)
    size = (total - float((sizes**2).sum()) / total) / (k - 1)
    boot_variance = max(0.0, (between - within) / size)
    everything = boot_variance + within
    icc = boot_variance / everything if everything > 0 else None
    return VarianceParts(math.sqrt(boot_variance), math.sqrt(within), icc, k, total / k)


def best_iterations(parts: VarianceParts, boot_cost: float, iteration_cost: float) -> int | None:
    """Iterations a boot that buy the narrowest interval for the time: sqrt(c_boot / c_iter × σ_iter² / σ_boot²).

    Costs in the same unit. None where boots do not differ: then only the cost of a boot limits how long it should run.
    """
    if parts.between_iterations == 0 or iteration_cost <= 0:
        return 1
    if parts.between_boots == 0:
        return None
    ratio = max(boot_cost, 0.0) / iteration_cost
    best = math.sqrt(ratio) * parts.between_iterations / parts.between_boots
    return int(min(max(1, math.ceil(best)), MOST_ITERATIONS))


_SPENT = (Unit.SECONDS, Unit.CYCLES, Unit.INSTRUCTIONS)  # what running takes


@dataclass(frozen=True)
class SampleParts:
    """Where one guest's benchmark varies. best: iterations a boot (Kalibera & Jones), None where boots do not differ.

    boot_cost: what a boot costs beside its iterations, iteration_cost: one iteration, both in `unit`. boot_cost is None
    where nothing says how long boots took, iteration_cost where values are nothing that running takes (rates, bytes,
    counts); then there is no best either.
    """

    guest: str
    benchmark: str
    unit: Unit
    parts: VarianceParts
    boot_cost: float | None
    iteration_cost: float | None
    best: int | None


def sample_parts(
    records: Sequence[BootRecord], tables: Mapping[str, Mapping[str, Series]] | None = None
) -> list[SampleParts]:
    """Variance parts of every guest's samples over its good boots, steady iterations only (phases have none).

    tables: guest → what `collect` gives, where the caller has it already.
    """
    rows_of_parts = []
    for guest in dict.fromkeys(record.trial.guest for record in records):
        table = tables[guest] if tables else collect(records, guest)
        starts = {name: dict(zip(s.blocks, s.starts, strict=True)) for name, s in table.items() if s.starts}
        boots: dict[str, list[tuple[tuple[float, ...], Unit, float | None, float]]] = {}
        for record in final_records(records, guest).values():
            if record.outcome is not Outcome.OK:
                continue
            for sample in merged(record.samples):
                name = sample_name(sample.benchmark)
                if len(sample.values) < 2 or quantiles_of(sample) or not _loggable(sample.values):
                    continue
                start = starts.get(name, {}).get(record.trial.block, 0)
                iteration = sample.loops * math.fsum(sample.values) / len(sample.values)
                whole = _whole_boot(record, sample)
                rest = None if whole is None else whole - iteration * len(sample.values)
                boots.setdefault(name, []).append((sample.values[start:], sample.unit, rest, iteration))
        for name, rows in boots.items():
            parts = variance_parts([row[0] for row in rows])
            if parts is None:
                continue
            known = [row[2] for row in rows if row[2] is not None]
            cost = max(float(np.mean(known)), 0.0) if known else None
            spent = float(np.mean([row[3] for row in rows])) if rows[0][1] in _SPENT else None
            best = None if cost is None or spent is None else best_iterations(parts, cost, spent)
            rows_of_parts.append(SampleParts(guest, name, rows[0][1], parts, cost, spent, best))
    return rows_of_parts


def _loggable(values: Sequence[float]) -> bool:
    array = within_reason(values)
    return bool(np.isfinite(array).all() and (array > 0).all())


def _whole_boot(record: BootRecord, sample: Sample) -> float | None:
    """What the whole boot took in the sample's unit: its longest phase, or the process's duration; None if unknown."""
    if record.phases and record.unit is sample.unit:
        return min(max([0.0, *record.phases.values()]), LARGEST)
    duration = sample.metadata.get("duration")
    known = isinstance(duration, int | float) and sample.unit is Unit.SECONDS and 0 < duration < LARGEST
    return float(duration) if known and isinstance(duration, int | float) else None


@dataclass(frozen=True)
class BootPlan:
    """What a wished-for effect needs. boots: blocks for 80 % power; None where the pilot cannot say.

    deviation: standard deviation of one block's log-ratio in the pilot. seconds: the time that many blocks take.
    """

    benchmark: str
    guest: str
    baseline: str
    pilot: int
    deviation: float | None
    boots: int | None
    seconds: float | None
    why: str = ""


@dataclass(frozen=True)
class Precision:
    """What an interval of a wished-for width needs, for a guest by itself. boots: None where the pilot cannot say.

    deviation: standard deviation of one boot's log in the pilot. seconds: the time that so many boots take.
    """

    benchmark: str
    guest: str
    pilot: int
    deviation: float | None
    boots: int | None
    seconds: float | None
    why: str = ""


def boots_for_width(deviation: float, width: float, assurance: float = 0.80) -> int:
    """Boots after which the 95 % interval of a geometric mean is at most ± width (0.01 = 1 %), with `assurance`.

    The scatter that a run will show is itself drawn: its (1 - assurance) upper quantile counts. Source: Kupper &
    Hafner, How appropriate are popular sample size formulas? (1989). Raises ValueError outside (0, …) and (0, 1).
    """
    if width <= 0 or not 0 < assurance < 1:
        raise ValueError("the width must be positive and the assurance between 0 and 1")
    target = math.log1p(width)

    def enough(n: int) -> bool:
        inflated = deviation * math.sqrt(float(chdtri(n - 1, 1 - assurance)) / (n - 1))
        return float(stdtrit(n - 1, 0.975)) * inflated / math.sqrt(n) <= target

    return _least(enough)


def _least(enough: Callable[[int], bool]) -> int:
    """The least number from MIN_BOOTS on that is enough; enough is monotone."""
    low, high = MIN_BOOTS - 1, MIN_BOOTS
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def plan_alone(records: Sequence[BootRecord], width: float, assurance: float = 0.80) -> list[Precision]:
    """For every benchmark of a pilot of one guest (6 boots or more): the boots that bring its interval to ± width."""
    precisions = []
    for guest in dict.fromkeys(record.trial.guest for record in records):
        boot = _block_seconds([record for record in records if record.trial.guest == guest])
        for name, series in sorted(collect(records, guest).items()):
            why = refusal(series, series, guest, guest)
            n = len(series.values)
            if not why and n < MIN_BOOTS:
                why = f"the pilot has fewer than {MIN_BOOTS} boots"
            if why:
                precisions.append(Precision(name, guest, n, None, None, None, why))
                continue
            logs = np.log(series.values) if len(set(series.values)) > 1 else np.zeros(n)
            deviation = float(logs.std(ddof=1))
            boots = boots_for_width(deviation, width, assurance)
            precisions.append(Precision(name, guest, n, deviation, boots, boots * boot if boot else None))
    return precisions


def boots_for(deviation: float, effect: float, power: float = 0.80, family: int = 1) -> int:
    """Blocks that show a ratio of 1 + effect with the given power at 5 % (over `family`), by the t distribution.

    Raises ValueError for an effect that is not positive or a power outside (0, 1).
    """
    if effect <= 0 or not 0 < power < 1:
        raise ValueError("the effect must be positive and the power between 0 and 1")
    target = math.log1p(effect)

    def enough(n: int) -> bool:
        quantiles = float(stdtrit(n - 1, 1 - 0.025 / family)) + float(stdtrit(n - 1, power))
        return quantiles * deviation / math.sqrt(n) <= target

    return _least(enough)


def plan(records: Sequence[BootRecord], baseline: str, effect: float, power: float = 0.80) -> list[BootPlan]:
    """For every guest and benchmark of a pilot run (6 blocks or more): the blocks that would show `effect`."""
    guests = list(dict.fromkeys(record.trial.guest for record in records))
    series = {guest: collect(records, guest) for guest in guests}
    pairs = [(g, other, name) for g in guests for other in divisors(g, series, baseline) for name in series[g]]
    pairs = [p for p in pairs if p[1] != p[0].removesuffix(RESTORED) or p[2] in series[p[1]]]  # loading is no boot's
    block = _block_seconds(records)
    plans = []
    for guest, other, name in sorted(pairs):
        over, under = series[guest][name], series.get(other, {}).get(name)
        why = refusal(over, under, guest, other)
        if why or under is None:
            plans.append(BootPlan(name, guest, other, 0, None, None, None, why))
            continue
        deviation, pilot = _deviation(over, under)
        if deviation is None:
            plans.append(BootPlan(name, guest, other, pilot, None, None, None, "the pilot has fewer than 6 blocks"))
            continue
        boots = boots_for(deviation, effect, power, len(pairs))
        plans.append(BootPlan(name, guest, other, pilot, deviation, boots, boots * block if block else None))
    return plans


def _deviation(over: Series, under: Series) -> tuple[float | None, int]:
    left, right = over.by_block(), under.by_block()
    shared = sorted(left.keys() & right.keys())
    if len(shared) < MIN_BOOTS:
        return None, len(shared)
    effect = paired_effect([left[b] for b in shared], [right[b] for b in shared])
    return (effect.se or 0.0) * math.sqrt(effect.n), effect.n


def _block_seconds(records: Sequence[BootRecord]) -> float | None:
    """Wall-clock time of one block, from the trials' own start and stop events."""
    blocks: dict[int, float] = {}
    for record in records:
        blocks[record.trial.block] = blocks.get(record.trial.block, 0.0) + _boot_seconds(record)
    return float(np.median(list(blocks.values()))) or None


def _boot_seconds(record: BootRecord) -> float:
    """Of pyperf's processes, which have no events, the durations that their metadata give; 0 where nothing is known."""
    if "stopped" in record.events:
        return record.events["stopped"] / 1e9
    durations = [sample.metadata.get("duration") for sample in record.samples]
    return math.fsum(d for d in durations if isinstance(d, int | float) and 0 < d < LARGEST)
