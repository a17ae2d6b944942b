"""What counting costs: boots with QEMU's plugin of `ukperf profile` (workloads/profile/) and without it.

    python benchmarks/profile_overhead.py [--pairs 10] [--guest linux --guest nanos]

Boots of each guest under icount on q35, by direct launch, in pairs whose order is random; timed from before QEMU is
started to its end. Ratios are geometric means of with ÷ without with their 95 % intervals, memory is the median of the
differences of QEMU's peaks. A machine that is busy otherwise shows in the wall time more than in QEMU's CPU time. Exit
status 1 above the limits.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from ukperf import guests
from ukperf.engine.setting import setting_of
from ukperf.errors import UkperfError
from ukperf.hosts.connection import EMBED
from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from ukperf.imaging.cache import Cache
from ukperf.imaging.plugin import counting_plugin
from ukperf.imaging.programs import boot_program
from ukperf.model import Accelerator, BootSpec, Counting, Estimate, Event, Launch, Machine, Observation, Outcome, Unit
from ukperf.stats.estimate import geometric_mean

LIMIT, LIMIT_MIB = 1.15, 64.0


def boot(host: LibvirtHost, spec: BootSpec) -> tuple[float, float, Observation]:
    """Seconds, CPU seconds of QEMU and what was seen. Raises UkperfError for a boot that failed."""
    start, before = time.perf_counter(), getrusage(RUSAGE_CHILDREN)
    seen = host.boot(spec)
    took, after = time.perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    if seen.outcome is not Outcome.OK:
        raise UkperfError(f"{spec.image.guest} did not boot: {seen.reason}.")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, seen


def compare(host: LibvirtHost, guest: str, pairs: int, order: random.Random, counting: Counting) -> bool:
    """Prints one guest's figures; are they within the limits?"""
    setting = setting_of(guests.get(guest), host, Accelerator.ICOUNT, boot_program(), Machine(memory_mib=256))
    plain = replace(setting.spec("profile-overhead", timeout_s=300), launch=Launch.DIRECT)
    counted = replace(plain, counting=counting)
    boot(host, plain)  # what is read and compiled once
    boot(host, counted)
    wall, cpu, more_mib = list[float](), list[float](), list[float]()
    for _ in range(pairs):
        took: dict[bool, tuple[float, float, Observation]] = {}
        for which in order.sample([False, True], 2):
            took[which] = boot(host, counted if which else plain)
        (without, cpu_without, one), (with_, cpu_with, other) = took[False], took[True]
        if one.ticks.get(Event.EXIT) != other.ticks.get(Event.EXIT):
            print(f"{guest}: the guest's counter differs: {one.ticks} and {other.ticks}")
        wall.append(with_ / without)
        cpu.append(cpu_with / cpu_without)
        more_mib.append(((other.vmm_peak_rss or 0) - (one.vmm_peak_rss or 0)) / (1 << 20))
    ratio = geometric_mean(wall, Unit.SECONDS)
    memory = statistics.median(more_mib)
    print(f"{guest}: wall time {shown(ratio)}, CPU time {shown(geometric_mean(cpu, Unit.SECONDS))}, {memory:+.1f} MiB")
    return ratio.value <= LIMIT and memory <= LIMIT_MIB


def shown(ratio: Estimate) -> str:
    """With its interval, from six pairs on."""
    spread = "" if ratio.low is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.value:.3f} ×{spread}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--guest", action="append")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    order = random.Random(asked.seed)
    with open_host(EMBED) as host, tempfile.TemporaryDirectory() as folder:
        counting = Counting(counting_plugin(Cache()), Path(folder) / "now")
        good = [
            compare(host, guest, asked.pairs, order, counting)
            for guest in asked.guest or ["linux", "linux-lean", "nanos"]
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
