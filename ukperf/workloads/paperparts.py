"""The parts of `ukperf paper`: each is measured by itself into the paper's folder, and read from there again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ukperf import guests, workloads
from ukperf.decode import decode_stored, encode
from ukperf.errors import Interrupted, UkperfError
from ukperf.files import read_json
from ukperf.imaging import models, runtimes
from ukperf.imaging.distributions import site_of
from ukperf.imaging.runtimes import Runtime
from ukperf.model import Accelerator, CallTable, Machine, Request, Result
from ukperf.reports.paperclaims import Needs
from ukperf.text import Say
from ukperf.workloads import syscall_probe as probe
from ukperf.workloads.base import Bench, Finished, NoOptions
from ukperf.workloads.infer import Infer, InferOptions, default_model
from ukperf.workloads.paperfigures import CLASSIFIERS, COST_CLAIMS, FRAMEWORKS, LEARNER, RIVAL
from ukperf.workloads.paperpart import PaperPart
from ukperf.workloads.sklearn_run import LearnOptions
from ukperf.workloads.syscall_cost import CostOptions

FORMAT = 1  # of what is kept
LEARNING, BOOT, COST, INFER = "sklearn", "boot", "syscall_cost", "infer"  # workloads, and folders below the paper's
CALLS_FILE, NEEDS_FILE = "calls.json", "dependencies.json"

Depends = Callable[[str, Runtime, Path | None], Needs]  # (the paper's framework, its runtime, interpreter)


@dataclass(frozen=True)
class PaperOptions:
    """parts: empty: all. runtimes: of the registry, empty: all. interpreter: where runtimes are installed, besides
    ukperf's own Python. runtime_boots: of runs that are no part of the contest of classifiers, None: as of all.
    timeout_s: of boots with a runtime in them. calls: as InferOptions has it."""

    learn: LearnOptions = field(default_factory=LearnOptions)
    parts: tuple[PaperPart, ...] = ()
    runtimes: tuple[str, ...] = ()
    interpreter: Path | None = None
    runtime_boots: int | None = None
    timeout_s: float | None = None
    calls: int = 0

    @property
    def wanted(self) -> tuple[PaperPart, ...]:
        return tuple(part for part in PaperPart if part in (self.parts or tuple(PaperPart)))


@dataclass(frozen=True)
class Place:
    """A runtime to be run. interpreter: where it is installed, None: where ukperf is. missing: the line that installs
    it, "" where it is there. model: its default one; "" where none is made that it reads."""

    runtime: Runtime
    interpreter: Path | None
    missing: str
    model: str


@dataclass(frozen=True)
class InferRun:
    """What one run of `infer` has so far."""

    runtime: str
    model: str
    result: Result


@dataclass(frozen=True)
class _Calls:
    tables: tuple[CallTable, ...]


@dataclass(frozen=True)
class _AllNeeds:
    needs: tuple[Needs, ...]


Stored = TypeVar("Stored", _Calls, _AllNeeds)


def places(options: PaperOptions, say: Say) -> list[Place]:
    """The runtimes, each where it is installed. One of another package that cannot be loaded, and that nobody named, is
    left out with a sentence. Raises UkperfError for a name that there is not, and for an interpreter that cannot be
    asked."""
    site = site_of(options.interpreter) if options.interpreter is not None else None
    there = []
    for name in options.runtimes or runtimes.RUNTIMES.names():
        try:
            runtime = runtimes.get(name)
        except UkperfError as error:
            if name in options.runtimes:
                raise
            say(f"{name} is left out: {error.message}")
            continue
        line, interpreter = runtimes.missing(runtime, site), options.interpreter
        if line and site is not None and not runtimes.missing(runtime):
            line, interpreter = "", None
        try:
            model = default_model(runtime)
        except UkperfError:
            model = ""
        there.append(Place(runtime, interpreter, line, model))
    return there


def pairs(place: Place, wanted: Sequence[PaperPart]) -> list[str]:
    """The models that a runtime gets in these parts."""
    names = [place.model] if PaperPart.RUNTIMES in wanted and place.model else []
    if PaperPart.CLASSIFIERS in wanted and place.runtime.name in (LEARNER, RIVAL):
        names += CLASSIFIERS
    return list(dict.fromkeys(names))


# ---- measuring ----


def learn(options: LearnOptions, request: Request, folder: Path, bench: Bench) -> Finished:
    """Tables II and III."""
    bench.say("Tables II and III: scikit-learn.")
    return bench.campaign(workloads.get(LEARNING), options, replace(request, folder=folder / LEARNING))


def call_tables(request: Request, folder: Path, bench: Bench) -> tuple[CallTable, ...]:
    """Table I."""
    bench.say("Table I: system calls.")
    asked = Request(
        program=probe.prober(),
        default_guests=_machines(),
        # Only the answers count here, and plain emulation is quicker.
        accelerator=Accelerator.TCG if request.accelerator is Accelerator.ICOUNT else request.accelerator,
        launch=request.launch,
        connect=request.connect,
        timeout_s=30.0,
        share_host=request.share_host,
        command=request.command,
    )
    tables = probe.tables(asked, bench, fresh=False)
    _keep(folder, CALLS_FILE, _Calls(tables), bench)
    return tables


def boot(request: Request, folder: Path, bench: Bench) -> None:
    """How long guests boot, on the machine that `boot-time` has by default."""
    bench.say("Boot times.")
    machine = replace(request.machine, memory_mib=Machine().memory_mib)
    asked = replace(request, machine=machine, default_guests=_machines(), folder=folder / BOOT)
    bench.campaign(workloads.get(BOOT), NoOptions(), asked)


def cost(request: Request, folder: Path, bench: Bench) -> None:
    """What the system calls cost that the paper's factors are about."""
    bench.say("Costs of system calls.")
    names = sorted({name for claim in COST_CLAIMS for _, name in (claim.over, claim.under)})
    options = CostOptions(only=",".join(names))
    machine = replace(request.machine, memory_mib=Machine().memory_mib)
    asked = replace(request, machine=machine, folder=folder / COST)
    bench.campaign(workloads.get(COST), options, asked)


def is_contest(runtime: str, model: str) -> bool:
    """Is it a side of scikit-learn against ONNX Runtime?"""
    return runtime in (LEARNER, RIVAL) and model in CLASSIFIERS


def infer(options: PaperOptions, place: Place, model: str, request: Request, folder: Path, bench: Bench) -> str:
    """One runtime with one model in all guests; why it could not be measured, in a sentence, or "". What was measured
    stays, and other runtimes are measured all the same."""
    name, few = place.runtime.name, options.runtime_boots
    bench.say(f"{name}, {model}.")
    if few is not None and not is_contest(name, model):
        request = replace(request, limits=replace(request.limits, boots=few))
    machine = replace(request.machine, memory_mib=int(str(Infer.defaults["memory"])))
    work = InferOptions(
        runtime=name,
        model=model,
        interpreter=place.interpreter,
        timeout_s=options.timeout_s,
        calls=options.calls,
        why=False,
    )
    asked = replace(request, machine=machine, folder=infer_folder(folder, name, model))
    try:
        bench.campaign(workloads.get(INFER), work, asked)
    except Interrupted:
        raise
    except UkperfError as error:
        bench.say(f"{name} with {model} could not be measured: {error.message}")
        return str(error)
    return ""


def dependencies(options: PaperOptions, folder: Path, bench: Bench, depends: Depends) -> None:
    """Figures 1 and 2, of the packages that are installed."""
    bench.say("Figures 1 and 2: dependencies.")
    only = replace(options, runtimes=tuple(FRAMEWORKS.values()))
    there = {place.runtime.name: place for place in places(only, bench.say)}
    made = []
    for framework, name in FRAMEWORKS.items():
        place = there[name]
        package = place.runtime.distributions[0]
        if place.missing:
            made.append(Needs(framework, package, missing=f"{package} is not installed: {place.missing}"))
            continue
        try:
            made.append(depends(framework, place.runtime, place.interpreter))
        except UkperfError as error:
            made.append(Needs(framework, package, missing=error.message))
    _keep(folder, NEEDS_FILE, _AllNeeds(tuple(made)), bench)


def _machines() -> tuple[str, ...]:
    """Guests that load programs and are machines."""
    return tuple(guest.name for guest in guests.loading_programs() if guest.recipe.machines)


# ---- reading what is there ----


def infer_folder(folder: Path, runtime: str, model: str) -> Path:
    return folder / INFER / re.sub(r"[^A-Za-z0-9._-]", "_", f"{runtime}-{model}")


def infer_runs(there: Sequence[Place], folder: Path, bench: Bench) -> list[InferRun]:
    """All that was measured of these runtimes with models that are made here, the default model of each first."""
    workload = workloads.get(INFER)
    runs = []
    for place in there:
        for model in dict.fromkeys([place.model, *models.MODELS]):
            result = bench.stored(workload, infer_folder(folder, place.runtime.name, model))
            if result is not None:
                runs.append(InferRun(place.runtime.name, model, result))
    return runs


def stored_calls(folder: Path) -> tuple[CallTable, ...]:
    stored = _read(folder / CALLS_FILE, _Calls)
    return stored.tables if stored is not None else ()


def stored_needs(folder: Path) -> tuple[Needs, ...]:
    stored = _read(folder / NEEDS_FILE, _AllNeeds)
    return stored.needs if stored is not None else ()


def _keep(folder: Path, name: str, what: _Calls | _AllNeeds, bench: Bench) -> None:
    bench.keep(folder, name, json.dumps(encode(what, FORMAT)) + "\n")


def _read(path: Path, kind: type[Stored]) -> Stored | None:
    """None where it is not there, or damaged: the part is measured again."""
    try:
        return decode_stored(kind, read_json(path), FORMAT)
    except (OSError, ValueError):
        return None
