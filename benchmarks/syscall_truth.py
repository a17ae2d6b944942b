"""Do ukperf's native figures agree with `perf bench syscall basic` and lmbench's `lat_syscall`?

    python benchmarks/syscall_truth.py [--rounds 15] [--cpu N] [--lat-syscall PATH] [--json]

In each round every tool measures every operation once, in an order drawn anew, all on one CPU; so drift of the machine
falls on all alike. A tool that is not installed is left out (Debian: linux-perf; lmbench from non-free). As root the
processes run with real-time priority: others on this CPU would count as the kernel's time, in wall-clock means (theirs)
more than in medians of batches (ours). Otherwise run it on an idle machine. The answer is the
geometric mean of ours / theirs over the rounds with its 95 % interval; exit status 1 where one is off by more than 5 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ukperf.console import FrameDecoder, assemble  # noqa: E402
from ukperf.imaging.cache import Cache  # noqa: E402
from ukperf.imaging.programs import build_program  # noqa: E402
from ukperf.model import Unit  # noqa: E402
from ukperf.stats.estimate import geometric_mean  # noqa: E402

LIMIT = 0.05
TIMEOUT_S = 60
# Round robin, not FIFO: lat_syscall's processes wait for each other by polling.
AS_ROOT = ("chrt", "--rr", "1")
LMBENCH = "/usr/lib/lmbench/bin/x86_64-linux-gnu/lat_syscall"
# our operation → lat_syscall's word. By the C library, as both tools call them; but Debian's lat_syscall is older than
# glibc 2.33, which made fstat a newfstatat with an empty path: its __fxstat is the bare system call.
OPERATIONS = {
    "getppid.libc": "null",
    "read1.libc": "read",
    "write1.libc": "write",
    "fstat.raw": "fstat",
    "open_close.libc": "open",
}
PERF_OPERATION = "getppid.libc"
PERF_LOOPS = 200_000


@dataclass(frozen=True)
class Agreement:
    """ours / theirs over the rounds: ratio of geometric means, 95 % interval, smallest and largest round."""

    operation: str
    tool: str
    ours_ns: float
    theirs_ns: float
    ratio: float
    low: float | None
    high: float | None
    smallest: float
    largest: float
    rounds: int

    @property
    def agrees(self) -> bool:
        return abs(self.ratio - 1) <= LIMIT


def run(command: Sequence[str], cpu: int, environment: Mapping[str, str] | None = None) -> str:
    """Standard output and error of one process on one CPU.

    Into a file and with its whole session killed afterwards: lat_syscall leaves children behind that hold a pipe open.
    """
    settled = [*(AS_ROOT if os.geteuid() == 0 else ()), "taskset", "--cpu-list", str(cpu), *command]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            settled,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        try:
            status = process.wait(TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status != 0:
            raise SystemExit(f"{command[0]} exited with status {status}")
        output.seek(0)
        return output.read().decode("utf-8", "replace")


def ours(program: Path, operation: str, cpu: int) -> float:
    """Nanoseconds of one call: the median of the batches, as every table of ukperf shows it."""
    text = run([str(program), f"only={operation}", "units=s", "min_batch_us=500"], cpu)
    sample = assemble(FrameDecoder().feed(text.encode(), 0)).samples[0]
    assert sample.benchmark == operation and sample.unit is Unit.SECONDS
    return float(str(sample.metadata["median"])) * 1e9


def perf(path: str, cpu: int) -> float:
    """Nanoseconds of one getppid by perf bench."""
    text = run([path, "bench", "syscall", "basic", "--loop", str(PERF_LOOPS)], cpu)
    return float(re.search(r"([\d.]+) usecs/op", text)[1]) * 1e3  # type: ignore[index]


def lmbench(path: str, word: str, file: str, cpu: int) -> float:
    """Nanoseconds of one call by lat_syscall; ENOUGH: microseconds that one of its timings lasts."""
    text = run([path, "-N", "11", word, *([file] if word in ("fstat", "open") else [])], cpu, {"ENOUGH": "5000"})
    return float(re.search(r": ([\d.]+) microseconds", text)[1]) * 1e3  # type: ignore[index]


def measure(
    jobs: Mapping[tuple[str, str], Callable[[], float]], rounds: int, seed: int
) -> dict[tuple[str, str], list[float]]:
    """(operation, tool) → one figure a round, ns."""
    figures: dict[tuple[str, str], list[float]] = {name: [] for name in jobs}
    order = random.Random(seed)
    for job in jobs.values():  # once unmeasured: caches, and lmbench's idea of the clock
        job()
    for _ in range(rounds):
        for name in order.sample(list(jobs), len(jobs)):
            figures[name].append(jobs[name]())
    return figures


def agreements(figures: Mapping[tuple[str, str], Sequence[float]]) -> list[Agreement]:
    """Every tool's figures beside ours, round by round."""
    found = []
    for (operation, tool), theirs in figures.items():
        if tool == "ukperf":
            continue
        mine = figures[operation, "ukperf"]
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        mean = geometric_mean(ratios, Unit.SECONDS)
        found.append(
            Agreement(
                operation,
                tool,
                geometric_mean(mine, Unit.SECONDS).value,
                geometric_mean(theirs, Unit.SECONDS).value,
                mean.value,
                mean.low,
                mean.high,
                min(ratios),
                max(ratios),
                len(ratios),
            )
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--lat-syscall", default=LMBENCH)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    program = build_program("syscall_cost/syscall_cost.c", Cache())
    perf_path, lmbench_path = shutil.which("perf"), shutil.which(options.lat_syscall)
    with tempfile.NamedTemporaryFile(prefix="ukperf-truth-", dir="/tmp") as file:
        jobs: dict[tuple[str, str], Callable[[], float]] = {}
        for operation, word in OPERATIONS.items():
            if lmbench_path or (perf_path and operation == PERF_OPERATION):
                jobs[operation, "ukperf"] = partial(ours, program, operation, options.cpu)
            if lmbench_path:
                jobs[operation, "lmbench"] = partial(lmbench, lmbench_path, word, file.name, options.cpu)
        if perf_path:
            jobs[PERF_OPERATION, "perf"] = partial(perf, perf_path, options.cpu)
        if not jobs:
            print("Neither perf nor lmbench is installed: nothing to compare with.", file=sys.stderr)
            return 2
        found = agreements(measure(jobs, options.rounds, options.seed))
    if options.json:
        comparisons = [{**asdict(agreement), "agrees": agreement.agrees} for agreement in found]
        print(json.dumps({"limit": LIMIT, "cpu": options.cpu, "comparisons": comparisons}, indent=1))
    else:
        for a in found:
            known = f"[{a.low:.3f}, {a.high:.3f}]" if a.low is not None and a.high is not None else "no interval"
            print(
                f"{a.operation:16} ukperf {a.ours_ns:8.1f} ns  {a.tool:8}{a.theirs_ns:8.1f} ns  ratio {a.ratio:.3f} "
                f"{known}, rounds {a.smallest:.3f} to {a.largest:.3f}  {'agrees' if a.agrees else 'OFF'}"
            )
        print(f"{options.rounds} rounds on CPU {options.cpu}; allowed ± {LIMIT:.0%}.")
    return 0 if all(agreement.agrees for agreement in found) else 1


if __name__ == "__main__":
    sys.exit(main())
