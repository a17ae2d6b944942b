"""Real A/A runs: boots of one image, called A and B at random. What is then called different is a false alarm.

From 2 n boots of one guest, neighbours make n blocks. In each, a coin says which boot is A; every assignment of the
coins is an A/A campaign on this machine's own noise, drift and outliers included. The share that a method calls
significant is its false-alarm rate here, free of any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome
from ukperf.stats.arrays import Floats, within_reason
from ukperf.stats.contest import METHODS
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.perboot import PHASES, collect, merged, quantiles_of, sample_name
from ukperf.stats.selftest import LEAST_TRIALS, MOST_FALSE_ALARMS
from ukperf.stats.simulate import Campaigns


@dataclass(frozen=True)
class AAResult:
    """false_alarms: method → share of assignments called significant; blocks: n; spread: σ of a boot's log."""

    guest: str
    benchmark: str
    blocks: int
    iterations: int
    spread: float
    false_alarms: dict[str, float]

    @property
    def kept(self) -> bool:
        return self.false_alarms["paired"] <= MOST_FALSE_ALARMS


def aa_rates(records: Sequence[BootRecord], trials: int = LEAST_TRIALS, seed: int = 1) -> list[AAResult]:
    """False alarms for every phase and sample of a run of one guest.

    Boots that failed leave their neighbour without a pair. Raises UkperfError for a run of several guests, or with
    fewer than 12 good boots.
    """
    guests = {record.trial.guest for record in records}
    if len(guests) != 1:
        raise UkperfError("An A/A run has one guest, and this one has " + (", ".join(sorted(guests)) or "none") + ".")
    guest = guests.pop()
    good = [r for r in sorted(records, key=lambda r: r.trial.index) if r.outcome is Outcome.OK]
    if len(good) < 2 * MIN_BOOTS:
        raise UkperfError(f"An A/A run needs {2 * MIN_BOOTS} good boots, and this one has {len(good)}.")
    results = []
    for benchmark, series in collect(good, guest).items():
        values = _values(good, benchmark)
        if values is None:
            continue
        blocks = values.shape[0] // 2
        pairs = values[: 2 * blocks].reshape(blocks, 2, values.shape[1])
        rates = _rates(pairs, trials, seed)
        logs = np.log(np.asarray(series.values))
        spread = 0.0 if np.ptp(values) == 0 else float(logs.std(ddof=1))
        results.append(AAResult(guest, benchmark, blocks, values.shape[1], spread, rates))
    return results


def _rates(pairs: Floats, trials: int, seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    coin = random.integers(0, 2, (trials, pairs.shape[0]))
    rows = np.arange(pairs.shape[0])
    alarms = dict.fromkeys(METHODS, 0)
    step = max(1, 2_000_000 // pairs.size)
    for i in range(0, trials, step):
        heads = coin[i : i + step]
        data = Campaigns(pairs[rows, heads], pairs[rows, 1 - heads])
        for name, method in METHODS.items():
            alarms[name] += int(method(data).significant.sum())
    return {name: count / trials for name, count in alarms.items()}


def _values(records: Sequence[BootRecord], benchmark: str) -> Floats | None:
    """boots × iterations (one for a phase), cut to the shortest boot; None where a value has no logarithm."""
    rows: list[tuple[float, ...]] = []
    for record in records:
        if benchmark in PHASES:
            rows += [(value,) for phase, value in record.phases.items() if phase.value == benchmark]
        else:
            rows += [
                sample.values
                for sample in merged(record.samples)
                if sample_name(sample.benchmark) == benchmark and not quantiles_of(sample)
            ]
    if len(rows) < 2 * MIN_BOOTS:
        return None
    shortest = min(len(row) for row in rows)
    array = within_reason([row[:shortest] for row in rows])
    return array if array.size and np.isfinite(array).all() and (array > 0).all() else None
