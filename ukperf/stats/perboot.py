"""From boot records to one number a boot: the boot is the unit of inference, whatever happened inside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ukperf.model import BootRecord, Outcome, Phase, Sample, Unit

PHASES = tuple(phase.value for phase in Phase)
_QUANTILE = re.compile(r"0?\.\d{1,6}")


@dataclass(frozen=True)
class Series:
    """One guest's boots for one benchmark: values[i] is the summary of the boot in blocks[i], in `unit`."""

    unit: Unit
    blocks: tuple[int, ...]
    values: tuple[float, ...]

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
    """Benchmark name → (one number for this boot, its unit): phases, means of samples, quantiles where asked for."""
    summaries = {phase.value: (value, record.unit) for phase, value in record.phases.items()}
    for sample in merged(record.samples):
        if not sample.values:
            continue
        name = sample_name(sample.benchmark)
        wanted = quantiles_of(sample)
        for quantile in wanted:
            if len(sample.values) >= least_calls(quantile):
                value = float(np.quantile(np.asarray(sample.values, dtype=np.float64), quantile, method="inverted_cdf"))
                summaries[quantile_name(name, quantile)] = (value, sample.unit)
        if not wanted:
            summaries[name] = (_mean(sample.values), sample.unit)
    return summaries


def _mean(values: Sequence[float]) -> float:
    # fsum: exact repeats stay exact
    return values[0] if min(values) == max(values) else math.fsum(values) / len(values)


def final_records(records: Iterable[BootRecord], guest: str) -> dict[int, BootRecord]:
    """Block → the guest's boot that counts: the first good attempt, or the last failed one."""
    chosen: dict[int, BootRecord] = {}
    for record in sorted(records, key=lambda r: (r.trial.block, r.trial.attempt, r.trial.index)):
        if record.trial.guest != guest:
            continue
        old = chosen.get(record.trial.block)
        if old is None or old.outcome is not Outcome.OK:
            chosen[record.trial.block] = record
    return chosen


def collect(records: Iterable[BootRecord], guest: str) -> dict[str, Series]:
    """Benchmark name → the guest's series over its good boots, in the order of the blocks.

    A benchmark whose unit changes from boot to boot keeps the unit of the first; the others count as missing.
    """
    columns: dict[str, tuple[Unit, list[int], list[float]]] = {}
    for block, record in sorted(final_records(records, guest).items()):
        if record.outcome is not Outcome.OK:
            continue
        for name, (value, unit) in boot_summaries(record).items():
            kept, blocks, values = columns.setdefault(name, (unit, [], []))
            if kept is unit:
                blocks.append(block)
                values.append(value)
    return {name: Series(unit, tuple(b), tuple(v)) for name, (unit, b, v) in columns.items()}
