"""From boot records to one number a boot: the boot is the unit of inference, whatever happened inside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ukperf.model import BootRecord, Outcome, Phase, Sample, Status, Unit
from ukperf.stats.figures import (
    LARGEST,
    LEAST_ITERATIONS,
    SMALLEST,
    Warmth,
    has_value,
    oddity,
    statuses_of,
    within_reason,
)

PHASES = tuple(phase.value for phase in Phase)
_TOGETHER = 30_000  # iterations looked at together: bounds the memory
_QUANTILE = re.compile(r"0?\.\d{1,6}")
TAIL = 0.9  # quantiles beyond it depend on how many calls they are of; that of the median does not
_TAIL_NAME = re.compile(r"\bp9\d*(\.\d+)?$")


_OF_RATES = {Warmth.WARMING_UP: Warmth.SLOWING_DOWN, Warmth.SLOWING_DOWN: Warmth.WARMING_UP}


@dataclass(frozen=True)
class Series:
    """One guest's boots for one benchmark: values[i] is the summary of the boot in blocks[i], in `unit`.

    Samples also have warmth[i], what that boot's iterations did, and starts[i], the first one that was steady. odd: i →
    what is wrong with values[i], where `within_reason` made it zero or infinite. statuses: block → what the figure is,
    unless it is measured; of blocks that are not in `blocks` it says why they have no value. There may be no values.
    calls: of a quantile from the tail, of how many calls values[i] is.
    """

    unit: Unit
    blocks: tuple[int, ...]
    values: tuple[float, ...]
    warmth: tuple[Warmth, ...] = ()
    starts: tuple[int, ...] = ()
    odd: Mapping[int, str] = field(default_factory=dict)
    statuses: Mapping[int, Status] = field(default_factory=dict)
    calls: tuple[int, ...] = ()

    def count(self, status: Status) -> int:
        """Boots whose figure is that."""
        return sum(each is status for each in self.statuses.values())

    def by_block(self) -> Mapping[int, float]:
        return dict(zip(self.blocks, self.values, strict=True))


def least_calls(quantile: float) -> int:
    """Calls below which a quantile is not printed: the sample's maximum lies above it with 95 % only from here on."""
    return math.ceil(math.log(0.05) / math.log(max(quantile, 1 - quantile)))


def quantiles_of(sample: Sample) -> tuple[float, ...]:
    """The quantiles that a workload asked for with `meta_quantiles` ("0.5,0.99"); empty: the mean is compared."""
    text = sample.metadata.get("quantiles")
    if not isinstance(text, str):
        return ()
    parts = [part.strip() for part in text.split(",")]
    return tuple(float(part) for part in parts if _QUANTILE.fullmatch(part) and 0 < float(part) < 1)


def quantile_name(benchmark: str, quantile: float) -> str:
    """`latency/p99`, `latency/p99.9`."""
    return f"{benchmark}/p{100 * quantile:.6g}"


def sample_name(benchmark: str) -> str:
    """A sample's benchmark under a name that no phase has."""
    return f"sample:{benchmark}" if benchmark in PHASES else benchmark


def merged(samples: Iterable[Sample]) -> list[Sample]:
    """Samples with the further frames of a benchmark joined to the first, in order."""
    joined: dict[str, Sample] = {}
    for frame in samples:
        sample, old = frame, joined.get(frame.benchmark)
        if old is not None:
            sample = replace(old, values=old.values + sample.values, warmups=old.warmups + sample.warmups)
        joined[sample.benchmark] = sample
    return list(joined.values())


def boot_summaries(record: BootRecord) -> dict[str, tuple[float, Unit]]:
    """Benchmark name → (one number for this boot, its unit): phases, steady means of samples, or quantiles."""
    series = collect([record], record.trial.guest)
    return {name: (column.values[0], column.unit) for name, column in series.items() if column.values}


def _quantile(values: Sequence[float], quantile: float) -> float:
    """By the inverted distribution function: one of the values."""
    import numpy as np

    return within_reason(float(np.quantile(np.asarray(values, np.float64), quantile, method="inverted_cdf")))


def _calls_said(sample: Sample) -> int | None:
    """Of a quantile from the tail that the guest took itself: of how many calls it says that it is."""
    calls = sample.metadata.get("calls")
    if not isinstance(calls, int) or isinstance(calls, bool) or calls <= 0 or len(sample.values) != 1:
        return None
    return calls if _TAIL_NAME.search(sample.benchmark) else None


def final_records(records: Iterable[BootRecord], guest: str) -> dict[int, BootRecord]:
    """Block → the guest's boot that counts: the first good attempt, or the last failed one; in the order of blocks."""
    chosen: dict[int, BootRecord] = {}
    for record in records:
        trial = record.trial
        if trial.guest == guest:
            old = chosen.get(trial.block)
            if old is None or _counts(record, old):
                chosen[trial.block] = record
    return {block: chosen[block] for block in sorted(chosen)}


def _counts(new: BootRecord, old: BootRecord) -> bool:
    """Does `new` count rather than `old`, of the same block?"""
    good = new.outcome is Outcome.OK
    if good != (old.outcome is Outcome.OK):
        return good
    earlier = (new.trial.attempt, new.trial.index) < (old.trial.attempt, old.trial.index)
    return earlier is good


def _short_mean(values: tuple[float, ...]) -> float:
    """The mean of a boot's few iterations; the first that is infinite or no number, if one is."""
    low, high = min(values), max(values)
    if low >= SMALLEST and high <= LARGEST:
        return low if low == high else math.fsum(values) / len(values)
    sized = [within_reason(value) for value in values]
    for value in sized:
        if not math.isfinite(value):
            return value
    return sized[0] if max(sized) == min(sized) else math.fsum(sized) / len(sized)


class _Column:
    """What is known of one benchmark while the boots go by; lists of iterations wait for their steady means, or for the
    quantile of their steady part, where the column is of one."""

    def __init__(self, unit: Unit, quantile: float | None = None) -> None:
        self.unit = unit
        self.quantile = quantile
        self.calls: list[int] = []
        self.blocks: list[int] = []
        self.values: list[float | tuple[float, ...]] = []
        self.statuses: dict[int, Status] = {}

    def add(self, block: int, value: float | tuple[float, ...], unit: Unit, calls: int | None = None) -> None:
        if unit is self.unit:
            self.blocks.append(block)
            self.values.append(value)
            if calls is not None:
                self.calls.append(calls)

    def series(self) -> Series:
        boots = len(self.values)
        done, starts, warmth = [math.nan] * boots, [0] * boots, [Warmth.SHORT] * boots
        long: dict[int, list[int]] = {}
        iterated = False
        for i, value in enumerate(self.values):
            if not isinstance(value, tuple):
                done[i] = within_reason(value)
                continue
            iterated = True
            if len(value) < LEAST_ITERATIONS:
                done[i] = _short_mean(value)
            else:
                long.setdefault(len(value), []).append(i)
        for rows in long.values():
            self._steady(rows, done, starts, warmth)
        if self.quantile is not None:
            self._take_quantiles(self.quantile, done, starts, warmth)
        odd = {i: self._oddity(i) for i, v in enumerate(done) if v == 0 or not math.isfinite(v)}
        calls = tuple(self.calls) if len(self.calls) == boots else ()
        plain = Series(self.unit, tuple(self.blocks), tuple(done), odd=odd, statuses=self.statuses, calls=calls)
        return replace(plain, warmth=tuple(warmth), starts=tuple(starts)) if iterated else plain

    def _steady(self, rows: Sequence[int], done: list[float], starts: list[int], warmth: list[Warmth]) -> None:
        """Fills in what boots of equal length came to; rows: which boots."""
        import numpy as np

        from ukperf.stats import arrays
        from ukperf.stats.steady import steady_state

        first = self.values[rows[0]]
        step = max(1, _TOGETHER // len(first)) if isinstance(first, tuple) else 1
        for some in (rows[i : i + step] for i in range(0, len(rows), step)):
            array = arrays.within_reason([self.values[i] for i in some])
            good = np.isfinite(array).all(axis=1)
            for i, row in zip(np.asarray(some)[~good], array[~good], strict=True):
                done[i] = float(row[~np.isfinite(row)][0])  # stays visible: comparisons name it and refuse
            if good.any():
                steady = steady_state(array[good])
                for i, start, kind, mean in zip(
                    np.asarray(some)[good], steady.starts, steady.warmth, steady.means, strict=True
                ):
                    done[i], starts[i] = float(mean), int(start)
                    warmth[i] = kind if self.unit.cost > 0 else _OF_RATES.get(kind, kind)

    def _take_quantiles(self, quantile: float, done: list[float], starts: list[int], warmth: list[Warmth]) -> None:
        """The quantile of each boot's steady calls instead of their mean; of all, where these are too few for it, or
        where the guest sorted them."""
        for i, value in enumerate(self.values):
            assert isinstance(value, tuple)
            if starts[i] and list(value) in (sorted(value), sorted(value, reverse=True)):
                starts[i], warmth[i] = 0, Warmth.SHORT
            if len(value) - starts[i] < least_calls(quantile):
                starts[i], warmth[i] = 0, Warmth.UNSTEADY
            done[i] = _quantile(value[starts[i] :], quantile)
            if quantile > TAIL:
                self.calls.append(len(value) - starts[i])

    def _oddity(self, i: int) -> str:
        """What made the summary of a boot zero, infinite or no number: its value, or the worst of its iterations."""
        value = self.values[i]
        if not isinstance(value, tuple):
            return oddity(value)
        strange = [v for v in value if not abs(v) <= LARGEST]
        return oddity(next(iter(strange), max(value, key=abs)))


def collect(records: Iterable[BootRecord], guest: str) -> dict[str, Series]:
    """Benchmark name → the guest's series over its good boots, in the order of the blocks.

    A benchmark whose unit changes from boot to boot keeps the unit of the first; the others count as missing. A phase
    that no boot has a value of is there too, if it is known why.
    """
    columns: dict[str, _Column] = {}

    for block, record in sorted(final_records(records, guest).items()):
        if record.outcome is not Outcome.OK:
            continue
        statuses = statuses_of(record)
        for phase, duration in record.phases.items():
            if has_value(phase, statuses.get(phase)):
                column = columns.setdefault(phase.value, _Column(record.unit))
                column.add(block, float(duration), record.unit)
        for sample in merged(record.samples):
            name, quantiles = sample_name(sample.benchmark), quantiles_of(sample)
            for quantile in quantiles:
                if len(sample.values) >= least_calls(quantile):
                    column = columns.setdefault(quantile_name(name, quantile), _Column(sample.unit, quantile))
                    column.add(block, sample.values, sample.unit)
            if sample.values and not quantiles:
                column = columns.setdefault(name, _Column(sample.unit))
                column.add(block, sample.values, sample.unit, _calls_said(sample))
        for name, status in statuses.items():
            if name in PHASES:
                columns.setdefault(name, _Column(record.unit))
            for column in _of(name, columns):
                column.statuses[block] = status
    return {name: column.series() for name, column in columns.items()}


def _of(name: str, columns: Mapping[str, _Column]) -> list[_Column]:
    """The columns of a phase or sample: of one that is compared by its quantiles, theirs."""
    return [column for known, column in columns.items() if known == name or known.startswith(f"{name}/p")]


def without_phases(record: BootRecord) -> BootRecord:
    """The record with what its program measured alone."""
    statuses = {name: status for name, status in record.statuses.items() if name not in PHASES}
    return replace(record, phases={}, statuses=statuses)
