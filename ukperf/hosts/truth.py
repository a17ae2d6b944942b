"""The truth check: KVM is believed only after the floor guest has booted on it and counted at native speed.

/dev/kvm can open, create a virtual machine and still be useless: on some nested hosts every guest instruction is
emulated, a thousand times slower, and unmodified kernels die. Neither KVM_GET_API_VERSION nor libvirt's capabilities
tell. So we boot the floor guest, whose loop executes an exactly known number of instructions, and compare its TSC
cycles a turn with those of the same loop in a process of this machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json, write_atomically
from ukperf.hosts.base import Host
from ukperf.hosts.connection import is_embedded
from ukperf.hosts.noise import cpu_model
from ukperf.model import Accelerator, BootSpec, Image, Launch, Machine, Observation, Outcome
from ukperf.paths import cache_dir

# An honest KVM boots floor in a fraction of a second; one that emulates needs minutes for the firmware alone.
TIMEOUT_S = 5.0
# Virtualization costs a loop of registers nothing. Noise and frequency changes stay well below 2; emulation is ≥ 10.
MAX_SLOWDOWN = 2.0
COUNT_LOOPS = 1_000_000
FORMAT = 1  # of what is remembered
_NOT_NESTED = "If this is a virtual machine, its host emulates or forbids nested virtualization: ask for nested KVM."
_EMULATED = "The host of this machine emulates guest code: ask for nested KVM."
_NO_ACCESS = "Let the user whom that daemon runs QEMU as open /dev/kvm: on Debian, usermod -aG kvm libvirt-qemu."
_RETRY = "Try again when the machine is calmer: ukperf doctor"
KVM_DEVICE = Path("/dev/kvm")
MODULES = Path("/sys/module")
_PVM = (
    "This /dev/kvm is that of the module kvm_pvm: only kernels that are built as PVM guests run on it at native speed."
)


@dataclass(frozen=True)
class Truth:
    """What the truth check found. cycles are TSC cycles for one turn of the loop, medians of five."""

    believed: bool
    sentence: str
    advice: str = ""
    guest_cycles: float | None = None
    native_cycles: float | None = None

    @property
    def slowdown(self) -> float | None:
        if not self.guest_cycles or not self.native_cycles:
            return None
        return self.guest_cycles / self.native_cycles


Boot = Callable[[], Observation]


def truth_of(guest: Callable[[], Observation], native: Callable[[], Observation]) -> Truth:
    """Boot floor, run the control, compare. Both are called at most once; a failing control is our fault, not KVM's."""
    seen = guest()
    if seen.outcome is not Outcome.OK:
        took = f"within {TIMEOUT_S:g} s" if seen.outcome in (Outcome.HUNG, Outcome.SILENT) else f"({seen.reason})"
        return Truth(
            False,
            f"KVM did not boot the floor guest {took}, so it is not used.",
            _NO_ACCESS if "Permission denied" in seen.reason else _NOT_NESTED,
        )
    guest_cycles = count_cycles(seen)
    control = native()
    native_cycles = count_cycles(control) if control.outcome is Outcome.OK else None
    if native_cycles is None:
        return Truth(False, "The counting loop gave no figures here, so KVM is not used.", _RETRY, guest_cycles)
    if guest_cycles is None:
        return Truth(False, "The counting loop gave no figures under KVM, so it is not used.", "", None, native_cycles)
    ratio = guest_cycles / native_cycles
    if ratio < 1 / MAX_SLOWDOWN:
        return Truth(
            False,
            f"KVM's guest counted {1 / ratio:.0f} times as fast as the host itself, which cannot be true, "
            "so it is not used.",
            "The counter (TSC) of guests does not keep pace here: ask for a host that lets it.",
            guest_cycles,
            native_cycles,
        )
    if ratio > MAX_SLOWDOWN:
        return Truth(
            False,
            f"KVM booted the floor guest, but its instructions took {ratio:.0f} times as long as on the host itself, "
            "so it is not used.",
            _EMULATED,
            guest_cycles,
            native_cycles,
        )
    return Truth(
        True,
        f"KVM runs guest code at native speed ({guest_cycles:.2f} cycles a loop, {native_cycles:.2f} here).",
        "",
        guest_cycles,
        native_cycles,
    )


def check_kvm(host: Host, native: Host, floor: Image, count: Image, *, fresh: bool = False) -> Truth:
    """The truth about KVM on `host`.

    floor, count: images of the counting loop for the guest and for this machine. A KVM that failed is remembered until
    this machine reboots or its QEMU or /dev/kvm changes, since each failure costs seconds; fresh checks anyway. A KVM
    that passed is checked again every time.
    """
    local = host.ours
    if local:
        refusal = _device_refusal()
        if refusal is not None:
            return refusal
        if not fresh and (remembered := _recall()) is not None:
            return remembered
    launch = Launch.DIRECT if local and is_embedded(host.uri) else Launch.LIBVIRT
    spec = BootSpec(
        floor, Machine(memory_mib=64), Accelerator.KVM, launch, TIMEOUT_S, name=f"ukperf-truth-{os.getpid()}"
    )
    control = BootSpec(count, Machine(), Accelerator.NATIVE, timeout_s=TIMEOUT_S, name="ukperf-control")
    try:
        truth = truth_of(lambda: host.boot(spec), lambda: native.boot(control))
    except UkperfError as error:
        return Truth(False, f"KVM is not used: {error.message}", error.hint or "")
    if local and truth.advice in (_NOT_NESTED, _EMULATED) and is_pvm():
        truth = replace(truth, advice=_PVM)
    if local and truth.believed:
        _memo().unlink(missing_ok=True)
    elif local and truth.advice != _RETRY:
        _remember(truth)
    return truth


def is_pvm() -> bool:
    """Is /dev/kvm that of kvm_pvm, which emulates every kernel that was not built for it?"""
    hardware = ("kvm_intel", "kvm_amd")
    return (MODULES / "kvm_pvm").exists() and not any((MODULES / name).exists() for name in hardware)


def _device_refusal() -> Truth | None:
    if not KVM_DEVICE.exists():
        return Truth(
            False,
            "There is no /dev/kvm here, so KVM is not used.",
            "Turn on virtualization in the firmware and load kvm_intel or kvm_amd, or ask for nested KVM.",
        )
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return Truth(
            False, "/dev/kvm is there, but not for this user, so KVM is not used.", "Type: sudo usermod -aG kvm $USER"
        )
    return None


def count_cycles(observation: Observation) -> float | None:
    """Median TSC cycles a loop from the `count` samples, None unless it is positive: a guest may say anything."""
    values = [value for sample in observation.report.samples if sample.benchmark == "count" for value in sample.values]
    middle = median(values) if values else 0.0
    return middle if middle > 0 else None


@dataclass(frozen=True)
class _Memo:
    """A failure that is remembered."""

    circumstances: Mapping[str, str]
    sentence: str
    advice: str


def _memo() -> Path:
    return cache_dir() / "truth.json"


def _circumstances() -> dict[str, str]:
    """What a remembered failure depends on."""
    from ukperf.hosts.domains import boot_id
    from ukperf.hosts.libvirt_host import emulator_path

    emulator = Path(emulator_path()).stat()
    device = KVM_DEVICE.stat()
    return {
        "boot_id": boot_id(),
        "cpu": cpu_model(),
        "emulator": f"{emulator.st_ino} {emulator.st_mtime_ns} {emulator.st_size}",
        "pvm": str(is_pvm()),
        "device": f"{device.st_rdev} {device.st_mode} {device.st_ctime_ns}",
    }


def _recall() -> Truth | None:
    try:
        memo = decode_stored(_Memo, read_json(_memo()), FORMAT)
        if memo.circumstances != _circumstances():
            return None
        return Truth(False, memo.sentence, memo.advice)
    except (OSError, ValueError, UkperfError):
        return None


def _remember(truth: Truth) -> None:
    try:
        _memo().parent.mkdir(parents=True, exist_ok=True)
        memo = _Memo(_circumstances(), truth.sentence, truth.advice)
        write_atomically(_memo(), json.dumps(encode(memo, FORMAT)), durable=False)
    except (OSError, UkperfError):
        pass  # the next command checks again: five seconds
