"""What the numbers of a run are: the line under every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ukperf.hosts import machine_facts, runs_here
from ukperf.hosts.base import VMM_FACTS
from ukperf.model import Accelerator, BootRecord, MachineKind, Plan
from ukperf.stats.provenance import facts_over
from ukperf.text import clean, many


def of_host(facts: Mapping[str, str], uri: str) -> dict[str, str]:
    """A further host's facts under the names that they have in a plan."""
    return {f"{name} of {uri}": value for name, value in facts.items()}


def about(plan: Plan, host: str) -> Mapping[str, str]:
    """The plan's facts about one host: the first one's are plain, the others' bear its URI."""
    if host not in plan.hosts[1:] or host == plan.hosts[0]:
        return plan.facts
    end = f" of {host}"
    return {name.removesuffix(end): value for name, value in plan.facts.items() if name.endswith(end)}


def facts_of(plan: Plan, records: Sequence[BootRecord] = (), why: str = "", host: str = "") -> Mapping[str, str]:
    """Name → value, in the order of printing. why: what ended the run; host: the one of several that is spoken of.

    records: the run's boots, whose own facts go before the plan's: it may have been edited, and a run that was resumed
    may have gone on under another version of what runs its guests.
    """
    machine, kinds = plan.machine, _by_guest(plan)
    boots = [record for record in records if not host or record.host == host]
    virtual = [r for r in boots if r.trial.guest in kinds] or _not_by_command(plan, boots) or boots
    seen = facts_over(virtual)
    known = {**machine_facts(host if host in plan.hosts else plan.hosts[0], kinds), **about(plan, host), **seen}
    facts = {
        "accelerator": _accelerator(seen.get("accelerator", plan.accelerator.value)),
        "machine": _machines(plan),
        "firmware": known["firmware"],
        "console": known["console"],
        "launch": seen.get("launch", plan.launch.value),
        "host": host or ", ".join(plan.hosts),
        "seed": str(plan.seed),
        "pinned": seen.get("pinned", ",".join(map(str, machine.pin)) if machine.pin else "no"),
    }
    if len({r.facts.get("machine") for r in virtual}) == 1 and "machine" in seen:
        facts["machine"] = seen["machine"]
    facts |= {f"{name} is": clean(words, 200) for name, words in plan.variants.items()}
    for guest, image in plan.images.items():
        kernel = facts_over(r for r in boots if r.trial.guest == guest).get("kernel", image.kernel_version)
        if kernel:
            facts[f"{guest} kernel"] = kernel
        if guest in plan.templates:
            facts[f"{guest} is"] = plan.facts.get(f"template of {guest}", "restored from a template")
        if image.command is not None:
            facts[f"{guest} command"] = image.command.vmm or image.argv[0]
    for name in (*VMM_FACTS, "left_out"):
        if known.get(name):
            facts[name.replace("_", " ")] = known[name]
    facts["cpu"] = known.get("cpu", "?")
    if known.get("cpu_concerns"):
        facts["cpu limits"] = known["cpu_concerns"]
    if not kinds:
        facts |= {"machine": "this machine itself", "firmware": "none", "console": "socket", "launch": "fork and exec"}
    if why:
        facts["ended"] = f"when {why}"
    return facts


def _by_guest(plan: Plan) -> dict[str, MachineKind]:
    """guest → machine type, without those that need none."""
    virtual = [guest for guest, image in plan.images.items() if not runs_here(image.protocol)]
    return {guest: plan.machine_of(guest).kind for guest in virtual}


def _not_by_command(plan: Plan, boots: Sequence[BootRecord]) -> list[BootRecord]:
    """Boots of guests that no command line of their own boots: what that is, is said for each guest."""
    return [r for r in boots if (image := plan.images.get(r.trial.guest)) is None or image.command is None]


def _machines(plan: Plan) -> str:
    """The machine that all guests have, or what of it is each one's own: on Xen each guest boots as what it can, and
    variants may differ in all of it."""
    guests = list(_by_guest(plan))
    machines = {guest: plan.machine_of(guest) for guest in guests} or {"": plan.machine}
    parts = (
        {guest: str(machine.kind) for guest, machine in machines.items()},
        {guest: many(machine.vcpus, "vCPU") for guest, machine in machines.items()},
        {guest: f"{machine.memory_mib} MiB" for guest, machine in machines.items()},
    )
    return ", ".join(_alike(part) for part in parts)


def _alike(values: Mapping[str, str]) -> str:
    """guest → value, as one value where all have the same."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return " and ".join(f"{guest} {value}" for guest, value in values.items())


def _accelerator(accelerator: str) -> str:
    if accelerator == Accelerator.ICOUNT:
        return "icount (guest instructions = virtual nanoseconds)"
    return accelerator
