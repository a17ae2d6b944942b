"""After a run: finds out why guests ran its program in no boot, and keeps it in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json
from ukperf.imaging.pack import Packed
from ukperf.model import Accelerator, BootProtocol, BootRecord, CallTable, Outcome, Plan, Request, Result, Why
from ukperf.workloads import whynot
from ukperf.workloads.base import Bench
from ukperf.workloads.syscall_probe import tables
from ukperf.workloads.tracing import LIMIT_S, Traced, Tracer, tracer_of

STATE = "whynot.json"
FORMAT = 1
PROBE_S = 30.0  # of one boot of the prober
LEAST_S = 3.0  # of a run that is tried with a guest's answers; else PATIENCE times what it takes as it is
PATIENCE = 5.0
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


def explain(result: Result, pack: Callable[[], Packed], bench: Bench) -> None:
    """Find out why guests ran this program in no boot, once a run; what keeps that from being found out is said.

    The program is run on this machine for it, as whoever asked for the run may: not for runs of others.
    """
    known = read(result.folder)
    questions = {guest: r for guest, r in whynot.failing(result.records).items() if _is_open(result.plan, r, known)}
    if not questions:
        return
    names = " and ".join(questions)
    try:
        packed = pack()
        same = {g: r for g, r in questions.items() if result.plan.images[g].program_digest == packed.program.digest}
        with bench.again(result):  # refused for plans of others
            pass
        if same:
            bench.say(
                f"{names} ran it in no boot: looking for why, by its system calls on this machine (--no-why: not)."
            )
            known = _by_calls(result, same, tracer_of(packed), known, bench)
            bench.keep(result.folder, STATE, json.dumps(encode(known, FORMAT)) + "\n")
    except UkperfError as error:
        hint = f" {error.hint}" if error.hint else ""
        bench.say(f"Why {names} did not run it was not found out: {error.message}{hint}")


def _is_open(plan: Plan, record: BootRecord, known: Explained) -> bool:
    """Is it not known yet why a guest's boots failed, and may it be found out?"""
    guest = record.trial.guest
    surely = record.why is not None and record.why.sure
    here = plan.images[guest].protocol is BootProtocol.EXEC
    return not (guest in known.tried or surely or here or record.outcome in _UNEXPLAINABLE)


def _by_calls(
    result: Result, questions: Mapping[str, BootRecord], tracer: Tracer, known: Explained, bench: Bench
) -> Explained:
    """What is known, with these questions answered."""
    whys = dict(known.whys)
    nowhere = not any(record.outcome is Outcome.OK for record in result.records)
    plain = tracer.run({})
    tries = _Tries(tracer, plain)
    for guest, record in questions.items():
        why = whynot.by_this_machine(record, plain) if nowhere else None
        if why is None:
            lacks = whynot.lacking(_table(result.plan, guest, bench))
            why = whynot.by_calls(guest, record, plain, lacks, tries.run)
        if why is not None:
            whys[guest] = why
    return Explained(whys, (*known.tried, *questions))


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
