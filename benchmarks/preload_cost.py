"""What the library costs that times programs which know nothing of ukperf (workloads/preload/).

    python benchmarks/preload_cost.py [--pairs 400] [--boots 3]

On this machine: a program that does nothing, executed with the library (LD_PRELOAD) and without it, in pairs in random
order; the median of the differences with its 95 % interval, from before posix_spawn(3) to the end of the wait. In linux
under icount: `run` of that program, which is the library's own part and the C library's between constructor and exit
handlers, so a bound of what the library adds to any program's. Its pages are in memory before (a library of its own
sees to that, which is initialized first): to read them from the disk takes 400,000 instructions. Needs the kernel of
linux; --boots 0 leaves it out. Exit status 1 above the limits.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ukperf import guests, workloads
from ukperf.engine.campaign import measure
from ukperf.guests.base import BuildOptions
from ukperf.imaging.pack import pack
from ukperf.model import Accelerator, Limits, Request, Unit
from ukperf.stats.estimate import median
from ukperf.workloads.run import RUN, RunOptions

LIMIT_US, LIMIT_INSTRUCTIONS = 50.0, 20_000
EMPTY = "int main(void) { return 0; }\n"
WARM = "#include <sys/mman.h>\n__attribute__((constructor)) static void warm(void) { mlockall(MCL_CURRENT); }\n"
LINKED = ("-Wl,--no-as-needed", "-L.", "-lwarm", "-Wl,-rpath,$ORIGIN")


def compiled(folder: Path) -> Path:
    """The program that does nothing."""
    for code, words in ((WARM, ["libwarm.so", "-shared", "-fPIC"]), (EMPTY, ["empty", *LINKED])):
        command = ["cc", "-O2", "-x", "c", "-", "-x", "none", "-o", *words]
        subprocess.run(command, input=code, text=True, check=True, cwd=folder)
    return folder / "empty"


def took(argv: tuple[str, ...], env: Mapping[str, str]) -> float:
    """Seconds from before the process is made until it was waited for."""
    quiet = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_RDWR, 0) for descriptor in (0, 1, 2)]
    start = time.perf_counter()
    os.waitpid(os.posix_spawn(argv[0], argv, env, file_actions=quiet), 0)
    return time.perf_counter() - start


def on_this_machine(program: Path, pairs: int, order: random.Random) -> float:
    """Prints the difference; returns its median in microseconds."""
    image = guests.get("native").build(pack([str(program)]).program, BuildOptions())
    loaded = dict(image.env)
    plain = {name: value for name, value in loaded.items() if name != "LD_PRELOAD"}
    differences = []
    for _ in range(pairs):
        first = order.random() < 0.5
        seconds = {with_it: took(image.argv, loaded if with_it else plain) for with_it in (first, not first)}
        differences.append(1e6 * (seconds[True] - seconds[False]))
    found = median(differences, Unit.SECONDS)
    print(f"this machine: {found.value:.1f} µs more, 95 % interval [{found.low:.1f}, {found.high:.1f}], {pairs} pairs")
    return found.value


def in_linux(program: Path, boots: int, folder: Path) -> float:
    """Prints `run` of the empty program; returns its median in instructions."""
    request = Request(
        guests=("linux",), accelerator=Accelerator.ICOUNT, limits=Limits(boots=boots), folder=folder, share_host=True
    )
    done = measure(workloads.get("run"), RunOptions(words=(str(program),)), request, say=lambda _: None)
    runs = [s.values[0] for record in done.result.records for s in record.samples if s.benchmark == RUN]
    print(f"linux, icount: run of a program that does nothing is {statistics.median(runs):,.0f} instructions")
    return statistics.median(runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--boots", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ukperf-preload-", dir=Path.cwd()) as name:
        program = compiled(Path(name))
        high = on_this_machine(program, options.pairs, random.Random(options.seed)) > LIMIT_US
        if options.boots:
            high |= in_linux(program, options.boots, Path(name) / "run") > LIMIT_INSTRUCTIONS
    print(f"wanted: {LIMIT_US:g} µs, {LIMIT_INSTRUCTIONS:,} instructions")
    return int(high)


if __name__ == "__main__":
    sys.exit(main())
