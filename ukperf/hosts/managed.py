"""libvirt's own save and restore of a guest: all of its memory goes through a file that libvirt writes and reads.

Such a guest has one name and one UUID, since libvirt compares both with those in the file.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from ukperf.errors import HostError
from ukperf.hosts.connection import load_libvirt
from ukperf.hosts.gate import open_gate
from ukperf.hosts.saving import point_of, written_of
from ukperf.hosts.template import STATE, Template, file_digest, save
from ukperf.hosts.watch import Watch
from ukperf.model import BootSpec, Event, Restorer

_NAMES = uuid.UUID("6b7f3f1e-8a52-4c1c-9c0b-0d8a2a3f7e11")


def named(spec: BootSpec) -> BootSpec:
    """The boot under the name that its domain has whenever it is saved or restored."""
    return replace(spec, name=f"ukperf-saved-{spec.image.digest[:16]}")


def with_uuid(xml: str, spec: BootSpec) -> str:
    """The domain with the UUID that belongs to its name."""
    domain = ET.fromstring(xml)
    element = ET.Element("uuid")
    element.text = str(uuid.uuid5(_NAMES, spec.name))
    domain.insert(1, element)
    return ET.tostring(domain, encoding="unicode")


def started(connection: Any, spec: BootSpec, xml: str) -> Any:
    """A domain that is there and does not run yet: new, or restored by libvirt itself. Raises libvirt's error."""
    libvirt = load_libvirt()
    if spec.restorer is Restorer.TEMPLATE or spec.template is None:
        return connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
    connection.restoreFlags(str(spec.template / STATE), xml, libvirt.VIR_DOMAIN_SAVE_PAUSED)
    return connection.lookupByName(spec.name)


@dataclass
class Saving:
    """What is done with a guest when its watch is over: it is saved, if it got ready. qemu: version and file."""

    spec: BootSpec
    folder: Path
    qemu: tuple[str, str]
    done: bool = False

    def __call__(self, domain: Any, watch: Watch) -> None:
        """Raises as `save_domain`."""
        if (ready := watch.ready_at()) is not None:
            save_domain(domain, self.spec, self.folder, self.qemu, (ready - watch.events[Event.START]) / 1e9)
            self.done = True


def save_domain(domain: Any, spec: BootSpec, folder: Path, qemu: Sequence[str], took_s: float) -> None:
    """Save a guest that is ready, and open its gate in the file. It is gone then.

    Raises libvirt's error, and HostError where it wrote to its disk: what it wrote is in no file of libvirt's.
    """
    import libvirt_qemu

    domain.suspend()
    told = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute":"query-blockstats"}', 0))
    if written_of(told.get("return")):
        raise HostError(
            f"{spec.image.guest} wrote to its disk before it was ready, and libvirt saves no disk: restored, it would "
            "find its disk as it was before.",
            hint="Leave out --restore-by libvirt: a template has what was written.",
        )
    domain.save(str(folder / STATE))
    gate = None if spec.ready or spec.visitor is not None else open_gate(folder / STATE, pages=False)
    template = Template(
        image=spec.image.digest,
        memory_mib=spec.machine.memory_mib,
        memory_sha256="0" * 64,
        state_sha256=file_digest(folder / STATE),
        qemu=qemu[0],
        qemu_file=qemu[1],
        at=point_of(spec),
        restorer=Restorer.LIBVIRT,
        gate=gate,
        took_s=round(took_s, 6),
    )
    save(folder, template)
