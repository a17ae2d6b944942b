"""The examination behind `ukperf doctor`: every check that a run would make, none of them ending in an exception."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ukperf import guests
from ukperf.doctor.clocks import check_clock
from ukperf.engine.setting import decide_accelerator
from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Guest
from ukperf.guests.recipes import Role
from ukperf.hosts import open_host
from ukperf.hosts.base import Host
from ukperf.hosts.noise import NoiseSource, cpu_model, noise_sources
from ukperf.hosts.truth import COUNT_LOOPS, Truth, count_cycles
from ukperf.imaging.cleaning import size_of
from ukperf.imaging.programs import count_program
from ukperf.model import Accelerator, BootProtocol, BootSpec, Event, Image, Machine, Outcome
from ukperf.paths import cache_dir, data_dir

# Images, kernels and a long run's consoles fit in this.
FREE_BYTES = 2 << 30
# A cache that is worth emptying.
CACHE_BYTES = 1 << 30
# The counting loop is two instructions a turn; CPUs need one or two cycles, frequency changes and noise aside.
MAX_LOOP_CYCLES = 8.0
CLOCK_TIMEOUT_S = 120.0
CONNECTION = "connection"


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


def diagnose(uri: str, *, guest_clocks: bool = False) -> Diagnosis:
    """Look at everything that a run on this connection needs. guest_clocks: boot every guest to check its clock."""
    here = True
    try:
        with open_host(uri) as host:
            here = host.here
            looked_at = _look_at_host(host, guest_clocks)
    except UkperfError as error:
        refused = Check(CONNECTION, State.MISSING, error.message, error.hint or "")
        looked_at = (refused, *(_guest(name) for name in guests.names())), None, None
    checks, accelerator, truth = looked_at
    noise = tuple(noise_sources()) if here else ()
    return Diagnosis(uri, (_python(), _cpu(), _disk(), _cache(), *checks), accelerator, truth, noise)


def _look_at_host(host: Host, guest_clocks: bool) -> tuple[tuple[Check, ...], Accelerator | None, Truth | None]:
    checks = [Check(CONNECTION, State.OK, f"{host.uri} opens: {host.describe()}")]
    if not host.ours:
        checks.append(_check("files", State.MISSING, lambda: f"Images are {host.describe_files()}."))
    checks += [_guest(name) if host.here else _remote_guest(name, host) for name in guests.names()]
    if left_out := host.facts().get("left_out"):
        checks.append(Check("records", State.OPTIONAL, f"They leave out {left_out}."))
    accelerator, truth, check = _accelerate(host)
    checks.append(check)
    if guest_clocks and accelerator is not None:
        checks += _clocks(host, accelerator)
    return tuple(checks), accelerator, truth


def _remote_guest(name: str, host: Host) -> Check:
    """Whether a guest can be booted on another host, and as what."""
    try:
        guest = guests.get(name)
        kinds = guest.recipe.machines
        if not kinds:
            return Check(f"guest {name}", State.OPTIONAL, f"It would run on this machine, not on {host.uri}.")
        kind = host.fit(Machine(), kinds).kind
        there = guests.availability(guest, BuildOptions(kind, remote=True))
    except UkperfError as error:
        return Check(f"guest {name}", State.OPTIONAL, error.message, error.hint or "")
    sentence = f"{there.sentence}, boots as {kind}" if there.ok else there.sentence
    return Check(f"guest {name}", _state(guest, there), sentence, there.hint or "")


def _state(guest: Guest, there: Availability) -> State:
    """Without the guest that probes hosts nothing is known of this one; the others may be missing. (The baseline's
    kernel can be downloaded when it is wanted.)"""
    if there.ok:
        return State.OK
    return State.MISSING if guest.recipe.role is Role.PROBE else State.OPTIONAL


def _boots(host: Host, accelerator: Accelerator) -> Check:
    """The truth check of a host without KVM: its probe must boot there and count at a CPU's speed."""
    probe = guests.in_role(Role.PROBE)
    machine = host.fit(Machine(memory_mib=probe.recipe.memory_mib), probe.recipe.machines)
    image = probe.build(count_program(COUNT_LOOPS), BuildOptions(machine.kind, accelerator, remote=not host.here))
    name = f"ukperf-doctor-{os.getpid()}-{probe.name}"
    seen = host.boot(BootSpec(image, machine, accelerator, timeout_s=CLOCK_TIMEOUT_S, name=name))
    cycles = count_cycles(seen)
    if seen.outcome is not Outcome.OK or cycles is None:
        why = seen.reason or "it gave no figures"
        return Check("truth", State.MISSING, f"{probe.name} does not boot there: {why}.")
    took = (seen.events[Event.STOPPED] - seen.events[Event.START]) / 1e9
    sentence = f"{probe.name} boots as {machine.kind} in {took:.2f} s, and counts at {cycles:.2f} TSC cycles a loop"
    if cycles > MAX_LOOP_CYCLES:
        advice = "Guest instructions are emulated there: figures are not those of a real machine."
        return Check("truth", State.OPTIONAL, f"{sentence}, which no CPU takes.", advice)
    return Check("truth", State.OK, f"{sentence}.")


def _accelerate(host: Host) -> tuple[Accelerator | None, Truth | None, Check]:
    first = host.accelerators[0]
    if first is Accelerator.NATIVE:
        return first, None, Check("truth", State.OK, "Programs of this machine need no accelerator.")
    try:
        if first is not Accelerator.KVM:
            return first, None, _boots(host, first)
        accelerator, truth = decide_accelerator(Accelerator.AUTO, host, fresh=True)
    except UkperfError as error:
        return None, None, Check("truth", State.MISSING, error.message, error.hint or "")
    if truth is None or truth.believed:
        return accelerator, truth, Check("KVM", State.OK, truth.sentence if truth else "")
    return accelerator, truth, Check("KVM", State.OPTIONAL, truth.sentence, truth.advice)


def _clocks(host: Host, accelerator: Accelerator) -> list[Check]:
    checks, remote = [], not host.here
    for name in guests.names():
        guest = guests.get(name)
        try:
            machine = host.fit(Machine(), guest.recipe.machines)
        except UkperfError:
            continue  # said above
        options = BuildOptions(machine.kind, accelerator, remote=remote)
        elsewhere = remote and not guest.recipe.machines
        # A distribution has the clock of its kernel, and takes a minute to come up.
        if elsewhere or guest.recipe.slow_s or not guest.recipe.loads_programs or not guest.availability(options).ok:
            continue
        image = Image(name, "clock", "", "", BootProtocol.EXEC)
        spec = BootSpec(
            image, machine, accelerator, timeout_s=CLOCK_TIMEOUT_S, name=f"ukperf-doctor-{os.getpid()}-{name}"
        )
        clock = check_clock(guest, options, spec, host)
        advice = "" if not clock.lies else "What this guest times itself is off by as much: results are marked."
        checks.append(Check(f"clock {name}", State.OK if clock.honest else State.OPTIONAL, clock.sentence, advice))
    return checks


def _check(name: str, otherwise: State, look: Callable[[], str]) -> Check:
    try:
        return Check(name, State.OK, look())
    except UkperfError as error:
        return Check(name, otherwise, error.message, error.hint or "")


def _guest(name: str) -> Check:
    try:
        guest = guests.get(name)
        there = guests.availability(guest, BuildOptions())
    except UkperfError as error:
        return Check(f"guest {name}", State.OPTIONAL, error.message, error.hint or "")
    return Check(f"guest {name}", _state(guest, there), there.sentence, there.hint or "")


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
                "disk", State.OPTIONAL, f"{free / 1e9:.1f} GB free at {folder}", "`ukperf images clean` makes room."
            )
    return Check("disk", State.OK, f"{shutil.disk_usage(parent).free / 1e9:.0f} GB free")


def _cache() -> Check:
    folder = cache_dir()
    size = size_of(folder)
    emptied = "; `ukperf images clean` empties it" if size >= CACHE_BYTES else ""
    return Check("cache", State.OK, f"{size / 1e6:,.0f} MB in {folder}{emptied}")
