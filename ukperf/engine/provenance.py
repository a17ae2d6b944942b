"""The facts of one boot, as its record keeps them: what was booted, on what, and how this machine was set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import ukperf
from ukperf import templates
from ukperf.engine.facts import about
from ukperf.hosts import runs_here
from ukperf.hosts.base import BOOT_FACTS
from ukperf.model import BootProtocol, BootRecord, Plan
from ukperf.text import many


def trial_facts(plan: Plan, guest: str, host: Mapping[str, str], conditions: Mapping[str, str]) -> dict[str, str]:
    """Fact → value for a boot of a guest. host: what its host says of itself; conditions: what may change meanwhile.

    Facts that are not known are left out.
    """
    image, machine = plan.images[guest], plan.machine_of(guest)
    here, command = runs_here(image.protocol), image.command
    facts = {
        "program": image.program_digest,
        "workload": plan.workload,
        "accelerator": image.executed_by(plan.accelerator).value,
        "machine": f"{machine.kind}, {many(machine.vcpus, 'vCPU')}, {machine.memory_mib} MiB",
        "launch": "fork and exec" if here else plan.launch.value,
        "pinned": ",".join(map(str, machine.pin)) if machine.pin else "no",
        "kernel": image.kernel_version,
        "kernel_sha256": image.kernel_digest,
        "command_line": image.cmdline,
        "image": image.digest,
        "ukperf": ukperf.__version__,
        **{name: host[name] for name in BOOT_FACTS if name in host},
        **conditions,
    }
    if (template := plan.templates.get(guest)) is not None:
        facts |= {"template": template.name, "restored_by": plan.restorer.value}
    if image.protocol is BootProtocol.EXEC:
        facts["machine"] = "this machine itself"
    if command is not None:
        given = templates.all_places((*image.argv, command.json))
        sizes = {"vcpus": many(machine.vcpus, "vCPU"), "memory_mib": f"{machine.memory_mib} MiB"}
        facts["machine"] = ", ".join(["by its recipe", *(size for name, size in sizes.items() if name in given)])
        facts |= {"vmm": command.vmm, "vmm_sha256": command.vmm_sha256}
    return {name: " ".join(value.split()) for name, value in facts.items() if value.strip()}


def with_facts(plan: Plan, records: Sequence[BootRecord]) -> tuple[BootRecord, ...]:
    """Records of a run; those of old journals, which have no facts, get what their plan says."""
    planned: dict[tuple[str, str], dict[str, str]] = {}
    for guest in plan.images:
        for host in plan.hosts:
            known = about(plan, host)
            facts = trial_facts(plan, guest, known, {})
            planned[guest, host] = {**facts, "ukperf": plan.facts.get("ukperf", facts["ukperf"])}

    def of(record: BootRecord) -> Mapping[str, str]:
        guest, first = record.trial.guest, plan.hosts[0]
        return planned.get((guest, record.host)) or planned.get((guest, first), {})

    return tuple(r if r.facts else replace(r, facts=of(r)) for r in records)
