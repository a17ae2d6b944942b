"""Runs a guest program as a process of this machine, to ask it for its own list of what it can do."""

from __future__ import annotations

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.guests.recipes import Role
from ukperf.hosts import this_machine
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Program

TIMEOUT_S = 20.0


def run_here(program: Program) -> Observation:
    """One run. Raises UkperfError where this machine cannot execute guest programs."""
    image = guests.in_role(Role.CONTROL).build(program, BuildOptions(accelerator=Accelerator.NATIVE))
    return this_machine().boot(BootSpec(image, Machine(), Accelerator.NATIVE, timeout_s=TIMEOUT_S, name="ukperf-list"))
