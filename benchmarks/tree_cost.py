"""What it costs to pack a runtime's Python tree, beside copying the same tree with `cp -r`; wall and CPU seconds.

    python benchmarks/tree_cost.py [RUNTIME] [--interpreter PYTHON] [--repeats 7]

In each round, in turn: the tree packed into an empty cache, the same tree found again, `cp -r` of it, and `cp -r` with
`sync` of the copy, since what is packed survives a power cut. Prints medians, least and most, and the ratios of each
round to its own `cp -r`. Exit status 1 above the limits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ukperf.files import sync
from ukperf.imaging import runtimes
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import PythonTree
from ukperf.imaging.distributions import Site, site_of

COLD, FOUND_S = 2.0, 0.1  # times cp -r; seconds


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPUs, of this process and those that it waited for."""
    start, before = time.perf_counter(), os.times()
    work()
    took, after = time.perf_counter() - start, os.times()
    return took, sum(after[:4]) - sum(before[:4])


def copied(tree: Path, target: Path, *, durable: bool) -> None:
    subprocess.run(["cp", "-r", str(tree), str(target)], check=True)
    if durable:
        for where, _, names in os.walk(target):
            for name in names:
                sync(Path(where, name))


def one_round(name: str, site: Site | None, folder: Path) -> tuple[dict[str, tuple[float, float]], PythonTree]:
    runtime, cache = runtimes.get(name), Cache(folder / "cache")
    made: list[PythonTree] = []
    took = {"packed": timed(lambda: made.append(runtimes.tree_of(runtime, site, cache)))}
    took["found again"] = timed(lambda: runtimes.tree_of(runtime, site, cache))
    took["cp -r"] = timed(lambda: copied(made[0].root, folder / "copy", durable=False))
    took["cp -r, and fsync"] = timed(lambda: copied(made[0].root, folder / "durable", durable=True))
    return took, made[0]


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", nargs="?", default="onnxruntime")
    parser.add_argument("--interpreter", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    site = site_of(options.interpreter) if options.interpreter is not None else None
    rounds: list[dict[str, tuple[float, float]]] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            took, tree = one_round(options.runtime, site, Path(folder))
        rounds.append(took)
    size = f"{tree.size / 1e6:.1f} MB in {tree.files} files"
    print(f"{options.runtime}: {size}, medians of {len(rounds)} (least to most)")
    for name in rounds[0]:
        wall, cpu = zip(*(took[name] for took in rounds), strict=True)
        times = [took[name][0] / took["cp -r"][0] for took in rounds]
        print(f"{name:17}{spread(wall)} s,{spread(cpu)} s of CPU,{spread(times)} times cp -r")
    cold = statistics.median(took["packed"][0] / took["cp -r"][0] for took in rounds)
    again = statistics.median(took["found again"][0] for took in rounds)
    print(f"cold {cold:.2f} times cp -r (allowed {COLD:g}), found again in {again:.3f} s (allowed {FOUND_S:g})")
    return 0 if cold <= COLD and again <= FOUND_S else 1


if __name__ == "__main__":
    sys.exit(main())
