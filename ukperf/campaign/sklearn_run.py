"""From the options of `ukperf sklearn` to a finished run: accelerator, data, calibration, program, campaign, checks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ukperf.campaign import learning, memoryadvice
from ukperf.campaign.learning import Calibration, Setting, Work
from ukperf.campaign.oneboot import single_boots
from ukperf.campaign.plan import Limits
from ukperf.campaign.runner import Observer
from ukperf.campaign.session import Request, Result, Say, one_accelerator, open_hosts, start
from ukperf.errors import UkperfError
from ukperf.hosts.connection import EMBED, is_local
from ukperf.imaging.datasources import dataset_folder
from ukperf.model import Accelerator, Frame, Launch, Machine, Outcome, Program, Trial
from ukperf.paths import make_dir

WORK = "sklearn.json"
GUESTS = ("linux", "nanos", "unikraft", "native")
MAX_THREADS = 1024


@dataclass(frozen=True)
class Ask:
    """The options of `ukperf sklearn`; None: choose."""

    guests: tuple[str, ...] = ()
    baseline: str = "linux"
    models: tuple[str, ...] = ()
    data: str = "synthetic"
    scale: float | None = None
    model_file: Path | None = None
    packages: tuple[str, ...] = ()
    threads: int = 1
    machine: Machine = field(default_factory=lambda: Machine(memory_mib=learning.MEMORY_MIB))
    accelerator: Accelerator = Accelerator.AUTO
    launch: Launch = Launch.LIBVIRT
    connect: tuple[str, ...] = (EMBED,)
    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    delta: float = 0.01
    timeout_s: float | None = None
    kernels: Mapping[str, Path] = field(default_factory=dict)
    cmdlines: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    share_host: bool = False
    shared_path: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A finished run and what it was made of. control: this host's own answers, empty for a user's model."""

    result: Result
    data: Mapping[str, object]
    settings: Mapping[str, Setting]
    control: Mapping[str, str]
    notes: tuple[str, ...]


def run_sklearn(ask: Ask, *, say: Say, observer: Observer | None = None) -> Answer:
    """Raises UkperfError for options that cannot be meant and for whatever keeps the run from starting."""
    _check(ask)
    with open_hosts(ask.connect) as hosts:
        accelerator, truth = one_accelerator(ask.accelerator, tuple(hosts.values()))
    if truth is not None and (not truth.believed or ask.accelerator is Accelerator.AUTO):
        say(truth.sentence + ("" if truth.believed else " Figures are guest instructions (icount), not seconds."))
    guests = guests_for(ask.guests, accelerator, ask.model_file is not None)
    emulated = accelerator in learning.EMULATED
    scale = ask.scale if ask.scale is not None else (learning.EMULATED_SCALE if emulated else 1.0)
    folder = dataset_folder(ask.data, scale)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    work = Work(learning.check_models(ask.models), folder, ask.threads, ask.model_file, ask.packages)
    calibration: Calibration | None = None
    if work.model_file is None:
        say("Calibrating on this host: each benchmark once.")
        calibration = learning.calibrate(work, _phases(observer))
    control = calibration.checks if calibration else {}
    say(_sentence(facts, work))
    request = _request(ask, guests, accelerator, learning.program(work, accelerator, {}))
    if calibration is not None and not emulated:
        calibration = _elsewhere(request, work, calibration, say)
    settings = (
        learning.default_settings(emulated)
        if calibration is None
        else learning.choose(calibration, work.models, emulated)
    )
    request = replace(
        request,
        program=learning.program(work, accelerator, settings),
        timeout_s=ask.timeout_s or learning.timeout_s(calibration, settings, emulated),
    )
    if ask.folder is not None:
        remember(ask.folder, facts, control)
    result = start(request, say=say, observer=observer)
    answer = finish(result, facts, settings, control)
    return replace(answer, notes=(*answer.notes, *_memory_notes(request, result, say)))


def _request(ask: Ask, guests: tuple[str, ...], accelerator: Accelerator, program: Program) -> Request:
    return Request(
        program=program,
        guests=guests,
        default_guests=tuple(g for g in GUESTS if g != "native" or ask.model_file is None),
        baseline=ask.baseline,
        machine=ask.machine,
        accelerator=accelerator,
        launch=ask.launch,
        connect=ask.connect,
        seed=ask.seed,
        limits=ask.limits,
        delta=ask.delta,
        kernels=ask.kernels,
        cmdlines=ask.cmdlines,
        folder=ask.folder,
        share_host=ask.share_host,
        shared_path=ask.shared_path,
        command=ask.command,
    )


def _elsewhere(request: Request, work: Work, here: Calibration, say: Say) -> Calibration:
    """How long it all takes on hosts that are not this machine, by one boot of the baseline on each; the slowest.

    here: this machine's own calibration, which stays where all hosts are this machine.
    """
    once = learning.once(work.models)
    seconds: dict[str, float] = {}
    for uri in dict.fromkeys(request.connect):
        if is_local(uri):
            continue
        say(f"Calibrating in {request.baseline} on {uri}: each benchmark once.")
        program = learning.program(work, request.accelerator, once)
        asked = replace(request, program=program, guests=(request.baseline,), connect=(uri,))
        asked = replace(asked, **_only(request, request.baseline))
        with single_boots(asked, say) as one:
            # It may emulate, as a Xen inside of QEMU does.
            patience = max(request.timeout_s, learning.timeout_s(here, once, emulated=True))
            seen = one.boot(request.baseline, program, patience)
        if seen.outcome is not Outcome.OK:
            raise UkperfError(f"{request.baseline} does not run the program on {uri}: {seen.reason}.")
        for name, value in learning.calibration_of(seen).seconds.items():
            seconds[name] = max(value, seconds.get(name, 0.0))
    return Calibration(seconds, here.checks) if seconds else here


def _memory_notes(request: Request, result: Result, say: Say) -> list[str]:
    """For guests that died as one does without memory: how much would do, by trying."""
    notes = []
    for guest in memoryadvice.suspects(result.records):
        had = request.memory_mib.get(guest, request.machine.memory_mib)
        say(f"{guest} died in every boot: trying it with more memory.")

        def works(mib: int, guest: str = guest) -> bool:
            wanted = replace(
                request,
                guests=(guest,),
                memory_mib={guest: mib},
                **_only(request, guest),
            )
            with single_boots(wanted, say) as one:
                return one.boot(guest, request.program, request.timeout_s).outcome is Outcome.OK

        notes.append(memoryadvice.find_enough(guest, had, _free_mib() // 2, works).sentence)
    return notes


def _only(request: Request, guest: str) -> dict[str, Any]:
    """The overrides of one guest: those of others, which are not there, would be refused."""
    return {
        "kernels": {name: kernel for name, kernel in request.kernels.items() if name == guest},
        "cmdlines": {name: words for name, words in request.cmdlines.items() if name == guest},
    }


def _free_mib() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def finish(
    result: Result, facts: Mapping[str, object], settings: Mapping[str, Setting], control: Mapping[str, str]
) -> Answer:
    """Take the phases out, compare the answers with the host's own."""
    good = [r for r in result.records if r.outcome is Outcome.OK]
    notes = learning.odd_answers(good, control)
    guests = ", ".join(dict.fromkeys(r.trial.guest for r in good))
    if control and good and not notes:
        notes = [f"Same work: {guests} and this host itself gave the same {len(control)} answers (digests, accuracy)."]
    records = learning.benchmarks_only(result.records)
    return Answer(replace(result, records=records), facts, settings, control, tuple(notes))


def remember(folder: Path, facts: Mapping[str, object], control: Mapping[str, str]) -> None:
    """What a broken-off run's records do not hold: the data and this host's own answers."""
    try:
        text = json.dumps({"data": dict(facts), "control": dict(control)}, indent=1, sort_keys=True)
        (make_dir(folder) / WORK).write_text(text, encoding="utf-8")
    except OSError as e:
        raise UkperfError(f"{folder} cannot be written: {e.strerror}.") from e


def remembered(folder: Path) -> tuple[dict[str, object], dict[str, str]]:
    """(facts of the data, this host's answers) of a run's folder; empty where they are not there any more."""
    try:
        stored = json.loads((folder / WORK).read_text(encoding="utf-8"))
        return dict(stored["data"]), {str(k): str(v) for k, v in stored["control"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}


def guests_for(named: tuple[str, ...], accelerator: Accelerator, own_model: bool) -> tuple[str, ...]:
    """The named guests. Raises UkperfError for `native` where it cannot take part."""
    if "native" in named and accelerator is Accelerator.ICOUNT:
        raise UkperfError(
            "native counts seconds and the other guests count instructions, so they cannot be compared.",
            hint="Leave native out (its answers are checked anyway), or use --accel tcg.",
        )
    if "native" in named and own_model:
        raise UkperfError(
            "A model file is code, so ukperf never loads one on this host, and native is this host.",
            hint="Leave native out.",
        )
    return named


def _check(ask: Ask) -> None:
    learning.check_models(ask.models)
    if not 1 <= ask.threads <= MAX_THREADS:
        raise UkperfError(f"--threads {ask.threads} is not between 1 and {MAX_THREADS}.")
    if ask.scale is not None and ask.data != "synthetic":
        raise UkperfError("--scale is for the synthetic data only.", hint="Leave it out, or use --data synthetic.")
    if ask.model_file is not None and ask.models:
        raise UkperfError("--model and --model-file exclude each other.")
    if ask.model_file is not None and not ask.model_file.is_file():
        raise UkperfError(f"There is no file {ask.model_file}.", hint="--model-file names a fitted estimator.")


def _phases(observer: Observer | None) -> Callable[[Frame], None] | None:
    if observer is None:
        return None
    trial = Trial(-1, -1, 0, "calibration")

    def listen(frame: Frame) -> None:
        observer.frame(trial, frame)

    return listen


def _sentence(facts: Mapping[str, object], work: Work) -> str:
    train, test = facts["train"], facts["test"]
    assert isinstance(train, list)
    assert isinstance(test, list)
    shape = f"{train[0]:,} × {train[1]:,} to train, {test[0]:,} rows to test"
    return f"Data {facts['name']}: {shape}, sha256 {str(facts['digest'])[:12]}; {work.threads} thread(s)."
