"""Which system calls a guest has: boots the prober until every number has an answer.

The prober (workloads/syscalls) says `probe` before each call and `syscall` after it. A `probe` without its `syscall`
is the call that ended or hung the guest; the next boot goes on behind it. Calls that end a program by nature get a boot
of their own. Nothing here needs a particular host: `Boot` runs the prober with some arguments once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import c_program
from ukperf.model import (
    BootProtocol,
    CallClass,
    CallTable,
    Frame,
    Image,
    Observation,
    Outcome,
    Program,
    Request,
    SystemCall,
)
from ukperf.resources import data
from ukperf.text import Say, meant, unfitting
from ukperf.workloads.base import Bench
from ukperf.workloads.findings import kept
from ukperf.workloads.syscall_native import run_here

Boot = Callable[[tuple[str, ...]], Observation]

SOURCE = "syscalls/syscalls.c"
FORMAT = 1  # of the cached tables: raise it when the meaning of a class changes
ENDS_PROGRAM = frozenset({"exit_group", "reboot"})  # no answer is the answer
FRUITLESS_MAX = 2  # boots running that do not get a single call further
BOOTS_MAX = 128  # a guest that dies in more calls than this is given up: its table says so

_TABLE_LINE = re.compile(r"^    X\((\d+), (\w+)\)", re.M)


@dataclass(frozen=True)
class Probe:
    """A line of the prober's own list: alone = it needs a boot of its own."""

    nr: int
    name: str
    alone: bool


def prober(*words: str, cache: Cache | None = None) -> Program:
    """The prober, which guests know as /syscalls, with these arguments (`from=NR`, `only=NR`, `harm=1` …)."""
    return c_program("syscalls", SOURCE, *words, "self=/syscalls", cache=cache)


def table_names() -> dict[int, str]:
    """Number → name, from the table that was generated from the kernel's unistd header."""
    text = data("workloads", "syscalls", "table.h").read_text(encoding="ascii")
    names = {int(number): name for number, name in _TABLE_LINE.findall(text)}
    if not names:
        raise UkperfError("The table of system calls is empty.", hint=hints.AGAIN)
    return names


def check_globs(globs: str) -> None:
    """Raises UkperfError for a glob (commas between them) that no system call is named like."""
    names = table_names().values()
    if lost := unfitting(globs, names):
        raise UkperfError(f"No system call is named like {lost[0]}.", hint=meant(lost[0], names))


def probes_of(listing: Observation) -> tuple[Probe, ...]:
    """The prober's own list (`list=1`). Raises UkperfError when it did not give one."""
    names = table_names()
    probes = [
        Probe(nr, names[nr], frame.fields.get("how") == "alone")
        for frame in listing.frames
        if frame.event == "call" and isinstance(nr := frame.fields.get("nr"), int) and nr in names
    ]
    if listing.outcome is not Outcome.OK or len(probes) != len(names):
        raise UkperfError(f"The prober of system calls did not list them: {listing.reason or listing.outcome}.")
    return tuple(probes)


class Prober:
    """Collects answers over boots. boot: runs the prober once; harm: the kernel is ours, and may be rebooted for real;
    powers_off: the guest goes when its program has ended."""

    def __init__(self, boot: Boot, probes: Sequence[Probe], *, harm: bool, powers_off: bool, say: Say) -> None:
        self._boot, self._probes, self._harm, self._powers_off, self._say = boot, probes, harm, powers_off, say
        self._names = {probe.nr: probe.name for probe in probes}
        self.calls: dict[int, SystemCall] = {}
        self.boots = 0
        self.complaint = ""

    def run(self) -> tuple[SystemCall, ...]:
        """All calls, by number; what could not be found out is UNPROBED, and complaint says why."""
        together = [probe.nr for probe in self._probes if not probe.alone]
        self._run_together(together)
        if not self.complaint:
            # Frames that the guest's own messages spoilt: each once more, with nothing else going on.
            for nr in [nr for nr in together if nr not in self.calls]:
                self._run_alone(nr)
            for probe in self._probes:
                if probe.alone:
                    self._run_alone(probe.nr)
        for nr, name in self._names.items():
            self.calls.setdefault(nr, SystemCall(nr, name, CallClass.UNPROBED, detail=self.complaint or "no answer"))
        return tuple(self.calls[nr] for nr in sorted(self.calls))

    def _run_together(self, numbers: Sequence[int]) -> None:
        left, fruitless = list(numbers), 0
        while left:
            if self.boots >= BOOTS_MAX:
                self.complaint = f"the guest ended in more than {BOOTS_MAX - 1} calls"
                return
            seen = self._once(f"from={left[0]}")
            pending, finished = self._take(seen, numbers)
            if finished:
                return
            if pending is None and left[0] not in self.calls and any(frame.event == "main" for frame in seen.frames):
                pending = left[0]  # it started, and then its first word was lost in what the guest said as it died
            if pending is not None:
                self._record_end(pending, seen)
            ahead = [nr for nr in left if nr not in self.calls and (pending is None or nr > pending)]
            fruitless = fruitless + 1 if len(ahead) == len(left) else 0
            left = ahead
            if fruitless >= FRUITLESS_MAX:
                self.complaint = f"the prober did not start: {seen.reason or seen.outcome}"
                return

    def _run_alone(self, nr: int) -> None:
        words = (f"only={nr}", "harm=1") if self._harm else (f"only={nr}",)
        seen = self._once(*words)
        pending, _ = self._take(seen, [nr])
        if nr in self.calls:
            return
        if pending is None:
            detail = "not probed where others live on the kernel" if seen.outcome is Outcome.OK else seen.reason
            self.calls[nr] = SystemCall(nr, self._names[nr], CallClass.UNPROBED, detail=detail)
        elif self._names[nr] in ENDS_PROGRAM and self._ended(self._names[nr], seen):
            self.calls[nr] = SystemCall(nr, self._names[nr], CallClass.WORKS, detail="no return, and all was over")
        else:
            self._record_end(nr, seen)

    def _ended(self, name: str, seen: Observation) -> bool:
        """Did a call that ends the program (or the machine) do so? A guest that stays after every exit falls silent."""
        if not seen.ended_by_host:
            return seen.outcome is not Outcome.LOST
        return name == "exit_group" and (seen.exit_status is not None or not self._powers_off)

    def _once(self, *words: str) -> Observation:
        self.boots += 1
        return self._boot(words)

    def _take(self, seen: Observation, numbers: Sequence[int]) -> tuple[int | None, bool]:
        """Takes the answers of one boot; the call announced last and not answered, and whether all was said."""
        wanted = set(numbers)
        pending: int | None = None
        finished = False
        for frame in seen.frames:
            nr = frame.fields.get("nr")
            if frame.event == "exit":
                finished, pending = True, None
            elif not isinstance(nr, int) or nr not in wanted:
                continue
            elif frame.event == "probe":
                pending = nr
            elif frame.event == "syscall":
                pending = None
                call = _call(nr, self._names[nr], frame)
                if call is not None:
                    self.calls[nr] = call
        return pending, finished

    def _record_end(self, nr: int, seen: Observation) -> None:
        hung = seen.outcome in (Outcome.HUNG, Outcome.SILENT)
        kind = CallClass.HANGS if hung else CallClass.KILLS
        self.calls[nr] = SystemCall(nr, self._names[nr], kind, detail=seen.reason[:200])
        self._say(f"{self._names[nr]} ({nr}) {kind}: going on behind it in another boot.")


def _call(nr: int, name: str, frame: Frame) -> SystemCall | None:
    """One answer, or None for one that makes no sense: the guest is not trusted."""
    kind, errno, proof = frame.fields.get("class"), frame.fields.get("errno"), frame.fields.get("proof", "")
    if kind not in (CallClass.WORKS, CallClass.ERROR, CallClass.STUB, CallClass.ENOSYS, CallClass.UNPROBED):
        return None
    if not isinstance(errno, int) or isinstance(errno, bool) or not 0 <= errno <= 4095 or not isinstance(proof, str):
        return None
    return SystemCall(nr, name, CallClass(str(kind)), errno, proof[:200])


# ---- all guests ----


def tables_by_host(request: Request, bench: Bench, *, fresh: bool) -> dict[str, tuple[CallTable, ...]]:
    """Host → the tables of all guests of a request there. Raises UkperfError as every campaign does."""
    alone = (replace(request, connect=(uri,)) for uri in dict.fromkeys(request.connect))
    return {each.connect[0]: tables(each, bench, fresh=fresh) for each in alone}


def tables(request: Request, bench: Bench, *, fresh: bool) -> tuple[CallTable, ...]:
    """The tables of all guests of a request (its program is replaced) on its first host, from the cache where they are
    known.

    Raises UkperfError as every campaign does.
    """
    probes = probes_of(run_here(prober("list=1")))
    probed = []
    with bench.boots(replace(request, program=prober()), exact=False) as one:
        for guest, image in one.images.items():
            native = image.protocol is BootProtocol.EXEC

            def boot(words: tuple[str, ...], guest: str = guest) -> Observation:
                return one.boot(guest, prober(*words), request.timeout_s)

            def make(image: Image = image, boot: Boot = boot, native: bool = native) -> CallTable:
                return table_of(image, boot, probes, native=native, say=bench.say)

            # On this machine itself the answers are those that its user gets.
            context = (*one.context(guest), f"uid {os.getuid()}") if native else one.context(guest)
            probed.append(cached_table(Cache(), image, context, fresh=fresh, make=make))
    return tuple(probed)


# ---- results, kept by what they depend on ----


def table_of(image: Image, boot: Boot, probes: Sequence[Probe], *, native: bool, say: Say) -> CallTable:
    """Probes one guest. image: of the prober in that guest (any arguments); boot: runs it with arguments."""
    run = Prober(boot, probes, harm=not native, powers_off=image.powers_off, say=say)
    calls = run.run()
    return CallTable(
        image.guest, image.kernel_version, image.kernel_digest, image.program_digest, calls, run.boots, run.complaint
    )


def cached_table(
    cache: Cache, image: Image, context: Sequence[str], *, fresh: bool, make: Callable[[], CallTable]
) -> CallTable:
    """The table of this kernel by this prober, from the cache or made. Incomplete tables are not kept.

    context: what else the answer may depend on (accelerator, machine, the user for `native`).
    """
    table = kept(CallTable, "syscalls", FORMAT, image, context, make, cache=cache, fresh=fresh)
    return replace(table, guest=image.guest)
