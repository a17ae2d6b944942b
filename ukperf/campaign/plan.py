"""The plan of a run: everything that decides what is booted, in which order, and when it is enough."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ukperf.errors import UkperfError
from ukperf.model import Accelerator, BootProtocol, Image, Launch, Machine, MachineKind

PLAN = "plan.json"
FORMAT = 1
_IMAGE_PATHS = ("kernel", "initrd", "disk")


@dataclass(frozen=True)
class Limits:
    """When a run is enough: after `boots` blocks, or when ratios are known to ± precision; at most max_time_s."""

    boots: int | None = 20
    precision: float | None = None  # 0.01: ± 1 %
    max_time_s: float | None = None


@dataclass(frozen=True)
class Plan:
    """A run's plan.json. images: guest → image; hosts: libvirt connections, blocks go round them."""

    run_id: str
    created_at: str
    workload: str
    images: Mapping[str, Image]
    baseline: str
    machine: Machine
    accelerator: Accelerator
    launch: Launch
    hosts: tuple[str, ...]
    seed: int
    limits: Limits
    delta: float = 0.01
    timeout_s: float = 120.0
    memory_mib: Mapping[str, int] = field(default_factory=dict)  # guests that need another amount than machine's
    kinds: Mapping[str, MachineKind] = field(default_factory=dict)  # guests whose machine type is not machine's
    shared_path: bool = False
    command: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)  # versions, CPU, … when the run was planned

    @property
    def guests(self) -> tuple[str, ...]:
        return tuple(self.images)

    def machine_of(self, guest: str) -> Machine:
        """The machine that one guest gets."""
        memory = self.memory_mib.get(guest, self.machine.memory_mib)
        return replace(self.machine, memory_mib=memory, kind=self.kinds.get(guest, self.machine.kind))


def save(plan: Plan, folder: Path) -> None:
    """Write plan.json, whole or not at all.

    Raises UkperfError if the folder cannot be written.
    """
    data = {"format": FORMAT, **asdict(plan)}
    draft = folder / f".{PLAN}.{os.getpid()}"
    try:
        draft.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
        draft.replace(folder / PLAN)
    except OSError as error:
        raise UkperfError(f"{folder / PLAN} cannot be written: {error.strerror}.") from error


def load(folder: Path) -> Plan:
    """The plan of a run folder.

    Raises UkperfError if there is none, or it is not ours.
    """
    path = folder / PLAN
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UkperfError(f"{folder} is no run of ukperf: {PLAN} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise UkperfError(f"{path} is damaged: it is no JSON.") from error
    try:
        if data.pop("format") != FORMAT:
            raise UkperfError(
                f"{path} was written by another version of ukperf.", hint="Use that version for this run."
            )
        return _plan(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UkperfError(f"{path} is damaged: {error}.") from error


def _plan(data: dict[str, Any]) -> Plan:
    machine = data.pop("machine")
    return Plan(
        **{
            **data,
            "images": {guest: image_from(value) for guest, value in data["images"].items()},
            "machine": Machine(
                MachineKind(machine["kind"]), machine["memory_mib"], machine["vcpus"], tuple(machine["pin"])
            ),
            "accelerator": Accelerator(data["accelerator"]),
            "launch": Launch(data["launch"]),
            "kinds": {guest: MachineKind(kind) for guest, kind in data.get("kinds", {}).items()},
            "hosts": tuple(data["hosts"]),
            "limits": Limits(**data["limits"]),
            "command": tuple(data["command"]),
        }
    )


def image_from(data: Mapping[str, Any]) -> Image:
    """An Image from its JSON data.

    Raises KeyError, TypeError or ValueError for anything that is none.
    """
    values = {item.name: data[item.name] for item in fields(Image) if item.name in data}
    for name in _IMAGE_PATHS:
        if values.get(name) is not None:
            values[name] = Path(values[name])
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    values["protocol"] = BootProtocol(values["protocol"])
    return Image(**values)
