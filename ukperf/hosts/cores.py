"""The CPUs that guests may run on: how many, whether they are alike, and which of them share a core.

Read from sysfs for every CPU, not for the first one only: cores of one chip may differ, and so may their settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ukperf.hosts.procfiles import text_of

DEVICES = Path("/sys/devices")


@dataclass(frozen=True)
class Core:
    """One CPU as Linux counts them. max_khz, capacity: None where the machine does not say; kind: core or atom.

    siblings: all CPUs of the same core, this one among them.
    """

    cpu: int
    governor: str | None = None
    max_khz: int | None = None
    capacity: int | None = None
    kind: str = ""
    siblings: tuple[int, ...] = ()


def usable_cpus() -> tuple[int, ...]:
    """CPUs that this process may run on, and what it starts."""
    return tuple(sorted(os.sched_getaffinity(0)))


def all_usable() -> bool:
    return len(usable_cpus()) >= (os.cpu_count() or 1)


def cores(cpus: Iterable[int], devices: Path = DEVICES) -> tuple[Core, ...]:
    """What this machine says about these CPUs."""
    kinds = {kind: parse_list(text_of(devices / f"cpu_{kind}/cpus") or "") for kind in ("core", "atom")}
    return tuple(_core(cpu, devices / f"system/cpu/cpu{cpu}", kinds) for cpu in sorted(cpus))


def as_governed(cpus: Iterable[int], devices: Path = DEVICES) -> tuple[Core, ...]:
    """CPUs and their governors alone: what may change from one trial to the next."""
    return tuple(Core(cpu, governor=_governor(devices / f"system/cpu/cpu{cpu}")) for cpu in sorted(cpus))


def _governor(folder: Path) -> str | None:
    return text_of(folder / "cpufreq/scaling_governor")


def _core(cpu: int, folder: Path, kinds: dict[str, tuple[int, ...]]) -> Core:
    return Core(
        cpu,
        governor=_governor(folder),
        max_khz=_number(folder / "cpufreq/cpuinfo_max_freq"),
        capacity=_number(folder / "cpu_capacity"),
        kind=next((kind for kind, members in kinds.items() if cpu in members), ""),
        siblings=parse_list(text_of(folder / "topology/thread_siblings_list") or str(cpu)),
    )


def unequal(cores: Sequence[Core]) -> str:
    """How CPUs differ in speed, as a phrase; empty where they are alike as far as the machine says."""
    for attribute, words in _SPEEDS.items():
        values = {getattr(core, attribute) for core in cores}
        if len(values) > 1 and None not in values:
            return _grouped(cores, attribute, words)
    return ""


_SPEEDS: dict[str, Callable[[object], str]] = {
    "kind": lambda kind: f"{kind or 'other'} cores",
    "max_khz": lambda khz: f"up to {int(str(khz)) / 1e6:.2f} GHz",
    "capacity": lambda capacity: f"capacity {capacity}",
}


def governors(cores: Sequence[Core]) -> str:
    """The frequency governor of all, or of each where they differ; empty where none is visible."""
    names = {core.governor for core in cores} - {None}
    if len(names) > 1 or (names and any(core.governor is None for core in cores)):
        return _grouped(cores, "governor", lambda name: str(name or "none"))
    return str(next(iter(names), ""))


def sharing(cores: Sequence[Core]) -> tuple[tuple[int, ...], ...]:
    """Groups of these CPUs that are threads of one core."""
    mine = {core.cpu for core in cores}
    shared = {tuple(cpu for cpu in core.siblings if cpu in mine) for core in cores}
    return tuple(sorted(group for group in shared if len(group) > 1))


def _grouped(cores: Sequence[Core], attribute: str, words: Callable[[object], str]) -> str:
    values = dict.fromkeys(getattr(core, attribute) for core in cores)
    members = {value: [core.cpu for core in cores if getattr(core, attribute) == value] for value in values}
    return ", ".join(f"{words(value)} on {cpu_list(cpus)}" for value, cpus in members.items())


def cpu_list(cpus: Iterable[int]) -> str:
    """CPU numbers as people write them: 0-3,8."""
    numbered = enumerate(sorted(cpus))
    runs = [[cpu for _, cpu in run] for _, run in groupby(numbered, lambda pair: pair[1] - pair[0])]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def parse_list(text: str) -> tuple[int, ...]:
    """The CPU numbers of `0-3,8`, as the kernel writes them; () for what is no such list."""
    cpus: list[int] = []
    try:
        for part in filter(None, text.strip().split(",")):
            first, _, last = part.partition("-")
            cpus += range(int(first), int(last or first) + 1)
    except ValueError:
        return ()
    return tuple(cpus)


def _number(path: Path) -> int | None:
    text = text_of(path)
    return int(text) if text is not None and text.isdecimal() else None
