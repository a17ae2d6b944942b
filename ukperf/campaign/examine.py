"""The examination behind `ukperf doctor`: every check that a run would make, none of them ending in an exception."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ukperf import guests
from ukperf.campaign.clock import LINKED_IN_ONLY, check_clock
from ukperf.campaign.session import decide_accelerator
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.base import Host
from ukperf.hosts.connection import is_local
from ukperf.hosts.libvirt_host import emulator_path, open_host
from ukperf.hosts.native import NativeHost
from ukperf.hosts.noise import NoiseSource, cpu_model, noise_sources
from ukperf.hosts.truth import Truth
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine
from ukperf.paths import cache_dir, data_dir

# Images, kernels and a long run's consoles fit in this.
FREE_BYTES = 2 << 30
CLOCK_TIMEOUT_S = 120.0


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"  # the main job cannot run
    OPTIONAL = "optional"  # it can, with less


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; advice says how to get it, or what to do about it."""

    name: str
    state: State
    sentence: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All of it. accelerator: what `auto` would use here, None where nothing can boot."""

    connection: str
    checks: tuple[Check, ...]
    accelerator: Accelerator | None
    truth: Truth | None
    noise: tuple[NoiseSource, ...]

    @property
    def ok(self) -> bool:
        return all(check.state is not State.MISSING for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The same facts as the printed page; truth.slowdown is guest cycles over native cycles."""
        truth = None if self.truth is None else {**asdict(self.truth), "slowdown": self.truth.slowdown}
        return {
            "ok": self.ok,
            "connection": self.connection,
            "accelerator": self.accelerator.value if self.accelerator else None,
            "checks": [asdict(check) for check in self.checks],
            "truth": truth,
            "noise": [asdict(source) for source in self.noise],
        }


def examine(uri: str, *, guest_clocks: bool = False) -> Diagnosis:
    """Look at everything that a run on this connection needs. guest_clocks: boot every guest to check its clock."""
    local = is_local(uri)
    checks = [_python(), _cpu(), _disk()]
    if local:
        checks.append(_check("qemu", State.MISSING, lambda: f"{emulator_path()}"))
    checks += [_guest(name) for name in guests.names()]
    accelerator: Accelerator | None = None
    truth: Truth | None = None
    try:
        with open_host(uri) as host:
            facts = host.facts()
            checks.append(
                Check(
                    "libvirt",
                    State.OK,
                    f"{uri} opens: libvirt {facts.get('libvirt', '?')}, QEMU {facts.get('qemu', '?')}",
                )
            )
            accelerator, truth, check = _accelerate(host)
            checks.append(check)
            if guest_clocks and accelerator is not None:
                checks += _clocks(host, accelerator, remote=not local)
    except UkperfError as error:
        checks.append(Check("libvirt", State.MISSING, error.message, error.hint or ""))
    return Diagnosis(uri, tuple(checks), accelerator, truth, tuple(noise_sources()) if local else ())


def _accelerate(host: Host) -> tuple[Accelerator | None, Truth | None, Check]:
    try:
        accelerator, truth = decide_accelerator(Accelerator.AUTO, host, fresh=True)
    except UkperfError as error:
        return None, None, Check("KVM", State.MISSING, error.message, error.hint or "")
    if truth is None or truth.believed:
        return accelerator, truth, Check("KVM", State.OK, truth.sentence if truth else "")
    return accelerator, truth, Check("KVM", State.OPTIONAL, truth.sentence, truth.advice)


def _clocks(host: Host, accelerator: Accelerator, *, remote: bool) -> list[Check]:
    found = []
    for name in guests.names():
        guest, options = guests.get(name), BuildOptions(accelerator=accelerator, remote=remote)
        if name in LINKED_IN_ONLY or not guest.availability(options).ok:
            continue
        image = Image(name, "clock", "", "", BootProtocol.EXEC)
        spec = BootSpec(
            image, Machine(), accelerator, timeout_s=CLOCK_TIMEOUT_S, name=f"ukperf-doctor-{os.getpid()}-{name}"
        )
        clock = check_clock(guest, options, spec, host, NativeHost())
        advice = "" if not clock.lies else "What this guest times itself is off by as much: results are marked."
        found.append(Check(f"clock {name}", State.OK if clock.honest else State.OPTIONAL, clock.sentence, advice))
    return found


def _check(name: str, otherwise: State, look: Callable[[], str]) -> Check:
    try:
        return Check(name, State.OK, look())
    except UkperfError as error:
        return Check(name, otherwise, error.message, error.hint or "")


def _guest(name: str) -> Check:
    """The baseline's kernel can be downloaded when it is wanted, so its absence does not stop the main job."""
    try:
        found = guests.get(name).availability(BuildOptions())
    except UkperfError as error:
        return Check(f"guest {name}", State.OPTIONAL, error.message, error.hint or "")
    essential = State.MISSING if name == "floor" else State.OPTIONAL
    return Check(f"guest {name}", State.OK if found.ok else essential, found.sentence, found.hint or "")


def _python() -> Check:
    return Check("python", State.OK, f"{sys.version.split()[0]} at {sys.executable}")


def _cpu() -> Check:
    return Check("cpu", State.OK, f"{cpu_model()}, {os.cpu_count()} CPUs, {len(os.sched_getaffinity(0))} usable")


def _disk() -> Check:
    for folder in (cache_dir(), data_dir()):
        parent = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(parent, os.W_OK):
            return Check("disk", State.MISSING, f"{folder} cannot be written.", "Set XDG_CACHE_HOME and XDG_DATA_HOME.")
        free = shutil.disk_usage(parent).free
        if free < FREE_BYTES:
            return Check(
                "disk", State.OPTIONAL, f"{free / 1e9:.1f} GB free at {folder}", "`ukperf images prune` makes room."
            )
    return Check("disk", State.OK, f"{shutil.disk_usage(parent).free / 1e9:.0f} GB free")
