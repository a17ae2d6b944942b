"""What the numbers of a run are: the line under every table."""

from __future__ import annotations

from collections.abc import Mapping

from ukperf.campaign.plan import Plan
from ukperf.model import Accelerator, BootProtocol, MachineKind

_FIRMWARE = {
    MachineKind.Q35: "SeaBIOS",
    MachineKind.XENHVM: "hvmloader and SeaBIOS",
    MachineKind.MICROVM: "QEMU microvm firmware",
}


def facts_of(plan: Plan, why: str = "") -> Mapping[str, str]:
    """Name → value, in the order of printing. why: what ended the run."""
    machine = plan.machine
    facts = {
        "accelerator": _accelerator(plan.accelerator),
        "machine": f"{_kinds(plan)}, {machine.vcpus} vCPU, {machine.memory_mib} MiB",
        "firmware": ", ".join(dict.fromkeys(_FIRMWARE.get(kind, "none") for kind in _by_guest(plan).values())),
        "console": "serial port" if plan.hosts[0].startswith("qemu") else "libvirt console stream",
        "launch": plan.launch.value,
        "host": ", ".join(plan.hosts),
        "seed": str(plan.seed),
        "pinned": ",".join(map(str, machine.pin)) if machine.pin else "no",
    }
    for guest, image in plan.images.items():
        if image.kernel_version:
            facts[f"{guest} kernel"] = image.kernel_version
    for name in ("qemu", "xen", "libvirt", "left_out"):
        if plan.facts.get(name):
            facts[name.replace("_", " ")] = plan.facts[name]
    facts["cpu"] = plan.facts.get("cpu", "?")
    if plan.hosts == ("native",):
        facts |= {"machine": "this machine itself", "firmware": "none", "console": "socket", "launch": "fork and exec"}
    if why:
        facts["ended"] = why
    return facts


def _by_guest(plan: Plan) -> dict[str, MachineKind]:
    """guest → machine type, without those that need none."""
    virtual = [guest for guest, image in plan.images.items() if image.protocol is not BootProtocol.EXEC]
    return {guest: plan.machine_of(guest).kind for guest in virtual}


def _kinds(plan: Plan) -> str:
    """The machine type that all guests have, or each one's own: on Xen each guest boots as what it can."""
    kinds = _by_guest(plan)
    if len(set(kinds.values())) < 2:
        return str(next(iter(kinds.values()), plan.machine.kind))
    return " and ".join(f"{guest} {kind}" for guest, kind in kinds.items())


def _accelerator(accelerator: Accelerator) -> str:
    if accelerator is Accelerator.ICOUNT:
        return "icount (guest instructions = virtual nanoseconds)"
    return accelerator.value
