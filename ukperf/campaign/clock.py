"""Do guests' clocks tell the truth? One boot of a guest that lets its own clock advance and says when.

Every trial whose frames lie far enough apart is checked too (judge.clock_ratio); a boot to `main` and out again is over
before two clocks could be told apart to 1 %, so runs of short programs begin with this, unless it is remembered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import median

from ukperf.campaign.judge import clock_ratio
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions, Guest
from ukperf.hosts.base import Host
from ukperf.hosts.connection import is_local
from ukperf.hosts.libvirt_host import boot_id
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import clock_program
from ukperf.model import Accelerator, BootProtocol, BootSpec, Frame, Outcome
from ukperf.paths import cache_dir

TOLERANCE = 0.01
MIN_SPAN_NS = 10_000_000
LINKED_IN_ONLY = ("floor",)  # loads no programs, and has no clock but the TSC


@dataclass(frozen=True)
class ClockCheck:
    """ratio: guest time over host time (over guest instructions under icount); None where it could not be had."""

    guest: str
    ratio: float | None
    sentence: str

    @property
    def lies(self) -> bool:
        """True only where it is known to be off; an unknown ratio is neither."""
        return self.ratio is not None and not self.honest

    @property
    def honest(self) -> bool:
        return self.ratio is not None and abs(self.ratio - 1) <= TOLERANCE


def check_clock(guest: Guest, options: BuildOptions, template: BootSpec, host: Host, native: Host) -> ClockCheck:
    """Boot `guest` once with the clock program; template says on what machine, and how long at most."""
    try:
        image = guest.build(clock_program(), options)
        spec = replace(template, image=image, console_path=None, name=f"{template.name}-clock")
        seen = (native if image.protocol is BootProtocol.EXEC else host).boot(spec)
    except UkperfError as error:
        return ClockCheck(guest.name, None, f"not checked: {error.message}")
    if seen.outcome is not Outcome.OK:
        return ClockCheck(guest.name, None, f"not checked: {seen.outcome.value}, {seen.reason}")
    counted = options.accelerator is Accelerator.ICOUNT and image.protocol is not BootProtocol.EXEC
    return judge(guest.name, interval_ratios(seen.frames, counted), counted)


class Remembered:
    """Honest clocks found on this machine since it booted, in the cache: a boot a guest is much for a run of twenty.

    A clock counts as the same where image, machine, accelerator, launch, host and versions are. Other machines than
    this one are asked every time: nobody here knows whether they were booted anew.
    """

    def __init__(self, host: Host) -> None:
        self._host = {"boot": boot_id(), **host.facts()} if is_local(host.uri) else None
        self._path = cache_dir() / "clocks.json"

    def ratio(self, spec: BootSpec) -> float | None:
        """The ratio that was found, None if there was none yet."""
        found = self._load().get(self._key(spec)) if self._host else None
        return float(found) if isinstance(found, float) and abs(found - 1) <= TOLERANCE else None

    def keep(self, spec: BootSpec, ratio: float) -> None:
        if not self._host:
            return
        known = {**dict(list(self._load().items())[-255:]), self._key(spec): ratio}
        draft = self._path.with_suffix(f".{os.getpid()}")
        try:
            draft.write_text(json.dumps(known), encoding="utf-8")
            draft.replace(self._path)
        except OSError:
            pass  # the next run asks again

    def _key(self, spec: BootSpec) -> str:
        machine = {"machine": asdict(spec.machine), "accelerator": spec.accelerator, "launch": spec.launch}
        return Cache.key({"image": spec.image.digest, "host": self._host, **machine})

    def _load(self) -> dict[str, object]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def judge(guest: str, ratios: Sequence[float], counted: bool) -> ClockCheck:
    """A clock that is fast or slow is so in every interval; reads that came late on a busy host are not."""
    if not ratios:
        return ClockCheck(guest, None, "not checked: its frames came too close together")
    if max(ratios) - min(ratios) > TOLERANCE and not counted:
        apart = f"{min(ratios):.3f} and {max(ratios):.3f}"
        return ClockCheck(guest, None, f"not told: this host is too busy, its ratio to ours came out between {apart}")
    ratio = median(ratios)
    against = "instruction" if counted else "host second"
    unit = "virtual nanoseconds" if counted else "seconds"
    return ClockCheck(guest, ratio, f"{ratio:.4f} {unit} of the guest's clock for each {against}")


def interval_ratios(frames: Sequence[Frame], counted: bool) -> list[float]:
    """clock_ratio of each interval between two `phase` frames, as far as they are long enough."""
    ticks = [frame for frame in frames if frame.event in ("main", "phase")]
    ratios = [clock_ratio(pair, counted, MIN_SPAN_NS) for pair in pairwise(ticks)]
    return [ratio for ratio in ratios if ratio is not None]
