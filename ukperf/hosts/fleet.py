"""A fleet of guests: made one after the other, each suspended when it is ready, looked at together, and ended.

Drivers say how one guest is made (`Launching`); what is asked of the machine is a `Meter`. The rest is here: the order
of events, what bounds it, and what is told of it.

A guest is suspended by SIGSTOP of its VMM as soon as the frame or line that ends its way up was read: no byte of its
memory changes any more, by it or by the VMM, and it takes no CPU from the next one. Idle unikernels would.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from ukperf import signals
from ukperf.errors import HostError
from ukperf.files import reason
from ukperf.hosts import smaps
from ukperf.hosts.room import Room
from ukperf.hosts.template import MEMORY
from ukperf.hosts.watch import Watch
from ukperf.model import BootSpec, Event, Fleet, FleetMemory, FleetSeen, Observation, Outcome
from ukperf.text import many

MIB = 1 << 20
SETTLE_S = 1.0  # in which a restored server does what it does when it wakes up


@dataclass(frozen=True)
class FleetMember:
    """One guest of a fleet: suspended, and for the length of a with block alive. events: of its way there; ready: the
    one of them that ends it.

    failure: what was seen of one that never got there.
    """

    pid: int
    events: Mapping[Event, int]
    failure: Observation | None = None
    ready: Event = Event.MAIN


Launching = Callable[[BootSpec], AbstractContextManager[FleetMember]]


class Meter(Protocol):
    """What is asked of the machine."""

    def refuses(self, taken: Sequence[int]) -> str:
        """Why there is no room for one more guest, as a phrase; taken: bytes of each that lives."""
        ...

    def taken(self, pid: int) -> int | None:
        """Bytes of one VMM; None where it is gone."""
        ...

    def memory(self, pid: int) -> FleetMemory | None:
        """The same by what it is for; None where it cannot be told apart."""
        ...

    def habits(self, pids: Sequence[int]) -> Mapping[str, str]:
        """What the machine does with memory by itself, and who else shares pages with these VMMs, which live."""
        ...


@dataclass(frozen=True)
class ThisMachine:
    """The meter of this machine, for guests of one kind."""

    ram: smaps.GuestRam
    room: Room

    def refuses(self, taken: Sequence[int]) -> str:
        return self.room.refuses(taken)

    def taken(self, pid: int) -> int | None:
        return smaps.taken_by(pid)

    def memory(self, pid: int) -> FleetMemory | None:
        return smaps.memory_of(pid, self.ram)

    def habits(self, pids: Sequence[int]) -> Mapping[str, str]:
        return {**smaps.habits(), **smaps.sharers(pids)}


def meter_of(spec: BootSpec, fleet: Fleet) -> ThisMachine:
    """For the guests of a fleet on this machine. Raises HostError where the template that they are restored from is
    gone."""
    inode = None
    if spec.template is not None:
        try:
            inode = (spec.template / MEMORY).stat().st_ino
        except OSError as error:
            raise HostError(f"{spec.template / MEMORY} cannot be read: {reason(error)}.") from error
    memory_mib = spec.machine.memory_mib
    return ThisMachine(smaps.GuestRam(memory_mib * MIB, inode), Room(fleet.most_mib, memory_mib))


def make_fleet(spec: BootSpec, fleet: Fleet, launching: Launching, meter: Meter) -> Observation:
    """One trial: as many guests as are asked for, or as there is room for. Nothing of them is left afterwards.

    A guest that does not get ready is what the trial comes to. Raises HostError as `launching` does.
    """
    start = time.monotonic_ns()
    made = _Made(fleet, meter)
    with ExitStack() as stack:
        while len(made.members) < fleet.sizes[-1]:
            signals.check()
            if stopped := meter.refuses(made.taken):
                made.stopped = f"{_so_far(len(made.members))}: {stopped}"
                break
            member = stack.enter_context(launching(_of_member(spec, len(made.members) + 1)))
            failure = member.failure or made.add(member)
            if failure is not None:
                which = f"guest {len(made.members) + (member.failure is not None)} of {fleet.sizes[-1]}"
                return replace(failure, reason=f"{which}: {failure.reason}")
        if failure := made.look_at_last():
            return failure
    return made.seen(start)


def _so_far(count: int) -> str:
    return f"after {many(count, 'guest')}" if count else "before the first guest"


def _of_member(spec: BootSpec, number: int) -> BootSpec:
    """The boot of one guest of a fleet: names and files of its own."""
    path = spec.console_path
    own = None if path is None else path.with_name(f"{path.stem}-{number:03d}{path.suffix}")
    return settling(replace(spec, name=f"{spec.name}-{number}", console_path=own, fleet=None))


@dataclass
class _Made:
    """The guests of a fleet so far, and what was seen of them."""

    fleet: Fleet
    meter: Meter
    members: list[FleetMember] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)  # bytes of each when it was new: fewer later, as pages are shared
    points: list[FleetMemory] = field(default_factory=list)
    fits: int | None = None
    stopped: str = ""
    host: Mapping[str, str] = field(default_factory=dict)

    def add(self, member: FleetMember) -> Observation | None:
        """One more that is suspended; what is wrong with it, or with those before it."""
        self.members.append(member)
        own = self.meter.taken(member.pid)
        if own is None:
            return _died(member)
        self.taken.append(own)
        if failure := self._measure_budget():
            return failure
        return self._look() if len(self.members) in self.fleet.sizes else None

    def look_at_last(self) -> Observation | None:
        """While all of them live: where fewer were made than were asked for, at those; and at what is around them."""
        self.host = self.meter.habits([member.pid for member in self.members])
        known = self.points[-1].guests if self.points else 0
        return self._look() if len(self.members) > known else None

    def seen(self, start: int) -> Observation:
        """What the trial comes to, its guests being gone."""
        events = {Event.START: start, Event.STOPPED: time.monotonic_ns()}
        if not self.members:
            return Observation(Outcome.LOST, f"not one guest was made, {self.stopped}", events)
        created = tuple(m.events[Event.CREATED] - m.events[Event.START] for m in self.members)
        ready = tuple(m.events[m.ready] - m.events[Event.START] for m in self.members)
        seen = FleetSeen(tuple(self.points), created, ready, self.fits, self.stopped, self.host)
        return Observation(Outcome.OK, events=events, ended_by_host=True, fleet=seen)

    def _look(self) -> Observation | None:
        all_of_them = []
        for member in self.members:
            memory = self.meter.memory(member.pid)
            if memory is None:
                return _died(member) if self.meter.taken(member.pid) is None else _unknown(member)
            all_of_them.append(memory)
        self.points.append(smaps.together(all_of_them))
        return None

    def _measure_budget(self) -> Observation | None:
        """How many fit: all are looked at only where what each took when it was new is too much together."""
        budget = self.fleet.budget_mib
        if budget is None or self.fits is not None or sum(self.taken) <= budget * MIB:
            return None
        together = 0
        for member in self.members:
            now = self.meter.taken(member.pid)
            if now is None:
                return _died(member)
            together += now
        if together > budget * MIB:
            self.fits = len(self.members) - 1
        return None


def _died(member: FleetMember) -> Observation:
    return Observation(Outcome.CRASHED, "the VMM of a suspended guest is gone, or may not be looked at", member.events)


def _unknown(member: FleetMember) -> Observation:
    why = "its VMM has no mapping that is surely its guest's memory, so its memory cannot be told apart"
    return Observation(Outcome.LOST, why, member.events)


# ---- one guest ----


def until(spec: BootSpec) -> Event:
    """What ends the way up of a fleet's guest. One that was restored has its `main` behind it."""
    if spec.template is not None:
        return Event.FIRST_BYTE
    return Event.READY if spec.ready else Event.MAIN


def settling(spec: BootSpec) -> BootSpec:
    """The boot of a guest that is restored: it was ready when it was saved and may have no more to say, so it gets
    SETTLE_S to say it."""
    return spec if spec.template is None else replace(spec, timeout_s=SETTLE_S)


def suspended(watch: Watch, vmm: int, pid: int, said: Callable[[], str] = lambda: "") -> FleetMember:
    """A guest that runs, watched until it is ready and then stopped. vmm: a pidfd; said: what its VMM said last."""
    watch.run()
    events, last = watch.events, until(watch.spec)
    if watch.spec.template is not None and last not in events:
        last = Event.RESUMED
    if last in events and not {Event.EXIT, Event.STOPPED} & events.keys():
        try:
            signal.pidfd_send_signal(vmm, signal.SIGSTOP)
            return FleetMember(pid, dict(events), ready=last)
        except ProcessLookupError:
            pass
    return FleetMember(pid, dict(events), _not_suspended(watch, last, said()))


def _not_suspended(watch: Watch, last: Event, said: str) -> Observation:
    seen = watch.observe(extra=said)
    if seen.outcome is not Outcome.OK:
        return seen
    why = "its program ended before it could be suspended: take one that stays, like a server"
    if last is Event.READY and last not in watch.events:
        why = "it ended, and no line of its output matched --ready"
    return replace(seen, outcome=Outcome.FAILED, reason=why)


def end(vmm: int) -> None:
    """End a VMM that may be stopped: it would not hear of anything milder. vmm: a pidfd."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(vmm, signal.SIGKILL)
