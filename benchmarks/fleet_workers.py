"""Blocks a second of one worker and of two, on this machine, over a real scheduler: local:1 against local:2.

    python benchmarks/fleet_workers.py [BLOCKS] [SECONDS]

Guests are those of the fake host: each boot takes SECONDS (0.1) and no CPU. What is left is what the scheduler, the
messages and the journal take. The workers' first block, before which they start and import ukperf, is not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from fleet_plan import GUESTS, plan_of

from ukperf.cluster import open_cluster
from ukperf.engine.journal import JOURNAL, Journal
from ukperf.engine.runner import Silent
from ukperf.engine.spread import Spread
from ukperf.model import BootRecord, BootSpec, Observation

WARM = 4  # blocks of each worker that are not counted
TAKES_S = 0.1


def answer(data: bytes) -> bytes:
    """What workers do: as ukperf's own, with the fake host in place of one that boots."""
    from ukperf.engine import atworker
    from ukperf.hosts.fake import FakeHost, good_boot

    def boot(spec: BootSpec, number: int) -> Observation:
        time.sleep(float(spec.image.cmdline))
        return good_boot()

    atworker._host = lambda plan: FakeHost(boot)
    return atworker.answer(data)


@dataclass
class Watch(Silent):
    """When each block was in the journal."""

    at: list[float] = field(default_factory=list)

    def trial_ends(self, record: BootRecord) -> None:
        if record.trial.guest == GUESTS[-1]:
            self.at.append(time.monotonic())


def rate(workers: int, blocks: int, takes_s: float) -> float:
    """Blocks a second, from the moment on at which all workers are warm."""
    plan = plan_of(blocks + WARM * workers, str(takes_s))
    watch = Watch()
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / JOURNAL) as journal,
        open_cluster(f"local:{workers}", answer) as cluster,
    ):
        Spread(plan, Path(folder), cluster, journal, lambda _sentence: None, watch, alone=False).run()
    counted = watch.at[WARM * workers - 1 :]
    return (len(counted) - 1) / (counted[-1] - counted[0])


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    takes_s = float(sys.argv[2]) if len(sys.argv) > 2 else TAKES_S
    one, two = (rate(workers, blocks, takes_s) for workers in (1, 2))
    ideal = 1 / (len(GUESTS) * takes_s)
    print(f"{one:.2f} blocks a second by one worker (at most {ideal:.2f}), {two:.2f} by two: {two / one:.2f} times.")


if __name__ == "__main__":
    main()
