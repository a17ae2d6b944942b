"""The run itself: block after block, trial after trial, each in the journal before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from ukperf import signals
from ukperf.engine.bootfiles import BootFiles
from ukperf.engine.counting import counting_in, keep_counts
from ukperf.engine.folders import write_beside
from ukperf.engine.journal import Journal
from ukperf.engine.plan import plain_name, spec_of
from ukperf.engine.provenance import trial_facts
from ukperf.engine.record import record_of
from ukperf.engine.schedule import block_order
from ukperf.errors import HostError
from ukperf.hosts import runs_here
from ukperf.hosts.base import Host, OnFrame
from ukperf.model import (
    BootProtocol,
    BootRecord,
    BootSpec,
    Frame,
    Observation,
    Outcome,
    Plan,
    Readout,
    Trial,
    Visitor,
    counts_file,
)
from ukperf.paths import make_dir
from ukperf.text import many

# A guest without one good boot in its first blocks is given up: its failures are in the journal and in the table. One
# whose boots of a block, the retry among them, ended in one way is given up at once: a time-out may be long.
HOPELESS_BLOCKS = 3
MAX_BLOCKS = 100_000


Reader = Callable[[BootSpec, Observation], Readout]


class Observer(Protocol):
    """Who watches a run: progress on a terminal, tests."""

    def trial_starts(self, trial: Trial) -> None: ...

    def frame(self, trial: Trial, frame: Frame) -> None: ...

    def trial_ends(self, record: BootRecord) -> None: ...

    def gives_up(self, guest: str, why: str) -> None: ...


@runtime_checkable
class FleetObserver(Protocol):
    """Who also wants to know where a run over machines stands."""

    def over_machines(self, blocks: int, machines: int, precision: float | None = None) -> None:
        """blocks: those that are done; machines: those that take part; precision: what is known least precisely, 0.02
        for ± 2 %, where the run goes on until it is precise."""
        ...


class Silent:
    """An observer that says nothing."""

    def trial_starts(self, trial: Trial) -> None: ...

    def frame(self, trial: Trial, frame: Frame) -> None: ...

    def trial_ends(self, record: BootRecord) -> None: ...

    def gives_up(self, guest: str, why: str) -> None: ...


@dataclass
class Runner:
    """Runs a plan on open hosts. hosts: URI → host; local: who boots images that need no
    connection, by their protocol.

    enough: called before a block is begun, with all records so far; True ends the run. records: those of the journal,
    when a run is resumed. What is left to do follows from plan and records alone, so a run that was broken off goes on
    as if it had not been. read: what else a boot tells, besides what the guest's frames say. visitor: what is done with
    the guest's port while it runs.
    """

    plan: Plan
    folder: Path
    hosts: Mapping[str, Host]
    local: Callable[[BootProtocol], Host]
    journal: Journal | None  # None: only to ask what is left
    enough: Callable[[Sequence[BootRecord]], bool]
    observer: Observer = field(default_factory=Silent)
    records: list[BootRecord] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    read: Reader | None = None
    visitor: Visitor | None = None

    def __post_init__(self) -> None:
        self._started: float | None = None
        self._files = BootFiles(self.plan.images.values())
        counted = self.plan.counted and self.journal is not None
        self._counting = counting_in(self.folder, self.plan.stacks) if counted else None
        self._known: dict[str, Mapping[str, str]] = {}
        self._before = max((record.elapsed_s for record in self.records), default=0.0)
        self._tried: dict[tuple[int, str], list[Outcome]] = {}
        self._good: set[str] = set()
        self._failed: dict[str, dict[int, list[BootRecord]]] = {guest: {} for guest in self.plan.guests}
        self._block = 0  # all before it are complete
        self._places: dict[int, int] = {}  # block → the place in the order of blocks that it has, if not its own
        for record in self.records:
            self.count(record)

    def run(self) -> str:
        """Run until the limits say enough; why it ended, as a phrase for people.

        Raises HostError if a host goes away, UkperfError if the journal cannot be written.
        """
        self._started = self.clock()
        while (why := self.ended()) is None:
            while todo := self._todo(self._block):
                self._trial(*todo[0])
                signals.check()
            for guest in self._lost(self._block + 1):
                if guest not in self._lost(self._block):
                    self.observer.gives_up(guest, self.why_lost(guest))
        return why

    def block(self, number: int, place: int) -> None:
        """One block alone, its guests in the order of the block at `place`. Raises HostError as `run`."""
        self._started = self.clock()
        self._places[number] = place
        while todo := self._todo(number):
            self._trial(*todo[0])

    def hopeful(self) -> list[str]:
        """The guests without those that are given up by all that was counted."""
        return self._hopeful(MAX_BLOCKS)

    def ended(self) -> str | None:
        """Why nothing is left to do, as a phrase for people; None while there is."""
        limits = self.plan.limits
        most = limits.boots if limits.boots is not None else MAX_BLOCKS
        while self._block < most and self._hopeful(self._block) and not self._todo(self._block):
            self._block += 1
        if self._block >= most:
            return f"{many(most, 'block')} {'was' if most == 1 else 'were'} done{self._without()}"
        guests = self._hopeful(self._block)
        if not guests:
            return f"no guest had one good boot in {many(self._block, 'block')}"
        if any((self._block, guest) in self._tried for guest in guests):
            return None  # a block that was begun is finished, so that it has every guest
        if self._block > 0 and self.enough(self.records):
            return f"the intervals were narrow enough{self._without()}"
        if limits.max_time_s is not None and self.elapsed() >= limits.max_time_s:
            return f"the time was up ({limits.max_time_s:g} s){self._without()}"
        return None

    def elapsed(self) -> float:
        """Seconds that this run has taken, breaks not counted."""
        return self._before + (0.0 if self._started is None else self.clock() - self._started)

    def _todo(self, block: int) -> list[tuple[int, int, str, int]]:
        """(block, position, guest, attempt) of the trials that a block lacks: first attempts, then one retry each,
        if the plan has retries."""
        hopeful = self._hopeful(block)
        order = [(place, g) for place, g in enumerate(self._order(block)) if g in hopeful]
        first = [(block, place, guest, 0) for place, guest in order if (block, guest) not in self._tried]
        again = [
            (block, place, guest, 1)
            for place, guest in order
            if self.plan.limits.retry
            and len(tried := self._tried.get((block, guest), [])) == 1
            and tried[0] is not Outcome.OK
        ]
        return first + again

    def _order(self, block: int) -> tuple[str, ...]:
        place = self._places.get(block, block)
        return block_order(self.plan.guests, self.plan.seed, place, self.plan.schedule)

    def _hopeful(self, block: int) -> list[str]:
        """The guests without those that are given up before this block."""
        lost = self._lost(block)
        return [guest for guest in self.plan.guests if guest not in lost]

    def _lost(self, block: int) -> list[str]:
        """Guests that the blocks before this one brought no good boot of, and no hope for one."""
        return [guest for guest in self.plan.guests if guest not in self._good and self._given_up(guest, block)]

    def _given_up(self, guest: str, block: int) -> bool:
        blocks = [failed for failed in self._failed[guest] if failed < block]
        places = {failed % len(self.plan.hosts) for failed in blocks}
        everywhere = len(places) == min(len(self.plan.hosts), HOPELESS_BLOCKS)
        return len(blocks) >= HOPELESS_BLOCKS or (everywhere and any(self._alike(guest, failed) for failed in blocks))

    def _alike(self, guest: str, block: int) -> bool:
        """Did all boots of a block end in the same way, twice at least?"""
        ways = [(record.outcome, record.reason) for record in self._failed[guest][block]]
        return len(ways) > 1 and len(set(ways)) == 1

    def why_lost(self, guest: str) -> str:
        """What its boots did, for who gives it up."""
        boots = [record for block in self._failed[guest].values() for record in block]
        last = boots[-1]
        return f"{many(len(boots), 'boot')}, none of them good; the last one: {last.outcome}, {last.reason.rstrip('.')}"

    def _without(self) -> str:
        lost = self._lost(self._block)
        return f", without {' and '.join(lost)}, given up after failures alone" if lost else ""

    def count(self, record: BootRecord) -> None:
        """A boot that was made, for what is left to do."""
        trial = record.trial
        self._tried.setdefault((trial.block, trial.guest), []).append(record.outcome)
        if record.outcome is Outcome.OK:
            self._good.add(trial.guest)
        elif trial.guest not in self._good and trial.guest in self._failed:
            self._failed[trial.guest].setdefault(trial.block, []).append(record)

    def _trial(self, block: int, position: int, guest: str, attempt: int) -> None:
        uri = self.plan.hosts[block % len(self.plan.hosts)]
        image = self.plan.images[guest]
        host = self.local(image.protocol) if runs_here(image.protocol) else self.hosts[uri]
        index = self.records[-1].trial.index + 1 if self.records else 0
        trial = Trial(index, block, position, guest, attempt)
        spec = self.spec(trial)
        if self.journal is not None:
            self.journal.check()
        if why := host.changed() or self._files.changed(image):
            raise HostError(why)
        self.observer.trial_starts(trial)
        at = datetime.now(UTC)
        facts = trial_facts(self.plan, guest, self._about(host), host.conditions())
        boot = host.boot if spec.fleet is None else host.boot_fleet
        seen = boot(spec, self._listener(trial))
        if why := host.changed() or self._files.changed(image):  # nobody knows which of the two it was
            seen = replace(seen, outcome=Outcome.LOST, reason=why.rstrip("."))
        reading = self._read(spec, seen)
        if spec.counting is not None:
            keep_counts(spec.counting, counts_file(self.folder, trial.index), seen)
        record = record_of(trial, spec, seen, uri, at, reading)
        record = replace(record, elapsed_s=round(self.elapsed(), 3), facts=facts)
        if self.journal is not None:
            self.journal.append(record)
        self.records.append(record)
        self.count(record)
        self.observer.trial_ends(record)

    def _read(self, spec: BootSpec, seen: Observation) -> Readout:
        """What the workload reads out of a boot; what it keeps of it is in the run's folder before the record is."""
        reading = Readout() if self.read is None else self.read(spec, seen)
        for name, content in reading.files.items():
            if not (self.folder / name).exists():
                write_beside(make_dir((self.folder / name).parent) / Path(name).name, content)
        return reading

    def _about(self, host: Host) -> Mapping[str, str]:
        """What a host says of itself; it is asked once."""
        if host.uri not in self._known:
            self._known[host.uri] = host.facts()
        return self._known[host.uri]

    def _listener(self, trial: Trial) -> OnFrame:
        def listen(frame: Frame) -> None:
            self.observer.frame(trial, frame)

        return listen

    def spec(self, trial: Trial) -> BootSpec:
        """What the host is asked to boot for one trial."""
        console = self.folder / "console" / f"{trial.index:05d}-{plain_name(trial.guest)}.log"
        spec = spec_of(self.plan, trial.guest, console_path=console)
        return replace(spec, visitor=self.visitor, counting=self._counting)
