"""A run as a pyperf suite (JSON 1.0): one pyperf run a boot, so that pyperf's own tools read it.

Benchmarks are named GUEST/BENCHMARK (`linux/total`), because names are unique in a suite and `pyperf compare_to`
matches two files by name: run against run, guest by guest. With a single guest asked for it is left out of the names,
so that the files of two guests can be compared with each other.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import ukperf
from ukperf.files import write_atomically
from ukperf.model import BootRecord, Outcome, Sample, Status, Unit
from ukperf.stats.figures import has_value, statuses_of
from ukperf.stats.perboot import merged, quantile_name, quantiles_of, sample_name
from ukperf.stats.within import accuse

_UNITS = {  # pyperf knows these three; `ukperf_unit` beside it is the true one
    Unit.SECONDS: "second",
    Unit.INSTRUCTIONS: "integer",
    Unit.CYCLES: "integer",
    Unit.BYTES: "byte",
    Unit.COUNT: "integer",
    Unit.PER_SECOND: "integer",
    Unit.SCORE: "integer",
}
FACT = "ukperf_fact_"  # in front of what a record's facts are called: see stats.provenance
_SPACE = re.compile(r"\s+")
Json = dict[str, object]


def suite(
    records: Sequence[BootRecord], facts: Mapping[str, str], only: Sequence[str] = (), wanted: Sequence[str] = ()
) -> Json | None:
    """The suite as plain JSON data, or None when no boot gave a positive value (pyperf knows no empty suite).

    facts become `ukperf_*` metadata of the whole suite. only: these guests (empty: all); a single one's name is left
    out of benchmark names. wanted: these benchmarks (empty: all); a quantile, like `latency/p99`, brings its sample.
    Values that pyperf refuses (zero, negative, not finite) are left out; `ukperf_values_left_out` counts them.
    """
    benchmarks: dict[str, list[Json]] = {}
    units: dict[str, Unit] = {}
    for record in sorted(accuse(records), key=lambda r: r.trial.index):
        if record.outcome is not Outcome.OK or (only and record.trial.guest not in only):
            continue
        statuses = statuses_of(record)
        prefix = "" if len(only) == 1 else f"{record.trial.guest}/"
        for sample in _samples(record):
            if wanted and not _asked(sample, wanted):
                continue
            name = _text(prefix + sample.benchmark) or "unnamed"
            if units.setdefault(name, sample.unit) is not sample.unit:
                continue
            run = _run(record, sample, statuses.get(sample.benchmark, Status.MEASURED))
            if run is not None:
                benchmarks.setdefault(name, []).append(run)
    if not benchmarks:
        return None
    common = {f"ukperf_{_key(name)}": _text(value) for name, value in facts.items() if _text(value)}
    return {
        "version": "1.0",
        "metadata": {"ukperf_version": ukperf.__version__, **common},
        "benchmarks": [_benchmark(name, units[name], runs) for name, runs in benchmarks.items()],
    }


def _benchmark(name: str, unit: Unit, runs: list[Json]) -> Json:
    facts = _common_facts(runs)
    return {"metadata": {"name": name, "unit": _UNITS[unit], "ukperf_unit": unit.value, **facts}, "runs": runs}


def _common_facts(runs: Sequence[Json]) -> Json:
    """Takes the facts that all runs of a benchmark share out of them: said once, as pyperf does with what is common."""
    metadata = [run["metadata"] for run in runs]
    assert all(isinstance(of_one, dict) for of_one in metadata)
    tables = [of_one for of_one in metadata if isinstance(of_one, dict)]
    first = {name: value for name, value in tables[0].items() if name.startswith(FACT)}
    common = {name: value for name, value in first.items() if all(table.get(name) == value for table in tables)}
    for table in tables:
        for name in common:
            del table[name]
    return common


def _asked(sample: Sample, wanted: Sequence[str]) -> bool:
    names = {sample.benchmark, *(quantile_name(sample.benchmark, quantile) for quantile in quantiles_of(sample))}
    return not names.isdisjoint(wanted)


def write_suite(path: Path, records: Sequence[BootRecord], facts: Mapping[str, str], only: Sequence[str] = ()) -> bool:
    """Write the suite whole or not at all. False, and no file, when no boot gave a value."""
    data = suite(records, facts, only)
    if data is None:
        return False
    write_atomically(path, json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n")
    return True


def _samples(record: BootRecord) -> Iterable[Sample]:
    statuses = statuses_of(record)
    for phase, value in record.phases.items():
        if has_value(phase, statuses.get(phase)):
            yield Sample(phase.value, record.unit, (value,))
    for sample in merged(record.samples):
        yield Sample(
            sample_name(sample.benchmark), sample.unit, sample.values, sample.loops, sample.warmups, sample.metadata
        )


def _number(value: float, unit: Unit) -> float | int:
    # pyperf prints integers of its unit `integer` without a fraction only when they are ints
    return int(value) if unit is not Unit.SECONDS and float(value).is_integer() else float(value)


def _run(record: BootRecord, sample: Sample, status: Status) -> Json | None:
    good = [_number(v, sample.unit) for v in sample.values if math.isfinite(v) and v > 0]
    if not good:
        return None
    warmups = [[sample.loops, _number(v, sample.unit)] for v in sample.warmups if math.isfinite(v) and v >= 0]
    run: Json = {"values": good, "metadata": _metadata(record, sample, len(sample.values) - len(good), status)}
    if warmups:
        run["warmups"] = warmups
    return run


def _metadata(record: BootRecord, sample: Sample, left_out: int, status: Status) -> Json:
    trial = record.trial
    total = record.events.get("stopped")
    data: Json = {
        "date": record.started_at.replace("T", " ").removesuffix("Z").split("+")[0],
        "ukperf_guest": trial.guest,
        "ukperf_block": trial.block,
        "ukperf_position": trial.position,
        "ukperf_order": trial.index,
        "ukperf_attempt": trial.attempt,
        "ukperf_image": record.image_digest,
        "ukperf_host": record.host,
        "ukperf_ended_by_host": "yes" if record.ended_by_host else "no",
    }
    if sample.loops > 1:
        data["loops"] = sample.loops
    if total is not None and total > 0:
        data["duration"] = total / 1e9
    if record.vmm_peak_rss:
        data["command_max_rss"] = record.vmm_peak_rss
    if record.clock_ratio is not None and math.isfinite(record.clock_ratio):
        data["ukperf_clock_ratio"] = record.clock_ratio
    if left_out:
        data["ukperf_values_left_out"] = left_out
    if status is not Status.MEASURED:
        data["ukperf_status"] = status.value
    data |= _boot(record)
    for name, extra in sample.metadata.items():
        if isinstance(extra, str | int | float) and (not isinstance(extra, float) or math.isfinite(extra)):
            # what a guest says of itself never takes the place of what we know
            data.setdefault(f"ukperf_{_key(name)}", str(extra) if isinstance(extra, bool) else extra)
    cleaned = {name: _text(value) if isinstance(value, str) else value for name, value in data.items()}
    return {name: value for name, value in cleaned.items() if value != ""}


def _boot(record: BootRecord) -> Json:
    """What every run of a boot says of it: the host's noise, the phases, the answers."""
    data: Json = {}
    statuses = statuses_of(record)
    for name, value in record.noise.items():
        if math.isfinite(value):
            data[f"ukperf_noise_{_key(name)}"] = value
    for name, value in record.phases.items():
        if math.isfinite(value) and has_value(name, statuses.get(name)):
            data[f"ukperf_phase_{name.value}"] = value
    # of what has no value, which has no run of its own, it is said in the others
    without = {name: kind.value for name, kind in statuses.items() if not has_value(name, kind)}
    if without:
        data["ukperf_without_value"] = "; ".join(f"{name}: {kind}" for name, kind in without.items())
    data |= {f"{FACT}{_key(name)}": text for name, text in record.facts.items()}
    for name, text in record.checks.items():
        data[f"ukperf_check_{_key(name)}"] = text
    return data


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _text(value: str) -> str:
    # pyperf refuses newlines and empty text in metadata
    return _SPACE.sub(" ", str(value)).strip()
