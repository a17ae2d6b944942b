"""The run itself: block after block, trial after trial, each in the journal before the next begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ukperf.campaign.journal import Journal
from ukperf.campaign.judge import record_of
from ukperf.campaign.plan import Plan
from ukperf.campaign.schedule import block_order
from ukperf.hosts.base import Host, OnFrame
from ukperf.model import BootProtocol, BootRecord, BootSpec, Frame, Outcome, Trial

# A guest without one good boot in its first blocks is given up: its failures are in the journal and in the table.
HOPELESS_BLOCKS = 3
MAX_BLOCKS = 100_000


class Observer(Protocol):
    """Who watches a run: progress on a terminal, tests."""

    def trial_starts(self, trial: Trial) -> None: ...

    def frame(self, trial: Trial, frame: Frame) -> None: ...

    def trial_ends(self, record: BootRecord) -> None: ...


class Silent:
    """An observer that says nothing."""

    def trial_starts(self, trial: Trial) -> None: ...

    def frame(self, trial: Trial, frame: Frame) -> None: ...

    def trial_ends(self, record: BootRecord) -> None: ...


@dataclass
class Runner:
    """Runs a plan on open hosts. hosts: URI → host; native: the host of EXEC images.

    enough: called after each complete block with all records so far; True ends the run.
    """

    plan: Plan
    folder: Path
    hosts: Mapping[str, Host]
    native: Host
    journal: Journal
    enough: Callable[[Sequence[BootRecord]], bool]
    observer: Observer = field(default_factory=Silent)
    records: list[BootRecord] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def run(self) -> str:
        """Run until the limits say enough; why it ended, as a phrase for people."""
        started = self.clock()
        limits = self.plan.limits
        most = limits.boots if limits.boots is not None else MAX_BLOCKS
        for block in range(most):
            if limits.max_time_s is not None and self.clock() - started >= limits.max_time_s:
                return f"the time was up ({limits.max_time_s:g} s)"
            guests = [guest for guest in self.plan.guests if not self._hopeless(guest, block)]
            if not guests:
                return f"no guest had one good boot in {HOPELESS_BLOCKS} blocks"
            if self._block(block, guests) and self.enough(self.records):
                return "the intervals were narrow enough"
        return f"{most} blocks were done"

    def _block(self, block: int, guests: Sequence[str]) -> bool:
        """One trial of every guest, failures once more at the end of the block; False if there was nothing to do."""
        did = False
        retries: list[tuple[int, str]] = []
        for position, guest in enumerate(block_order(self.plan.guests, self.plan.seed, block)):
            if guest not in guests:
                continue
            tried = self._tried(block, guest)
            if not tried:
                tried = [self._trial(block, position, guest, 0)]
                did = True
            if len(tried) == 1 and tried[0].outcome is not Outcome.OK:
                retries.append((position, guest))
        for position, guest in retries:
            self._trial(block, position, guest, 1)
            did = True
        return did

    def _tried(self, block: int, guest: str) -> list[BootRecord]:
        return [r for r in self.records if r.trial.block == block and r.trial.guest == guest]

    def _hopeless(self, guest: str, block: int) -> bool:
        mine = [r for r in self.records if r.trial.guest == guest]
        blocks = {r.trial.block for r in mine if r.trial.block < block}
        return len(blocks) >= HOPELESS_BLOCKS and all(r.outcome is not Outcome.OK for r in mine)

    def _trial(self, block: int, position: int, guest: str, attempt: int) -> BootRecord:
        uri = self.plan.hosts[block % len(self.plan.hosts)]
        image = self.plan.images[guest]
        host = self.native if image.protocol is BootProtocol.EXEC else self.hosts[uri]
        trial = Trial(len(self.records), block, position, guest, attempt)
        spec = self.spec(trial)
        self.observer.trial_starts(trial)
        record = record_of(trial, spec, host.boot(spec, self._listener(trial)), uri)
        self.journal.append(record)
        self.records.append(record)
        self.observer.trial_ends(record)
        return record

    def _listener(self, trial: Trial) -> OnFrame:
        def listen(frame: Frame) -> None:
            self.observer.frame(trial, frame)

        return listen

    def spec(self, trial: Trial) -> BootSpec:
        """What the host is asked to boot for one trial."""
        plan = self.plan
        return BootSpec(
            image=plan.images[trial.guest],
            machine=plan.machine_of(trial.guest),
            accelerator=plan.accelerator,
            launch=plan.launch,
            timeout_s=plan.timeout_s,
            run_id=plan.run_id,
            # One name a guest, not a trial: its command line is then written once and serves every boot.
            name=f"ukperf-{plan.run_id[:8]}-{trial.guest}",
            console_path=self.folder / "console" / f"{trial.index:05d}-{trial.guest}.log",
        )
