"""What `ukperf compare A B` costs beside `python -m pyperf compare_to A B`, side by side on the same files.

    python benchmarks/compare_cost.py [--pairs 15] [--values 1000000] [--many 100000]

Two files as pyperf writes them (20 processes of 3 values a side) are timed from exec to exit; two large ones (half of
--values a side, 500 processes) by CPU time and largest resident memory of the process, which the kernel counts; and two
of as many values in many small processes (--many in both files together), for which there is no limit: what is kept of
each process weighs more there than its values. Each pair runs both programs, in an order drawn anew, so that drift of
the machine falls on both. Prints medians, the ratio of medians, and the median and quartiles of the pairs' ratios. Exit
status 1 where a ratio is above its limit.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# (what, limit): wall time of small files; CPU time and memory of large ones
LIMITS = {"wall": 2.0, "cpu": 0.25, "memory": 1.0}
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cost:
    """Of one process, from exec to exit: wall and CPU seconds, largest resident set in MiB."""

    wall: float
    cpu: float
    memory: float


def measure(command: Sequence[str]) -> Cost:
    """Run a command to its end, its output thrown away. Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def write(path: Path, processes: int, values: int, seed: int) -> Path:
    """A pyperf file: processes scatter by 1 %, their values by 1 % more."""
    draw = random.Random(seed)
    runs = []
    for _ in range(processes):
        level = 0.01 * draw.lognormvariate(0, 0.01)
        measured = [level * draw.lognormvariate(0, 0.01) for _ in range(values)]
        runs.append({"metadata": {"date": "2026-01-01 00:00:00", "duration": 1.0}, "values": measured})
    metadata = {"name": "bench", "unit": "second", "loops": 1}
    path.write_text(json.dumps({"version": "1.0", "benchmarks": [{"metadata": metadata, "runs": runs}]}))
    return path


def compare(files: Sequence[Path], pairs: int, order: random.Random) -> dict[str, list[Cost]]:
    """Costs of both programs, pair by pair; one run of each goes before, unmeasured: bytecode and page cache."""
    words = [str(file) for file in files]
    commands = {
        "ukperf": [sys.executable, "-c", "from ukperf.cli.main import run; run()", "compare", *words],
        "pyperf": [sys.executable, "-m", "pyperf", "compare_to", *words],
    }
    for command in commands.values():
        measure(command)
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(pairs):
        for name in order.sample(list(commands), len(commands)):
            found[name].append(measure(commands[name]))
    return found


def within_limit(what: str, found: dict[str, list[Cost]], unit: str, factor: float, limit: float | None) -> bool:
    """Print one figure of both programs; True where it is within its limit, or has none."""
    ours, theirs = ([getattr(cost, what) for cost in found[name]] for name in ("ukperf", "pyperf"))
    ratio = statistics.median(ours) / statistics.median(theirs)
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    for name, values in (("ukperf", ours), ("pyperf", theirs)):
        quartiles = statistics.quantiles(values, n=4)
        spread = f"quartiles {quartiles[0] * factor:.1f} to {quartiles[2] * factor:.1f}"
        print(f"  {what:6} {name}  median {statistics.median(values) * factor:8.1f} {unit} ({spread})")
    kept = limit is None or ratio <= limit
    allowed = "no limit" if limit is None else f"allowed {limit:g}"
    print(
        f"  {what:6} ratio   {ratio:.2f} (pairs: median {middle:.2f}, quartiles {low:.2f} to {high:.2f}; "
        f"{allowed}){'' if kept else '  TOO MUCH'}"
    )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    order = random.Random(options.seed)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("pyperf", "typer", "msgspec", "numpy")
    )
    print(f"ukperf compare against pyperf compare_to: Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as folder:
        small = [write(Path(folder) / f"small-{side}.json", 20, 3, side) for side in (1, 2)]
        print(f"two files of 20 processes × 3 values, {options.pairs} pairs:")
        good = within_limit("wall", compare(small, options.pairs, order), "ms", 1e3, LIMITS["wall"])
        pairs = max(3, options.pairs // 3)
        for processes, limits in ((500, LIMITS), (options.many // 2, {})):
            each = options.values // (2 * processes)
            large = [write(Path(folder) / f"large-{side}.json", processes, each, side) for side in (1, 2)]
            size = sum(file.stat().st_size for file in large) >> 20
            print(f"two files of {processes} processes × {each} values, {size} MiB together, {pairs} pairs:")
            found = compare(large, pairs, order)
            good &= within_limit("cpu", found, "ms", 1e3, limits.get("cpu"))
            good &= within_limit("memory", found, "MiB", 1.0, limits.get("memory"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
