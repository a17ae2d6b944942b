"""The machines of libvirt's hosts: which one a guest gets, and its firmware and console. All pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ukperf.errors import HostError
from ukperf.hosts.connection import is_embedded
from ukperf.model import Machine, MachineKind, Platform

_FIRMWARE = {
    MachineKind.Q35: "SeaBIOS",
    MachineKind.XENHVM: "hvmloader and SeaBIOS",
    MachineKind.MICROVM: "QEMU microvm firmware",
}
_RINGS = (MachineKind.XENPV, MachineKind.XENPVH)  # they have no serial port: their console is shared memory


def fit_machine(uri: str, is_xen: bool, machine: Machine, kinds: Sequence[MachineKind]) -> Machine:
    """The machine that a guest gets on a host: `machine`, its kind made one that the guest boots on there.

    kinds: what the guest boots on, the preferred first. Where the host is Xen, the default kind (q35) becomes the
    guest's preferred Xen kind; a kind that was asked for is never changed.

    Raises:
        HostError: host, guest and kind do not go together.
    """
    if not kinds:
        return machine
    platform = Platform.XEN if is_xen else Platform.QEMU
    here = [kind for kind in kinds if kind.platform is platform]
    kind = here[0] if is_xen and machine.kind is MachineKind.Q35 and here else machine.kind
    if kind in here:
        return replace(machine, kind=kind)
    if not here:
        raise HostError(
            f"It boots on {' and '.join(kinds)} only, which {uri} has not.",
            hint="Leave it out with --guest, or use another host.",
        )
    raise HostError(
        f"A guest that boots on {', '.join(kinds)} cannot be {kind} on {uri}.",
        hint=f"Here it can be: {', '.join(here)}.",
    )


def machine_facts(uri: str, kinds: Mapping[str, MachineKind]) -> dict[str, str]:
    """`firmware` and `console` of guests on a connection. kinds: guest → machine type."""
    return {
        "firmware": ", ".join(dict.fromkeys(_FIRMWARE.get(kind, "none") for kind in kinds.values())),
        "console": _console(uri, kinds),
    }


def _console(uri: str, kinds: Mapping[str, MachineKind]) -> str:
    """What guests write to, and how their bytes reach us."""
    rings = [guest for guest, kind in kinds.items() if kind in _RINGS]
    device = "serial port"
    if rings:
        device = "Xen's console" if len(rings) == len(kinds) else f"Xen's console ({', '.join(rings)}) and serial port"
    return device if is_embedded(uri) else f"{device}, by libvirt stream"
