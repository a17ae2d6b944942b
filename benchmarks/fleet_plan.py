"""What benchmarks of fleets have in common: a plan of two guests that nobody boots."""

from __future__ import annotations

import time

from ukperf.model import Accelerator, BootProtocol, Image, Launch, Limits, Machine, Plan

GUESTS = ("linux", "nanos")


def plan_of(blocks: int, cmdline: str = "") -> Plan:
    """A plan of so many blocks, of a run that no other has the name of."""
    image = Image("linux", "boot", "cd" * 32, "ab" * 32, BootProtocol.KERNEL, cmdline=cmdline)
    return Plan(
        f"{time.time_ns():016x}"[-16:],
        "2026-01-01T00:00:00+00:00",
        "boot",
        dict.fromkeys(GUESTS, image),
        GUESTS[0],
        Machine(),
        Accelerator.TCG,
        Launch.LIBVIRT,
        ("qemu:///embed",),
        1,
        Limits(boots=blocks),
    )
