"""How fast a host executes guests: floor counts there, and no CPU takes many cycles for a turn of its loop."""

from __future__ import annotations

import os

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.hosts.base import Host
from ukperf.hosts.connection import is_local
from ukperf.hosts.truth import COUNT_LOOPS, count_cycles
from ukperf.imaging.programs import count_program
from ukperf.model import Accelerator, BootSpec, Machine, Observation

# The counting loop is two instructions a turn; CPUs need one or two cycles, frequency changes and noise aside.
MAX_LOOP_CYCLES = 8.0
TIMEOUT_S = 120.0


def count_there(host: Host, accelerator: Accelerator) -> tuple[Observation, float | None]:
    """One boot of floor with its counting loop, and the TSC cycles of a turn; None where it gave no figures.

    Raises HostError where floor cannot be booted on this host.
    """
    floor = guests.get("floor")
    machine = host.fit(Machine(memory_mib=floor.recipe.memory_mib), floor.recipe.machines)
    options = BuildOptions(machine.kind, accelerator, remote=not is_local(host.uri))
    image = floor.build(count_program(COUNT_LOOPS), options)
    name = f"ukperf-pace-{os.getpid()}-floor"
    seen = host.boot(BootSpec(image, machine, accelerator, timeout_s=TIMEOUT_S, name=name))
    return seen, count_cycles(seen)


def emulates(host: Host, accelerator: Accelerator) -> bool:
    """Are guests' instructions emulated on a host that has no choice of accelerator? False where nobody can tell."""
    cycles = count_there(host, accelerator)[1]
    return cycles is not None and cycles > MAX_LOOP_CYCLES
