"""What a run over many machines costs the asker: milliseconds a block, and its memory.

    python benchmarks/fleet_scale.py [MACHINES] [BLOCKS]

Workers are simulated in this process and answer at once, with two guests a block; what they do is not counted. All that
the asker does is: questions, answers decoded and checked, the journal; then the last page of the run.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet_plan import GUESTS, plan_of

import ukperf
from ukperf import workloads
from ukperf.cli.output import show
from ukperf.cluster import Reply, Worker
from ukperf.engine.errand import About, Done, Told, question_of, to_bytes
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.spread import Spread
from ukperf.model import Accelerator, BootRecord, Outcome, Phase, Result, Trial, Unit
from ukperf.workloads.base import Finished

FACTS = {f"fact{n}": f"what a machine says of itself, number {n}" for n in range(20)}


@dataclass
class Simulated:
    """own: seconds that the workers' part took, which are not the asker's."""

    machines: int
    own: float = 0.0
    _waiting: list[tuple[int, str, bytes]] = field(default_factory=list)
    _ticket: int = 0

    def __post_init__(self) -> None:
        self._there = {f"tcp://{n}": Worker(f"tcp://{n}", 1) for n in range(self.machines)}

    def workers(self) -> Mapping[str, Worker]:
        return self._there

    def submit(self, worker: str, question: bytes, *, alone: bool = True) -> int:
        self._ticket += 1
        self._waiting.append((self._ticket, worker, question))
        return self._ticket

    def serves_others(self, worker: str) -> bool:
        return False

    def replies(self, timeout_s: float) -> list[Reply]:
        begun = time.perf_counter()
        few, self._waiting = self._waiting[:20], self._waiting[20:]
        replies = [Reply(ticket, worker, _told(worker, question)) for ticket, worker, question in few]
        self.own += time.perf_counter() - begun
        return replies


def _told(worker: str, data: bytes) -> bytes:
    question = question_of(data)
    if question.do == "about":
        name = f"node{worker.removeprefix('tcp://')}"
        return to_bytes(Told(about=About(ukperf.__version__, name, "", Accelerator.TCG)))
    records = tuple(_boot(guest, question.block, place) for place, guest in enumerate(question.guests))
    return to_bytes(Told(done=Done(question.block, records)))


def _boot(guest: str, block: int, place: int) -> BootRecord:
    phases = dict.fromkeys(Phase, 0.25 + block / 1e6)
    events = {f"event{n}": n * 10**8 for n in range(8)}
    noise = {f"noise{n}": 0.5 for n in range(6)}
    return BootRecord(
        Trial(place, block, place, guest),
        Outcome.OK,
        "",
        "2026-01-01T00:00:00+00:00",
        phases,
        Unit.SECONDS,
        events=events,
        ticks=events,
        noise=noise,
        facts=FACTS,
        image_digest="ab" * 32,
    )


def main() -> None:
    machines, blocks = (int(word) for word in (*sys.argv[1:3], *("1000", "10000")[len(sys.argv) - 1 :]))
    plan = plan_of(blocks)
    before = _mib()
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / JOURNAL) as journal:
        cluster = Simulated(machines)
        begun = time.perf_counter()
        why = Spread(plan, Path(folder), cluster, journal, lambda _sentence: None).run()
        took = time.perf_counter() - begun - cluster.own
        print(f"{machines:,} machines, {blocks:,} blocks of {len(GUESTS)} guests ({why}):")
        print(f"{1000 * took / blocks:.2f} ms a block; {_mib():.0f} MiB at most, {before:.0f} MiB before.", flush=True)
        begun = time.perf_counter()
        workload = workloads.of_run(plan.workload)
        result = Result(Path(folder), plan, read_journal(Path(folder) / JOURNAL).records, why)
        read, records = time.perf_counter() - begun, _mib()
        with Path(folder, "page").open("w") as page, contextlib.redirect_stdout(page):
            show(workload, Finished(result), workload.Options(), as_json=False)
        said = Path(folder, "page").read_text().splitlines()
    print(f"The journal read again: {read:.0f} s, {records:.0f} MiB at most.")
    print(f"The last page, {len(said)} lines: {time.perf_counter() - begun:.0f} s, {_mib():.0f} MiB at most.")


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
