"""A short boot of a kernel that is about to be stored: does it give programs what ukperf's need?

What a kernel lacks shows when it is added, by one sentence, and not in a run that waits for it.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ukperf import guests
from ukperf.engine.folders import alone
from ukperf.engine.plan import domain_name
from ukperf.engine.setting import decide_accelerator, open_hosts
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.stored import StoredGuest
from ukperf.hosts import DEFAULT
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelstore import StoredKernel
from ukperf.imaging.programs import needs_program
from ukperf.model import DEFAULT_PLATFORM, Accelerator, BootSpec, Event, Launch, Machine, Observation, Outcome
from ukperf.paths import cache_dir, make_dir
from ukperf.text import Say, written_lines

TIMEOUT_S = 20.0
_ERRNO = re.compile(r"[0-9]{1,4}")
# In the order of asking; each with what a kernel without it does.
NEEDS: Mapping[str, str] = {
    "arguments": "arguments do not reach the program as they are",
    "environment": "environment variables do not reach the program",
    "clock": "its clock does not advance",
    "files": "programs cannot write files in / and /tmp",
    "random": "there are no random numbers in /dev/urandom",
}


@dataclass(frozen=True)
class Found:
    """What a probe saw. lacks: need → errno that the program met, 0 where there was none. failure: why it did not come
    to its end, with the last that the guest wrote."""

    lacks: Mapping[str, int]
    failure: str = ""


class NotProbedError(Exception):
    """This machine cannot boot the kernel, whatever it is like; the text says why."""


def check(entry: StoredKernel, say: Say) -> bool:
    """Probe a kernel; whether that could be done: where it could not, `say` gets the reason.

    entry: its files, wherever they are. Raises UkperfError, one sentence and how to build in what is missing, for a
    kernel that lacks something or does not boot.
    """
    result = _probed(entry, say)
    if result is not None and (fault := _fault(entry, result)):
        raise fault
    return result is not None


def warn(entry: StoredKernel, say: Say) -> bool:
    """The same for kernels that nobody here can build anew: what is missing is said, and nothing is refused."""
    try:
        return check(entry, say)
    except UkperfError as error:
        say(" ".join(filter(None, (error.message, error.hint))))
        return False


def check_boots(entry: StoredKernel, say: Say) -> bool:
    """The same for kernels that nobody asked for by name: a kernel that runs no program to its end on this machine is
    refused, what else is missing is said."""
    result = _probed(entry, say)
    if result is None or (fault := _fault(entry, result)) is None:
        return result is not None
    if result.failure:
        raise UkperfError(fault.message)
    say(fault.message)
    return False


def _probed(entry: StoredKernel, say: Say) -> Found | None:
    try:
        return _probe(entry)
    except NotProbedError as reason:
        say(f"{entry.guest} {entry.version} was not probed: {reason} Adding it again makes up for it.")
        return None


def _probe(entry: StoredKernel) -> Found:
    if entry.platform != DEFAULT_PLATFORM:
        raise NotProbedError(f"It is for {entry.platform}.")
    run_id = secrets.token_hex(8)
    try:
        program = needs_program()
        with alone(share_host=False), open_hosts((DEFAULT,), run_id) as hosts:
            host = hosts[DEFAULT]
            accelerator, _ = decide_accelerator(Accelerator.AUTO, host)
            if accelerator is Accelerator.ICOUNT:
                accelerator = Accelerator.TCG  # only the answers count
            with tempfile.TemporaryDirectory(prefix="probe-", dir=make_dir(cache_dir())) as scratch:
                guest = guests.get(entry.guest, Cache(Path(scratch)))
                assert isinstance(guest, StoredGuest)
                spec = BootSpec(
                    guest.using(entry).build(program, BuildOptions(accelerator=accelerator)),
                    Machine(),
                    accelerator,
                    Launch.DIRECT,
                    TIMEOUT_S,
                    run_id=run_id,
                    name=domain_name(run_id, entry.guest),
                )
                seen = host.boot(spec)
    except UkperfError as error:
        raise NotProbedError(error.message) from error
    if seen.outcome is Outcome.LOST:
        raise NotProbedError(f"{seen.reason}.")
    return found_in(seen)


def found_in(seen: Observation) -> Found:
    """What one boot of the program says about the kernel."""
    answers = _answers(seen.report.checks)
    lacks = {need: number for need, number in answers.items() if number is not None}
    if seen.outcome is Outcome.OK:
        return Found({**lacks, **{need: 0 for need in NEEDS if need not in answers}})
    failure = seen.reason.rstrip(".")
    pending = next((need for need in NEEDS if need not in answers), "")
    if Event.MAIN in seen.events and pending:
        failure = f"{failure}, in the test of {pending}"
    lines = written_lines(seen.console_tail)
    return Found(lacks, failure + (f"; it wrote: {lines[-1].strip()}" if lines else ""))


def _answers(checks: Mapping[str, str]) -> dict[str, int | None]:
    """Need → None where it is met, else the errno, 0 where there is none."""
    return {
        need: None if answer == "yes" else int(answer) if _ERRNO.fullmatch(answer) else 0
        for need, answer in checks.items()
        if need in NEEDS
    }


def _fault(entry: StoredKernel, result: Found) -> UkperfError | None:
    """What is wrong with a kernel, and how to build in what it lacks; None where it is all right."""
    if not result.lacks and not result.failure:
        return None
    lacking = [NEEDS[need] + (f" ({os.strerror(number)})" if number else "") for need, number in result.lacks.items()]
    name = f"{entry.guest} {entry.version}"
    said = [f"{name} lacks what ukperf needs: {'; '.join(lacking)}."] if lacking else []
    said += [f"{name} did not run a program to its end: {result.failure}."] if result.failure else []
    table = guests.get(entry.guest).recipe.extra.get("build_in")
    known = table if isinstance(table, dict) else {}
    options = [str(known[need]) for need in (*result.lacks, *(["start"] if result.failure else [])) if need in known]
    build = f"Build it with {' '.join(dict.fromkeys(options))}. " if options else ""
    return UkperfError(" ".join(said), hint=f"{build}--no-probe adds it as it is.")
