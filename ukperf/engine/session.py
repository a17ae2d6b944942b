"""From what a person asked for to a finished run: hosts opened, accelerator decided, images built, trials run.

Every measuring command goes through here: it makes a Request, calls `start` (or `resume`), and gets the records.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from pathlib import Path

import ukperf
from ukperf import guests, signals
from ukperf.engine import plan as plans
from ukperf.engine.bootfiles import digests_of, refuse_others
from ukperf.engine.facts import of_host
from ukperf.engine.folders import alone, locked, refuse_used, run_folder, write_beside
from ukperf.engine.journal import JOURNAL, Contents, Journal, read_journal
from ukperf.engine.provenance import trial_facts
from ukperf.engine.record import CHECK_MS, counted
from ukperf.engine.runner import Observer, Runner, Silent
from ukperf.errors import HostError, Interrupted, UkperfError
from ukperf.files import clear_drafts
from ukperf.guests.base import BuildOptions, Guest
from ukperf.guests.recipes import Joins, Role
from ukperf.hosts import DEFAULT, THIS_MACHINE, open_host, remains, this_machine
from ukperf.hosts.base import Host
from ukperf.hosts.noise import cpu_concerns
from ukperf.hosts.truth import COUNT_LOOPS, Truth, check_kvm
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import count_program
from ukperf.model import (
    BALANCED,
    Accelerator,
    BootProtocol,
    BootRecord,
    Image,
    Machine,
    MachineKind,
    Plan,
    Program,
    Request,
    Result,
    kind_of,
)
from ukperf.stats.provenance import since
from ukperf.text import shell

Say = Callable[[str], None]


def silent(_sentence: str) -> None:
    """For who wants to hear nothing."""


@contextmanager
def open_hosts(uris: Sequence[str], run_id: str = "", shared_path: bool = False) -> Iterator[dict[str, Host]]:
    """All hosts of a run, by URI.

    Raises HostError if one of them cannot be opened, or what runs its guests is missing on this machine.
    """
    with ExitStack() as stack:
        yield {uri: stack.enter_context(open_host(uri, run_id, shared_path=shared_path)) for uri in dict.fromkeys(uris)}


def decide_accelerator(asked: Accelerator, host: Host, *, fresh: bool = False) -> tuple[Accelerator, Truth | None]:
    """What was asked for, `auto` being the host's first choice; KVM only where it is true, else the host's next choice.

    Raises UkperfError for an accelerator that this host has not, and where nothing but an untrue KVM is left.
    """
    has = tuple(host.accelerators)
    chosen = has[0] if asked is Accelerator.AUTO else asked
    if chosen not in has:
        raise UkperfError(
            f"{host.uri} runs guests by {' or '.join(has)}, so not by {asked}.", hint="Leave out --accel."
        )
    if chosen is not Accelerator.KVM:
        return chosen, None
    truth = truth_about(host, fresh=fresh)
    if truth.believed:
        return chosen, truth
    others = [other for other in has if other is not Accelerator.KVM]
    if not others:
        raise UkperfError(truth.sentence, hint=truth.advice or None)
    return others[0], truth


def one_accelerator(asked: Accelerator, hosts: Sequence[Host]) -> tuple[Accelerator, Truth | None]:
    """What all hosts of a run execute guests by; the truth is that about the first.

    Raises UkperfError as `decide_accelerator` does, and where they differ.
    """
    accelerator, truth = decide_accelerator(asked, hosts[0])
    for other in hosts[1:]:
        theirs, _ = decide_accelerator(asked, other)
        if theirs is not accelerator:
            raise UkperfError(
                f"{hosts[0].uri} runs guests by {accelerator}, {other.uri} by {theirs}: one run has one accelerator.",
                hint="Name one with --accel that both have, or make a run for each host.",
            )
    return accelerator, truth


def truth_about(host: Host, *, fresh: bool = False) -> Truth:
    """The truth check with the guest that probes hosts and its control, built as needed."""
    program = count_program(COUNT_LOOPS)
    probe = guests.in_role(Role.PROBE).build(program, BuildOptions(accelerator=Accelerator.KVM))
    control = guests.in_role(Role.CONTROL).build(program, BuildOptions(accelerator=Accelerator.NATIVE))
    return check_kvm(host, this_machine(), probe, control, fresh=fresh)


def start(
    request: Request,
    *,
    say: Say,
    observer: Observer | None = None,
    enough: Callable[[Sequence[BootRecord]], bool] | None = None,
) -> Result:
    """Plan and run. say gets sentences about decisions (which accelerator, which guests are missing).

    Raises UkperfError for everything that keeps the run from starting or going on; the journal keeps what was measured.
    """
    run_id = secrets.token_hex(8)
    request = checked(request)
    with ExitStack() as stack:
        stack.enter_context(alone(request.share_host))
        hosts = stack.enter_context(open_hosts(request.connect, run_id, request.shared_path))
        plan = make_plan(request, run_id, tuple(hosts.values()), say)
        folder = stack.enter_context(run_folder(request.folder, plan))
        for name, text in request.beside.items():
            write_beside(folder / name, text)
        plans.save(plan, folder)
        return _run(plan, folder, hosts, [], enough or partial(precise, plan), observer)


def resume(
    folder: Path,
    *,
    observer: Observer | None = None,
    enough: Callable[[Sequence[BootRecord]], bool] | None = None,
    share_host: bool = False,
    say: Say = silent,
) -> Result:
    """Go on with a run where it was broken off. say gets a sentence about what changed meanwhile.

    Raises UkperfError if the folder is no run, or its images are gone or others, or there is something left to do and
    this user's ukperf did not write its plan.
    """
    plan = plans.load(folder)
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        contents = read_journal(folder / JOURNAL) if (folder / JOURNAL).exists() else Contents((), ())
        records = list(contents.records)
        rule = enough or partial(precise, plan)
        remains.clear()
        clear_drafts(folder)
        why = Runner(plan, folder, {}, this_machine(), None, rule, records=records).ended()
        if why is not None:
            return Result(folder, plan, contents.records, why, contents.damaged)
        plans.refuse_foreign(folder)
        refuse_others(plan.images.values(), plan.files, Cache().digests, plan.command)
        stack.enter_context(alone(share_host))
        hosts = stack.enter_context(open_hosts(plan.hosts, plan.run_id, plan.shared_path))
        for sentence in _since_last_boot(plan, records, hosts):
            say(sentence)
        return replace(_run(plan, folder, hosts, records, rule, observer), damaged=contents.damaged)


def _since_last_boot(plan: Plan, records: Sequence[BootRecord], hosts: Mapping[str, Host]) -> list[str]:
    """What the boots to come will not have in common with the last ones: each record says under what it ran."""
    said: dict[str, None] = {}
    for guest in plan.guests:
        mine = [record for record in records if record.trial.guest == guest and record.facts]
        for uri, host in hosts.items():
            before = next((record.facts for record in reversed(mine) if record.host == uri), None)
            native = plan.images[guest].protocol is BootProtocol.EXEC
            if before is not None and not native:
                now = trial_facts(plan, guest, host.facts(), host.conditions())
                said |= dict.fromkeys(since(before, now))
    return [f"Since the run's last boot, {phrase}." for phrase in said]


def checked(request: Request) -> Request:
    """The request, with what it leaves open of hosts and baseline, its names looked up before anything slow begins;
    no VM host where all guests are programs.

    Raises UkperfError for unknown guests, for kernels of programs, and for a folder that holds a run.
    """
    request = replace(request, connect=request.connect or (DEFAULT,), baseline=request.baseline or guests.baseline())
    for name in (*request.guests, request.baseline, *request.kernels, *request.cmdlines, *request.variants.values()):
        if name not in request.variants:
            guests.get(name).check_version()  # both raise, with the name that was perhaps meant
    _refuse_odd_kernels(request)
    if request.folder is not None:
        refuse_used(request.folder)
    kinds = [request.variants.get(name, name) for name in (*request.guests, *request.variants)]
    if request.guests and all(guests.get(kind).recipe.protocol is BootProtocol.EXEC for kind in kinds):
        return replace(request, connect=(THIS_MACHINE,))
    return request


def _refuse_odd_kernels(request: Request) -> None:
    """Raises UkperfError for --kernel and --append of programs of this machine, which nobody would read, and for a
    --kernel of a guest whose kernel is chosen by its version."""
    chosen = next((name for name in request.kernels if guests.get(name).version), None)
    if chosen is not None:
        kind = kind_of(chosen)
        raise UkperfError(
            f"{chosen} is a kernel of the store, and --kernel names a file.",
            hint=f"Write --guest {kind} --kernel {kind}=FILE.",
        )
    for option, named in (("--kernel", request.kernels), ("--append", request.cmdlines)):
        for name in named:
            if guests.get(name).recipe.protocol is BootProtocol.EXEC:
                raise UkperfError(
                    f"{option} {name}=… means nothing: {name} is a program on this machine, and has its kernel.",
                    hint=f"Leave out {option} {name}=….",
                )


def _run(
    plan: Plan,
    folder: Path,
    hosts: Mapping[str, Host],
    records: list[BootRecord],
    enough: Callable[[Sequence[BootRecord]], bool],
    observer: Observer | None,
) -> Result:
    kept = f"What was measured is kept. Go on with: ukperf resume {shell(folder)}"
    with Journal(folder / JOURNAL) as journal:
        runner = Runner(plan, folder, hosts, this_machine(), journal, enough, observer or Silent(), records)
        try:
            why = runner.run()
        except HostError as error:
            raise HostError(
                error.message,
                hint=f"{error.hint or ''} {kept}".strip(),
            ) from error
        except KeyboardInterrupt as end:
            number = end.number if isinstance(end, signals.Ended) else signal.SIGINT
            raise Interrupted(signals.sentence(number), hint=kept, exit_status=signals.status_of(number)) from None
        except OSError as error:
            raise UkperfError(
                f"The run stopped: {error.strerror or error} ({error.filename or folder}).",
                hint=kept,
            ) from error
    return Result(folder, plan, tuple(runner.records), why)


def precise(plan: Plan, records: Sequence[BootRecord]) -> bool:
    """The stopping rule of --precision: widths of intervals only."""
    if plan.limits.precision is None:
        return False
    from ukperf.stats.precision import precise_enough

    return precise_enough(records, baseline=plan.baseline, precision=plan.limits.precision)


def make_plan(request: Request, run_id: str, hosts: Sequence[Host], say: Say) -> Plan:
    """Decide the accelerator and the guests, and build the images.

    Raises UkperfError if a named guest is missing something, or no guest is left, or the hosts are not of one kind.
    """
    host = hosts[0]
    accelerator, truth = one_accelerator(request.accelerator, hosts)
    if truth is not None and (not truth.believed or request.accelerator is Accelerator.AUTO):
        say(truth.sentence + ("" if truth.believed else " Figures are guest instructions (icount), not seconds."))
        if truth.advice:
            say(truth.advice)
    refuse_several_cpus(request.machine, accelerator)
    counted_only = accelerator is Accelerator.ICOUNT
    concerns = [] if counted_only or not all(host.ours for host in hosts) else cpu_concerns(request.machine)
    for concern in concerns:
        say(f"{concern[0].upper()}{concern[1:]}.")
    images = build_images(request, accelerator, say, host)
    if request.added in images:
        say(f"{request.added} is booted too: it is the baseline of all ratios (--baseline names another).")
    baseline = request.baseline
    if baseline not in images:
        baseline = next(iter(images))
        say(f"{request.baseline} is not among the guests, so the others are divided by {baseline}.")
    kinds = {name: machine_for(request, request.variants.get(name, name), host).kind for name in images}
    return Plan(
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        workload=request.workload or request.program.workload,
        parameters=request.parameters,
        phases=request.phases,
        images=images,
        baseline=baseline,
        machine=request.machine,
        accelerator=accelerator,
        launch=request.launch,
        hosts=request.connect,
        seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
        limits=request.limits,
        delta=request.delta,
        timeout_s=request.timeout_s,
        memory_mib=request.memory_mib,
        kinds=kinds,
        shared_path=request.shared_path,
        schedule=BALANCED,
        command=request.command,
        files=digests_of(images.values(), Cache().digests),
        facts={
            "ukperf": ukperf.__version__,
            **_facts(hosts, {name: kinds[name] for name in images if images[name].protocol is not BootProtocol.EXEC}),
            **({"cpu_concerns": "; ".join(concerns)} if concerns else {}),
        },
    )


def refuse_several_cpus(machine: Machine, accelerator: Accelerator) -> None:
    """Raises UkperfError for more than one virtual CPU under icount: there QEMU runs them by turns of one clock, Linux
    waits for ever for its second CPU and nanos crashes (seen in every boot)."""
    if accelerator is Accelerator.ICOUNT and machine.vcpus > 1:
        raise UkperfError(
            f"Guests do not boot with {machine.vcpus} virtual CPUs under icount.",
            hint="Use --vcpus 1, or --accel tcg, whose figures are seconds of an emulator.",
        )


def _facts(hosts: Sequence[Host], kinds: Mapping[str, MachineKind]) -> dict[str, str]:
    """What the hosts say of themselves, and of the machines of guests (guest → machine type)."""
    first, *others = ({**host.facts(), **host.machine_facts(kinds)} for host in hosts)
    for host, other in zip(hosts[1:], others, strict=True):
        first |= of_host(other, host.uri)
    return first


def build_options(
    request: Request, accelerator: Accelerator, guest: str, kind: MachineKind, host: Host
) -> BuildOptions:
    """What one guest's image depends on in this request, on this host."""
    return BuildOptions(
        machine=kind,
        accelerator=accelerator,
        kernel=request.kernels.get(guest),
        cmdline=request.cmdlines.get(guest, ""),
        remote=not host.here,
    )


def machine_for(request: Request, guest: str, host: Host) -> Machine:
    """The machine that a guest gets on a host: the request's, of a kind that both can be.

    Raises HostError where there is none, or the guest would run on another machine than the rest.
    """
    kinds = guests.get(guest).recipe.machines
    if not kinds and not host.here:
        raise HostError(
            f"{guest} runs on this machine and the others on {host.uri}, so they cannot be compared.",
            hint=f"Leave {guest} out.",
        )
    return host.fit(request.machine, kinds)


def build_images(request: Request, accelerator: Accelerator, say: Say, host: Host) -> dict[str, Image]:
    """guest → image. A guest that was named must be there; a default one that is not is left out with a sentence."""
    named = tuple(dict.fromkeys(request.guests))
    wanted = named or default_guests(request, accelerator)
    images: dict[str, Image] = {}
    for name in (*wanted, *request.variants):
        kind = request.variants.get(name, name)
        guest = guests.get(kind)
        try:
            machine = machine_for(request, kind, host)
        except HostError as error:
            if named:
                raise
            say(f"{name} is left out: {error.message}")
            continue
        options = build_options(request, accelerator, kind, machine.kind, host)
        availability = guest.availability(options)
        if choice := guest.choice(options):
            say(choice)
        optional = not named and guest.recipe.joins is not Joins.ALWAYS
        if not availability.ok and optional:
            say(f"{name} is left out: {availability.sentence}" + (f" {availability.hint}" if availability.hint else ""))
            continue
        if not availability.ok and guest.fetches and options.kernel is None:
            say(guest.obtain())
        elif not availability.ok:
            raise UkperfError(availability.sentence, hint=availability.hint)
        try:
            if guest.recipe.protocol is not BootProtocol.EXEC:
                _check_memory(request, guest, name, options)
            images[name] = guest.build(_program(request, name, guest.recipe.protocol, accelerator), options)
        except UkperfError as error:
            if not optional:
                raise
            say(f"{name} is left out: {error.message}")
    if not images:
        raise UkperfError("There is no guest to boot.", hint="`ukperf doctor` says what is missing.")
    _say_same_kernels({name: image for name, image in images.items() if name not in request.variants}, say)
    unknown = (set(request.kernels) | set(request.cmdlines)) - set(images)
    if unknown:
        raise UkperfError(f"{', '.join(sorted(unknown))}: named by --kernel or --append, but not among the guests.")
    return images


def _check_memory(request: Request, guest: Guest, name: str, options: BuildOptions) -> None:
    try:
        guest.check_memory(request.memory_mib.get(name, request.machine.memory_mib), options)
    except UkperfError as error:
        if name != request.added:
            raise
        others = [other for other in request.guests if other != name]
        raise UkperfError(
            f"{error.message} It is the baseline, which is always included.",
            hint=f"Use more --memory, or another baseline: --baseline {others[0] if others else 'GUEST'}",
        ) from error


def _say_same_kernels(images: Mapping[str, Image], say: Say) -> None:
    for (one, image), (other, same) in combinations(images.items(), 2):
        if image.kernel_digest and image.digest == same.digest:
            say(f"{one} and {other} are the same kernel: what differs between them is chance.")


def _program(request: Request, name: str, protocol: BootProtocol, accelerator: Accelerator) -> Program:
    """The request's program with the words for one guest."""
    words = (*request.program.argv, *request.arguments.get(name, ()))
    if request.check_clocks:
        words += (f"clock={CHECK_MS[counted(accelerator, protocol)]}",)
    return replace(request.program, argv=words)


def default_guests(request: Request, accelerator: Accelerator) -> tuple[str, ...]:
    """Guests of a run that names none. Seconds cannot be compared with guest instructions: no programs under icount."""
    known = [
        guest for guest in guests.by_default() if not request.default_guests or guest.name in request.default_guests
    ]
    timed = accelerator is not Accelerator.ICOUNT
    return tuple(guest.name for guest in known if timed or guest.recipe.joins is not Joins.IF_TIMED)
