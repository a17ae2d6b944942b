"""A program on this machine itself under strace: which system calls it makes, and how it fares where some of them are
answered as a guest would.

It runs as `native` runs it, in bounded time, with nothing left of it afterwards; telemetry is off, its home an empty
folder, and libraries start no more threads than they would on a guest's one CPU.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.guests.recipes import Role
from ukperf.hosts.calltrace import CallTrace, trace_calls
from ukperf.hosts.ownership import scratch
from ukperf.hosts.owntree import as_packed
from ukperf.hosts.straceout import SPECIAL
from ukperf.imaging.pack import Packed
from ukperf.imaging.runtimes import QUIET
from ukperf.model import Accelerator, Image, Outcome
from ukperf.paths import cache_dir

LIMIT_S = 10.0  # of one run
PYTHON_LIMIT_S = 60.0  # the same, of a script: strace makes imports several times as long
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PROCESSES = ("fork", "vfork", "clone", "clone3")  # by which programs start processes; the last two threads too


@dataclass(frozen=True)
class Traced:
    """One run. reason: of an outcome that is not OK, as a host says it; took_s: until it ended, or was ended; calls:
    those that it made; read: absolute paths that it opened and would not have made; processes, threads: did it start
    others?"""

    outcome: Outcome
    reason: str = ""
    exit_status: int | None = None
    took_s: float = 0.0
    calls: frozenset[str] = frozenset()
    read: tuple[str, ...] = ()
    processes: bool = False
    threads: bool = False


@dataclass(frozen=True)
class Tracer:
    """Runs a program under strace. image: of the program on this machine; limit_s: of a run."""

    image: Image
    limit_s: float = LIMIT_S

    def run(self, answers: Mapping[str, str], timeout_s: float | None = None, absent: Sequence[str] = ()) -> Traced:
        """answers: call → what strace answers in the kernel's place, as `error=38` or `retval=0`. timeout_s: None:
        limit_s. absent: paths where nothing is to be, nor their folders as far as the program has none of
        them itself; with them nothing else is answered.

        Raises UkperfError where there is no strace, or it may not trace.
        """
        image = as_packed(self.image)  # what it wrote in the run before is gone
        with scratch() as home:
            own = dict(image.env)
            if own.get("HOME") == "/":  # the guest's own root, which this machine's is not
                own["HOME"] = str(home)
            before = time.monotonic()
            env = {**QUIET, **_ONE_THREAD, **own}
            limit_s = timeout_s or self.limit_s
            seen = trace_calls(image.argv, env, Path("/"), limit_s, answers=answers, absent=self._with_folders(absent))
            return traced(seen, time.monotonic() - before)

    def _with_folders(self, paths: Sequence[str]) -> tuple[str, ...]:
        root = str(self.image.tree or "")
        folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
        return (*paths, *sorted(folder for folder in folders if not os.path.lexists(root + folder)))

    def not_packed(self, run: Traced) -> tuple[str, ...]:
        """Regular files of this machine that a run read and that are not among the program's own: a guest has none of
        them."""
        root = str(self.image.tree or "")
        # The copies that it ran from are beside its files. Caches may be reached by links.
        ours = [folder for folder in (self.image.tree and self.image.tree.parent, cache_dir()) if folder is not None]
        own = tuple(f"{path}/" for folder in ours for path in (folder, folder.resolve()))
        return tuple(
            path
            for path in run.read
            if not path.startswith((*SPECIAL, *own)) and Path(path).is_file() and not os.path.lexists(root + path)
        )


def tracer_of(packed: Packed, limit_s: float = LIMIT_S) -> Tracer:
    """A tracer of this program. Raises UkperfError where `native` cannot run it."""
    options = BuildOptions(accelerator=Accelerator.NATIVE)
    return Tracer(guests.in_role(Role.CONTROL).build(packed.program, options), limit_s)


def traced(seen: CallTrace, took_s: float) -> Traced:
    """What a trace says of how the program ended, in the words of a host."""
    outcome, reason = Outcome.OK, ""
    if seen.ended_for:
        outcome, reason = (Outcome.HUNG if seen.timed_out else Outcome.LOST), seen.ended_for
    elif seen.signal:
        outcome, reason = Outcome.CRASHED, f"its program was killed by {seen.signal}"
    elif seen.status:
        outcome, reason = Outcome.FAILED, f"its program exited with status {seen.status}"
    read = tuple(path for path, good in seen.opened.items() if good and path not in seen.made)
    calls = frozenset(seen.calls)
    return Traced(outcome, reason, seen.status, took_s, calls, read, seen.processes > 0, seen.threads > 0)
