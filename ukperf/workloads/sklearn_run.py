"""From the options of `ukperf sklearn` to a finished run: accelerator, data, calibration, program, campaign, checks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ukperf import guests
from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json
from ukperf.imaging.datasets import DataFacts, check_scale, stored_facts
from ukperf.imaging.datasources import dataset_folder
from ukperf.model import BootProtocol, Outcome, Request, Result
from ukperf.text import many
from ukperf.workloads import joining, learning, memory
from ukperf.workloads.base import Bench
from ukperf.workloads.joining import guests_for, listener, suited
from ukperf.workloads.learning import Calibration, Work

FORMAT = 1  # of what is kept in the run's folder
WORK = "sklearn.json"
MAX_THREADS = 1024


@dataclass(frozen=True)
class LearnOptions:
    """What is learnt, from what, and how; None: choose. emulated_scale: where scale is not given."""

    models: tuple[str, ...] = ()
    data: str = "synthetic"
    scale: float | None = None
    emulated_scale: float = learning.EMULATED_SCALE
    model_file: Path | None = None
    packages: tuple[str, ...] = ()
    threads: int = 1
    single_rows: bool = True
    timeout_s: float | None = None


def prepare(options: LearnOptions, request: Request, bench: Bench) -> tuple[Request, Remembered]:
    """The request with a program that fits this host's speed, and what the run's folder is to keep.

    Raises UkperfError for options that cannot be meant and for whatever keeps the run from starting.
    """
    _check(options)
    request, outlook = joining.outlook(request, bench)
    accelerator = outlook.accelerator
    guests_for(request, accelerator, options.model_file is not None)
    emulated = accelerator in learning.EMULATED
    scale = options.scale if options.scale is not None else (options.emulated_scale if emulated else 1.0)
    folder = dataset_folder(options.data, scale)
    facts = stored_facts(folder)
    models = learning.check_models(options.models)
    work = Work(models, folder, options.threads, options.model_file, options.packages, options.single_rows)
    calibration: Calibration | None = None
    if work.model_file is None:
        bench.say("Calibrating on this host: each benchmark once.")
        calibration = learning.calibrate(work, listener(bench))
    bench.say(_sentence(facts, work))
    request = replace(
        request,
        program=learning.program(work, accelerator, {}),
        default_guests=suited(own_model=options.model_file is not None),
        accelerator=accelerator,
    )
    if calibration is not None and not emulated:
        calibration = _elsewhere(request, outlook.elsewhere, work, calibration, bench)
    repetitions = (
        learning.default_repetitions(emulated)
        if calibration is None
        else learning.choose(calibration, work.models, emulated, single_rows=work.single_rows)
    )
    request = replace(
        request,
        program=learning.program(work, accelerator, repetitions),
        timeout_s=options.timeout_s or learning.timeout_s(calibration, repetitions, emulated),
    )
    return request, Remembered(facts, calibration.checks if calibration else {})


def _elsewhere(
    request: Request, connections: Sequence[str], work: Work, here: Calibration, bench: Bench
) -> Calibration:
    """How long it all takes on hosts that are not this machine, by one boot of the baseline on each; the slowest.

    here: this machine's own calibration, which stays where all hosts are this machine.
    """
    once = learning.once(work)
    baseline = request.baseline or guests.baseline()
    seconds: dict[str, float] = {}
    for uri in connections:
        bench.say(f"Calibrating in {baseline} on {uri}: each benchmark once.")
        program = learning.program(work, request.accelerator, once)
        asked = replace(request, program=program, guests=(baseline,), connect=(uri,))
        asked = replace(asked, **_only(request, baseline))
        with bench.boots(asked) as one:
            # It may emulate, as a Xen inside of QEMU does.
            patience = max(request.timeout_s, learning.timeout_s(here, once, emulated=True))
            seen = one.boot(baseline, program, patience)
        if seen.outcome is not Outcome.OK:
            raise UkperfError(f"{baseline} does not run the program on {uri}: {seen.reason}.")
        for name, value in learning.calibration_of(seen).seconds.items():
            seconds[name] = max(value, seconds.get(name, 0.0))
    return Calibration(seconds, here.checks) if seconds else here


def _only(request: Request, guest: str) -> dict[str, Any]:
    """The overrides of one guest: those of others, which are not there, would be refused."""
    return {
        "kernels": {name: kernel for name, kernel in request.kernels.items() if name == guest},
        "cmdlines": {name: words for name, words in request.cmdlines.items() if name == guest},
    }


def notes_of(result: Result, known: Remembered, bench: Bench) -> tuple[str, ...]:
    """Compare the answers with the host's own, look how much memory would have been enough: sentences."""
    return (*answer_notes(result, known), *_memory_notes(result, known, bench))


def answer_notes(result: Result, known: Remembered) -> list[str]:
    """Did the guests do the work that this host did?"""
    good = [r for r in result.records if r.outcome is Outcome.OK]
    notes = learning.odd_answers(good, known.control)
    names = ", ".join(dict.fromkeys(r.trial.guest for r in good))
    if known.control and good and not notes:
        count = len(known.control)
        notes = [f"Same work: {names} and this host itself gave the same {count} answers (digests, accuracy)."]
    return notes


def _memory_notes(result: Result, known: Remembered, bench: Bench) -> list[str]:
    """For guests that died as one does without memory: how much would do, by trying, once a run."""
    notes = dict(known.memory)
    machines = {name for name, image in result.plan.images.items() if image.protocol is not BootProtocol.EXEC}
    suspects = memory.suspects([record for record in result.records if record.trial.guest in machines])
    for guest in [guest for guest in suspects if guest not in notes]:
        had = result.plan.machine_of(guest).memory_mib
        bench.say(f"{guest} died in every boot with {had:,} MiB: trying it with more memory.")
        with bench.again(result) as repeats:
            advice = memory.enough(repeats, guest, learning.MEMORY_MIB)
        notes[guest] = advice.sentence
        bench.keep(result.folder, WORK, replace(known, memory=notes).text())
    return [notes[guest] for guest in suspects]


@dataclass(frozen=True)
class Remembered:
    """What a run's plan and journal do not hold, kept beside them: facts of the data, this host's own answers (empty
    for a user's model), and what was found out about memory (guest → sentence)."""

    data: DataFacts | None = None
    control: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        return json.dumps(encode(self, FORMAT), indent=1) + "\n"


def remembered(folder: Path) -> Remembered:
    """Of a run's folder; empty where it is not there any more, or a newer ukperf's."""
    try:
        return decode_stored(Remembered, read_json(folder / WORK), FORMAT)
    except (OSError, ValueError):
        return Remembered()


def _check(ask: LearnOptions) -> None:
    learning.check_models(ask.models)
    if not 1 <= ask.threads <= MAX_THREADS:
        raise UkperfError(f"--threads {ask.threads} is not between 1 and {MAX_THREADS}.")
    if ask.scale is not None and ask.data != "synthetic":
        raise UkperfError("--scale is for the synthetic data only.", hint="Leave it out, or use --data synthetic.")
    if ask.scale is not None:
        check_scale(ask.scale)
    if ask.model_file is not None and ask.models:
        raise UkperfError("--model and --model-file exclude each other.")
    if ask.model_file is not None and not ask.model_file.is_file():
        raise UkperfError(f"There is no file {ask.model_file}.", hint="--model-file names a fitted estimator.")


def _sentence(facts: DataFacts, work: Work) -> str:
    shape = f"{facts.train[0]:,} × {facts.train[1]:,} to train, {facts.test[0]:,} rows to test"
    return f"Data {facts.name}: {shape}, sha256 {facts.digest[:12]}; {many(work.threads, 'thread')}."
