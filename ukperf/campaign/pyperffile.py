"""Reads pyperf's JSON files, ours and other people's, as sides of a comparison. Processes are the units.

Read as plain data: pyperf's own reader builds an object for every run and is slow on large files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Phase, Sample, Trial, Unit
from ukperf.stats.perboot import PHASES

MOST_BYTES = 1 << 30
_UNITS = {"second": Unit.SECONDS, "byte": Unit.BYTES}
_CONTEXT = {
    "accelerator": "ukperf_accelerator",
    "machine": "ukperf_machine",
    "cpu": "cpu_model_name",
    "python": "python_version",
    "host": "hostname",
}
_BY_VALUE = {unit.value: unit for unit in Unit}


@dataclass(frozen=True)
class PyperfFile:
    """guests: guest → its records, one a process; the guest is "" in files that are not ours. context: see Side."""

    guests: Mapping[str, tuple[BootRecord, ...]]
    context: Mapping[str, str]


def read_pyperf(path: Path) -> PyperfFile:
    """All values of a pyperf file, process by process.

    Raises UkperfError for a file that is too large, no JSON, no pyperf, older than pyperf 1.0, or without a value.
    """
    data = _load(path)
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        raise UkperfError(f"{path} is no pyperf file: it has no list of benchmarks.")
    if data.get("version") != "1.0":
        raise UkperfError(
            f"{path} is in pyperf's format {data.get('version')!r}, and only 1.0 is read.",
            hint=f"Convert it: python -m pyperf convert {path} -o NEW.json",
        )
    found: dict[str, dict[int, BootRecord]] = {}
    try:
        for benchmark in data["benchmarks"]:
            _benchmark(benchmark, data.get("metadata", {}), found)
        context = _context(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UkperfError(f"{path} is a damaged pyperf file: {type(error).__name__} {error}.") from error
    if not found:
        raise UkperfError(f"{path} holds no value that can be compared.")
    return PyperfFile({guest: tuple(records.values()) for guest, records in found.items()}, context)


def _load(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UkperfError(
                f"{path} is {size / 2**30:.1f} GiB; more than {MOST_BYTES >> 30} GiB is not read.",
                hint="Thin it out: python -m pyperf convert --only-runs … or fewer benchmarks.",
            )
        if path.suffix == ".gz":
            import gzip

            with gzip.open(path, "rb") as file:
                text = file.read(MOST_BYTES + 1)
            if len(text) > MOST_BYTES:
                raise UkperfError(f"{path} unpacks to more than {MOST_BYTES >> 30} GiB, which is not read.")
        else:
            text = path.read_bytes()
        return json.loads(text)
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise UkperfError(f"{path} is no JSON file.", hint="A run is a folder; a file must be pyperf's.") from error


def _benchmark(data: Mapping[str, Any], common: Mapping[str, Any], found: dict[str, dict[int, BootRecord]]) -> None:
    """Adds a benchmark's runs to the records; run i of every benchmark goes into record i (ours: into its block)."""
    shared = {**common, **data.get("metadata", {})}
    for number, run in enumerate(data["runs"]):
        values = run.get("values")
        metadata = {**shared, **run.get("metadata", {})}
        unit = _BY_VALUE.get(str(metadata.get("ukperf_unit"))) or _UNITS.get(str(metadata.get("unit", "second")))
        if not values or unit is None:  # a calibration, or a plain number without a meaning
            continue
        guest = str(metadata.get("ukperf_guest", ""))
        name = str(metadata.get("name", "unnamed"))
        name = name.removeprefix(f"{guest}/") if guest else name
        block = int(metadata.get("ukperf_block", number))
        trial = Trial(int(metadata.get("ukperf_order", number)), block, 0, guest)
        fresh = BootRecord(trial, Outcome.OK, "", str(metadata.get("date", "")), {}, unit)
        record = found.setdefault(guest, {}).setdefault(block, fresh)
        if guest and name in PHASES:
            record = replace(record, phases={**record.phases, Phase(name): float(values[0])}, unit=unit)
        else:
            warmups = tuple(float(value) for _, value in run.get("warmups", ()))
            name = name.removeprefix("sample:")
            sample = Sample(name, unit, tuple(map(float, values)), int(metadata.get("loops", 1)), warmups)
            record = replace(record, samples=(*record.samples, sample))
        found[guest][block] = record


def _context(data: Mapping[str, Any]) -> dict[str, str]:
    metadata = dict(data.get("metadata", {}))
    if data["benchmarks"]:
        metadata = {**data["benchmarks"][0].get("metadata", {}), **metadata}
    return {key: str(metadata[name]) for key, name in _CONTEXT.items() if name in metadata}
