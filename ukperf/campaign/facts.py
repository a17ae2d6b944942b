"""What the numbers of a run are: the line under every table."""

from __future__ import annotations

from collections.abc import Mapping

from ukperf.campaign.plan import Plan
from ukperf.model import Accelerator, MachineKind

_FIRMWARE = {MachineKind.Q35: "SeaBIOS", MachineKind.MICROVM: "QEMU microvm firmware"}


def facts_of(plan: Plan, why: str = "") -> Mapping[str, str]:
    """Name → value, in the order of printing. why: what ended the run."""
    machine = plan.machine
    facts = {
        "accelerator": _accelerator(plan.accelerator),
        "machine": f"{machine.kind}, {machine.vcpus} vCPU, {machine.memory_mib} MiB",
        "firmware": _FIRMWARE.get(machine.kind, "none"),
        "console": "serial port" if plan.hosts[0].startswith("qemu") else "libvirt console stream",
        "launch": plan.launch.value,
        "host": ", ".join(plan.hosts),
        "seed": str(plan.seed),
        "pinned": ",".join(map(str, machine.pin)) if machine.pin else "no",
    }
    for guest, image in plan.images.items():
        if image.kernel_version:
            facts[f"{guest} kernel"] = image.kernel_version
    clocks = {name[6:]: value for name, value in plan.facts.items() if name.startswith("clock ")}
    if clocks:
        facts["guest clock ÷ host clock"] = ", ".join(f"{guest} {value}" for guest, value in clocks.items())
    if plan.facts.get("qemu"):
        facts["qemu"] = plan.facts["qemu"]
        facts["libvirt"] = plan.facts.get("libvirt", "?")
    facts["cpu"] = plan.facts.get("cpu", "?")
    if why:
        facts["ended"] = why
    return facts


def _accelerator(accelerator: Accelerator) -> str:
    if accelerator is Accelerator.ICOUNT:
        return "icount (guest instructions = virtual nanoseconds)"
    return accelerator.value
