"""CPU quotas of the control groups that this process is in, and how often they stopped it (cgroups(7)).

A quota may be on any group from ours up to the root that this process sees: in v2 by the files cpu.max and cpu.stat, in
v1 by cpu.cfs_quota_us, cpu.cfs_period_us and cpu.stat. Guests that run as children of ours are in the same groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ukperf.hosts.procfiles import text_of

ROOT = Path("/")


@dataclass(frozen=True)
class Throttling:
    """One group's counters: periods in which it ran, those in which it was stopped, CPU seconds of that."""

    periods: int
    throttled: int
    seconds: float


@dataclass(frozen=True)
class Throttled:
    """What happened between two readings: share of the periods in which we were stopped, and CPU seconds of it."""

    periods: int
    throttled: int
    seconds: float

    @property
    def share(self) -> float:
        return self.throttled / self.periods if self.periods else 0.0


def quota(root: Path = ROOT) -> float | None:
    """CPUs that the tightest quota leaves to this process, None where there is none that it can see."""
    return min((cpus for folder in groups(root) if (cpus := _quota(folder)) is not None), default=None)


def throttling(root: Path = ROOT) -> dict[Path, Throttling]:
    """The counters of each group that has a quota, or had one."""
    counted = {folder: _counters(folder) for folder in groups(root)}
    return {folder: counters for folder, counters in counted.items() if counters is not None and counters.periods}


def between(before: dict[Path, Throttling], after: dict[Path, Throttling]) -> Throttled | None:
    """What a quota did meanwhile, by the group that was stopped most; None where no quota was at work."""
    none = Throttling(0, 0, 0.0)
    spans = []
    for folder, now in after.items():
        then = before.get(folder, none)
        if now.periods > then.periods:
            spans.append(
                Throttled(now.periods - then.periods, now.throttled - then.throttled, now.seconds - then.seconds)
            )
    return max(spans, key=lambda span: (span.share, span.seconds), default=None)


def groups(root: Path = ROOT, controller: str = "cpu") -> Sequence[Path]:
    """Folders of the groups that this process is in and that may limit its CPU time, its own first. controller: what
    else they may limit."""
    return _groups(root, text_of(root / "proc/self/cgroup") or "", controller)


@lru_cache(maxsize=8)
def _groups(root: Path, memberships: str, controller: str) -> tuple[Path, ...]:
    """What mounts and folders say is looked at once, as long as this process stays in its groups."""
    hierarchies = _hierarchies(root, memberships, controller)
    return tuple(dict.fromkeys(folder for top, own in hierarchies for folder in _upwards(top, own)))


def _hierarchies(root: Path, memberships: str, controller: str) -> Iterator[tuple[Path, Path]]:
    """(mount point, own group) of the v2 hierarchy and of v1's with that controller."""
    paths = dict(_memberships(memberships))
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        words, kind = left.split(), right.split()
        if len(words) < 5 or len(kind) < 3:
            continue
        options = kind[2].split(",")
        if kind[0] == "cgroup2":
            path = paths.get("")
        elif kind[0] == "cgroup" and controller in options:
            path = next((path for names, path in paths.items() if controller in names.split(",")), None)
        else:
            continue
        if path is not None:
            top = root / words[4].lstrip("/")
            yield top, top / _below(path, words[3])


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    """(controllers, path) of /proc/self/cgroup; v2 has no controllers."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            yield controllers, path


def _below(path: str, mounted: str) -> str:
    """A group's path under its mount point; a container's mount shows a part of the hierarchy alone."""
    inside = path == mounted or path.startswith(mounted.rstrip("/") + "/")
    return path[len(mounted.rstrip("/")) :].lstrip("/") if inside else ""


def _upwards(top: Path, own: Path) -> Iterator[Path]:
    for folder in (own, *own.parents):
        if folder.is_dir():
            yield folder
        if folder == top:
            return


def _quota(folder: Path) -> float | None:
    v2 = _lines(folder / "cpu.max")
    words = v2[0].split() if v2 else [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    try:
        microseconds, period = (math.inf if word == "max" else float(word) for word in words[:2])
    except ValueError:
        return None
    return microseconds / period if 0 < microseconds < math.inf and period > 0 else None


def _counters(folder: Path) -> Throttling | None:
    values = {}
    for line in _lines(folder / "cpu.stat"):
        name, _, value = line.partition(" ")
        if value.strip().isdecimal():
            values[name] = int(value)
    if "nr_periods" not in values:
        return None
    seconds = values["throttled_usec"] / 1e6 if "throttled_usec" in values else values.get("throttled_time", 0) / 1e9
    return Throttling(values["nr_periods"], values.get("nr_throttled", 0), seconds)


def _lines(path: Path) -> list[str]:
    return (text_of(path) or "").splitlines()
