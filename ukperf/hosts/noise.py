"""What disturbs timing on this machine: read before and after trials for the record, and for `doctor`."""

from __future__ import annotations

import math
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ukperf.hosts import cgroup
from ukperf.hosts.cores import Core, as_governed, cores, cpu_list, governors, sharing, unequal, usable_cpus
from ukperf.hosts.procfiles import text_of
from ukperf.model import Machine

_CPU = Path("/sys/devices/system/cpu")
_ASLR = Path("/proc/sys/kernel/randomize_va_space")  # proc(5)
_TICKS = os.sysconf("SC_CLK_TCK")
SPAN_S = 0.1
T = TypeVar("T")
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since boot, all CPUs together (proc(5), /proc/stat)."""

    busy: float
    steal: float
    total: float


def cpu_times(text: str | None = None) -> CpuTimes:
    """text: of /proc/stat; default: as it is now. All zero where there is none."""
    line = (text_of("/proc/stat") if text is None else text) or ""
    words = line.partition("\n")[0].split()[1:9]  # guest time, behind them, is counted in user already
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(word) / _TICKS for word in (*words, *["0"] * (8 - len(words)))
    )
    busy = user + nice + system + irq + softirq + steal
    return CpuTimes(busy, steal, busy + idle + iowait)


@dataclass(frozen=True)
class Reading:
    """What is read before a trial and after it; `noise_between` says what happened in between."""

    cpu: CpuTimes
    throttling: dict[Path, cgroup.Throttling]


def reading() -> Reading:
    return Reading(cpu_times(), cgroup.throttling())


def noise_between(before: Reading, after: Reading, machine: Machine | None = None) -> dict[str, float]:
    """load: 1-minute load average; busy, steal: fractions of all CPUs' time in between.

    Where a CPU quota was at work, throttled: the fraction of its periods in which it stopped us, and throttled_s: CPU
    seconds of that. vcpus_per_cpu: of `machine`, where it is more than one.
    """
    elapsed = max(after.cpu.total - before.cpu.total, 1e-9)
    sample = {
        "load": os.getloadavg()[0],
        "busy": round((after.cpu.busy - before.cpu.busy) / elapsed, 4),
        "steal": round((after.cpu.steal - before.cpu.steal) / elapsed, 4),
    }
    stopped = cgroup.between(before.throttling, after.throttling)
    if stopped is not None:
        sample |= {"throttled": round(stopped.share, 4), "throttled_s": round(stopped.seconds, 6)}
    if machine is not None and machine.vcpus > (cpus := len(machine.pin or usable_cpus())):
        sample["vcpus_per_cpu"] = round(machine.vcpus / cpus, 3)
    return sample


class ShortNoise:
    """Noise of boots that may be shorter than the steps of /proc/stat (10 ms): over the last SPAN_S, boots of the same
    host before this one among them. Read once in that time, since reading takes as long as a boot."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: Reading | None = None
        self._at = self._ended = -math.inf  # when `_before` was read, and the last boot ended
        self._sample: dict[str, float] | None = None

    def starts(self) -> None:
        """Call before each boot."""
        if self._before is None or self._clock() - self._ended >= SPAN_S / 10:  # something else was done meanwhile
            self._before, self._at, self._sample = reading(), self._clock(), None

    def ended(self) -> dict[str, float]:
        """Call after it; `noise_between` of the span, its seconds in one record only."""
        assert self._before is not None
        self._ended = self._clock()
        if self._sample is not None and self._ended - self._at < SPAN_S:
            return self._sample
        now = reading()
        sample = noise_between(self._before, now)
        self._before, self._at = now, self._ended
        self._sample = {name: value for name, value in sample.items() if not name.endswith("_s")}
        return sample


class Lately(Generic[T]):
    """What takes a while to find out and seldom changes: found out again when SPAN_S have passed."""

    def __init__(self, find_out: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._find_out, self._clock = find_out, clock
        self._known: tuple[float, T] | None = None

    def __call__(self) -> T:
        if self._known is None or self._clock() - self._known[0] >= SPAN_S:
            self._known = self._clock(), self._find_out()
        return self._known[1]


def peak_rss(pid: int) -> int | None:
    """Peak resident memory of a process in bytes (proc(5), VmHWM), None if it is gone."""
    line = _PEAK.search(text_of(f"/proc/{pid}/status") or "")
    return int(line[1]) * 1024 if line else None


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


@dataclass(frozen=True)
class NoiseSource:
    """One thing that makes timing noisy: what, its state, and what to do; quiet says whether it is fine as it is."""

    name: str
    state: str
    quiet: bool
    advice: str = ""


def noise_sources() -> list[NoiseSource]:
    """Frequency governor, turbo, SMT, unequal cores, CPU set, quota, steal and load, as far as this machine shows."""
    import psutil

    mine = cores(usable_cpus())
    sources = [_governor(mine), _turbo(), _smt(mine), _cores(mine), _cpu_set(), _quota()]
    steal = getattr(psutil.cpu_times_percent(interval=0.2), "steal", 0.0)
    sources.append(
        NoiseSource("steal", f"{steal:.1f} % in 0.2 s", steal < 1, "Another virtual machine takes this CPU's time.")
    )
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    sources.append(
        NoiseSource("load", f"{load:.2f} on {cpus} CPUs", load < 0.5 * cpus, "Stop what else runs before you measure.")
    )
    return sources


def conditions() -> dict[str, str]:
    """How this machine is set right now, as far as it shows: governor, turbo, SMT, ASLR, the CPUs that may be used."""
    usable = usable_cpus()
    facts = {
        "governor": governors(as_governed(usable)),
        "turbo": {"0": "on", "1": "off"}.get(text_of(_CPU / "intel_pstate/no_turbo") or "", "")
        or {"1": "on", "0": "off"}.get(text_of(_CPU / "cpufreq/boost") or "", ""),
        "smt": {"1": "on", "0": "off"}.get(text_of(_CPU / "smt/active") or "", ""),
        "aslr": {"0": "off", "1": "on, heap not", "2": "on"}.get(text_of(_ASLR) or "", ""),
        "cpus": cpu_list(usable),
    }
    return {name: value for name, value in facts.items() if value}


def cpu_concerns(machine: Machine) -> list[str]:
    """What a machine's CPUs lack on this host, in sentences that end without a full stop: too few for its virtual CPUs,
    two of them on one core, unequal ones, or a quota."""
    cpus = machine.pin or usable_cpus()
    mine = cores(cpus)
    concerns = []
    if machine.vcpus > len(cpus):
        where = f"CPU {cpus[0]}" if len(cpus) == 1 else f"CPUs {cpu_list(cpus)}"
        concerns.append(f"{machine.vcpus} virtual CPUs share {where} of this host and run by turns")
    elif machine.vcpus > 1 and len(cpus) - sum(len(group) - 1 for group in sharing(mine)) < machine.vcpus:
        concerns.append(f"{machine.vcpus} virtual CPUs share a core: {_shared(mine)}")
    if differ := unequal(mine):
        concerns.append(
            f"the CPUs that guests run on are unequal ({differ}), so that the place of a boot decides its time"
        )
    if (left := cgroup.quota()) is not None and left < len(cpus):
        concerns.append(f"a quota leaves {left:.2f} CPUs to guests and ukperf, and stops them when it is used up")
    return concerns


def _shared(cores: Sequence[Core]) -> str:
    return " and ".join(cpu_list(group) for group in sharing(cores)) + " are threads of one core each"


def _governor(mine: Sequence[Core]) -> NoiseSource:
    governor = governors(mine)
    if not governor:
        return NoiseSource("governor", "not visible", True)
    advice = "Set it: cpupower frequency-set -g performance"
    return NoiseSource("governor", governor, governor == "performance", advice)


def _turbo() -> NoiseSource:
    no_turbo = text_of(_CPU / "intel_pstate/no_turbo")
    boost = text_of(_CPU / "cpufreq/boost")
    if no_turbo is None and boost is None:
        return NoiseSource("turbo", "not visible", True)
    on = no_turbo == "0" if no_turbo is not None else boost == "1"
    return NoiseSource("turbo", "on" if on else "off", not on, "Turn it off for steady clocks; blocks cancel the rest.")


def _smt(mine: Sequence[Core]) -> NoiseSource:
    active = text_of(_CPU / "smt/active")
    if active is None and not sharing(mine):
        return NoiseSource("SMT", "not visible", True)
    if active != "1" and not sharing(mine):
        return NoiseSource("SMT", "off", True)
    state = f"on, {_shared(mine)}" if sharing(mine) else "on, one thread of each core is usable here"
    return NoiseSource("SMT", state, False, "Pin with --pin to one thread of a core.")


def _cores(mine: Sequence[Core]) -> NoiseSource:
    differ = unequal(mine)
    if not differ:
        return NoiseSource("cores", "alike, as far as this machine says", True)
    return NoiseSource("cores", f"unequal: {differ}", False, "Pin with --pin to equal ones.")


def _cpu_set() -> NoiseSource:
    cpus = usable_cpus()
    state = f"{cpu_list(cpus)} of {os.cpu_count()} CPUs usable"
    if len(cpus) > 1:
        return NoiseSource("CPU set", state, True)
    return NoiseSource(
        "CPU set", state, False, "Guests and ukperf take turns on it: allow it one more, and pin guests."
    )


def _quota() -> NoiseSource:
    left = cgroup.quota()
    stopped = cgroup.between({}, cgroup.throttling())
    so_far = f", {stopped.throttled} of {stopped.periods} periods were throttled so far" if stopped else ""
    if left is None:
        return NoiseSource("CPU quota", f"none{so_far}", True)
    advice = "The kernel stops guests when it is used up: raise it (cpu.max), or run outside of this cgroup."
    return NoiseSource("CPU quota", f"{left:.2f} of {len(usable_cpus())} CPUs{so_far}", False, advice)
