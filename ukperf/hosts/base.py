"""What every host offers: boot one image, tell what was seen. Xen, QEMU, native and the fake are behind this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ukperf.model import BootSpec, Frame, Observation

OnFrame = Callable[[Frame], None]


class Host(Protocol):
    """A place where images boot: a libvirt connection, the machine itself, or a fake."""

    @property
    def uri(self) -> str:
        """The libvirt connection, or `native`, or `fake`."""
        ...

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        """Boot once and watch until the end, at most spec.timeout_s seconds; nothing of the guest is left afterwards.

        Raises HostError only if no trial is possible on this host at all; a guest that fails is an Observation.
        """
        ...

    def facts(self) -> Mapping[str, str]:
        """Name → value: versions, CPU model, kernel … for the record."""
        ...

    def close(self) -> None: ...
