"""--precision over machines: what its intervals cover, and how many blocks it takes, over machines x heterogeneity.

    python benchmarks/over_precision.py [TRIALS] [MACHINES...]

A machine's true log-ratio is drawn around 0 with a standard deviation of so many times that of a block's log-ratio on a
quiet machine; "loud": every third machine scatters five times as much. The half width that is asked for is 0.5 of that
standard deviation. "blocks": of all machines, where each goes to where it helps; "evenly": where all get as many.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np

from ukperf.stats.apportion import WORTH
from ukperf.stats.machinetrials import Stop, until_precise

TARGET, MOST = 0.5, 6000


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    fleets = [int(word) for word in sys.argv[2:]] or [2, 3, 5, 12, 40]
    print("| machines | σ between | loud | covers | narrow | blocks | evenly |")
    print("|--:|--:|---|--:|--:|--:|--:|")
    for machines, between, loud in product(fleets, (0.0, 0.1, 0.3, 1.0), (False, True)):
        if loud and machines < 3:
            continue
        own, evenly = (_stops(trials, machines, between, loud, worth) for worth in (WORTH, 0.0))
        covers, narrow = (100 * sum(told) / trials for told in ([s.covers for s in own], [s.narrow for s in own]))
        print(
            f"| {machines} | {between:g} | {'yes' if loud else ''} | {covers:.1f} % | {narrow:.0f} % "
            f"| {_blocks(own):.0f} | {_blocks(evenly):.0f} |",
            flush=True,
        )


def _stops(trials: int, machines: int, between: float, loud: bool, worth: float) -> list[Stop]:
    random = np.random.default_rng((machines, round(10 * between), loud, round(10 * worth)))  # no two rows share it
    return [until_precise(machines, between, TARGET, random, loud=loud, worth=worth, most=MOST) for _ in range(trials)]


def _blocks(stops: list[Stop]) -> float:
    return sum(stop.total for stop in stops) / len(stops)


if __name__ == "__main__":
    main()
