"""Reads pyperf's JSON files, ours and other people's, and hyperfine's, as sides of a comparison.

Processes are the units. Read as plain data: pyperf's own reader builds an object for every run and is slow on large
files. Whatever is wrong with a file is said in words of ours, with the place where it is.
"""

from __future__ import annotations

import gc
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from ukperf.errors import UkperfError
from ukperf.files import read_bytes
from ukperf.model import BootRecord, Phase, Sample, Unit
from ukperf.runs.fileboots import MOST_COUNT, Damaged, FileBoots
from ukperf.text import shell

MOST_BYTES = 1 << 30
LARGE_BYTES = 1 << 20  # from here on the fast reader is worth its import
_GZIP = b"\x1f\x8b"
_CONVERTIBLE = (5, 6)  # older formats, which `pyperf convert` reads
_UNITS = {"second": Unit.SECONDS, "byte": Unit.BYTES, "integer": Unit.COUNT}
_BY_VALUE = {unit.value: unit for unit in Unit}
_PHASES = {phase.value: phase for phase in Phase}
_IDENTIFYING = frozenset({"name", "ukperf_guest", "unit", "ukperf_unit"})
_KINDS = {type(None): "null", bool: "true or false", str: "text", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class PyperfFile:
    """guests: guest → its records, one a process; in files that are not ours the guest is the file's name.

    context: see Side. left_out: guest → benchmark → why it has no value here, as the end of a sentence about it.
    notes: sentences about what else is not in the records. plain: no guest is named in the file.
    """

    guests: Mapping[str, tuple[BootRecord, ...]]
    context: Mapping[str, str]
    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    plain: bool = True


class _Run(TypedDict, total=False):
    """As the fast reader checks it; `values` as a tuple says that it did."""

    metadata: dict[str, Any]
    values: tuple[float, ...]
    warmups: list[Any]


class _Benchmark(TypedDict, total=False):
    metadata: dict[str, Any]
    runs: list[_Run]


class _File(TypedDict, total=False):
    version: Any
    metadata: dict[str, Any]
    benchmarks: list[_Benchmark]
    results: Any


def file_label(path: Path) -> str:
    """`telco` for telco.json and telco.json.gz."""
    name = path.name.removesuffix(".gz").removesuffix(".json")
    return name or path.name


def read_pyperf(path: Path) -> PyperfFile:
    """All values of a pyperf file, process by process; or of hyperfine's --export-json, whose `times` are processes.

    A file that gzip packed is read as well, whatever it is called.
    Raises UkperfError for a file that is too large, no JSON, neither pyperf's nor hyperfine's, older than pyperf 1.0,
    or without a value; and for benchmarks without a name or with the same one, which pyperf refuses too.
    """
    with _without_collector():
        return _read(path)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Reading makes no cycles, and looking for some among the objects of a large file takes half of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(path: Path) -> PyperfFile:
    data = _load(path)
    reader = FileBoots(file_label(path))
    try:
        if isinstance(data, dict) and isinstance(data.get("benchmarks"), list):
            _refuse_version(path, data.get("version"))
            context = _pyperf(data, reader)
        elif isinstance(data, dict) and isinstance(data.get("results"), list):
            context = {}
            _hyperfine(data["results"], reader)
        else:
            raise UkperfError(f"{path} is no pyperf file: it has no list of benchmarks.")
    except Damaged as what:
        raise UkperfError(f"{path} is a damaged file: {what}.") from None
    records = reader.records()
    if not records:
        whys = "; ".join(f"{name} {why}" for table in reader.left_out.values() for name, why in table.items())
        raise UkperfError(f"{path} holds no value that can be compared{f': {whys}' if whys else ''}.")
    left_out = {reader.shown(guest): table for guest, table in reader.left_out.items()}
    return PyperfFile(records, context, left_out, tuple(reader.notes), reader.plain)


def _refuse_version(path: Path, version: object) -> None:
    if version == "1.0":
        return
    written = repr(version)[:40] if isinstance(version, str | int | float) else "unknown"
    raise UkperfError(
        f"{path} is in pyperf's format {written}, and only 1.0 is read.",
        hint=f"Convert it: python -m pyperf convert {shell(path)} -o NEW.json" if version in _CONVERTIBLE else None,
    )


def _load(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UkperfError(
                f"{path} is {size / 2**30:.1f} GiB; more than {MOST_BYTES >> 30} GiB is not read.",
                hint=f"Thin it out: python -m pyperf convert --include-runs 1-100 {shell(path)} -o NEW.json",
            )
        text = read_bytes(path, MOST_BYTES)
        if text[:2] == _GZIP:
            text = _unpacked(path, text)
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        return _parsed(text)
    except (ValueError, RecursionError) as error:
        raise UkperfError(f"{path} is no JSON file.", hint="A run is a folder; a file must be pyperf's.") from error


def _unpacked(path: Path, packed: bytes) -> bytes:
    """What gzip packed, all members of it. Raises UkperfError for what is damaged or unpacks to more than is read."""
    parts, room = [], MOST_BYTES
    try:
        while packed:
            unpacker = zlib.decompressobj(wbits=31)
            parts.append(unpacker.decompress(packed, room + 1))
            room -= len(parts[-1])
            if room < 0:
                raise UkperfError(f"{path} unpacks to more than {MOST_BYTES >> 30} GiB, which is not read.")
            if not unpacker.eof:
                raise zlib.error
            packed = unpacker.unused_data.lstrip(b"\0")
    except zlib.error:
        raise UkperfError(f"{path} cannot be unpacked: it is damaged, or its end is missing.") from None
    return b"".join(parts)


def _parsed(text: bytes) -> Any:
    """JSON as Python's own reader takes it, NaN and Infinity too: the fast one refuses these, and the other reads."""
    if len(text) >= LARGE_BYTES:
        import msgspec

        try:
            return msgspec.json.decode(text, type=_File)
        except (msgspec.MsgspecError, RecursionError):
            pass
    return json.loads(text)


def _pyperf(data: Mapping[str, Any], reader: FileBoots) -> dict[str, str]:
    common = _object(data, "metadata", "the file")
    for number, benchmark in enumerate(data["benchmarks"], 1):
        where = f"benchmark {number}"
        if not isinstance(benchmark, dict):
            raise Damaged(f"{where} is no object")
        runs = benchmark.get("runs")
        if not isinstance(runs, list):
            raise Damaged(f"{where} has no list of runs")
        shared = {**common, **_object(benchmark, "metadata", where)}
        reader.context.add(shared)
        _benchmark(runs, shared, where, reader)
    return reader.context.facts()


def _benchmark(runs: list[Any], shared: Mapping[str, Any], where: str, reader: FileBoots) -> None:
    """Adds a benchmark's runs to the records; run i of every benchmark goes into record i (ours: into its block)."""
    names: set[tuple[str, str]] = set()
    usual: tuple[str, str, Unit | None] | None = None  # of runs that say nothing else: a file may have 100,000
    for number, run in enumerate(runs):
        runs[number] = None  # a large file is held once
        at = f"run {number + 1} of {where}"
        if not isinstance(run, dict):
            raise Damaged(f"{at} is no object")
        own = _object(run, "metadata", at)
        reader.context.add(own)
        if own.keys().isdisjoint(_IDENTIFYING):
            usual = usual or _identity(shared, where, reader)
            guest, name, unit = usual
        else:
            guest, name, unit = _identity({**shared, **own}, where, reader)
        if (guest, name) not in names:
            names.add((guest, name))
            reader.begin(guest, name, where)
        values = _numbers(run.get("values"), at, name)
        if not values:  # a calibration
            continue
        if unit is None:
            spelt = str(own.get("unit", shared.get("unit")))[:40]
            reader.leave_out(guest, name, f"has the unit {spelt!r}, which is not known")
            continue
        warmups = tuple(_warmup(pair, at, name) for pair in _list(run.get("warmups"), "warmups", at))
        block = _count(own, shared, "ukperf_block", number, at)
        order = _count(own, shared, "ukperf_order", number, at)
        if not reader.keeps_unit(guest, name, unit):
            continue
        boot = reader.boot(guest, block, order, str(own.get("date", "")), unit)
        if guest:
            boot.learn(name, own, shared)
        if name in _PHASES and guest:
            boot.phases[_PHASES[name]], boot.unit = values[0], unit
            continue
        loops = max(1, _count(own, shared, "loops", 1, at))
        bare = name.removeprefix("sample:")
        plain = bare if bare in _PHASES else name
        boot.samples.append(Sample(plain, unit, values, loops, warmups, _said(own)))
    reader.end(names)


def _said(own: Mapping[str, Any]) -> dict[str, object]:
    """What comparisons need of a run's metadata: how long the process took; in our own files also which quantiles are
    compared, and of how many calls one is."""
    duration = own.get("duration")
    known = isinstance(duration, int | float) and 0 < duration < MOST_COUNT
    said: dict[str, object] = {"duration": duration} if known else {}
    if "ukperf_quantiles" in own:
        said["quantiles"] = own["ukperf_quantiles"]
    if "ukperf_calls" in own:
        said["calls"] = own["ukperf_calls"]
    return said


def _hyperfine(results: Sequence[Any], reader: FileBoots) -> None:
    """hyperfine's export: each result a benchmark, each of its times a process; a run that failed is none."""
    taken: set[str] = set()
    for number, result in enumerate(results, 1):
        where = f"result {number}"
        if not isinstance(result, dict) or not isinstance(result.get("command"), str):
            raise Damaged(f"{where} names no command")
        name = command = result["command"] or f"command {number}"
        while name in taken:
            name = f"{command} ({number})"
            number += 1  # noqa: PLW2901  # until the name is free
        taken.add(name)
        reader.begin("", name, where)
        times = _numbers(result.get("times"), where, name)
        codes = _list(result.get("exit_codes"), "exit codes", where) or [0] * len(times)
        if len(codes) != len(times):
            raise Damaged(f"{where} has {len(times)} times and {len(codes)} exit codes")
        for i, (time, code) in enumerate(zip(times, codes, strict=True)):
            if code == 0 and reader.keeps_unit("", name, Unit.SECONDS):
                boot = reader.boot("", i, i, "", Unit.SECONDS)
                boot.samples.append(Sample(name, Unit.SECONDS, (time,)))
        failed = sum(code != 0 for code in codes)
        if failed:
            reader.notes.append(f"{failed} of {len(codes)} runs of {name} failed and are left out")
        reader.end({("", name)})


def _identity(metadata: Mapping[str, Any], where: str, reader: FileBoots) -> tuple[str, str, Unit | None]:
    """(guest, benchmark, unit); a unit that is not known is None. Raises Damaged for a benchmark without a name."""
    name = metadata.get("name")
    if not isinstance(name, str) or not name.strip():
        raise Damaged(f"{where} has no name, and pyperf refuses it too")
    unit = _BY_VALUE.get(str(metadata.get("ukperf_unit"))) or _UNITS.get(str(metadata.get("unit", "second")))
    guest = metadata.get("ukperf_guest")
    if not isinstance(guest, str) or not guest:
        return "", name, unit
    return guest, name.removeprefix(f"{guest}/") or name, unit


def _object(data: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    mapping = data.get(key, {})
    if not isinstance(mapping, dict):
        raise Damaged(f"the {key} of {where} is no object")
    return mapping


def _list(items: object, what: str, where: str) -> list[Any]:
    if items is None:
        return []
    if not isinstance(items, list):
        raise Damaged(f"the {what} of {where} are no list")
    return items


def _numbers(given: object, where: str, name: str) -> tuple[float, ...]:
    """Values as floats; infinite ones and NaN stay, and are refused where they are compared."""
    if isinstance(given, tuple):  # the fast reader looked at each
        return given
    values = _list(given, "values", where)
    kinds = set(map(type, values))
    if kinds <= {float}:
        return tuple(values)
    if kinds <= {float, int}:
        try:
            return tuple(map(float, values))
        except OverflowError:
            raise Damaged(f"a value of {where} ({name}) has more than 308 digits") from None
    number, kind = next((i, type(v)) for i, v in enumerate(values, 1) if type(v) not in (float, int))
    raise Damaged(f"value {number} of {where} ({name}) is {_KINDS[kind]}, not a number")


def _warmup(pair: object, where: str, name: str) -> float:
    if not isinstance(pair, list) or len(pair) != 2:
        raise Damaged(f"a warm-up of {where} ({name}) is no pair of loops and value")
    return _numbers(pair[1:], where, name)[0]


def _count(own: Mapping[str, Any], shared: Mapping[str, Any], key: str, default: int, where: str) -> int:
    """A whole number from 0 to 10⁹, of the run's own metadata or of those that it shares."""
    number = own[key] if key in own else shared.get(key, default)
    if type(number) is int and 0 <= number < MOST_COUNT:
        return number
    if isinstance(number, float) and number.is_integer() and 0 <= number < MOST_COUNT:
        return int(number)
    raise Damaged(f"{key} of {where} is no whole number from 0 to a billion")
