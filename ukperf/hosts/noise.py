"""What disturbs timing on this machine: read before and after trials for the record, and for `doctor`."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since boot, all CPUs together (proc(5), /proc/stat)."""

    busy: float
    steal: float
    total: float


def cpu_times() -> CpuTimes:
    import psutil

    times = psutil.cpu_times()
    total = sum(times[:8])  # guest time is counted in user already
    return CpuTimes(total - times.idle - getattr(times, "iowait", 0.0), getattr(times, "steal", 0.0), total)


def noise_between(before: CpuTimes, after: CpuTimes) -> dict[str, float]:
    """load: 1-minute load average; busy, steal: fractions of all CPUs' time in between."""
    elapsed = max(after.total - before.total, 1e-9)
    return {
        "load": os.getloadavg()[0],
        "busy": round((after.busy - before.busy) / elapsed, 4),
        "steal": round((after.steal - before.steal) / elapsed, 4),
    }


def peak_rss(pid: int) -> int | None:
    """Peak resident memory of a process in bytes (proc(5), VmHWM), None if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


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
    """Frequency governor, turbo, SMT, steal and load, as far as this machine shows them."""
    import psutil

    sources = [_governor(), _turbo(), _smt()]
    steal = getattr(psutil.cpu_times_percent(interval=0.2), "steal", 0.0)
    sources.append(
        NoiseSource("steal", f"{steal:.1f} % in 0.2 s", steal < 1, "Another virtual machine takes this CPU's time.")
    )
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    sources.append(
        NoiseSource("load", f"{load:.2f} on {cpus} CPUs", load < 0.5 * cpus, "Stop what else runs before you measure.")
    )
    return sources


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _governor() -> NoiseSource:
    governor = _read(_CPU / "cpu0/cpufreq/scaling_governor")
    if governor is None:
        return NoiseSource("governor", "not visible", True)
    advice = "Set it: cpupower frequency-set -g performance"
    return NoiseSource("governor", governor, governor == "performance", advice)


def _turbo() -> NoiseSource:
    no_turbo = _read(_CPU / "intel_pstate/no_turbo")
    boost = _read(_CPU / "cpufreq/boost")
    if no_turbo is None and boost is None:
        return NoiseSource("turbo", "not visible", True)
    on = no_turbo == "0" if no_turbo is not None else boost == "1"
    return NoiseSource("turbo", "on" if on else "off", not on, "Turn it off for steady clocks; blocks cancel the rest.")


def _smt() -> NoiseSource:
    active = _read(_CPU / "smt/active")
    if active is None:
        return NoiseSource("SMT", "not visible", True)
    return NoiseSource(
        "SMT", "on" if active == "1" else "off", active != "1", "Pin with --pin to one thread of a core."
    )
