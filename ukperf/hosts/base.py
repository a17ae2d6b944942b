"""What every host offers: boot one image, tell what was seen. Xen, QEMU, native and the fake are behind this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ukperf.model import Accelerator, BootSpec, Frame, Machine, MachineKind, Observation

OnFrame = Callable[[Frame], None]


class Host(Protocol):
    """A place where images boot: a libvirt connection, the machine itself, or a fake."""

    @property
    def uri(self) -> str:
        """The libvirt connection, or `native`, or `fake`."""
        ...

    @property
    def only_accelerator(self) -> Accelerator | None:
        """The accelerator of every guest here, None where there is a choice."""
        ...

    @property
    def here(self) -> bool:
        """Are guests processes of this machine, which sees their files as we do and whose load is ours to read?"""
        ...

    def fit(self, machine: Machine, kinds: Sequence[MachineKind]) -> Machine:
        """The machine that a guest gets here; kinds: what it boots on, the preferred first, none: no machine.

        Raises HostError where host, guest and machine do not go together.
        """
        ...

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        """Boot once and watch until the end, at most spec.timeout_s seconds; nothing of the guest is left afterwards.

        Raises HostError only if no trial is possible on this host at all; a guest that fails is an Observation.
        """
        ...

    def facts(self) -> Mapping[str, str]:
        """Name → value: versions, CPU model, kernel … for the record."""
        ...

    def conditions(self) -> Mapping[str, str]:
        """Name → value: what may change from boot to boot, like the governor. Asked at every boot, so it is cheap."""
        ...

    def changed(self) -> str:
        """A sentence if what runs the guests is no longer what it was when this host was opened; else nothing."""
        ...

    def close(self) -> None: ...
