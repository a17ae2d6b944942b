"""From what a person asked for to a finished run: hosts opened, accelerator decided, images built, trials run.

Every measuring command goes through here: it makes a Request, calls `start` (or `resume`), and gets the records.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import ukperf
from ukperf.engine import plan as plans
from ukperf.engine.bootfiles import digests_of, refuse_others
from ukperf.engine.counting import refuse_counting
from ukperf.engine.facts import of_host
from ukperf.engine.fleetrun import going_on, on_another, over_all, refuse_crowded, refuse_unspreadable, run_spread
from ukperf.engine.folders import alone, locked, run_folder, write_beside
from ukperf.engine.journal import JOURNAL, Contents, Journal, read_journal
from ukperf.engine.provenance import trial_facts
from ukperf.engine.restored import refuse_lost, with_restored, with_templates
from ukperf.engine.runner import Observer, Reader, Runner, Silent
from ukperf.engine.setting import Lineup, checked, one_accelerator, open_hosts, refuse_several_cpus, say_truth, settle
from ukperf.files import clear_drafts
from ukperf.hosts import remains, runs_here, this_machine
from ukperf.hosts.base import Host
from ukperf.hosts.noise import cpu_concerns
from ukperf.imaging.cache import Cache
from ukperf.model import (
    BALANCED,
    RESTORED,
    Accelerator,
    BootRecord,
    Image,
    MachineKind,
    Plan,
    Request,
    Result,
    Visitor,
)
from ukperf.stats.provenance import since
from ukperf.text import Say


def silent(_sentence: str) -> None:
    """For who wants to hear nothing."""


def start(
    request: Request,
    *,
    say: Say,
    observer: Observer | None = None,
    enough: Callable[[Sequence[BootRecord]], bool] | None = None,
    read: Reader | None = None,
    visitor: Visitor | None = None,
) -> Result:
    """Plan and run. say gets sentences about decisions (which accelerator, which guests are missing). read: what else a
    boot tells, besides what the guest's frames say. visitor: what is done with a guest's port while it runs.

    Raises UkperfError for everything that keeps the run from starting or going on; the journal keeps what was measured.
    """
    run_id = secrets.token_hex(8)
    lineup = checked(request)
    request = lineup.request
    refuse_unspreadable(request)
    with ExitStack() as stack:
        stack.enter_context(alone(request.share_host))
        hosts = stack.enter_context(open_hosts(request.connect, run_id, request.shared_path))
        plan = make_plan(lineup, run_id, tuple(hosts.values()), say)
        refuse_crowded(plan, request.share_host)
        plan = with_templates(plan, request.restores, tuple(hosts.values()), visitor, say)
        folder = stack.enter_context(run_folder(request.folder, plan))
        for name, text in request.beside.items():
            write_beside(folder / name, text)
        plans.save(plan, folder)
        if plan.scheduler:
            return run_spread(plan, folder, [], observer, say, alone=not request.share_host)
        return _run(plan, folder, hosts, [], enough or partial(precise, plan), observer, read, visitor)


def resume(
    folder: Path,
    *,
    observer: Observer | None = None,
    enough: Callable[[Sequence[BootRecord]], bool] | None = None,
    share_host: bool = False,
    say: Say = silent,
    read: Reader | None = None,
    visitor: Visitor | None = None,
    scheduler: str = "",
) -> Result:
    """Go on with a run where it was broken off. say gets a sentence about what changed meanwhile. read, visitor: as for
    `start`. scheduler: another fleet's, for the rest of the run.

    Raises UkperfError if the folder is no run, or its images are gone or others, or there is something left to do and
    this user's ukperf did not write its plan.
    """
    plan = on_another(plans.load(folder), scheduler)
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        contents = read_journal(folder / JOURNAL) if (folder / JOURNAL).exists() else Contents((), ())
        records = list(contents.records)
        rule = enough or (over_all(plan) if plan.scheduler else partial(precise, plan))
        remains.clear()
        clear_drafts(folder)
        why = Runner(plan, folder, {}, this_machine, None, rule, records=records).ended()
        if why is not None:
            return Result(folder, plan, contents.records, why, contents.damaged)
        plans.refuse_foreign(folder)
        refuse_lost(plan, Cache())
        refuse_others(plan.images.values(), plan.files, Cache().digests, plan.command)
        stack.enter_context(alone(share_host))
        if plan.scheduler:
            if scheduler:
                refuse_crowded(plan, share_host)
            result = run_spread(plan, folder, records, observer, say, alone=not share_host)
            return replace(result, damaged=contents.damaged)
        hosts = stack.enter_context(open_hosts(plan.hosts, plan.run_id, plan.shared_path))
        for sentence in _since_last_boot(plan, records, hosts):
            say(sentence)
        return replace(_run(plan, folder, hosts, records, rule, observer, read, visitor), damaged=contents.damaged)


def _since_last_boot(plan: Plan, records: Sequence[BootRecord], hosts: Mapping[str, Host]) -> list[str]:
    """What the boots to come will not have in common with the last ones: each record says under what it ran."""
    said: dict[str, None] = {}
    for guest in plan.guests:
        mine = [record for record in records if record.trial.guest == guest and record.facts]
        for uri, host in hosts.items():
            before = next((record.facts for record in reversed(mine) if record.host == uri), None)
            if before is not None and not runs_here(plan.images[guest].protocol):
                now = trial_facts(plan, guest, host.facts(), host.conditions())
                said |= dict.fromkeys(since(before, now))
    return [f"Since the run's last boot, {phrase}." for phrase in said]


def _run(
    plan: Plan,
    folder: Path,
    hosts: Mapping[str, Host],
    records: list[BootRecord],
    enough: Callable[[Sequence[BootRecord]], bool],
    observer: Observer | None,
    read: Reader | None,
    visitor: Visitor | None,
) -> Result:
    with going_on(folder), Journal(folder / JOURNAL) as journal:
        runner = Runner(
            plan,
            folder,
            hosts,
            this_machine,
            journal,
            enough,
            observer or Silent(),
            records,
            read=read,
            visitor=visitor,
        )
        why = runner.run()
    return Result(folder, plan, tuple(runner.records), why)


def precise(plan: Plan, records: Sequence[BootRecord]) -> bool:
    """The stopping rule of --precision: widths of intervals only, on each host by itself, as they are shown."""
    if plan.limits.precision is None:
        return False
    from ukperf.stats.precision import precise_enough
    from ukperf.stats.summary import by_host

    hosts = by_host(records)
    return bool(hosts) and all(
        precise_enough(mine, baseline=plan.baseline, precision=plan.limits.precision) for mine in hosts.values()
    )


def make_plan(lineup: Lineup, run_id: str, hosts: Sequence[Host], say: Say) -> Plan:
    """Decide the accelerator and the settings, which builds their images.

    Raises UkperfError if a named guest is missing something, or no guest is left, or the hosts are not of one kind.
    """
    request = lineup.request
    accelerator, truth = one_accelerator(request.accelerator, hosts)
    say_truth(truth, request.accelerator, say)
    refuse_several_cpus(request.machine, accelerator)
    for host in hosts if request.fleet is not None else ():
        host.check_fleet()
    if request.counted:
        refuse_counting(request, accelerator, hosts)
    concerns = _concerns(request, accelerator, hosts)
    for concern in concerns:
        say(f"{concern[0].upper()}{concern[1:]}.")
    settled = {setting.name: setting for setting in settle(lineup, accelerator, hosts[0], say)}
    settings = with_restored(settled, request, accelerator, say)
    images = {name: setting.image for name, setting in settings.items()}
    kinds = {name: setting.machine.kind for name, setting in settings.items()}
    own_memory = {*request.memory_mib, *(name for name, variant in request.variants.items() if variant.memory_mib)}
    virtual = {name: kind for name, kind in kinds.items() if not runs_here(images[name].protocol)}
    return Plan(
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        workload=request.workload or request.program.workload,
        parameters=request.parameters,
        phases=request.phases,
        images=images,
        baseline=_baseline(request, images, say),
        machine=request.machine,
        accelerator=accelerator,
        launch=request.launch,
        hosts=request.connect,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        limits=request.limits,
        delta=request.delta,
        timeout_s=request.timeout_s,
        memory_mib={name: s.machine.memory_mib for name, s in settings.items() if _booted(name) in own_memory},
        kinds=kinds,
        vcpus={name: vcpus for name in settings if (vcpus := _vcpus(request, name))},
        cold=request.cold,
        counted=request.counted,
        stacks=request.stacks,
        listening=request.listening,
        network=request.network,
        fleet=request.fleet,
        scheduler=request.scheduler,
        strata=request.strata,
        variants={name: words for name in settings if (words := _words(request, name))},
        shared_path=request.shared_path,
        schedule=BALANCED,
        command=request.command,
        files=digests_of(images.values(), Cache().digests, trees=bool(request.scheduler)),
        facts={
            "ukperf": ukperf.__version__,
            **_facts(hosts, virtual),
            **({"cpu_concerns": "; ".join(concerns)} if concerns else {}),
        },
    )


def _booted(name: str) -> str:
    """The setting that is booted, of one that is restored."""
    return name.removesuffix(RESTORED)


def _words(request: Request, name: str) -> str:
    """What a variant is, as it was typed."""
    variant = request.variants.get(_booted(name))
    return "" if variant is None else variant.words


def _vcpus(request: Request, name: str) -> int | None:
    variant = request.variants.get(_booted(name))
    return None if variant is None else variant.vcpus


def _concerns(request: Request, accelerator: Accelerator, hosts: Sequence[Host]) -> list[str]:
    """What may keep guests from having a CPU to themselves, where they run on those of this process."""
    if accelerator is Accelerator.ICOUNT or not all(host.ours for host in hosts):
        return []
    return list(cpu_concerns(request.machine))


def _baseline(request: Request, images: Mapping[str, Image], say: Say) -> str:
    """What the others are divided by: what was asked for, or the first guest where that is not among them."""
    if request.added in images:
        say(f"{request.added} is booted too: it is the baseline of all ratios (--baseline names another).")
    for name in (request.baseline, request.baseline + RESTORED):
        if name in images:
            return name
    first = next(iter(images))
    say(f"{request.baseline} is not among the guests, so the others are divided by {first}.")
    return first


def _facts(hosts: Sequence[Host], kinds: Mapping[str, MachineKind]) -> dict[str, str]:
    """What the hosts say of themselves, and of the machines of guests (guest → machine type)."""
    first, *others = ({**host.facts(), **host.machine_facts(kinds)} for host in hosts)
    for host, other in zip(hosts[1:], others, strict=True):
        first |= of_host(other, host.uri)
    return first
