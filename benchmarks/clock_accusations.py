"""How often a guest's clock is accused: true clocks on busy hosts, which must not be, and clocks that are 5 % off.

    python benchmarks/clock_accusations.py [--runs 2000] [--seed 1]

Boots are made up: six frames, 10 ms of guest time apart, each written 0.3 ms of console behind the one before and read
0.05 ms and an exponential 0.03 ms later by a process that the host lets run and stops by turns (mean lengths in ms; the
stops are exponential, or have a heavy tail: Pareto, index 1.5). "late start": that process is stopped, for exponential
20 ms, when the check begins. `before`: the rule of ukperf until November 2026, on the same boots: the median of whole
spans, with its 95 % interval from six boots on, and 10 ms of doubt below. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from ukperf.model import BootRecord, Outcome, Trial, Unit
from ukperf.stats.clocks import clock, clock_warning
from ukperf.stats.estimate import MIN_BOOTS, median

FRAMES, SPAN_MS, CONSOLE_MS, JITTER_MS = 6, 10.0, 0.3, 0.02
BOOTS = (1, 2, 3, 6, 12, 20)


@dataclass(frozen=True)
class Load:
    """Mean lengths in ms of what the reading process gets and of what it waits for; late: of a stop at the start."""

    name: str
    runs: float = 0.0
    waits: float = 0.0
    heavy: bool = False
    late: float = 0.0


LOADS = (
    Load("idle"),
    Load("runs 20, waits 5", 20, 5),
    Load("runs 5, waits 5", 5, 5),
    Load("runs 5, waits 20", 5, 20),
    Load("runs 5, waits 100", 5, 100),
    Load("runs 20, waits 5, heavy tail", 20, 5, heavy=True),
    Load("idle, late start", late=20),
    Load("runs 20, waits 5, late start", 20, 5, late=20),
    Load("runs 5, waits 5, late start", 5, 5, late=20),
)


def read_at(arrivals: Sequence[float], load: Load, source: random.Random) -> list[float]:
    """When a process that runs and waits by turns reads what arrives."""
    stop_until = arrivals[0] + source.expovariate(1 / load.late) if load.late else 0.0
    if not load.runs:
        return [max(at, stop_until) for at in arrivals]
    reads: list[float] = []
    now = arrivals[0] - 10 * (load.runs + load.waits)
    while len(reads) < len(arrivals):
        until = now + source.expovariate(1 / load.runs)
        while len(reads) < len(arrivals) and arrivals[len(reads)] <= until:
            reads.append(max(now, arrivals[len(reads)], stop_until))
        now = until + (
            load.waits * (source.paretovariate(1.5) - 1) if load.heavy else source.expovariate(1 / load.waits)
        )
    return reads


def boot(rate: float, load: Load, block: int, source: random.Random) -> BootRecord:
    """One boot of a guest whose clock runs at `rate`."""
    written = [i * (SPAN_MS / rate + CONSOLE_MS) + source.uniform(0, JITTER_MS) for i in range(FRAMES)]
    reads = read_at([at + 0.05 + source.expovariate(1 / 0.03) for at in written], load, source)
    reads = [max(reads[: i + 1]) for i in range(FRAMES)]
    pairs = [(round(1e6 * rate * at), round(1e6 * read)) for at, read in zip(written, reads, strict=True)]
    pairs = [(guest - pairs[0][0], host - pairs[0][1]) for guest, host in pairs]
    ratio = pairs[-1][0] / pairs[-1][1] if pairs[-1][1] else 1e9
    record = BootRecord(Trial(block, block, 0, "guest"), Outcome.OK, "", "", {}, Unit.SECONDS)
    return replace(record, clock_ratio=ratio, clock_frames=tuple(pairs))


def accused(records: Sequence[BootRecord]) -> bool:
    return bool(clock_warning("guest", clock(records, "guest")))


def accused_before(records: Sequence[BootRecord]) -> bool:
    ratios = [record.clock_ratio or 0.0 for record in records]
    found = median(ratios, Unit.SECONDS)
    low, high = found.low, found.high
    if low is None or high is None or len(ratios) < MIN_BOOTS:
        low, high = min(ratios) - 10 / 50, max(ratios) + 10 / 50
    return low > 1.01 or high < 0.99


def row(rate: float, load: Load, runs: int, source: random.Random) -> str:
    cells = []
    for boots in BOOTS:
        before = now = 0
        for _ in range(runs):
            records = list(map(partial(boot, rate, load, source=source), range(boots)))
            before += accused_before(records)
            now += accused(records)
        cells.append(f"{100 * before / runs:.1f} → {100 * now / runs:.1f}")
    return f"| {load.name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    source = random.Random(asked.seed)
    for rate in (1.0, 1.05):
        print(f"\nA clock at {rate:g}: accused in … % of {asked.runs} runs, before → now, by boots\n")
        print(f"| host | {' | '.join(map(str, BOOTS))} |\n|---|{'---|' * len(BOOTS)}")
        for load in LOADS:
            print(row(rate, load, asked.runs, source), flush=True)


if __name__ == "__main__":
    main()
