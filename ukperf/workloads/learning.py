"""The scikit-learn campaign: what to measure, with how many loops, and whether all guests gave the same answers.

The host plays the part of pyperf's manager: it runs the program once on itself (`calibrate`), chooses loops, values and
warm-ups for each benchmark from that, and fixes them for all guests (workloads/sklearn/bench.py --set). A user's model
is never loaded on the host, so there it is not calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from ukperf.errors import UkperfError
from ukperf.hosts.base import OnFrame
from ukperf.imaging.cache import Cache
from ukperf.imaging.datasources import dataset_folder
from ukperf.imaging.python_env import ROOTS
from ukperf.imaging.pythontree import BENCH, python_tree, tree_program
from ukperf.model import Accelerator, BootRecord, Observation, Outcome, Program, Repetitions, Sample, Unit
from ukperf.resources import data
from ukperf.workloads.calibrating import SLOWDOWN, repeated, run_here

MODELS = (
    "multinomialnb",
    "extratrees",
    "randomforest",
    "logisticregression",
    "linearsvc",
    "sgd",
    "histgradientboosting",
    "knn",
)
PAPER_MODELS = MODELS[:2]
EMULATED = (Accelerator.TCG, Accelerator.ICOUNT)
EMULATED_SCALE = 0.02  # of the data, where nothing else is asked for: one boot takes about half a minute
QUICK_SCALE = 0.01  # of the paper's quick run there
BUDGET_S = {True: 6.0, False: 10.0}  # for the single rows of one model in one boot; emulated, not emulated
CALLS = (20, 100, 1_000, 10_000)  # p50, then p90, p99 and p99.9 with ten calls beyond them
# What runs inside guests, by file and folder of workloads/; the latter is other Python workloads' too.
_OWN = (("bench.py", ["sklearn"]), ("models.py", ["sklearn"]))
GUEST_PARTS = (("ukperf_wire.py", ["common"]), ("benchparts.py", ["common"]), ("ukperf_gate.py", ["common"]))
MEMORY_MIB = 1024  # the tree is 200 MB, and Unikraft has it twice: packed and unpacked


@dataclass(frozen=True)
class Work:
    """What is asked for. data: a folder as imaging.datasets writes it. model_file: instead of models."""

    models: tuple[str, ...]
    data: Path
    threads: int = 1
    model_file: Path | None = None
    packages: tuple[str, ...] = ()  # further distributions that the user's model needs
    single_rows: bool = True


@dataclass(frozen=True)
class Calibration:
    """One run on the host: seconds of one call of each benchmark, and the answers."""

    seconds: Mapping[str, float]
    checks: Mapping[str, str] = field(default_factory=dict)


def check_models(names: Sequence[str]) -> tuple[str, ...]:
    """The models by their names, each once. Raises UkperfError for one that there is not."""
    for name in names:
        if name not in MODELS:
            raise UkperfError(f"There is no model {name!r}.", hint="There are: " + ", ".join(MODELS) + ".")
    return tuple(dict.fromkeys(names)) or PAPER_MODELS


def program(
    work: Work, accelerator: Accelerator, repetitions: Mapping[str, Repetitions], cache: Cache | None = None
) -> Program:
    """The guest program: closure, workload, data, and the command line. Raises UkperfError where a file is missing."""
    files: dict[str, Path | bytes] = {name: data("workloads", *folder, name) for name, folder in (*_OWN, *GUEST_PARTS)}
    files |= {f"data/{path.name}": path for path in sorted(work.data.iterdir())}
    argv = [f"{BENCH}/bench.pyc", "--wire", "--data", f"{BENCH}/data", "--threads", str(work.threads)]
    if work.model_file is not None:
        files["model.bin"] = work.model_file
        argv += ["--model-file", f"{BENCH}/model.bin"]
    else:
        argv += ["--models", ",".join(work.models)]
    if accelerator is Accelerator.ICOUNT:
        argv += ["--clock", "instructions"]
    if not work.single_rows:
        argv.append("--no-rows")
    if repetitions:
        argv += ["--set", ",".join(f"{n}={s.loops}:{s.values}:{s.warmups}" for n, s in sorted(repetitions.items()))]
    python = python_tree(cache, (*ROOTS, *work.packages))
    return tree_program("sklearn", files, argv, python=python, cache=cache)


def ready_program(accelerator: Accelerator, scale: float, cache: Cache | None = None) -> Program:
    """The paper's models on synthetic data, each once: what `images build --workload sklearn` puts into an image.

    Runs with the same data share its tree, and with it linux's disk and unikraft's archive. Raises UkperfError.
    """
    work = Work(PAPER_MODELS, dataset_folder("synthetic", scale, cache))
    return program(work, accelerator, {}, cache)


def calibrate(work: Work, watch: OnFrame | None = None, cache: Cache | None = None) -> Calibration:
    """Run everything once on the host. Raises UkperfError with the program's own sentence where it fails.

    A model file is code, so this refuses to run one.
    """
    if work.model_file is not None:
        raise UkperfError("A model file is only ever loaded inside a guest.")
    native = program(work, Accelerator.NATIVE, once(work), cache)
    seen = run_here(native, watch, cache)
    return calibration_of(seen)


def once(work: Work) -> dict[str, Repetitions]:
    """Each benchmark just often enough to know how long it takes."""
    rows = {f"{name} single-row": Repetitions(20, 1, 1) for name in work.models if work.single_rows}
    return rows | {f"{name} test": Repetitions(1, 3, 0) for name in work.models}


def calibration_of(seen: Observation) -> Calibration:
    """What a boot with the repetitions of `once` tells."""
    # The quickest: first calls also pay for cold caches and late imports.
    return Calibration({s.benchmark: min(s.values) for s in seen.report.samples if s.values}, seen.report.checks)


def choose(
    calibration: Calibration, models: Sequence[str], emulated: bool, *, single_rows: bool = True
) -> dict[str, Repetitions]:
    """pyperf's numbers for each benchmark, the same for all guests. emulated: guests' instructions are."""
    factor = SLOWDOWN if emulated else 1.0
    chosen: dict[str, Repetitions] = {}
    for model in models:
        for what in ("train", "test"):
            name = f"{model} {what}"
            chosen[name] = repeated(calibration.seconds.get(name, 1.0) * factor)
        if not single_rows:
            continue
        name = f"{model} single-row"
        seconds = calibration.seconds.get(f"{name} p50", calibration.seconds.get(name, 0.01)) * factor
        chosen[name] = rows(seconds, emulated)
    return chosen


def rows(seconds: float, emulated: bool) -> Repetitions:
    """How often single rows are asked, of which one lasts so long: enough for a quantile, within the budget."""
    calls = max(n for n in CALLS if n == CALLS[0] or n * seconds <= BUDGET_S[emulated])
    # A warm-up is as long as a value.
    return Repetitions(calls, 1, 1 if calls > CALLS[0] and 2 * calls * seconds <= BUDGET_S[emulated] else 0)


def default_repetitions(emulated: bool) -> dict[str, Repetitions]:
    """For a user's model, which is never run on the host before."""
    return {"model test": Repetitions(1, 3, 1), "model single-row": Repetitions(100 if emulated else 1_000, 1, 0)}


def timeout_s(calibration: Calibration | None, repetitions: Mapping[str, Repetitions], emulated: bool) -> float:
    """How long a boot may take: four times what is expected, and two minutes for boot and import."""
    if calibration is None:
        return 900.0
    factor = SLOWDOWN if emulated else 1.0
    calls = {name: s.loops * (s.values + s.warmups) + 1 for name, s in repetitions.items()}
    work = sum(calibration.seconds.get(name, 1.0) * count for name, count in calls.items())
    before = calibration.seconds.get("import", 1.0) + calibration.seconds.get("read files", 0.0)
    return 120.0 + 4 * factor * (work + before)


PEAK = "peak memory"  # what the guest says of its process
VMM_PEAK = "peak memory, VMM"  # what the host says of the machine (of the process, for native)


def benchmarks_only(records: Sequence[BootRecord]) -> tuple[BootRecord, ...]:
    """Records without phases: how long a guest boots is boot-time's question, and under icount a boot that waits for
    its disk has no length (an idle guest's clock leaps). Peak memory is the host's figure unless all guests have one.
    """
    good = [r for r in records if r.outcome is Outcome.OK]
    guests = {r.trial.guest for r in good}
    own = {r.trial.guest for r in good if any(s.benchmark == PEAK for s in r.samples)} == guests
    return tuple(_benchmarks(record, own) for record in records)


def _benchmarks(record: BootRecord, own: bool) -> BootRecord:
    samples = [s for s in record.samples if own or s.benchmark != PEAK]
    if record.vmm_peak_rss and record.outcome is Outcome.OK:
        samples.append(Sample(VMM_PEAK, Unit.BYTES, (float(record.vmm_peak_rss),)))
    return replace(record, phases={}, samples=tuple(samples))


def odd_answers(records: Sequence[BootRecord], control: Mapping[str, str]) -> list[str]:
    """Sentences about guests whose answers differ from the host's own, with both values; empty where all agree."""
    sentences = []
    for guest in dict.fromkeys(r.trial.guest for r in records):
        for name, value in control.items():
            others = {r.checks[name] for r in records if r.trial.guest == guest and name in r.checks} - {value}
            if others:
                sentences.append(f"{name}: {guest} says {' and '.join(sorted(others))}, this host {value}.")
    return sentences


def throughput(records: Sequence[BootRecord], batch: str = " test") -> dict[str, dict[str, float]]:
    """{model: {guest: rows a second in batch prediction}}, from the median over boots; seconds only.

    batch: what benchmarks of batches are called, behind the model's name.
    """
    rates: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for sample in record.samples:
            rows = _rows(sample)
            if sample.benchmark.endswith(batch) and sample.unit is Unit.SECONDS and rows and sample.values:
                by_guest = rates.setdefault(sample.benchmark.removesuffix(batch), {})
                by_guest.setdefault(record.trial.guest, []).append(rows * len(sample.values) / sum(sample.values))
    return {model: {guest: median(v) for guest, v in table.items()} for model, table in rates.items()}


def _rows(sample: Sample) -> float:
    rows = sample.metadata.get("rows", 0)
    return float(rows) if isinstance(rows, int | float) else 0.0
