"""Why a guest did not run a program: from what was seen of the boot, the system calls that the program makes, and what
the guest does with them. Pure functions; `explaining` brings about what they are told.

A missing call alone proves nothing: most programs do without it. So the program is run on this machine with the call
answered as the guest answers it, and only where it then ends as in the guest is the call said to be the cause.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ukperf.model import BootRecord, CallClass, CallTable, Cause, Outcome, SystemCall, Why
from ukperf.text import clean, written_lines
from ukperf.workloads.memory import Advice
from ukperf.workloads.tracing import PROCESSES, Traced

SHOWN = 160  # characters of a line
MOST_TRIED = 12  # calls that are tried one by one
FOREVER = frozenset({Outcome.HUNG, Outcome.SILENT})
Try = Callable[[Mapping[str, str]], Traced]  # a run with these answers
Without = Callable[[Sequence[str]], Traced]  # a run for which these paths are not there
MOST_FILES = 500  # that a run is tried without
# What the C library looks for by itself, and does without.
_ASIDE = re.compile(r"/etc/|/usr/share/(?:locale|zoneinfo)|/usr/lib/locale/|.*/gconv/")

# By these a program waits for a signal, or has one sent to itself later: call → the signal, where it is always one.
WAITS = {
    "alarm": "SIGALRM",
    "setitimer": "SIGALRM",
    "timer_settime": "the signal of its timer",
    "pause": "a signal",
    "rt_sigsuspend": "a signal",
    "rt_sigtimedwait": "a signal",
}
_NO_ANSWER = frozenset({"rt_sigreturn", "restart_syscall", "exit", "exit_group"})
_FORK_MISSING = (
    "Function not implemented|Operation not supported|Resource temporarily unavailable|Cannot allocate memory"
)
# What programs write by their C library, their loader or their language: never more than a guess at the cause.
_SAID = (
    (r"error while loading shared libraries: (\S+): cannot open", Cause.FILES, "a library is not in the guest"),
    (rf"(?i)\bfork\b.*(?:{_FORK_MISSING})", Cause.FORK, "it starts another process, and the guest has no fork"),
    (r"Function not implemented", Cause.CALL, "it makes a system call that the guest lacks"),
    (
        r"\bMemoryError\b|std::bad_alloc|Cannot allocate memory|(?i:out of memory|not enough memory)",
        Cause.MEMORY,
        "the guest has too little memory for it",
    ),
    (r"Exec format error", Cause.FORMAT, "it executes a file that the guest cannot execute"),
    (
        r"No such file or directory|FileNotFoundError|: not found$",
        Cause.FILES,
        "a file or program that it wants is not in the guest: --file packs it",
    ),
)


def by_output(record: BootRecord) -> Why | None:
    """What the program itself wrote before it failed, if that is one of the usual sentences."""
    if record.outcome not in (Outcome.FAILED, Outcome.CRASHED):
        return None
    lines = [line.strip() for line in written_lines(record.console_tail)]
    for pattern, cause, sentence in _SAID:
        said = [line for line in lines if re.search(pattern, line[:1000])]
        if said:
            return Why(cause, sentence, clean(said[-1], SHOWN), sure=False)
    return None


def lacking(table: CallTable) -> dict[str, SystemCall]:
    """Name → call, of those that the guest has not, only pretends to have, or ends in."""
    nothing = (errno.ENOSYS, errno.EOPNOTSUPP)
    return {
        call.name: call
        for call in table.calls
        if call.kind in (CallClass.ENOSYS, CallClass.STUB, CallClass.KILLS, CallClass.HANGS)
        or (call.kind is CallClass.ERROR and call.errno in nothing)
    }


def answer(call: SystemCall) -> str:
    """What strace is to answer in the kernel's place; "" for a call in which the guest ends or stays, and for those
    that never come back."""
    if call.name in _NO_ANSWER:
        return ""
    if call.kind is CallClass.STUB:
        return "retval=0"
    if call.kind in (CallClass.ENOSYS, CallClass.ERROR):
        return f"error={call.errno or errno.ENOSYS}"  # strace itself lets the first execve pass
    return ""


def by_calls(guest: str, record: BootRecord, plain: Traced, lacks: Mapping[str, SystemCall], tried: Try) -> Why | None:
    """The call for want of which the guest does not run the program. plain: the program on this machine as it is.

    None where nothing speaks for one.
    """
    used = {name: lacks[name] for name in sorted(plain.calls & lacks.keys(), key=_telling) if name not in PROCESSES}
    forks = plain.processes and "fork" in lacks
    answers = {name: answer(call) for name, call in used.items() if answer(call)}
    no_fork = _no_fork(lacks) if forks and not plain.threads else {}
    can_be_tried = plain.outcome is Outcome.OK and (answers or no_fork)
    together = tried({**answers, **no_fork}) if can_be_tried else None
    if together is None or together.outcome is Outcome.LOST:
        return _guess(guest, used, forks, record)
    if together.outcome is Outcome.OK:
        return _ends_in(guest, used, record)
    if no_fork and _alike(tried(no_fork), record):
        return _said_of_fork(guest, lacks)
    for name in list(answers)[:MOST_TRIED]:
        if _alike(tried({name: answers[name]}), record):
            return _said_of(guest, used[name], _proof(record), sure=True)
    if not _alike(together, record):
        return _guess(guest, used, forks, record)
    names = ", ".join([*(["fork"] if no_fork else []), *answers][:MOST_TRIED])
    evidence = f"with all of them answered so, {_proof(record)}"
    return Why(Cause.CALL, f"it lacks system calls of {guest}, one or several of {names}", evidence, sure=False)


def by_files(record: BootRecord, missing: Sequence[str], tried: Without) -> Why | None:
    """The files that the program reads on this machine and that were not packed with it, where it ends without them as
    it ended in the guest; None where they do not matter. missing: their paths, in the order in which they were read."""
    if not missing or not _alike(tried(missing[:MOST_FILES]), record):
        return None
    telling = [path for path in missing if not _ASIDE.match(path)] or list(missing)
    more = f" and {len(missing) - 1:,} more files" if len(missing) > 1 else ""
    them, were = ("them", "were") if more else ("it", "was")
    return Why(
        Cause.FILES,
        f"it reads {clean(telling[0], SHOWN)}{more}, which {were} not packed: --file packs files and folders",
        f"without {them}, {_proof(record)}",
    )


def by_this_machine(record: BootRecord, plain: Traced) -> Why | None:
    """It is not the guest's doing, where the program fails on this machine as it is. To be asked where it ran in no
    guest at all: here the paths of its files are others, which may matter too."""
    if plain.outcome not in (Outcome.FAILED, Outcome.CRASHED):
        return None
    alike = plain.exit_status == record.exit_status and (plain.outcome, plain.reason) == (record.outcome, record.reason)
    where = "in the folder that it has in guests (--cwd)"  # a relative path means another file there
    return Why(Cause.PROGRAM, f"it fails on this machine too, {where}: {plain.reason}", sure=alike)


def _telling(name: str) -> tuple[bool, str]:
    return name not in WAITS, name


def _no_fork(lacks: Mapping[str, SystemCall]) -> dict[str, str]:
    said = answer(lacks["fork"]) or f"error={errno.ENOSYS}"
    return dict.fromkeys(PROCESSES, said)


def _alike(here: Traced, record: BootRecord) -> bool:
    """Did it end on this machine as it did in the guest?"""
    if here.outcome in (Outcome.OK, Outcome.LOST):
        return False
    if record.outcome in FOREVER or here.outcome in FOREVER:
        return (record.outcome in FOREVER) is (here.outcome in FOREVER)
    return True


def _proof(record: BootRecord) -> str:
    return "it does not end on this machine either" if record.outcome in FOREVER else "it fails on this machine too"


def _guess(guest: str, used: Mapping[str, SystemCall], forks: bool, record: BootRecord) -> Why | None:
    """Where nothing could be tried: what waits, for a guest that waits; a fork, for a program that ended by itself."""
    if record.outcome in FOREVER:
        waits = next((call for name, call in used.items() if name in WAITS), None)
        return None if waits is None else _said_of(guest, waits, "", sure=False)
    if forks:
        return Why(Cause.FORK, f"it starts another process, and {guest} has no fork", sure=False)
    return _ends_in(guest, used, record)


def _ends_in(guest: str, used: Mapping[str, SystemCall], record: BootRecord) -> Why | None:
    """A call in which the guest is known to end, or to stay, as it did."""
    kind = CallClass.HANGS if record.outcome in FOREVER else CallClass.KILLS
    call = next((call for call in used.values() if call.kind is kind), None)
    if call is None:
        return None
    ends = "stays for ever in that" if kind is CallClass.HANGS else "ends in that"
    return Why(Cause.CALL, f"it calls {call.name}, and {guest} {ends}", clean(call.detail, SHOWN), sure=False)


def _said_of(guest: str, call: SystemCall, proof: str, *, sure: bool) -> Why:
    is_stub = call.kind is CallClass.STUB
    answers = f"{guest}'s {call.name} {'does nothing' if is_stub else 'is missing'}"
    detail = clean(call.detail, SHOWN) if is_stub else _error(call)
    evidence = "; ".join(filter(None, (detail, f"with that call answered so, {proof}" if proof else "")))
    if call.name in WAITS:
        return Why(Cause.WAIT, f"it waits for {WAITS[call.name]}, which never comes: {answers}", evidence, sure)
    if call.name == "execve":
        return Why(Cause.FORK, f"it executes another program, and {guest} runs one alone", evidence, sure)
    return Why(Cause.CALL, f"it calls {call.name}: {answers}", evidence, sure)


def _said_of_fork(guest: str, lacks: Mapping[str, SystemCall]) -> Why:
    evidence = f"fork answers {_error(lacks['fork'])}; answered so, it fails on this machine too"
    return Why(Cause.FORK, f"it starts another process, and {guest} has no fork", evidence)


def _error(call: SystemCall) -> str:
    return errno.errorcode.get(call.errno, "")


def by_memory(advice: Advice, known: Why | None) -> Why | None:
    """What came of boots with more memory. known: why the guest failed, as far as that is known without them."""
    if advice.enough_mib is not None:
        sentence = f"it has too little memory: {advice.had_mib:,} MiB; with {advice.enough_mib:,} MiB it runs"
        return Why(Cause.MEMORY, sentence, known.evidence if known is not None else "")
    if known is None or not advice.tried:
        return known
    return replace(known, sentence=f"{known.sentence}; with {max(advice.tried):,} MiB it fails too")


def failing(records: Sequence[BootRecord]) -> dict[str, BootRecord]:
    """Guest → its last failed boot, of the guests without one good boot."""
    good = {record.trial.guest for record in records if record.outcome is Outcome.OK}
    return {record.trial.guest: record for record in records if record.trial.guest not in good}
