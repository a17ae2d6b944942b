"""A model in a runtime as a program for guests: its tree, how often each part is measured, and what it said it ran."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.hosts.base import OnFrame
from ukperf.imaging import modelfile
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import Site
from ukperf.imaging.models import Model
from ukperf.imaging.pythontree import BENCH, tree_program
from ukperf.imaging.runtimes import Runtime, tree_of
from ukperf.model import Accelerator, BootRecord, Program, Repetitions
from ukperf.resources import data
from ukperf.text import clean
from ukperf.workloads.calibrating import DOES_NOT_RUN, SLOWDOWN, repeated, run_here
from ukperf.workloads.learning import GUEST_PARTS, Calibration, calibration_of, rows

IMPORT, LOAD, FIRST, ROW, BATCH = "import", "load", "first prediction", "single row", "batch"
ENGINE = "engine "  # what checks' names begin with that say what ran
_PARTS = tuple((name, ["infer"]) for name in ("cpuinfo.py", "modelparts.py", "rows.py"))
_OWN = (("bench.py", ["infer"]), *_PARTS)
_SERVER = (("server.py", ["serve"]), *_PARTS)
MAX_CALLS = 1 << 20
_UNKNOWN_S = 1_800.0  # for a model that never ran here
_BOOT_S = 240.0  # for the boot, and for reading a tree of half a gigabyte


@dataclass(frozen=True)
class Inference:
    """What is asked for. site: where the runtime is installed, None: where ukperf is. batch: rows, 0: all of the
    model's. bare: no guest is given a /proc/cpuinfo."""

    runtime: Runtime
    model: Model
    site: Site | None = None
    threads: int = 1
    batch: int = 0
    vcpus: int = 1
    bare: bool = False


@dataclass(frozen=True)
class PackedModel:
    """size: bytes of the tree's files."""

    program: Program
    size: int
    left_out: tuple[str, ...]


def packed(
    work: Inference, accelerator: Accelerator, repetitions: Mapping[str, Repetitions], cache: Cache | None = None
) -> PackedModel:
    """The guest program. Raises UkperfError where the runtime is not installed or a file is missing."""
    files = _files(work, _OWN)
    argv = [f"{BENCH}/bench.pyc", "--threads", str(work.threads), "--batch", str(work.batch)]
    argv += ["--cpus", str(work.vcpus)]
    if accelerator is Accelerator.ICOUNT:
        argv += ["--clock", "instructions"]
    if work.bare:
        argv.append("--bare")
    if repetitions:
        argv += ["--set", ",".join(f"{n}={s.loops}:{s.values}:{s.warmups}" for n, s in sorted(repetitions.items()))]
    return _tree(work, "infer", files, argv, cache)


def packed_server(work: Inference, port: int, cache: Cache | None = None) -> PackedModel:
    """The server of the model's predictions, which listens on a port. Raises as `packed`."""
    argv = [f"{BENCH}/server.pyc", "--threads", str(work.threads), "--cpus", str(work.vcpus), "--port", str(port)]
    return _tree(work, "serve", _files(work, _SERVER), argv, cache)


def _files(work: Inference, own: Sequence[tuple[str, list[str]]]) -> dict[str, Path | bytes]:
    """What lies beside the program: its parts, the adapter, the model and its rows."""
    model = f"model{work.model.path.suffix}"
    about = {
        "name": work.runtime.name,
        "model": model,
        "tolerance": work.model.tolerance,
        "environment": dict(work.runtime.environment),
    }
    files: dict[str, Path | bytes] = {name: data("workloads", *folder, name) for name, folder in (*own, *GUEST_PARTS)}
    files |= {"adapter.py": work.runtime.adapter, "runtime.json": json.dumps(about, sort_keys=True).encode()}
    files |= {model: work.model.path, "inputs.npy": work.model.inputs}
    if work.model.expected is not None:
        files["expected.npy"] = work.model.expected
    return files


def _tree(
    work: Inference, name: str, files: Mapping[str, Path | bytes], argv: Sequence[str], cache: Cache | None
) -> PackedModel:
    python = tree_of(work.runtime, work.site, cache)
    program = tree_program(name, files, argv, python=python, cache=cache)
    size = python.size + sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in files.values())
    return PackedModel(program, size, python.left_out)


def calibrate(work: Inference, watch: OnFrame | None = None, cache: Cache | None = None) -> Calibration:
    """Run everything once on this machine itself. Raises UkperfError with the runtime's own sentence where it fails."""
    once = {ROW: Repetitions(20, 1, 1), BATCH: Repetitions(1, 3, 0)}
    program = packed(work, Accelerator.NATIVE, once, cache).program
    try:
        return calibration_of(run_here(program, watch, cache))
    except UkperfError as error:
        if work.model.expected is not None:
            raise
        raise _refused(work, error) from error


def _refused(work: Inference, error: UkperfError) -> UkperfError:
    """A model of the user's own that its runtime does not take: what it was written for is mostly the reason."""
    versions = modelfile.examined(work.model.path).written_for
    said = re.sub(r"(/[\w.@+-]+){2,}", lambda path: path[0].rpartition("/")[2], error.message)
    said = re.sub(r"[\w.]+:\d+ [^\n]*?\) (?=[A-Z])", "", said)  # where in its sources it says so
    return UkperfError(
        f"{work.runtime.name} does not take {work.model.name}{f' ({versions})' if versions else ''}: "
        f"{clean(said.removeprefix(DOES_NOT_RUN), 400)}",
        hint="Another version of the runtime may take it; or save the model for the one that is there.",
    )


def choose(known: Calibration | None, emulated: bool, calls: int = 0) -> dict[str, Repetitions]:
    """How often single rows and batches are asked, the same for all guests. known: None for what never runs here.
    calls: so many single rows, and one batch, whatever that takes; 0: what takes some seconds."""
    if calls:
        return {ROW: Repetitions(calls, 1, 0), BATCH: Repetitions(1, 1, 0)}
    if known is None:
        return {ROW: Repetitions(100 if emulated else 1_000, 1, 0), BATCH: Repetitions(1, 3, 1)}
    factor = SLOWDOWN if emulated else 1.0
    seconds = {name: known.seconds.get(name, 0.01) * factor for name in (ROW, BATCH)}
    return {ROW: rows(seconds[ROW], emulated), BATCH: repeated(seconds[BATCH])}


def timeout_s(known: Calibration | None, repetitions: Mapping[str, Repetitions], emulated: bool) -> float:
    """How long a boot may take: four times what is expected, and some minutes for what comes before the import."""
    if known is None:
        return _UNKNOWN_S
    work = sum(known.seconds.get(name, 1.0) * r.loops * (r.values + r.warmups) for name, r in repetitions.items())
    before = sum(known.seconds.get(name, 1.0) for name in (IMPORT, LOAD, FIRST))
    return _BOOT_S + 4 * (SLOWDOWN if emulated else 1.0) * (work + before)


def engines(records: Sequence[BootRecord]) -> dict[str, dict[str, str]]:
    """guest → what its runtime said of itself: name → value; of several boots the last."""
    told: dict[str, dict[str, str]] = {}
    for record in sorted(records, key=lambda record: record.trial.guest):
        for name, value in record.checks.items():
            if name.startswith(ENGINE):
                told.setdefault(record.trial.guest, {})[name.removeprefix(ENGINE)] = value
    return told


def engine_lines(records: Sequence[BootRecord]) -> list[str]:
    """Sentences: what ran, guests that ran the same together."""
    same: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for guest, facts in engines(records).items():
        same.setdefault(tuple(facts.items()), []).append(guest)
    return [
        f"Engine of {' and '.join(guests)}: {', '.join(f'{name} {value}' for name, value in facts)}."
        for facts, guests in same.items()
    ]


def check_threads(threads: int, vcpus: int) -> None:
    """Raises UkperfError for more threads than there are virtual CPUs, or none."""
    if threads < 1:
        raise UkperfError(f"--threads {threads} is no number of threads.")
    if threads > vcpus:
        raise UkperfError(
            f"--threads {threads} is more than the virtual CPUs that each guest has, {vcpus}.",
            hint=f"Add --vcpus {threads}, or leave --threads out.",
        )
