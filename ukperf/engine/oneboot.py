"""Single boots outside of a campaign: to find out what a guest can do before it is measured, or instead of it.

The hosts, the accelerator and the images are those that the same Request would get in a campaign.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ukperf import guests
from ukperf.engine.folders import alone
from ukperf.engine.plan import domain_name
from ukperf.engine.session import (
    Say,
    build_images,
    build_options,
    checked,
    decide_accelerator,
    machine_for,
    open_hosts,
)
from ukperf.hosts import this_machine
from ukperf.hosts.base import VMM_FACTS, Host
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Observation, Program, Request


@dataclass(frozen=True)
class OneBoot:
    """An open host with everything decided that a boot needs. images: guest → the request's program in it."""

    request: Request
    host: Host
    accelerator: Accelerator
    images: dict[str, Image]
    run_id: str

    def boot(self, guest: str, program: Program, timeout_s: float, idle_s: float | None = None) -> Observation:
        """Boot `program` in `guest` once; idle_s: a guest that says nothing for so long hangs.

        Raises UkperfError for what keeps the image from being built.
        """
        image = self.image(guest, program)
        machine = replace(
            machine_for(self.request, guest, self.host),
            memory_mib=self.request.memory_mib.get(guest, self.request.machine.memory_mib),
        )
        spec = BootSpec(
            image=image,
            machine=machine,
            accelerator=self.accelerator,
            launch=self.request.launch,
            timeout_s=timeout_s,
            idle_s=idle_s,
            run_id=self.run_id,
            name=domain_name(self.run_id, guest),
        )
        host = this_machine() if image.protocol is BootProtocol.EXEC else self.host
        return host.boot(spec)

    def image(self, guest: str, program: Program) -> Image:
        """This guest with this program, from the cache."""
        kind = machine_for(self.request, guest, self.host).kind
        return guests.get(guest).build(program, build_options(self.request, self.accelerator, guest, kind, self.host))

    def context(self, guest: str) -> Sequence[str]:
        """What an answer may depend on besides kernel and program."""
        machine = machine_for(self.request, guest, self.host)
        context = (self.accelerator.value, machine.kind.value, str(machine.vcpus))
        if self.host.here or guests.get(guest).recipe.protocol is BootProtocol.EXEC:
            return context
        # By its name, not by the way to it.
        facts = self.host.facts()
        return (*context, *(facts.get(name, "") for name in ("hostname", *VMM_FACTS)))


@contextmanager
def single_boots(request: Request, say: Say, *, exact: bool = True) -> Iterator[OneBoot]:
    """The first host of a request, opened for single boots; another campaign on this machine is refused meanwhile.

    exact: False where only the answers count: then `auto` falls back to plain TCG, which is several times faster than
    icount. Raises UkperfError as a campaign would.
    """
    run_id = secrets.token_hex(8)
    request = checked(request)
    with alone(request.share_host), open_hosts(request.connect[:1], run_id, request.shared_path) as hosts:
        host = next(iter(hosts.values()))
        accelerator, _ = decide_accelerator(request.accelerator, host)
        if not exact and request.accelerator is Accelerator.AUTO and accelerator is Accelerator.ICOUNT:
            accelerator = Accelerator.TCG
        yield OneBoot(request, host, accelerator, build_images(request, accelerator, say, host), run_id)
