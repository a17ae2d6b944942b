"""What a program asks of a kernel, and what guests have of it.

The program runs on this machine under strace. What it asked for is set against each guest's table of system calls
(`ukperf syscalls`) and the special files that its recipe names.

Loupe (Lefeuvre et al., ASPLOS'24) showed for Linux programs that most calls that are seen need not be there: programs
go on without them, or do with a stub. So a call that is missing is no verdict; `forecast` tries it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukperf import guests
from ukperf.hosts.calltrace import CallTrace
from ukperf.model import CallClass, CallTable, kind_of
from ukperf.text import clean

NEVER_INJECTED = frozenset({"ioctl", "exit_group", "exit", "execve", "rt_sigreturn"})


@dataclass(frozen=True)
class Special:
    """A file of /proc, /sys or /dev that was looked at. there: on this machine."""

    path: str
    there: bool


@dataclass(frozen=True)
class Asked:
    """What one run on this machine asked for.

    calls: how often each. ioctls: command → did it ever succeed. end: how it ended, in words; good: as it should.
    """

    calls: Mapping[str, int]
    ioctls: Mapping[str, bool]
    special: tuple[Special, ...]
    executed: tuple[str, ...]
    threads: int
    processes: int
    good: bool
    end: str


@dataclass(frozen=True)
class Provided:
    """What a guest has of what was asked for. lacking: calls that it answers with ENOSYS; fatal: calls that end or hang
    it; stubs: calls that only pretend; files: special files that this machine has and the guest has not."""

    guest: str
    version: str
    lacking: tuple[str, ...] = ()
    fatal: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    complaint: str = ""


def special_files(guest: str) -> tuple[str, ...] | None:
    """Files that a guest's kernel makes, folders with a slash behind them; None where its recipe does not say."""
    recipe = guests.get(guest).recipe
    return recipe.listed("special") if "special" in recipe.extra else None


def ended(trace: CallTrace) -> str:
    """How a run ended, in words."""
    if trace.ended_for:
        return trace.ended_for
    if trace.signal:
        return f"killed by {trace.signal}"
    return f"exit status {trace.status}"


def asked_of(trace: CallTrace) -> Asked:
    """The trace as it is shown."""
    special = tuple(Special(clean(path), there) for path, there in trace.special.items())
    return Asked(
        dict(sorted(trace.calls.items(), key=lambda item: (-item[1], item[0]))),
        dict(sorted(trace.ioctls.items())),
        special,
        tuple(clean(path, 200) for path in trace.executed),
        trace.threads,
        trace.processes,
        trace.status == 0,
        ended(trace) + (f"; it said: {trace.last_line}" if trace.status != 0 and trace.last_line else ""),
    )


def has_file(special: Sequence[str] | None, path: str) -> bool:
    """Has a guest with these special files this one? One whose recipe says nothing has all."""
    if special is None:
        return True
    parents = {f"{part}/" for part in _parents(path)}
    is_folder = any(name.startswith(f"{path}/") for name in special)
    return path in special or is_folder or any(name in parents for name in special)


def _parents(path: str) -> list[str]:
    return [str(parent) for parent in Path(path).parents]


def provided(asked: Asked, table: CallTable, in_tree: Path | None = None) -> Provided:
    """What the guest of a table has of it. in_tree: a tree whose own files count as there."""
    by_name = {call.name: call.kind for call in table.calls}
    known = {name: by_name[name] for name in asked.calls if name in by_name}
    special = special_files(kind_of(table.guest))
    files = tuple(
        item.path
        for item in asked.special
        if item.there and not has_file(special, item.path) and not _in_tree(in_tree, item.path)
    )

    def of(*kinds: CallClass) -> tuple[str, ...]:
        return tuple(sorted(name for name, kind in known.items() if kind in kinds))

    return Provided(
        table.guest,
        table.kernel_version,
        of(CallClass.ENOSYS),
        tuple(name for name in of(CallClass.KILLS, CallClass.HANGS) if name not in NEVER_INJECTED),
        of(CallClass.STUB),
        files,
        table.complaint,
    )


def _in_tree(tree: Path | None, path: str) -> bool:
    return tree is not None and (tree / path.lstrip("/")).is_file()
