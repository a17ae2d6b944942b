"""Which settings make figures under icount repeat: each is taken away in turn, and the spread is shown.

    python benchmarks/icount_ablation.py [--boots 5] [--guest linux --guest floor] [--machine q35] [--only NAME]

The figure is the number of guest instructions from reset to the program's `main`. Its spread over the boots of one row
is (largest - smallest) / smallest; `exact` means that all are equal. The variants of a round run in random order, so
that whatever drifts on this machine falls on all alike. docs/icount.md explains the rows.
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.connection import EMBED
from ukperf.hosts.direct import CommandLine, boot_direct
from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from ukperf.imaging.programs import boot_program
from ukperf.model import Accelerator, BootSpec, Event, Launch, Machine, MachineKind

TIMEOUT_S = 300.0
Argv = list[str]


@dataclass(frozen=True)
class Variant:
    """One row: what differs from ukperf's own command line."""

    name: str
    change: Callable[[Argv], Argv]


def with_value(option: str, value: str) -> Callable[[Argv], Argv]:
    """Another value for the last such option."""

    def change(argv: Argv) -> Argv:
        at = len(argv) - 1 - argv[::-1].index(option)
        return [*argv[: at + 1], value, *argv[at + 2 :]]

    return change


def without(option: str) -> Callable[[Argv], Argv]:
    """No such option with a value at all."""

    def change(argv: Argv) -> Argv:
        while option in argv:
            at = argv.index(option)
            argv = [*argv[:at], *argv[at + 2 :]]
        return argv

    return change


def without_word(word: str) -> Callable[[Argv], Argv]:
    """The guest's command line without one word."""
    return lambda argv: [" ".join(w for w in arg.split() if w != word) if word in arg.split() else arg for arg in argv]


def a_new_uuid(argv: Argv) -> Argv:
    return with_value("-uuid", str(uuid.uuid4()))(argv)


def another_seed(argv: Argv) -> Argv:
    return with_value("-seed", str(secrets.randbelow(2**31)))(argv)


VARIANTS = (
    Variant("as ukperf does it", lambda argv: argv),
    Variant("no icount at all", without("-icount")),
    Variant("shift=auto instead of shift=0", with_value("-icount", "shift=auto")),
    Variant("sleep=on", with_value("-icount", "shift=0,align=off,sleep=on")),
    Variant("sleep=on and align=on", with_value("-icount", "shift=0,align=on,sleep=on")),
    Variant("no -seed", without("-seed")),
    Variant("no -seed, kernel may use KASLR", lambda argv: without("-seed")(without_word("nokaslr")(argv))),
    Variant("another -seed each boot", another_seed),
    Variant("kernel may use KASLR", without_word("nokaslr")),
    Variant("-rtc clock=host", with_value("-rtc", "base=2026-01-01T00:00:00,clock=host")),
    Variant("-rtc base=utc (the time of day)", with_value("-rtc", "base=utc,clock=vm")),
    Variant("another -uuid each boot", a_new_uuid),
)


def instructions(host: LibvirtHost, spec: BootSpec, variant: Variant) -> int | None:
    """Guest instructions from reset to `main` of one boot, None if there was no `main`."""
    ours = host.command_line(spec)
    argv = variant.change(list(ours.argv))
    path = next(found[1] for word in argv if (found := re.search(r"id=charserial0,path=([^,]+)", word)))
    seen = boot_direct(spec, CommandLine(tuple(argv), ours.env), Path(path), None)
    if Event.MAIN not in seen.ticks:
        print(f"{spec.image.guest}, {variant.name}: {seen.outcome.value}, {seen.reason}", file=sys.stderr)
    return seen.ticks.get(Event.MAIN)


def row(name: str, counts: Sequence[int | None]) -> str:
    """One line of the table."""
    good = [count for count in counts if count]
    failed = f"{len(counts) - len(good)} failed" if len(good) < len(counts) else ""
    if not good:
        return f"  {name:32} {'':>13} {'':>10} {failed}"
    spread = (max(good) - min(good)) / min(good)
    shown = "exact" if max(good) == min(good) else f"{100 * spread:.4f} %"
    return f"  {name:32} {min(good):>13,} {shown:>10} {len(set(good))} of {len(good)} different {failed}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=5)
    parser.add_argument("--guest", action="append", help="default: linux and floor")
    parser.add_argument("--machine", default="q35", choices=["q35", "microvm"])
    parser.add_argument("--only", action="append", help="only variants whose name contains this")
    parser.add_argument("--seed", type=int, default=1, help="decides the order")
    options = parser.parse_args()
    kind = MachineKind(options.machine)
    variants = [v for v in VARIANTS if not options.only or any(word in v.name for word in options.only)]
    order = random.Random(options.seed)
    try:
        with open_host(EMBED) as host:
            for name in options.guest or ["linux", "floor"]:
                image = guests.get(name).build(boot_program(), BuildOptions(kind, Accelerator.ICOUNT))
                spec = BootSpec(
                    image, Machine(kind), Accelerator.ICOUNT, Launch.DIRECT, TIMEOUT_S, name="ukperf-ablation"
                )
                counts: dict[str, list[int | None]] = {variant.name: [] for variant in variants}
                for _ in range(options.boots):
                    for variant in order.sample(variants, len(variants)):
                        counts[variant.name].append(instructions(host, spec, variant))
                print(f"{name}, {kind.value}: least count, spread, different counts")
                for variant in variants:
                    print(row(variant.name, counts[variant.name]), flush=True)
    except UkperfError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
