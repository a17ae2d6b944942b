"""After a run: finds out why guests ran its program in no boot, and keeps it in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json
from ukperf.imaging.pack import Packed
from ukperf.model import Accelerator, BootProtocol, BootRecord, CallTable, Cause, Outcome, Plan, Request, Result, Why
from ukperf.workloads import memory, whynot
from ukperf.workloads.base import Bench
from ukperf.workloads.syscall_probe import tables
from ukperf.workloads.tracing import LIMIT_S, Traced, Tracer, tracer_of

STATE = "whynot.json"
FORMAT = 1
PROBE_S = 30.0  # of one boot of the prober
LEAST_S = 3.0  # of a run that is tried with a guest's answers; else PATIENCE times what it takes as it is
PATIENCE = 5.0
MUCH = 4  # times the memory that a guest had which gave no reason
_UNEXPLAINABLE = (Outcome.LOST, Outcome.LIED, Outcome.FLOODED)


@dataclass(frozen=True)
class Explained:
    """What was found out after a run. whys: guest → why it ran the program in no boot; tried: guests that it was looked
    for, found or not."""

    whys: Mapping[str, Why] = field(default_factory=dict)
    tried: tuple[str, ...] = ()


def read(folder: Path) -> Explained:
    """Of a run's folder; nothing where there is none."""
    try:
        return decode_stored(Explained, read_json(folder / STATE), FORMAT)
    except (OSError, ValueError):
        return Explained()


def explained(records: Sequence[BootRecord], folder: Path) -> tuple[BootRecord, ...]:
    """The records, those of failed boots with why they failed as far as that is known: by what was found out after the
    run, by the kernel's last words, or by what the program wrote."""
    whys = read(folder).whys
    return tuple(
        record
        if record.outcome is Outcome.OK
        else replace(record, why=whys.get(record.trial.guest) or record.why or whynot.by_output(record))
        for record in records
    )


@dataclass(frozen=True)
class Again:
    """A program of a run, once more. pack: as the run has it; less: the same with less work, None: as it is; limit_s:
    of one run on this machine."""

    pack: Callable[[], Packed]
    less: Callable[[], Packed] | None = None
    limit_s: float = LIMIT_S


def explain(result: Result, programs: Sequence[Again], bench: Bench, *, ends: bool = False) -> None:
    """Find out why guests ran their programs in no boot, once a run; what keeps that from being found out is said.

    programs: of the run, which are run on this machine for it, as whoever asked for the run may. ends: all
    are known to end here, without being run. Runs of others are left alone.
    """
    known = read(result.folder)
    questions = {guest: r for guest, r in whynot.failing(result.records).items() if _is_open(result.plan, r, known)}
    if not questions:
        return
    search = _Search(result, questions, bench)
    search.ends |= set(questions) if ends else set()
    calls = [partial(search.by_calls, again) for again in programs]
    steps: list[Callable[[], None]] = [search.by_memory, *calls, search.by_more_memory]
    refused: dict[str, None] = {}
    for step in steps:
        try:
            step()
        except UkperfError as error:
            refused[f"{error.message} {error.hint or ''}".strip()] = None
    open_ = [guest for guest in questions if guest not in search.whys]
    for sentence in refused if open_ else ():
        bench.say(f"Why {' and '.join(open_)} did not run it was not found out: {sentence}")
    if search.whys or not refused:
        tried = tuple(search.whys) if refused else tuple(questions)
        answers = Explained({**known.whys, **search.guesses, **search.whys}, (*known.tried, *tried))
        bench.keep(result.folder, STATE, json.dumps(encode(answers, FORMAT)) + "\n")


def _is_open(plan: Plan, record: BootRecord, known: Explained) -> bool:
    """Is it not known yet why a guest's boots failed, or how much memory it lacks, and may it be found out?"""
    guest = record.trial.guest
    surely = record.why is not None and record.why.sure and record.why.cause is not Cause.MEMORY
    here = plan.images[guest].protocol is BootProtocol.EXEC
    return not (guest in known.tried or surely or here or record.outcome in _UNEXPLAINABLE)


class _Search:
    """Looks for why some guests failed. whys: guest → what was found; guesses: what else is to be said; ends: guests
    whose program ends on this machine."""

    def __init__(self, result: Result, questions: Mapping[str, BootRecord], bench: Bench) -> None:
        self._result, self._questions, self._bench = result, questions, bench
        self.ends: set[str] = set()
        self.whys: dict[str, Why] = {}
        self.guesses: dict[str, Why] = {}

    def by_memory(self) -> None:
        """Boot guests that said, or seem to have said, that they lack memory with more of it."""
        suspects = {guest: why for guest, r in self._questions.items() if (why := _suspicion(r)) is not None}
        if not suspects:
            return
        with self._bench.again(self._result) as repeats:
            for guest, why in suspects.items():
                had = repeats.plan.machine_of(guest).memory_mib
                self._bench.say(f"{guest} had {had:,} MiB: trying it with more memory (--no-why: not).")
                told = whynot.by_memory(memory.enough(repeats, guest, 2 * had), why)
                if told is not None:
                    (self.whys if told.sure else self.guesses)[guest] = told

    def by_calls(self, again: Again) -> None:
        """Look for calls that a program makes and its guests lack; the program runs on this machine."""
        images = self._result.plan.images
        if self._questions.keys() <= self.whys.keys():
            return
        packed = again.pack()
        left = {
            guest: record
            for guest, record in self._questions.items()
            if guest not in self.whys and images[guest].program_digest == packed.program.digest
        }
        if not left:
            return
        with self._bench.again(self._result):  # refused for plans of others
            pass
        names = " and ".join(left)
        self._bench.say(f"{names} ran it in no boot: looking for why, by its system calls here (--no-why: not).")
        tracer = tracer_of(packed if again.less is None else again.less(), again.limit_s)
        plain = tracer.run({})
        if plain.outcome is Outcome.OK:
            self.ends |= left.keys()
        tries = _Tries(tracer, plain)
        nowhere = not any(record.outcome is Outcome.OK for record in self._of_program(packed))
        for guest, record in left.items():
            why = whynot.by_this_machine(record, plain) if nowhere else None
            if why is None and plain.outcome is Outcome.OK:
                why = whynot.by_files(record, tracer.not_packed(plain), tries.without)
            if why is None:
                lacks = whynot.lacking(_table(self._result.plan, guest, self._bench))
                why = whynot.by_calls(guest, record, plain, lacks, tries.run)
            if why is not None:
                self.whys[guest] = why

    def _of_program(self, packed: Packed) -> list[BootRecord]:
        """The boots of one of the run's programs."""
        images, digest = self._result.plan.images, packed.program.digest
        return [record for record in self._result.records if images[record.trial.guest].program_digest == digest]

    def by_more_memory(self) -> None:
        """Boot guests that died or stayed without a word with four times their memory, if the program is one that
        ends."""
        left = [
            guest
            for guest, record in self._questions.items()
            if guest not in self.whys
            and _suspicion(record) is None
            and record.outcome in memory.SILENT_DEATHS
            and guest in self.ends
        ]
        if not left:
            return
        with self._bench.again(self._result) as repeats:
            for guest in left:
                much = MUCH * repeats.plan.machine_of(guest).memory_mib
                self._bench.say(f"{guest} gave no reason: trying it with {much:,} MiB (--no-why: not).")
                why = whynot.by_memory(memory.enough(repeats, guest, much, much), None)
                if why is not None:
                    self.whys[guest] = why


def _suspicion(record: BootRecord) -> Why | None:
    """Why a boot failed, if that is for want of memory."""
    why = record.why or whynot.by_output(record)
    return why if why is not None and why.cause is Cause.MEMORY else None


class _Tries:
    """Runs with a guest's answers, each made once. plain: the run without."""

    def __init__(self, tracer: Tracer, plain: Traced) -> None:
        self._tracer, self._done, self._without = tracer, dict[str, Traced](), dict[tuple[str, ...], Traced]()
        self._patience_s = min(tracer.limit_s, max(LEAST_S, PATIENCE * plain.took_s))

    def run(self, answers: Mapping[str, str]) -> Traced:
        key = str(sorted(answers.items()))
        if key not in self._done:
            self._done[key] = self._tracer.run(answers, self._patience_s)
        return self._done[key]

    def without(self, paths: Sequence[str]) -> Traced:
        key = tuple(paths)
        if key not in self._without:
            self._without[key] = self._tracer.run({}, self._patience_s, key)
        return self._without[key]


def _table(plan: Plan, guest: str, bench: Bench) -> CallTable:
    """Which system calls a guest of the plan has; it is booted for that, unless its kernel is known. Raises
    UkperfError."""
    image = plan.images[guest]
    request = Request(
        guests=(image.guest,),
        baseline=image.guest,
        machine=replace(plan.machine, memory_mib=256),
        accelerator=Accelerator.AUTO if plan.accelerator is Accelerator.ICOUNT else plan.accelerator,
        launch=plan.launch,
        connect=plan.hosts[:1],
        timeout_s=PROBE_S,
        share_host=True,  # nothing is measured
        shared_path=plan.shared_path,
    )
    (table,) = tables(request, bench, fresh=False)
    if table.kernel_digest != image.kernel_digest:
        raise UkperfError(f"the system calls of the kernel of {guest} are not known.", hint="")
    return table
