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


def explain(result: Result, pack: Callable[[], Packed] | None, bench: Bench) -> None:
    """Find out why guests ran this program in no boot, once a run; what keeps that from being found out is said.

    pack: the program, which is run on this machine for it, as whoever asked for the run may; None: it is not. Runs of
    others are left alone.
    """
    known = read(result.folder)
    questions = {guest: r for guest, r in whynot.failing(result.records).items() if _is_open(result.plan, r, known)}
    if not questions:
        return
    search = _Search(result, questions, bench)
    calls = [] if pack is None else [partial(search.by_calls, pack)]
    steps: list[Callable[[], None]] = [search.by_memory, *calls, search.by_more_memory]
    complete = True
    for step in steps:
        try:
            step()
        except UkperfError as error:
            hint = f" {error.hint}" if error.hint else ""
            bench.say(f"Why {' and '.join(questions)} did not run it was not found out: {error.message}{hint}")
            complete = False
            break
    if search.whys or complete:
        tried = tuple(questions) if complete else tuple(search.whys)
        answers = Explained({**known.whys, **search.guesses, **search.whys}, (*known.tried, *tried))
        bench.keep(result.folder, STATE, json.dumps(encode(answers, FORMAT)) + "\n")


def _is_open(plan: Plan, record: BootRecord, known: Explained) -> bool:
    """Is it not known yet why a guest's boots failed, or how much memory it lacks, and may it be found out?"""
    guest = record.trial.guest
    surely = record.why is not None and record.why.sure and record.why.cause is not Cause.MEMORY
    here = plan.images[guest].protocol is BootProtocol.EXEC
    return not (guest in known.tried or surely or here or record.outcome in _UNEXPLAINABLE)


class _Search:
    """Looks for why some guests failed. whys: guest → what was found; guesses: what else is to be said."""

    def __init__(self, result: Result, questions: Mapping[str, BootRecord], bench: Bench) -> None:
        self._result, self._questions, self._bench = result, questions, bench
        self._ends = False  # does the program end on this machine?
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

    def by_calls(self, pack: Callable[[], Packed]) -> None:
        """Look for calls that the program makes and guests lack; the program runs on this machine."""
        packed, images = pack(), self._result.plan.images
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
        tracer = tracer_of(packed)
        plain = tracer.run({})
        self._ends = plain.outcome is Outcome.OK
        tries = _Tries(tracer, plain)
        nowhere = not any(record.outcome is Outcome.OK for record in self._result.records)
        for guest, record in left.items():
            why = whynot.by_this_machine(record, plain) if nowhere else None
            if why is None:
                lacks = whynot.lacking(_table(self._result.plan, guest, self._bench))
                why = whynot.by_calls(guest, record, plain, lacks, tries.run)
            if why is not None:
                self.whys[guest] = why

    def by_more_memory(self) -> None:
        """Boot guests that died or stayed without a word with four times their memory, if the program is one that
        ends."""
        left = [
            guest
            for guest, record in self._questions.items()
            if guest not in self.whys
            and _suspicion(record) is None
            and record.outcome in memory.SILENT_DEATHS
            and self._ends
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
        self._tracer, self._done = tracer, dict[str, Traced]()
        self._patience_s = min(LIMIT_S, max(LEAST_S, PATIENCE * plain.took_s))

    def run(self, answers: Mapping[str, str]) -> Traced:
        key = str(sorted(answers.items()))
        if key not in self._done:
            self._done[key] = self._tracer.run(answers, self._patience_s)
        return self._done[key]


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
