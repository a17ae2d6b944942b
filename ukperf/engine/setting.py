"""The settings of a campaign: each guest on its host, with its machine and its image, decided once and handed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import combinations

from ukperf import guests
from ukperf.engine.counting import refuse_uncounted
from ukperf.engine.folders import refuse_used
from ukperf.engine.plan import domain_name
from ukperf.engine.record import CHECK_MS
from ukperf.errors import HostError, UkperfError
from ukperf.guests import build
from ukperf.guests.base import BuildOptions, Guest
from ukperf.guests.recipes import Joins, Role
from ukperf.hosts import DEFAULT, THIS_MACHINE, booting, open_host, this_machine
from ukperf.hosts.base import Host
from ukperf.hosts.truth import COUNT_LOOPS, Truth, check_kvm
from ukperf.imaging.programs import count_program
from ukperf.model import (
    NO_PROGRAM,
    Accelerator,
    BootProtocol,
    BootSpec,
    Image,
    Launch,
    Machine,
    Network,
    Observation,
    Program,
    Request,
    Variant,
    kind_of,
)
from ukperf.text import Say


@dataclass(frozen=True)
class Setting:
    """One guest on one host with one machine and one image: all that its boots have in common.

    name: in the run; that of a guest, or of a variant of it. machine: with this guest's own type and memory.
    """

    name: str
    guest: Guest
    host: Host
    machine: Machine
    options: BuildOptions
    image: Image
    launch: Launch = Launch.LIBVIRT
    network: Network | None = None
    program: Program = NO_PROGRAM  # in the image

    def running(self, program: Program) -> Setting:
        """The same with another program. Raises UkperfError where the guest cannot run it."""
        return replace(self, image=build(self.guest, program, self.options), program=program)

    def spec(self, run_id: str, *, timeout_s: float, name: str = "") -> BootSpec:
        """One boot. name: the domain's; default: that of the run's boots of this guest."""
        return BootSpec(
            image=self.image,
            machine=self.machine,
            accelerator=self.options.accelerator,
            launch=self.launch,
            timeout_s=timeout_s,
            run_id=run_id,
            name=name or domain_name(run_id, self.name),
            last_words=self.guest.recipe.last_words,
            network=self.network,
        )

    def boot(self, run_id: str, *, timeout_s: float, name: str = "") -> Observation:
        """Boot once, outside of a campaign."""
        return self.host.boot(self.spec(run_id, timeout_s=timeout_s, name=name))


def setting_of(guest: Guest, host: Host, accelerator: Accelerator, program: Program, machine: Machine) -> Setting:
    """A guest as it is, with nothing asked for but its machine. Raises UkperfError as `Guest.build` and `Host.fit`."""
    fitting = host.fit(machine, guest.recipe.machines)
    options = BuildOptions(machine=fitting.kind, accelerator=accelerator, remote=not host.here)
    where = booting(guest.recipe.protocol, host)
    return Setting(guest.label, guest, where, fitting, options, build(guest, program, options))


# ---- what is asked for ----


@dataclass(frozen=True)
class Lineup:
    """A request that can be meant. guests: every guest that it names, by that name, looked up once."""

    request: Request
    guests: Mapping[str, Guest]


def checked(request: Request) -> Lineup:
    """The request, with what it leaves open of hosts and baseline, its names looked up before anything slow begins;
    no VM host where all guests are programs, and nothing that executes VMs then.

    Raises UkperfError for unknown guests, for kernels of programs, and for a folder that holds a run.
    """
    based_on = [variant.guest for variant in request.variants.values()]
    baseline = request.baseline or guests.baseline((*request.guests, *based_on))
    request = replace(request, connect=request.connect or (DEFAULT,), baseline=baseline)
    booted = (*(name for name in request.guests if name not in request.variants), *based_on)
    divisor = () if baseline in request.variants else (baseline,)
    names = dict.fromkeys((*booted, *divisor, *request.kernels, *request.cmdlines))
    known = {name: guests.get(name) for name in names}
    for guest in known.values():
        guest.check_version()  # raises, as get does, with the name that was perhaps meant
    _refuse_odd_kernels(request, known)
    for name, variant in request.variants.items():
        _refuse_odd_variant(name, variant, known[variant.guest])
    if request.folder is not None:
        refuse_used(request.folder)
    if booted and all(known[name].executed_by(request.accelerator) is Accelerator.NATIVE for name in booted):
        request = replace(request, connect=(THIS_MACHINE,), accelerator=Accelerator.AUTO)
    return Lineup(request, known)


def _refuse_odd_kernels(request: Request, known: Mapping[str, Guest]) -> None:
    """Raises UkperfError for --kernel and --append of programs of this machine, which nobody would read, and for a
    --kernel of a guest whose kernel is chosen by its version."""
    chosen = next((name for name in request.kernels if known[name].version), None)
    if chosen is not None:
        kind = kind_of(chosen)
        raise UkperfError(
            f"{chosen} is a kernel of the store, and --kernel names a file.",
            hint=f"Write --guest {kind} --kernel {kind}=FILE.",
        )
    for option, named in (("--kernel", request.kernels), ("--append", request.cmdlines)):
        for name in named:
            if known[name].recipe.protocol is BootProtocol.EXEC:
                raise UkperfError(
                    f"{option} {name}=… means nothing: {name} is a program on this machine, and has its kernel.",
                    hint=f"Leave out {option} {name}=….",
                )


def refuse_unheeded(request: Request) -> None:
    """Raises UkperfError for --accel and --connect where every guest is a program of this machine: nobody reads them
    then, and whoever named them expects other figures."""
    if checked(request).request.connect != (THIS_MACHINE,):
        return
    odd = []
    if request.accelerator not in (Accelerator.AUTO, Accelerator.NATIVE):
        odd.append(f"--accel {request.accelerator}")
    if set(request.connect) - {DEFAULT, THIS_MACHINE}:
        odd.append("--connect")
    if odd:
        raise UkperfError(
            f"{' and '.join(odd)} would change nothing: every guest is a program on this machine, which executes it.",
            hint=f"Leave out {' and '.join(odd)}, or add a guest that is a virtual machine.",
        )


def _refuse_odd_variant(name: str, variant: Variant, guest: Guest) -> None:
    """Raises UkperfError for a variant that is called as a guest, and for one of a program of this machine with what
    only a machine has."""
    if name in guests.names():
        raise UkperfError(f"{name} is a guest, so no variant can be called so.", hint="Give the variant another name.")
    machine = (variant.kernel, variant.append, variant.machine, variant.memory_mib, variant.vcpus)
    if guest.recipe.protocol is BootProtocol.EXEC and any(machine):
        raise UkperfError(
            f"{name} is a program on this machine, which has its kernel, its memory and its CPUs.",
            hint=f"Write --variant {name}={variant.guest}, or base it on another guest.",
        )


# ---- hosts and what they execute guests by ----


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


def say_truth(truth: Truth | None, asked: Accelerator, say: Say) -> None:
    """The truth about KVM, where somebody asked for KVM or left the choice to us."""
    if truth is not None and (not truth.believed or asked is Accelerator.AUTO):
        say(truth.sentence + ("" if truth.believed else " Figures are guest instructions (icount), not seconds."))
        if truth.advice:
            say(truth.advice)


# ---- guests with their machines and images ----


def settle(lineup: Lineup, accelerator: Accelerator, host: Host, say: Say) -> tuple[Setting, ...]:
    """All settings of a request on a host. A guest that was named must be there; a default one that is not is left out
    with a sentence.

    Raises UkperfError if a named guest is missing something, or no guest is left.
    """
    request = lineup.request
    wanted = {name: lineup.guests[name] for name in request.guests if name not in request.variants}
    if not request.guests and not request.variants:
        wanted = {guest.name: guest for guest in default_guests(request, accelerator)}
    wanted |= {name: lineup.guests[variant.guest] for name, variant in request.variants.items()}
    settled = [_settled(request, name, guest, accelerator, host, say) for name, guest in wanted.items()]
    settings = tuple(setting for setting in settled if setting is not None)
    if not settings:
        raise UkperfError("There is no guest to boot.", hint="`ukperf doctor` says what is missing.")
    same = {one.name: one.image for one in settings if not request.variants.get(one.name, Variant("")).arguments}
    _say_same_kernels(same, say)
    unknown = (set(request.kernels) | set(request.cmdlines)) - {setting.name for setting in settings}
    if unknown:
        raise UkperfError(f"{', '.join(sorted(unknown))}: named by --kernel or --append, but not among the guests.")
    return settings


def _settled(
    request: Request, name: str, guest: Guest, accelerator: Accelerator, host: Host, say: Say
) -> Setting | None:
    """One guest's setting; None, and a sentence, for one that nobody named and that cannot take part."""
    variant = request.variants.get(name, Variant(name))
    named = bool(request.guests or request.variants)
    optional = not named and guest.recipe.joins is not Joins.ALWAYS
    try:
        return _settle(request, name, variant, guest, accelerator, host, say, optional=optional)
    except HostError as error:
        if named:
            raise
        say(f"{name} is left out: {error.message}")
    except UkperfError as error:
        if not optional:
            raise
        hint = error.hint if isinstance(error, _Missing) else None
        say(" ".join(filter(None, (f"{name} is left out: {error.message}", hint))))
    return None


class _Missing(UkperfError):
    """Something that a guest needs is not there; the hint is the line to type."""


def _settle(
    request: Request,
    name: str,
    variant: Variant,
    guest: Guest,
    accelerator: Accelerator,
    host: Host,
    say: Say,
    *,
    optional: bool,
) -> Setting:
    machine = _machine_for(request, name, variant, guest, host)
    refuse_several_cpus(machine, accelerator)
    options = BuildOptions(
        machine=machine.kind,
        accelerator=accelerator,
        kernel=variant.kernel or request.kernels.get(guest.label),
        cmdline=" ".join(filter(None, (request.cmdlines.get(guest.label, ""), variant.append))),
        remote=not host.here,
        network=request.network is not None,
        fixed=request.counted,
    )
    availability = guest.availability(options)
    if choice := guest.choice(options):
        say(choice)
    if not availability.ok and (optional or not guest.fetches or options.kernel is not None):
        raise _Missing(availability.sentence, hint=availability.hint)
    if not availability.ok:
        say(guest.obtain())
    where = booting(guest.recipe.protocol, host)
    if request.network is not None:
        guest.check_network(options)
        where.check_network()
    if guest.recipe.protocol is not BootProtocol.EXEC:
        _check_memory(request, guest, name, machine, options)
    more = (*request.arguments.get(name, ()), *variant.arguments)
    asked = request.programs.get(name, request.program)
    program = _program_for(request, asked, more, guest.executed_by(accelerator))
    image = build(guest, program, options)
    if request.counted:
        refuse_uncounted(name, image.protocol)
    return Setting(name, guest, where, machine, options, image, request.launch, request.network, program)


def _machine_for(request: Request, name: str, variant: Variant, guest: Guest, host: Host) -> Machine:
    """The machine that a guest gets on a host: the request's, of a kind that both can be, with the guest's own memory.

    Raises HostError where there is none, or the guest would run on another machine than the rest.
    """
    kinds = guest.recipe.machines
    if not kinds and not host.here:
        raise HostError(
            f"{guest.label} runs on this machine and the others on {host.uri}, so they cannot be compared.",
            hint=f"Leave {guest.label} out.",
        )
    wanted = request.machine if variant.machine is None else replace(request.machine, kind=variant.machine)
    machine = host.fit(wanted, kinds)
    return replace(
        machine,
        memory_mib=variant.memory_mib or request.memory_mib.get(name, machine.memory_mib),
        vcpus=variant.vcpus or machine.vcpus,
    )


def _check_memory(request: Request, guest: Guest, name: str, machine: Machine, options: BuildOptions) -> None:
    try:
        guest.check_memory(machine.memory_mib, options)
    except UkperfError as error:
        if name != request.added:
            raise
        others = [other for other in request.guests if other != name]
        raise UkperfError(
            f"{error.message} It is the baseline, which is always included.",
            hint=f"Use more --memory, or another baseline: --baseline {others[0] if others else 'GUEST'}",
        ) from error


def _program_for(request: Request, program: Program, more: Sequence[str], executed: Accelerator) -> Program:
    """A program with more words for one guest."""
    words = (*program.argv, *more)
    if request.check_clocks:
        words += (f"clock={CHECK_MS[executed is Accelerator.ICOUNT]}",)
    return replace(program, argv=words)


def _say_same_kernels(images: Mapping[str, Image], say: Say) -> None:
    for (one, image), (other, same) in combinations(images.items(), 2):
        if image.kernel_digest and image.digest == same.digest:
            say(f"{one} and {other} are the same kernel: what differs between them is chance.")


def default_guests(request: Request, accelerator: Accelerator) -> tuple[Guest, ...]:
    """Guests of a run that names none. Seconds cannot be compared with guest instructions: no programs under icount."""
    known = [
        guest for guest in guests.by_default() if not request.default_guests or guest.name in request.default_guests
    ]
    timed = accelerator is not Accelerator.ICOUNT
    return tuple(guest for guest in known if timed or guest.recipe.joins is not Joins.IF_TIMED)


def refuse_several_cpus(machine: Machine, accelerator: Accelerator) -> None:
    """Raises UkperfError for more than one virtual CPU under icount: there the emulator runs them by turns of one
    clock, Linux waits for ever for its second CPU and nanos crashes (seen in every boot)."""
    if accelerator is Accelerator.ICOUNT and machine.vcpus > 1:
        raise UkperfError(
            f"Guests do not boot with {machine.vcpus} virtual CPUs under icount.",
            hint="Use --vcpus 1, or --accel tcg, whose figures are seconds of an emulator.",
        )
