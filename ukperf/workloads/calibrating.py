"""The host's part of pyperf's manager: one run on this machine itself says how long a call takes, and from that come
loops, values and warm-ups, the same for all guests."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.recipes import Role
from ukperf.hosts import this_machine
from ukperf.hosts.base import OnFrame
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome, Program, Repetitions, Sample, Unit
from ukperf.text import clean, written_lines

SLOWDOWN = 25.0  # emulation against native: 15 to 22 measured, on an idle machine
VALUE_S = 0.1  # one pyperf value lasts at least this long
TIMEOUT_S = 3600.0
MEMORY_MIB = 1024
DOES_NOT_RUN = "The program does not even run on this host: "
LOOPS_MAX = 1 << 32  # pyperf's own bound


@dataclass(frozen=True)
class Cost:
    """Of one loop of a benchmark on this machine. seconds: None for what is no time; own_loops: those that the script
    itself fixed, 0: none."""

    seconds: float | None
    own_loops: int = 0


def run_here(
    program: Program, watch: OnFrame | None = None, cache: Cache | None = None, timeout_s: float = TIMEOUT_S
) -> Observation:
    """One run of a program as a process of this machine. Raises UkperfError with its own sentence where it fails."""
    image = guests.in_role(Role.CONTROL, cache).build(program, BuildOptions(accelerator=Accelerator.NATIVE))
    with tempfile.TemporaryDirectory(prefix="ukperf-") as folder:
        spec = BootSpec(
            image,
            Machine(memory_mib=MEMORY_MIB),
            Accelerator.NATIVE,
            timeout_s=timeout_s,
            name="calibration",
            console_path=Path(folder) / "console.log",
        )
        seen = this_machine().boot(spec, watch)
    if seen.outcome is not Outcome.OK:
        wrote = written_lines(seen.console_tail)
        raise UkperfError(
            f"{DOES_NOT_RUN}{seen.report.error or seen.reason}",
            hint=f"It wrote: {clean(wrote[-1].strip(), 200)}" if wrote else None,
        )
    return seen


def costs(seen: Observation) -> dict[str, Cost]:
    """What a run of a pyperf script without settings tells (imaging/packpython.py)."""
    return {sample.benchmark: _cost(sample) for sample in seen.report.samples if sample.values}


def _cost(sample: Sample) -> Cost:
    own = _whole(sample, "own_loops", 0)
    if sample.unit is not Unit.SECONDS:
        return Cost(None, own)
    return Cost(min(sample.values) * _whole(sample, "inner_loops", 1), own)


def _whole(sample: Sample, name: str, missing: int) -> int:
    value = sample.metadata.get(name, missing)
    return value if isinstance(value, int) and 0 < value <= LOOPS_MAX else missing


def choose(known: Mapping[str, Cost], emulated: bool) -> dict[str, Repetitions]:
    """pyperf's numbers for each benchmark of a script. emulated: guests' instructions are."""
    return {name: _chosen(cost, SLOWDOWN if emulated else 1.0) for name, cost in known.items()}


def _chosen(cost: Cost, factor: float) -> Repetitions:
    if cost.seconds is None:
        return Repetitions(cost.own_loops or 1, 3, 0)
    made = repeated(cost.seconds * factor * (cost.own_loops or 1))
    return replace(made, loops=cost.own_loops) if cost.own_loops else made


def repeated(seconds: float) -> Repetitions:
    """Numbers for a benchmark of which one loop lasts so long."""
    loops = 1 if seconds >= VALUE_S else 2 ** math.ceil(math.log2(VALUE_S / max(seconds, 1e-9)))
    once = seconds * loops
    if once < 1:
        return Repetitions(loops, 5, 1)
    return Repetitions(loops, 3, 0) if once < 3 else Repetitions(loops, 1, 0)


def timeout_s(known: Mapping[str, Cost], repetitions: Mapping[str, Repetitions], emulated: bool) -> float:
    """How long a boot may take: four times what is expected, and two minutes for boot and import."""
    factor = SLOWDOWN if emulated else 1.0
    work = sum((known[name].seconds or 1.0) * r.loops * (r.values + r.warmups) for name, r in repetitions.items())
    return 120.0 + 4 * factor * work
