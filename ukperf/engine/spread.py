"""A run over many machines: whole blocks go to workers, one at a time to each, and into the one journal as they end.

What is left to do follows from plan and journal: a worker that dies loses the block that it was in, which another does;
an asker that was killed goes on, and takes from the workers the blocks that they finished meanwhile.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ukperf import signals
from ukperf.cluster import Reply, Worker
from ukperf.engine.blocksleft import BlocksLeft
from ukperf.engine.errand import About, Done, Question, Told, answer_of, checked_block, files_of, plan_text, to_bytes
from ukperf.engine.fleetparts import guests_of, seed_of, shares_of
from ukperf.engine.folders import write_beside
from ukperf.engine.joining import Joined, unfit
from ukperf.engine.journal import Journal
from ukperf.engine.parcels import Parcels
from ukperf.engine.runner import MAX_BLOCKS, FleetObserver, Observer, Runner, Silent
from ukperf.errors import HostError, UkperfError
from ukperf.hosts import this_machine
from ukperf.model import BootRecord, Plan
from ukperf.paths import make_dir
from ukperf.stats.apportion import WORTH
from ukperf.text import Say, clean, many

WAIT_S = 0.5  # for replies, before workers are looked at again
NOBODY_S = 60.0  # without a worker that can take part
END_S = 10.0  # for workers to hear that the run has ended
OTHERS_S = 3600.0  # more, while a worker has work of other runs
SPARE_S = 120.0  # of a block beyond its boots' time-outs
JOINING, BLOCKS = ("about", "file"), ("block", "kept")  # what is asked of who does not yet take part, and of who does
_CONSOLE = re.compile(r"console/(\d{5})-(.+)")


class Workers(Protocol):
    """What is used of a cluster: `cluster.Cluster`, or a test's."""

    def workers(self) -> Mapping[str, Worker]: ...

    def submit(self, worker: str, question: bytes, *, alone: bool = True) -> int: ...

    def replies(self, timeout_s: float) -> list[Reply]: ...

    def serves_others(self, worker: str) -> bool: ...


@dataclass(frozen=True)
class _Flying:
    do: str
    worker: str
    until: float
    block: int = -1
    guests: tuple[str, ...] = ()


@dataclass
class Spread:
    """Runs a plan on the workers of a cluster. records: those of the journal, when a run is resumed. alone: another
    ukperf that measures on a worker's machine is in the way."""

    plan: Plan
    folder: Path
    cluster: Workers
    journal: Journal
    say: Say
    observer: Observer = field(default_factory=Silent)
    records: list[BootRecord] = field(default_factory=list)
    alone: bool = True
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._text = plan_text(self.plan)
        self._counts = Runner(self.plan, self.folder, {}, this_machine, None, lambda _r: False, records=self.records)
        self._before = max((record.elapsed_s for record in self.records), default=0.0)
        self._started = self.clock()
        most = MAX_BLOCKS if self.plan.limits.boots is None else self.plan.limits.boots
        self._left = BlocksLeft(most, guests_of(self.records), self._counts.hopeful())
        self._machines: dict[str, Joined] = {}
        self._orders: dict[str, int] = {}
        for host, _ in {(record.host, record.trial.block) for record in self.records}:
            self._orders[host] = self._orders.get(host, 0) + 1
        self._shares = shares_of(self.plan, self.records)
        # What is in the journal need not be in memory: a run may have a hundred thousand blocks.
        self._written, self.records, self._counts.records = len(self.records), [], []
        self._flying: dict[int, _Flying] = {}
        self._away: dict[str, str] = {}  # worker → why it takes no part
        self._parcels = Parcels(self.plan)
        self._busy: set[str] = set()  # workers of which it was said that they serve another run
        self._seen = self.clock()  # when somebody could take part last
        self._met = False  # somebody could: who is gone may come back

    def run(self) -> str:
        """Until the limits say enough; why it ended, as a phrase for people.

        Raises HostError where the scheduler is gone or nobody can take part, UkperfError if the journal cannot be
        written.
        """
        while True:
            self._look()
            if isinstance(self.observer, FleetObserver):
                shares = self._shares
                precision = None if shares is None else shares.widest(self._counts.hopeful())
                self.observer.over_machines(len(self._left.done), len(self._names()), precision)
            why = self.ended()
            if why is None:
                self._hand_out()
            elif not any(flight.do in BLOCKS for flight in self._flying.values()):
                self._end()
                return why
            for reply in self.cluster.replies(WAIT_S):
                self._take(reply)
            self._too_late()
            signals.check()

    def ended(self) -> str | None:
        """Why no further block is begun, as a phrase for people; None while there is one."""
        most, limits = self._left.most, self.plan.limits
        hopeful = self._counts.hopeful()
        if not hopeful:
            return f"no guest had one good boot in {many(len(self._left.had), 'block')}"
        if len(self._left.done) >= most:
            return f"{many(most, 'block')} {'was' if most == 1 else 'were'} done{self._without(hopeful)}"
        if self._shares is not None and (why := self._shares.ended(self._settled(), hopeful)):
            return f"{why}{self._without(hopeful)}"
        if limits.max_time_s is not None and self._elapsed() >= limits.max_time_s:
            return f"the time was up ({limits.max_time_s:g} s){self._without(hopeful)}"
        return None

    def _without(self, hopeful: Sequence[str]) -> str:
        lost = [guest for guest in self.plan.guests if guest not in hopeful]
        return f", without {' and '.join(lost)}, given up after failures alone" if lost else ""

    def _elapsed(self) -> float:
        return self._before + self.clock() - self._started

    # ---- who is there ----

    def _look(self) -> None:
        there = self.cluster.workers()
        asked = {flight.worker for flight in self._flying.values() if flight.do in JOINING}
        for address in [address for address in self._machines if address not in there]:
            machine = self._machines.pop(address)
            self._left.gone(address)
            self.say(f"The worker {clean(address, 100)} on {machine.name} is gone.")
        for address, worker in there.items():
            if address in self._machines or address in self._away or address in asked:
                continue
            if not worker.slots:
                self._leave_out(address, "it was started without --resources ukperf=1")
            else:
                self._ask(_Flying("about", address, self._deadline()), Question("about", self._text), alone=False)
        if self._machines or asked:
            self._seen = self.clock()
        elif self.clock() - self._seen > NOBODY_S or (there and not self._met and self._away.keys() >= there.keys()):
            last = next(reversed(self._away.values()), "there is none")
            raise HostError(f"No worker of the fleet can take part: {last}.", hint="See docs/fleets.md.")

    def _leave_out(self, address: str, why: str) -> None:
        self._parcels.drop(address)
        machine = self._machines.pop(address, None)
        self._left.gone(address)
        where = clean(address, 100) if machine is None else f"{clean(address, 100)} on {machine.name}"
        self._away[address] = f"{where}: {why.rstrip('.')}"
        self.say(f"The worker {where} takes no part: {why.rstrip('.')}.")

    def _welcome(self, address: str, about: About) -> None:
        if why := unfit(self.plan, about, list(self._machines.values()), alone=self.alone):
            self._leave_out(address, why)
            return
        if about.lacks:
            self._begin_to_send(address, about)
            return
        name = next((m.name for m in self._machines.values() if m.kernel == about.kernel != ""), about.hostname)
        if any(m.name == name and m.kernel != about.kernel for m in self._machines.values()):
            name = f"{name}-{about.kernel[:8]}"  # two machines that are called alike
        self._machines[address] = Joined(address, name, about.kernel)
        self._met = True
        self._machines[address].unforgotten += self._left.keeps(address, about.kept)

    # ---- files ----

    def _begin_to_send(self, address: str, about: About) -> None:
        if self._parcels.under_way_to(about.kernel):
            return  # another worker of its machine gets them, and it is asked again
        if why := self._parcels.begin(address, about):
            self._leave_out(address, why)
        else:
            self._send(address)

    def _send(self, address: str) -> None:
        """The next piece of what a worker lacks; when it has all, it is asked again."""
        if (piece := self._parcels.piece(address)) is not None:
            self._ask(_Flying("file", address, self._deadline()), Question("file", self._text, piece=piece))
            return
        self.say(self._parcels.end(address))
        self._ask(_Flying("about", address, self._deadline()), Question("about", self._text), alone=False)

    # ---- blocks ----

    def _hand_out(self) -> None:
        busy = {flight.worker for flight in self._flying.values() if flight.do in BLOCKS}
        needs = self._needs()
        for address, machine in self._machines.items():
            wanted = self._left.kept_by(address) or self._left.some_again
            if address in busy or not (wanted or needs(machine.name)):
                continue
            flying = {flight.block for flight in self._flying.values() if flight.block >= 0}
            block, of_others = self._left.from_kept(address, flying)
            machine.unforgotten += of_others
            do = "block" if block is None else "kept"
            block = self._left.following(flying) if block is None else block
            if block is None:
                continue
            missing = tuple(self._left.missing(block, self._counts.hopeful()))
            if not missing:  # what it lacks was given up meanwhile
                self._left.has(block, ())
                continue
            order = self._orders.get(machine.name, 0)
            self._orders[machine.name] = order + (do == "block")
            question = Question(
                do,
                self._text,
                block,
                order,
                missing,
                tuple(machine.unforgotten),
                self.alone,
                seed_of(self.plan.seed, machine.name),
            )
            machine.unforgotten.clear()
            self._ask(_Flying(do, address, self._deadline(), block, missing), question)

    def _needs(self) -> Callable[[str], bool]:
        """Whether a block on a machine is worth it: by how much it lowers what is still too wide."""
        if self._shares is None:
            return lambda _machine: True
        busy = [
            self._machines[f.worker].name for f in self._flying.values() if f.block >= 0 and f.worker in self._machines
        ]
        gains = self._shares.gains(self._names(), self._counts.hopeful(), Counter(busy))
        least = WORTH * max(gains.values(), default=0.0)
        return lambda machine: gains[machine] >= least

    def _settled(self) -> set[str]:
        """The machines that can have more; none while it is not known of all who are there."""
        return set() if any(flight.do in JOINING for flight in self._flying.values()) else self._names()

    def _names(self) -> set[str]:
        return {machine.name for machine in self._machines.values()}

    def _ask(self, flight: _Flying, question: Question, *, alone: bool = True) -> None:
        self._flying[self.cluster.submit(flight.worker, to_bytes(question), alone=alone)] = flight

    def _deadline(self) -> float:
        """When a block cannot be under way any more."""
        slow = sum(image.slow_s for image in self.plan.images.values())
        boots = 2 * len(self.plan.images) * (self.plan.timeout_s + slow)
        return self.clock() + boots + SPARE_S

    def _too_late(self) -> None:
        now = self.clock()
        for ticket, flight in [item for item in self._flying.items() if item[1].until < now]:
            if now < flight.until + OTHERS_S and self.cluster.serves_others(flight.worker):
                self._say_busy(flight.worker)
                continue
            del self._flying[ticket]
            self._lost(flight)
            self._leave_out(flight.worker, "it does not answer any more")

    def _say_busy(self, address: str) -> None:
        if address not in self._busy:
            self._busy.add(address)
            self.say(f"The worker {clean(address, 100)} does work of another run, and this one waits for its turn.")

    def _lost(self, flight: _Flying) -> None:
        if flight.do == "block":
            self._left.lost(flight.block)

    def _take(self, reply: Reply) -> None:
        flight = self._flying.pop(reply.ticket, None)
        if flight is None:
            return  # it came too late, and somebody else has the block
        if reply.answer is None:
            self._lost(flight)
            self._parcels.drop(flight.worker)
            if reply.why != "it is gone":
                self._leave_out(flight.worker, reply.why)
            return
        try:
            self._use(flight, _read(reply.answer))
        except _NotOurs as error:
            self._lost(flight)
            if flight.do != "kept":  # a block that is gone there is done anew
                self._leave_out(flight.worker, error.message)

    def _use(self, flight: _Flying, said: Told) -> None:
        if said.refusal:
            raise _NotOurs(f"{clean(said.refusal, 1000)} {clean(said.hint, 1000)}".strip())
        if flight.do == "about":
            if said.about is None:
                raise _NotOurs("its answer is none of ukperf's")
            self._welcome(flight.worker, said.about)
            return
        if flight.do == "file":
            self._send(flight.worker)
            return
        machine = self._machines.get(flight.worker)
        if said.done is None:
            raise _NotOurs("its answer is none of ukperf's")
        if machine is not None and flight.block not in self._left.done:
            self._keep(machine, flight.block, flight.guests, said.done)

    def _keep(self, machine: Joined, block: int, missing: Sequence[str], done: Done) -> None:
        """What a block lacked into the journal, its files before."""
        try:
            asked = tuple(record for record in done.records if record.trial.guest in missing)
            records = checked_block(replace(done, records=asked), block, missing)
            files = files_of(done)
        except UkperfError as error:
            raise _NotOurs(f"it sent what is no block of this run. {error.message}") from error
        first = self._written
        numbered = [
            replace(
                record,
                trial=replace(record.trial, index=first + place),
                host=machine.name,
                elapsed_s=round(self._elapsed(), 3),
            )
            for place, record in enumerate(records)
        ]
        indexes = {old.trial.index: new.trial.index for old, new in zip(records, numbered, strict=True)}
        self._write(files, indexes)
        self.journal.append_all(numbered)
        self._written += len(numbered)
        self._left.has(block, (record.trial.guest for record in numbered))
        machine.unforgotten.append(block)
        if self._shares is not None:
            self._shares.add(machine.name, numbered)
        before = set(self._counts.hopeful())
        for record in numbered:
            self._counts.count(record)
            self.observer.trial_starts(record.trial)
            self.observer.trial_ends(record)
        for guest in before - set(self._counts.hopeful()):
            self.observer.gives_up(guest, self._counts.why_lost(guest))

    def _write(self, files: Mapping[str, bytes], indexes: Mapping[int, int]) -> None:
        """Consoles under the numbers that their boots have here; of others the first of a name stays."""
        for name, content in files.items():
            match = _CONSOLE.fullmatch(name)
            if match and int(match[1]) not in indexes:
                continue
            said = f"console/{indexes[int(match[1])]:05d}-{match[2]}" if match else name
            path = self.folder / said
            if not path.exists():
                write_beside(make_dir(path.parent) / path.name, content)

    def _end(self) -> None:
        """Workers close their hosts, and need not keep what is in the journal; one that does not hear of it closes its
        host when it ends or when another run asks, and what it keeps is of no use."""
        waiting = set()
        for address, machine in self._machines.items():
            question = Question("end", self._text, forget=tuple(machine.unforgotten))
            waiting.add(self.cluster.submit(address, to_bytes(question), alone=False))
        until = self.clock() + END_S
        while waiting and self.clock() < until:
            waiting -= {reply.ticket for reply in self.cluster.replies(WAIT_S)}


class _NotOurs(UkperfError):
    """What a worker says that it cannot do, or what is wrong with what it said: no fault of the run's."""


def _read(data: bytes) -> Told:
    try:
        return answer_of(data)
    except UkperfError as error:
        raise _NotOurs(f"its answer cannot be read. {error.message}") from error
