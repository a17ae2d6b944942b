"""Will it run in a guest? The packed program runs on this machine with the guest's files only, and without its calls.

What the guest's kernel makes of /proc, /sys and /dev is there, nothing else; calls that its table says are missing are
answered with ENOSYS. What is missing need not matter: many programs go on (Loupe, ASPLOS'24), and only a run tells.
ioctl is not answered so as a whole, since kernels decide it by command; and a stub's false success is not imitated, but
that of timers and of waits for them: where no signal comes, a program may stay for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ukperf.deps import guestroot
from ukperf.deps.asking import NEVER_INJECTED, asked_of, ended, provided, special_files
from ukperf.hosts.calltrace import CallTrace, trace_calls
from ukperf.hosts.ownership import scratch
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import build_program
from ukperf.model import CallClass, CallTable, Observation, Outcome, Program, kind_of
from ukperf.text import clean
from ukperf.workloads.whynot import WAITS, answer

_MAKING = ("fork", "vfork")
_NOTHING: Mapping[str, str] = {}
_KNOWS = frozenset({CallClass.WORKS, CallClass.ERROR})
SHOWN = 6  # names in a reason


class Running(StrEnum):
    """Does it end as it does on this machine?"""

    YES = "runs"
    NO = "does not run"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Forecast:
    """One guest. lacking: calls that were asked for and answered with ENOSYS; files: special ones that were looked for
    in vain and that this machine has. truth: what boots said, UNKNOWN where none was made."""

    guest: str
    version: str
    says: Running
    reason: str = ""
    lacking: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    truth: Running = Running.UNKNOWN
    truth_reason: str = ""


def run_in_tree(
    program: Program,
    special: Sequence[str],
    missing: Iterable[str],
    timeout_s: float,
    cache: Cache | None = None,
    answers: Mapping[str, str] = _NOTHING,
) -> CallTrace:
    """One run in the program's tree on this machine, as a guest would see it. missing, answers: as of `trace_calls`.
    Raises UkperfError where it cannot be prepared: without strace, a compiler or name spaces."""
    enter = build_program("deps/enter.c", cache or Cache())
    with scratch() as folder:
        root = folder / "root"
        root.mkdir()
        return trace_calls(
            program.argv,
            dict(program.env),
            folder,
            timeout_s,
            before=guestroot.before(root, program.path, program.argv[0], special),
            through=(str(enter), str(guestroot.root(root))),
            missing=missing,
            answers=answers,
        )


def forecast(program: Program, table: CallTable, timeout_s: float, status: int = 0) -> Forecast:
    """status: with which the program ends on this machine. Raises UkperfError as `run_in_tree`."""
    special = special_files(kind_of(table.guest))
    if special is None or table.complaint:
        why = table.complaint or "its recipe does not say which special files it has"
        return Forecast(table.guest, table.kernel_version, Running.UNKNOWN, why)
    missing = {call.name for call in table.calls if call.kind is CallClass.ENOSYS} - NEVER_INJECTED
    waits = {call.name: answer(call) for call in table.calls if call.name in WAITS and call.kind is CallClass.STUB}
    trace = run_in_tree(program, special, missing, timeout_s, answers=waits)
    has = provided(asked_of(trace), table, program.path)
    lacking = tuple(sorted(name for name, errno in trace.errors if errno == "ENOSYS" and name in missing))
    gone = tuple(path for path, there in trace.special.items() if not there and _on_host(path))
    says, reason = _judged(trace, table, has.fatal, status)
    if says is Running.NO:
        reason += _perhaps(lacking, gone)
    return Forecast(table.guest, table.kernel_version, says, reason, lacking, gone)


def _judged(trace: CallTrace, table: CallTable, fatal: Sequence[str], status: int) -> tuple[Running, str]:
    forks = {call.name: call.kind for call in table.calls if call.name in _MAKING}
    if fatal:
        return Running.NO, f"it makes {', '.join(fatal[:SHOWN])}, which ends or hangs the guest"
    if trace.processes and forks and not any(kind in _KNOWS for kind in forks.values()):
        return Running.NO, "it starts processes, and the guest has no fork"
    if trace.status == status:
        return Running.YES, ""
    stubs = {call.name for call in table.calls if call.kind is CallClass.STUB}
    waits = next((name for name in WAITS if name in stubs and name in trace.calls), None)
    if trace.timed_out and waits is not None:
        return Running.NO, f"it waits for {WAITS[waits]}, which never comes: the guest's {waits} does nothing"
    said = f": {trace.last_line}" if trace.last_line else ""
    return Running.NO, f"{ended(trace)}{said}"


def _perhaps(lacking: Sequence[str], gone: Sequence[str]) -> str:
    """What a failure may come from."""
    parts = [f"without {', '.join(names[:SHOWN])}" for names in (lacking, gone) if names]
    return f" ({'; '.join(parts)})" if parts else ""


def _on_host(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


def truth_of(seen: Observation, status: int = 0) -> tuple[Running, str]:
    """What a boot says of whether it runs. status: with which the program ends on this machine."""
    if seen.exit_status == status or (seen.outcome is Outcome.OK and not seen.exit_status and not status):
        return Running.YES, ""
    return Running.NO, clean(seen.reason or f"exit status {seen.exit_status}", 300)
