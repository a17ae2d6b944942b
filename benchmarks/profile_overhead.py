"""What counting costs: boots with QEMU's plugin of `ukperf profile` (workloads/profile/) and without it.

    python benchmarks/profile_overhead.py [--pairs 10] [--guest linux --guest nanos] [--stacks]

Boots of each guest under icount on q35, by direct launch, in pairs whose order is random (--stacks: in threes, with
call stacks too); timed from before QEMU is started to its end. Ratios are geometric means of with ÷ without with their
95 % intervals, memory is the median of the differences of QEMU's peaks. A machine that is busy otherwise shows in the
wall time more than in QEMU's CPU time. Exit status 1 above the limits; stacks have none.
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
COUNTED, STACKED = "counted", "with stacks"


def boot(host: LibvirtHost, spec: BootSpec) -> tuple[float, float, Observation]:
    """Seconds, CPU seconds of QEMU and what was seen. Raises UkperfError for a boot that failed."""
    start, before = time.perf_counter(), getrusage(RUSAGE_CHILDREN)
    seen = host.boot(spec)
    took, after = time.perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    if seen.outcome is not Outcome.OK:
        raise UkperfError(f"{spec.image.guest} did not boot: {seen.reason}.")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, cpu, seen


def compare(host: LibvirtHost, guest: str, pairs: int, order: random.Random, countings: dict[str, Counting]) -> bool:
    """Prints one guest's figures; is counting within the limits? countings: name → what is compared with none."""
    setting = setting_of(guests.get(guest), host, Accelerator.ICOUNT, boot_program(), Machine(memory_mib=256))
    plain = replace(setting.spec("profile-overhead", timeout_s=300), launch=Launch.DIRECT)
    specs = {"": plain} | {name: replace(plain, counting=counting) for name, counting in countings.items()}
    for spec in specs.values():
        boot(host, spec)  # what is read and compiled once
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in countings}
    for _ in range(pairs):
        took = {which: boot(host, specs[which]) for which in order.sample(list(specs), len(specs))}
        wall, cpu, one = took[""]
        for name, ratios in seen.items():
            with_, cpu_with, other = took[name]
            if one.ticks.get(Event.EXIT) != other.ticks.get(Event.EXIT):
                print(f"{guest}: the guest's counter differs: {one.ticks} and {other.ticks}")
            ratios.append(
                (with_ / wall, cpu_with / cpu, ((other.vmm_peak_rss or 0) - (one.vmm_peak_rss or 0)) / (1 << 20))
            )
    good = True
    for name, ratios in seen.items():
        wall_ratio, cpu_ratio = (geometric_mean([row[i] for row in ratios], Unit.SECONDS) for i in (0, 1))
        memory = statistics.median(row[2] for row in ratios)
        said = f"wall time {shown(wall_ratio)}, CPU time {shown(cpu_ratio)}, {memory:+.1f} MiB"
        print(f"{guest}, {name}: {said}", flush=True)
        good &= name != COUNTED or (wall_ratio.value <= LIMIT and memory <= LIMIT_MIB)
    return good


def shown(ratio: Estimate) -> str:
    """With its interval, from six pairs on."""
    spread = "" if ratio.low is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.value:.3f} ×{spread}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--guest", action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stacks", action="store_true")
    asked = parser.parse_args()
    order = random.Random(asked.seed)
    with open_host(EMBED) as host, tempfile.TemporaryDirectory() as folder:
        plugin, file = counting_plugin(Cache()), Path(folder) / "now"
        countings = {COUNTED: Counting(plugin, file)}
        if asked.stacks:
            countings[STACKED] = Counting(plugin, file, stacks=True)
        good = [
            compare(host, guest, asked.pairs, order, countings)
            for guest in asked.guest or ["linux", "linux-lean", "nanos"]
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
