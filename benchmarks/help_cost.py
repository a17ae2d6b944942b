"""What `ukperf --help` costs beside `python -c "import typer"`: the least that a command line with Typer can cost.

    python benchmarks/help_cost.py [--pairs 15]

Both are timed from exec to exit, in pairs whose order is drawn anew each time, so that drift of the machine falls on
both. Prints the ratio of the medians, and the median and quartiles of the pairs' ratios. Exit status 1 above LIMIT.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT = 2.0  # nothing heavy may be imported before it is needed
ROOT = Path(__file__).resolve().parents[1]


def seconds(command: Sequence[str]) -> float:
    """Wall time of one process, from exec to exit."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    commands = {
        "help": [sys.executable, "-c", "from ukperf.cli.main import run; run()", "--help"],
        "typer": [sys.executable, "-c", "import typer"],
    }
    for command in commands.values():  # once unmeasured: bytecode and page cache
        seconds(command)
    order = random.Random(options.seed)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.pairs):
        for name in order.sample(list(commands), len(commands)):
            times[name].append(seconds(commands[name]))
    for name, values in times.items():
        print(f"{name:5}  median {statistics.median(values) * 1e3:6.1f} ms, best {min(values) * 1e3:6.1f} ms")
    low, middle, high = statistics.quantiles(
        [ours / theirs for ours, theirs in zip(times["help"], times["typer"], strict=True)], n=4
    )
    ratio = statistics.median(times["help"]) / statistics.median(times["typer"])
    print(f"ratio  {ratio:.2f} (pairs: median {middle:.2f}, quartiles {low:.2f} to {high:.2f}; allowed {LIMIT:g})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
