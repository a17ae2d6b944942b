"""What it costs to make a program into what guests run, beside copying the same files with `cp -rL`.

    python benchmarks/pack_cost.py [--repeats 7] [--program sqlite3 …]

Three things are timed in fresh caches, in turn: `cp -rL` of the files that go in, and no reading of ELF; `pack` into an
empty cache, with the preloaded library already compiled; `pack` again, which has only to see that nothing changed. Then
each guest's image, built and found again. Prints medians and their ratios to `cp`. Exit status 1 above the limits.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.imaging.cache import Cache
from ukperf.imaging.pack import Packed, pack
from ukperf.imaging.preload import preload_library
from ukperf.paths import cache_dir

T = TypeVar("T")
BUILT_S, FOUND_S = 2.0, 0.1  # a program of 5 MB: packed and its image built; both found again
GUESTS = ("linux", "nanos", "unikraft")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Wall time of one call, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def copy(packed: Packed, target: Path) -> None:
    """What `cp` makes of the same tree."""
    subprocess.run(["cp", "-rL", str(packed.program.path), str(target)], check=True)


def one_round(words: Sequence[str], folder: Path) -> tuple[dict[str, float], Packed]:
    """What each step took in a cache of its own, in which kernels and our own programs are already."""
    cache = Cache(folder / "cache")
    cache.root.mkdir()
    for name in ("kernels", "programs"):
        (cache.root / name).symlink_to(cache_dir() / name)
    preload_library(cache)
    took: dict[str, float] = {}
    took["pack"], packed = timed(lambda: pack(words, cache=cache))
    took["pack again"], _ = timed(lambda: pack(words, cache=cache))
    took["cp -rL"], _ = timed(lambda: copy(packed, folder / "copy"))
    for name in GUESTS:
        guest = guests.get(name)
        guest.cache = cache
        if not guest.availability(BuildOptions()).ok:
            continue
        build = partial(guest.build, packed.program, BuildOptions())
        took[f"{name} image"], _ = timed(build)
        took[f"{name} image again"], _ = timed(build)
    return took, packed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--program", nargs="+", default=["sqlite3", ":memory:", "select 1"])
    options = parser.parse_args()
    rounds: list[dict[str, float]] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            took, packed = one_round(options.program, Path(folder))
        rounds.append(took)
    median = {name: statistics.median(took[name] for took in rounds) for name in rounds[0]}
    print(f"{options.program[0]}: {packed.size / 1e6:.1f} MB in a tree, medians of {len(rounds)}")
    for name, value in median.items():
        print(f"{name:20} {value * 1e3:8.1f} ms, {value / median['cp -rL']:7.2f} times cp -rL")
    built = median["pack"] + max((median.get(f"{name} image", 0.0) for name in GUESTS), default=0.0)
    found = median["pack again"] + max((median.get(f"{name} image again", 0.0) for name in GUESTS), default=0.0)
    print(f"built in {built:.2f} s at most (allowed {BUILT_S:g}), found again in {found:.3f} s (allowed {FOUND_S:g})")
    return 0 if built <= BUILT_S and found <= FOUND_S else 1


if __name__ == "__main__":
    sys.exit(main())
