"""Options that the measuring commands share, and how their words become a campaign's Request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.files import open_regular
from ukperf.model import Accelerator, Launch, Machine, MachineKind
from ukperf.paths import absolute
from ukperf.text import clean

if TYPE_CHECKING:
    from ukperf.model import Limits

MAX_SEED = 1 << 63
MAX_BOOTS = 100_000
MAX_MEMORY_MIB = 1 << 20
MAX_VCPUS = 255


def _guests(incomplete: str) -> list[str]:
    """For the shell's completion: the guests, and those of their kernels that are in the store."""
    from ukperf.guests import names
    from ukperf.imaging.kernelstore import KernelStore

    versions = dict.fromkeys(f"{entry.guest}:{entry.version}" for entry in KernelStore().entries())
    return [name for name in (*names(), *versions) if name.startswith(incomplete)]


def seed_of(seed: int | None) -> int | None:
    """--seed.

    Raises UkperfError for one that no plan can hold.
    """
    if seed is not None and not 0 <= seed < MAX_SEED:
        raise UkperfError(f"--seed {seed} is not between 0 and {MAX_SEED - 1}.")
    return seed


Guests = Annotated[
    list[str] | None,
    typer.Option(
        "--guest",
        "-g",
        metavar="GUEST",
        autocompletion=_guests,
        help="A guest to boot, or GUEST:VERSION for one of its kernels in the store; may be repeated. Default: all.",
    ),
]
GuestFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--guest-file",
        metavar="FILE",
        help="A guest of your own by a recipe file (docs/extending.md); takes part, may be repeated.",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="GUEST",
        autocompletion=_guests,
        help=f"Baseline for all ratios; always included. Default: {guests.baseline()}, or of programs of this machine "
        "alone the first.",
    ),
]
Boots = Annotated[
    int | None, typer.Option(metavar="N", help="Boots of each guest (blocks). Default: 20, or until --precision.")
]
Precision = Annotated[
    float | None, typer.Option(metavar="PCT", help="Go on until every ratio is known to ± PCT percent, with 95 %.")
]
MaxTime = Annotated[str | None, typer.Option(metavar="TIME", help="Start no new block after TIME: 90, 90s, 15m or 2h.")]
Retry = Annotated[
    bool, typer.Option("--retry/--no-retry", help="Boot a guest once more, in the same block, when its boot failed.")
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        callback=seed_of,
        help="Decides the order of the boots. Default: random, and shown.",
    ),
]
Delta = Annotated[float, typer.Option(metavar="PCT", help="Differences within ± PCT percent count as equivalent.")]
Accel = Annotated[
    Accelerator,
    typer.Option(
        metavar="auto|kvm|tcg|icount|xen",
        help="auto: KVM if the truth check believes it, else icount. icount counts guest instructions: repeatable.",
    ),
]
Kind = Annotated[
    str,
    typer.Option("--machine", metavar="q35|microvm|xenpvh|xenpv|xenhvm", help="Machine type. On Xen q35 means any."),
]
Memory = Annotated[int, typer.Option(metavar="MIB", help="Memory of each guest.")]
Vcpus = Annotated[int, typer.Option(metavar="N", help="Virtual CPUs of each guest.")]
Pin = Annotated[str | None, typer.Option(metavar="CPUS", help="Run guests on these CPUs of the host, like 2 or 0,2-3.")]
LaunchBy = Annotated[
    Launch,
    typer.Option(
        "--launch",
        metavar="libvirt|direct",
        help="libvirt runs QEMU, or we do, directly, with the command line it writes.",
    ),
]
Connect = Annotated[
    list[str] | None,
    typer.Option("--connect", "-c", metavar="URI", help="libvirt connection. Default: qemu:///embed, no daemon."),
]
OverFleet = Annotated[
    str | None,
    typer.Option(
        "--fleet",
        metavar="SCHEDULER",
        help="Give blocks to Dask workers on many machines: local:N, an address, or a scheduler file (docs/fleets.md).",
    ),
]
FleetStrata = Annotated[
    bool,
    typer.Option(
        "--fleet-strata",
        help="Machines of --fleet with another QEMU, ukperf or accelerator take part, each kind with its own results.",
    ),
]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="A boot that takes longer counts as hung.")]
Kernel = Annotated[
    list[str] | None, typer.Option(metavar="GUEST=FILE", help="Use this kernel for a guest; may be repeated.")
]
Append = Annotated[list[str] | None, typer.Option(metavar="GUEST=WORDS", help="Add to a guest's kernel command line.")]
Variants = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        metavar="NAME=GUEST[,KEY=VALUE…]",
        help="A guest under another name, with a kernel=, append=, machine=, memory= or vcpus= of its own.",
    ),
]
RunDir = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="The run's folder. Default: one in your data folder.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Brief = Annotated[bool, typer.Option("--brief", help="Print the answer and the table alone. JSON is always whole.")]
SharedPath = Annotated[
    bool,
    typer.Option("--shared-path", help="Remote hosts see this machine's files under the same paths: upload nothing."),
]
ShareHost = Annotated[
    bool, typer.Option("--share-host", help="Measure although another ukperf is measuring on this machine.")
]


def limits(boots: int | None, precision: float | None, max_time: str | None, *, retry: bool = True) -> Limits:
    """--boots, --precision, --max-time, --retry.

    Raises UkperfError for counts and times that cannot be meant.
    """
    from ukperf.model import Limits

    if boots is not None and not 1 <= boots <= MAX_BOOTS:
        raise UkperfError(f"--boots {boots} is not between 1 and {MAX_BOOTS}.")
    if precision is not None and not 0.001 <= precision < 100:
        raise UkperfError(f"--precision {precision:g} is not between 0.001 and 100 percent.")
    seconds = None if max_time is None else parse_time(max_time)
    if boots is None and precision is None:
        boots = 20
    return Limits(boots, None if precision is None else precision / 100, seconds, retry)


def parse_time(text: str) -> float:
    """Seconds in `90`, `90s`, `15m`, `2h`.

    Raises UkperfError for anything else, and for what is not positive or is longer than a month.
    """
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        seconds = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 31 * 86_400:
        raise UkperfError(f"{text!r} is not a valid duration.", hint="Write 90, 90s, 15m or 2h.")
    return seconds


def machine(kind: str, memory: int, vcpus: int, pin: str | None) -> Machine:
    """--machine, --memory, --vcpus, --pin.

    Raises UkperfError for sizes that cannot be meant and for CPUs that are not there.
    """
    if kind not in set(MachineKind):
        raise UkperfError(f"There is no machine type {kind!r}.", hint="There are: " + ", ".join(MachineKind) + ".")
    if not 1 <= memory <= MAX_MEMORY_MIB:
        raise UkperfError(f"--memory {memory} is not between 1 and {MAX_MEMORY_MIB} MiB.")
    if not 1 <= vcpus <= MAX_VCPUS:
        raise UkperfError(f"--vcpus {vcpus} is not between 1 and {MAX_VCPUS}.")
    return Machine(MachineKind(kind), memory, vcpus, () if pin is None else parse_cpus(pin))


def parse_cpus(text: str) -> tuple[int, ...]:
    """CPU numbers in `2` or `0,2-3`.

    Raises UkperfError for what is no list of CPUs, or names CPUs that this process may not use.
    """
    import os

    cpus: set[int] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            low, high = int(first), int(last if dash else first)
            if not 0 <= low <= high < 4096:
                raise ValueError(part)
            cpus.update(range(low, high + 1))
    except ValueError:
        raise UkperfError(f"{text!r} is no list of CPUs.", hint="Write for example 2 or 0,2-3.") from None
    missing = cpus - os.sched_getaffinity(0)
    if missing:
        raise UkperfError(
            f"CPU {min(missing)} is not among those that ukperf may use.",
            hint="It may use: " + ",".join(map(str, sorted(os.sched_getaffinity(0)))) + ".",
        )
    return tuple(sorted(cpus))


def pairs(words: list[str] | None, option: str, what: str = "guest") -> dict[str, str]:
    """GUEST=VALUE words as a dict. what: the word for what stands before the sign.

    Raises UkperfError for words without a guest, and for a guest that is named twice: neither word may vanish.
    """
    values: dict[str, str] = {}
    for word in words or []:
        guest, equals, value = word.partition("=")
        if not equals or not guest or not value:
            raise UkperfError(f"{option} {word!r} names no {what}.", hint=f"Write {option} {what.upper()}=VALUE.")
        if not value.isprintable():
            raise UkperfError(f"{option} {word!r} has characters that cannot be printed.")
        if guest in values:
            raise UkperfError(
                f"{option} names {guest} twice: {values[guest]!r} and {value!r}.",
                hint=f"Write {option} {guest}=… once, with everything that it shall have.",
            )
        values[guest] = value
    return values


def kernels(words: list[str] | None) -> dict[str, Path]:
    """--kernel GUEST=FILE.

    Raises UkperfError for files that cannot be read.
    """
    paths = {}
    for guest, name in pairs(words, "--kernel").items():
        path = absolute(Path(name))
        try:
            with open_regular(path):
                pass
        except OSError as error:
            raise UkperfError(f"The kernel {name} cannot be read: {error.strerror}.") from error
        paths[guest] = path
    return paths


def percent(value: float, option: str) -> float:
    """A percentage as a fraction.

    Raises UkperfError outside 0 … 100.
    """
    if not 0 < value < 100:
        raise UkperfError(f"{option} {value:g} is not between 0 and 100 percent.")
    return value / 100


def seconds(value: float, option: str) -> float:
    """A duration.

    Raises UkperfError unless it is between 0.1 s and a day.
    """
    if not 0.1 <= value <= 86_400:
        raise UkperfError(f"{option} {value:g} is not between 0.1 and 86400 seconds.")
    return value


def scheduler(where: str | None) -> str:
    """--fleet: a scheduler's file as an absolute path, everything else as it is; "" where it was not given."""
    if where is None:
        return ""
    if not where or not where.isprintable():
        raise UkperfError("--fleet names no scheduler.", hint="Give an address, local:N, or the scheduler's file.")
    return str(absolute(Path(where))) if ":" not in where else where


def with_baseline(guests: list[str] | None, baseline: str) -> tuple[str, ...]:
    """The named guests, the baseline among them; empty if none was named."""
    named = tuple(dict.fromkeys(guests or []))
    return named if not named or baseline in named else (baseline, *named)


def sayer(quiet: bool = False) -> Callable[[str], None]:
    """Prints sentences about decisions to standard error, where they disturb neither tables nor JSON; each one once."""
    said: set[str] = set()

    def say(sentence: str) -> None:
        if not quiet and sentence not in said:
            said.add(sentence)
            print(f"ukperf: {clean(sentence)}", file=sys.stderr)

    return say
