"""run: any program, as it is, in each guest. What is measured is the program between its start and its end, what it
prints, and the boot around it.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from ukperf import guests
from ukperf.decode import encode
from ukperf.errors import UkperfError
from ukperf.guests.base import Guest
from ukperf.imaging.pack import FileToPack, Packed, Timing, pack
from ukperf.model import (
    Accelerator,
    BootRecord,
    BootSpec,
    Event,
    Listening,
    Observation,
    Outcome,
    Phase,
    Readout,
    Request,
    Result,
    Sample,
    Trial,
    Unit,
)
from ukperf.patterns import PatternError
from ukperf.text import Say, clean
from ukperf.workloads import explaining
from ukperf.workloads.base import Bench, Finished, Prepared, Reader, Workload, option
from ukperf.workloads.explaining import Again
from ukperf.workloads.joining import memory_for_files
from ukperf.workloads.metrics import check_pattern, metrics_of, samples_of, without_lines
from ukperf.workloads.python_script import Packer, PythonOptions, PythonScript, once_each, packer, python_script
from ukperf.workloads.runnotes import (
    FORMAT,
    OUTPUT,
    SHOWN,
    STATE,
    Known,
    known_of,
    output_notes,
    pattern_notes,
    timing_notes,
)
from ukperf.workloads.tracing import PYTHON_LIMIT_S

RUN, READY, PEAK = "run", "until ready", "peak memory"
KEEP = 64 << 20  # bytes of a program's output
CONSOLE = 80 << 20
# Programs take it for granted. Of two values of one variable some guests see the first and others the last.
DEFAULT_ENV = {"HOME": "/"}
PYTHON_MIB = 512  # what a guest needs at least to run CPython with a package or two


@dataclass(frozen=True)
class RunOptions:
    """words: the program and its arguments. output: equal, or may-differ. ignore: lines that may differ.

    python: the program is a script; packages, requirements, interpreter and pyperf are its `PythonOptions`.
    """

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = option((), "A file or folder that goes along.", "HOST[:GUEST]")
    env: tuple[str, ...] = option((), "A variable of its environment.", "NAME=VALUE")
    cwd: str = option("/", "Its working folder.", "DIR")
    stdin: Path | None = None
    metrics: tuple[str, ...] = option((), "A number that it prints.", "NAME=REGEX[:UNIT[:higher|lower]]")
    ready: str = option("", "The line that says that it is ready.", "REGEX")
    until_ready: bool = False
    ignore: tuple[str, ...] = option((), "Lines that may differ.", "REGEX")
    output: str = "equal"
    python: bool = option(False, "The program is a Python script.")
    packages: tuple[str, ...] = option((), "An installed package that the script needs.", "NAME")
    requirements: Path | None = None
    interpreter: Path | None = None
    pyperf: bool | None = None
    why: bool = option(True, "Look for why a guest cannot run it.")


class Run(Workload):
    """Any program of this machine, in every guest, timed from main to exit."""

    Options = RunOptions
    shows_failures = True
    defaults: ClassVar[Mapping[str, object]] = {}

    def prepare(self, options: RunOptions, request: Request, bench: Bench) -> Prepared:
        _refuse_odd_options(options)
        worker = None
        if options.python:
            made, request = _python(options, request, bench)
            packed, worker = made.packed, made.worker
        else:
            packed = self._packed(options, options.words)
        others = {
            name: self._packed(options, _split(name, variant.program))
            for name, variant in request.variants.items()
            if variant.program
        }
        for line in dict.fromkeys(line for each in (packed, *others.values()) for line in each.left_out):
            bench.say(f"{line[0].upper()}{line[1:]}.")
        part = _taking_part(request, packed, others, bench.say)
        memory_mib = _memory_mib(request, part, packed, others)
        listening = Listening(KEEP, CONSOLE, options.ready, options.until_ready)
        asked = replace(
            request,
            program=packed.program,
            programs={name: each.program for name, each in others.items()},
            default_guests=() if request.guests or request.variants else tuple(part),
            memory_mib=memory_mib,
            listening=listening,
        )
        timing = {"": packed.timing.value, **{name: each.timing.value for name, each in others.items()}}
        programs = {name: request.variants[name].program for name in others}
        known = Known(timing, packed.left_out, memory_mib, programs, worker)
        return Prepared(asked, {STATE: json.dumps(encode(known, FORMAT)) + "\n"})

    def _packed(self, options: RunOptions, words: Sequence[str]) -> Packed:
        return pack(words, files=_files(options), env=_environment(options), cwd=options.cwd, stdin=options.stdin)

    def reader(self, options: RunOptions) -> Reader:
        metrics = metrics_of(options.metrics)
        compares = options.output == "equal"

        def read(spec: BootSpec, seen: Observation) -> Readout:
            written = seen.output
            if seen.outcome is not Outcome.OK or written is None:
                return Readout()
            if options.until_ready and Event.READY not in seen.events:
                return Readout(reason="it ended, and no line of its output matched --ready")
            if written.length > len(written.head) and (metrics or options.ignore):
                return Readout(reason=f"it wrote {written.length >> 20} MiB, more than is looked at")
            try:
                printed = samples_of(metrics, written.head.decode("utf-8", "replace"))
                kept = without_lines(written.head, options.ignore)
            except PatternError as error:
                return Readout(reason=str(error))
            digest = hashlib.sha256(kept).hexdigest() if options.ignore else written.digest
            return Readout(
                (*_own_samples(spec, seen), *printed),
                {OUTPUT: digest} if compares else {},
                {f"{OUTPUT}/{digest[:16]}": kept[:SHOWN]} if compares else {},
            )

        return read

    def explained(self, records: Sequence[BootRecord], folder: Path) -> Sequence[BootRecord]:
        return explaining.explained(records, folder)

    def compared(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """Without `stop`, which begins with `main` and would be the program's own time once more; of programs of this
        machine alone also without what is before `main`, since no guest boots there.

        Nor are there events then that would tell of it: what the other figures are is in the statuses.
        """
        boot = {Phase.VMM, Phase.KERNEL, Phase.INIT} if accelerator is Accelerator.NATIVE else set()
        without = {Phase.STOP, *boot}
        return tuple(
            replace(
                record,
                phases={phase: v for phase, v in record.phases.items() if phase not in without},
                statuses={name: status for name, status in record.statuses.items() if name not in without},
                events={},
                ended_by_host=False,
            )
            for record in records
        )

    def finish(self, result: Result, bench: Bench) -> Finished:
        options: RunOptions = self.options_of(result)
        if options.why:
            explaining.explain(result, self._programs(options, known_of(result)), bench)
        records = explaining.explained(result.records, result.folder)
        plain = super().finish(replace(result, records=records), bench)
        notes = self.remarks(result)
        return replace(plain, notes=notes, more={"notes": list(notes)})

    def _programs(self, options: RunOptions, known: Known) -> list[Again]:
        """All that guests of the run run, to be run on this machine."""
        variants = [
            Again(partial(self._packed, options, _split(name, words))) for name, words in known.programs.items()
        ]
        if not options.python:
            return [Again(partial(self._packed, options, options.words)), *variants]
        pack = _packer(options)
        less = None if known.worker is None else partial(pack, once_each(known.worker))
        return [Again(partial(pack, known.worker), less, PYTHON_LIMIT_S), *variants]

    def remarks(self, result: Result) -> tuple[str, ...]:
        """How the program was timed, patterns that matched nothing, outputs that differ."""
        options: RunOptions = self.options_of(result)
        names = [metric.name for metric in metrics_of(options.metrics)]
        if options.ready and result.plan.accelerator is not Accelerator.ICOUNT:
            names.append(READY)
        return (*timing_notes(result), *pattern_notes(result, names), *output_notes(result))


def _refuse_odd_options(options: RunOptions) -> None:
    """Raises UkperfError for options that cannot be meant, or not together, before anything is packed."""
    metrics_of(options.metrics)
    for pattern in options.ignore:
        check_pattern(pattern, "--ignore")
    if options.ready:
        check_pattern(options.ready, "--ready")
    if options.output not in ("equal", "may-differ"):
        raise UkperfError(f"There is no --output {options.output!r}.", hint="Write --output may-differ.")
    if options.until_ready and not options.ready:
        raise UkperfError("--until-ready needs to know when that is.", hint="Add --ready REGEX.")
    of_python = (options.packages, options.requirements, options.interpreter, options.pyperf)
    if not options.python and any(given not in ((), None) for given in of_python):
        raise UkperfError(
            "--package, --requirements, --interpreter and --pyperf are for scripts.", hint="Add --python."
        )


def _files(options: RunOptions) -> list[FileToPack]:
    return [FileToPack.parse(text) for text in options.files]


def _environment(options: RunOptions) -> tuple[tuple[str, str], ...]:
    return tuple({**DEFAULT_ENV, **dict(map(_variable, options.env))}.items())


def _python_options(options: RunOptions) -> PythonOptions:
    return PythonOptions(options.packages, options.requirements, options.interpreter, options.pyperf)


def _packer(options: RunOptions) -> Packer:
    return packer(
        options.words,
        _python_options(options),
        files=_files(options),
        env=_environment(options),
        cwd=options.cwd,
        stdin=options.stdin,
    )


def _python(options: RunOptions, request: Request, bench: Bench) -> tuple[PythonScript, Request]:
    """A script's tree, and the request with the accelerator, memory and time that it needs."""
    request = bench.checked(request)
    accelerator = bench.outlook(request).accelerator
    trial = Trial(-1, -1, 0, "calibration")
    made = python_script(
        _packer(options),
        Path(options.words[0]),
        _python_options(options),
        accelerator,
        bench.say,
        watch=lambda frame: bench.heard(trial, frame),
    )
    machine = request.machine
    if accelerator is not Accelerator.NATIVE and machine.memory_mib < PYTHON_MIB:
        bench.say(f"Guests get {PYTHON_MIB} MiB of memory, for Python.")
        machine = replace(machine, memory_mib=PYTHON_MIB)
    timeout_s = max(request.timeout_s, made.timeout_s or 0.0)
    if accelerator is not Accelerator.NATIVE:
        request = replace(request, accelerator=accelerator)
    return made, replace(request, machine=machine, timeout_s=timeout_s)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        lacking = "name" if equals else "value"
        raise UkperfError(f"--env {clean(text, 80)} has no {lacking}.", hint="Write --env NAME=VALUE.")
    return name, value


def _split(name: str, words: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(words))
    except ValueError as error:
        raise UkperfError(f"--variant {name}: {clean(words, 80)!r} is no command line: {error}.") from error


def _taking_part(request: Request, packed: Packed, others: Mapping[str, Packed], say: Say) -> dict[str, Guest]:
    """Name in the run → guest. Of a run that names none: those that tell the end of this program, which may take no
    library of ours.

    Raises UkperfError where one that was named does not.
    """
    named = {name: guests.get(name) for name in request.guests if name not in request.variants}
    named |= {name: guests.get(variant.guest) for name, variant in request.variants.items()}
    for name, guest in named.items():
        program = others.get(name, packed)
        if not program.timing.reports_end and not guest.recipe.tells_end:
            raise UkperfError(
                f"{name} does not tell when a program that takes no library of ours ends, like {_which(program)}.",
                hint=f"Leave {name} out, or take a program that is linked dynamically with glibc.",
            )
    if named:
        return named  # to make all guests takes a while
    suited = {guest.name: guest for guest in guests.loading_programs()}
    if packed.timing.reports_end:
        return suited
    for name, guest in suited.items():
        if not guest.recipe.tells_end:
            say(f"{name} is left out: it does not tell when a program like {_which(packed)} ends.")
    return {name: guest for name, guest in suited.items() if guest.recipe.tells_end}


def _which(packed: Packed) -> str:
    return "this static one" if packed.timing is Timing.STARTER else "this one of another C library"


def _memory_mib(
    request: Request, part: Mapping[str, Guest], packed: Packed, others: Mapping[str, Packed]
) -> dict[str, int]:
    """Memory of guests that hold the program's files there."""
    kinds = {name: guest.label for name, guest in part.items()}
    sizes = {name: others.get(name, packed).size for name in kinds}
    return memory_for_files(kinds, sizes, request.machine.memory_mib)


def _own_samples(spec: BootSpec, seen: Observation) -> tuple[Sample, ...]:
    """The program's own time and memory. Under icount instructions by the guest's counter; elsewhere seconds by its
    clock, or by the host's where no `exit` frame tells."""
    counted = spec.image.executed_by(spec.accelerator) is Accelerator.ICOUNT
    samples: list[Sample] = []
    if (took := _took(seen, counted)) is not None:
        samples.append(Sample(RUN, Unit.INSTRUCTIONS if counted else Unit.SECONDS, (took,)))
    end = next((frame for frame in seen.frames if frame.event == "exit"), None)
    peak = end.fields.get("peak_rss") if end else None
    if isinstance(peak, int) and peak > 0:
        samples.append(Sample(PEAK, Unit.BYTES, (float(peak),)))
    start, ready = seen.events.get(Event.START), seen.events.get(Event.READY)
    if start is not None and ready is not None and not counted:
        samples.append(Sample(READY, Unit.SECONDS, ((ready - start) / 1e9,)))
    return tuple(samples)


def _took(seen: Observation, counted: bool) -> float | None:
    frames = {frame.event: frame.fields for frame in seen.frames}
    clock = "tsc" if counted else "t"
    first, last = frames.get("main", {}), frames.get("exit", frames.get("status", {}))
    begin, end = last.get(f"began_{clock}", first.get(clock)), last.get(clock)
    if isinstance(begin, int) and isinstance(end, int) and 0 < begin < end:
        return float(end - begin) if counted else (end - begin) / 1e9
    main, stopped = seen.events.get(Event.MAIN), seen.events.get(Event.EXIT, seen.events.get(Event.STOPPED))
    if counted or main is None or stopped is None or stopped <= main:
        return None
    return (stopped - main) / 1e9
