"""Boots outside of a campaign, as the engine lends them to workloads: to find out before, instead of, or after it.

Hosts, accelerator and images are those that the same Request would get in a campaign.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ukperf.engine.folders import alone
from ukperf.engine.plan import domain_name, refuse_foreign, spec_of
from ukperf.engine.session import make_plan
from ukperf.engine.setting import Setting, checked, decide_accelerator, one_accelerator, open_hosts, say_truth, settle
from ukperf.errors import UkperfError
from ukperf.hosts import booting
from ukperf.hosts.base import VMM_FACTS, Host
from ukperf.model import (
    Accelerator,
    Image,
    Observation,
    Plan,
    Program,
    Request,
    Result,
)
from ukperf.text import Say
from ukperf.workloads.base import Outlook


@dataclass(frozen=True)
class OpenBoots:
    """A host that is open for single boots. settings: guest → all that its boots have in common."""

    request: Request
    accelerator: Accelerator
    settings: Mapping[str, Setting]
    run_id: str

    @property
    def images(self) -> dict[str, Image]:
        """guest → the request's program in it."""
        return {name: setting.image for name, setting in self.settings.items()}

    def boot(self, guest: str, program: Program, timeout_s: float, idle_s: float | None = None) -> Observation:
        """Boot `program` in `guest` once; idle_s: a guest that says nothing for so long hangs.

        Raises UkperfError for what keeps the image from being built.
        """
        setting = self.settings[guest].running(program)
        spec = setting.spec(self.run_id, timeout_s=timeout_s)
        kept = self.request.listening
        spec = replace(spec, idle_s=idle_s, keep_output=kept.keep or None, console_limit=kept.limit)
        return setting.host.boot(spec)

    def context(self, guest: str) -> Sequence[str]:
        """What an answer may depend on besides kernel and program."""
        setting = self.settings[guest]
        machine = setting.machine
        context = (self.accelerator.value, machine.kind.value, str(machine.vcpus))
        if setting.host.here:
            return context
        # By its name, not by the way to it.
        facts = setting.host.facts()
        return (*context, *(facts.get(name, "") for name in ("hostname", *VMM_FACTS)))


@dataclass(frozen=True)
class PlannedBoots:
    """A plan's hosts, open for boots of its images with another memory."""

    plan: Plan
    host: Host

    def boot(self, guest: str, memory_mib: int, timeout_s: float) -> Observation:
        """Boot a guest of the plan once."""
        spec = spec_of(self.plan, guest, timeout_s=timeout_s)
        machine = replace(spec.machine, memory_mib=memory_mib)
        name = f"{domain_name(self.plan.run_id, guest)}-{memory_mib}"
        return booting(spec.image.protocol, self.host).boot(replace(spec, machine=machine, name=name))


@contextmanager
def single_boots(request: Request, say: Say, *, exact: bool = True) -> Iterator[OpenBoots]:
    """The first host of a request, opened for single boots: see `Bench.boots`."""
    run_id, lineup = secrets.token_hex(8), checked(request)
    request = lineup.request
    with alone(request.share_host), open_hosts(request.connect[:1], run_id, request.shared_path) as hosts:
        host = next(iter(hosts.values()))
        accelerator, _ = decide_accelerator(request.accelerator, host)
        if not exact and request.accelerator is Accelerator.AUTO and accelerator is Accelerator.ICOUNT:
            accelerator = Accelerator.TCG
        settings = {setting.name: setting for setting in settle(lineup, accelerator, host, say)}
        yield OpenBoots(request, accelerator, settings, run_id)


@contextmanager
def planned_boots(request: Request, say: Say) -> Iterator[PlannedBoots]:
    """A plan as a campaign would make it, and its first host. Raises UkperfError for one of many machines."""
    if request.scheduler:
        raise UkperfError("This is found out on one machine, and --fleet has several.", hint="Leave out --fleet.")
    run_id, lineup = secrets.token_hex(8), checked(request)
    request = lineup.request
    with alone(request.share_host), open_hosts(request.connect, run_id, request.shared_path) as hosts:
        plan = make_plan(lineup, run_id, tuple(hosts.values()), say)
        yield PlannedBoots(plan, hosts[plan.hosts[0]])


@contextmanager
def boots_again(result: Result, share_host: bool) -> Iterator[PlannedBoots]:
    """The first host of a run that is over. Raises UkperfError for plans of others: booting executes them."""
    plan = result.plan
    refuse_foreign(result.folder)
    with alone(share_host), open_hosts(plan.hosts[:1], plan.run_id, plan.shared_path) as hosts:
        yield PlannedBoots(plan, next(iter(hosts.values())))


def outlook(request: Request, say: Say) -> Outlook:
    """The accelerator that all hosts of a request have in common, and which of them are elsewhere."""
    request = checked(request).request
    with open_hosts(request.connect) as hosts:
        accelerator, truth = one_accelerator(request.accelerator, tuple(hosts.values()))
        elsewhere = tuple(uri for uri, host in hosts.items() if not host.here)
    say_truth(truth, request.accelerator, say)
    return Outlook(accelerator, elsewhere)
