"""density: what one more guest costs. A trial is a fleet: guests of one image that live at the same time, each
suspended when it is ready. What is compared is the slope of their memory, and the time to create one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ukperf import guests
from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.guests.base import Guest
from ukperf.hosts import runs_here
from ukperf.hosts.room import SPARE_MIB, room_mib
from ukperf.hosts.smaps import OTHERS
from ukperf.imaging.pack import FileToPack, Packed, pack
from ukperf.imaging.preload import GATE
from ukperf.imaging.programs import density_program
from ukperf.model import (
    MOST_GUESTS,
    Accelerator,
    BootRecord,
    BootSpec,
    Fleet,
    FleetSeen,
    Listening,
    Observation,
    Outcome,
    Readout,
    Request,
    Restores,
    Result,
    Sample,
    Unit,
)
from ukperf.reports.densitytable import DensityPage, FleetsOf, memory_chart
from ukperf.reports.page import Page
from ukperf.reports.pictures import Picture
from ukperf.stats.fleets import LEAST_SIZES, cost_of
from ukperf.stats.perboot import final_records, without_phases
from ukperf.stats.summary import RunSummary, summarize
from ukperf.text import clean, many
from ukperf.workloads.base import Bench, Prepared, Reader, Workload, option
from ukperf.workloads.cold_ways import GATED
from ukperf.workloads.joining import memory_for_files
from ukperf.workloads.metrics import check_pattern
from ukperf.workloads.run import DEFAULT_ENV

PATHS = ("boot", "restore", "both")
MORE, CREATE = "memory of one more guest", "time to create one"
FLEET = "fleet"  # of a sample's metadata: the FleetSeen that it was made of, as JSON
LONGEST = 1 << 20  # of that, characters
CONSOLE = 8 << 20
FORMAT = 1


@dataclass(frozen=True)
class DensityOptions:
    """most: guests of a fleet; sizes: at which it is looked at, () : 1, 2, 4 … and most. words: a program and its
    arguments, (): a small one of ours. max_memory, budget: MiB, 0: half of what is available, and none."""

    most: int = option(8, "Guests of a fleet.", "N")
    sizes: tuple[str, ...] = option((), "Numbers of guests at which their memory is looked at.", "N")
    words: tuple[str, ...] = ()
    files: tuple[str, ...] = option((), "A file or folder that goes along.", "HOST[:GUEST]")
    env: tuple[str, ...] = option((), "A variable of the program's environment.", "NAME=VALUE")
    cwd: str = option("/", "The program's working folder.", "DIR")
    ready: str = option("", "The line at which a guest is suspended.", "REGEX")
    path: str = option("boot", "How guests are made.", "boot|restore|both")
    budget: int = option(0, "How many guests fit into so much.", "MIB")
    max_memory: int = option(0, "What a fleet may take.", "MIB")


class Density(Workload):
    """Fleets of guests: memory of one more, and time to create it."""

    Options = DensityOptions
    phases = False

    def prepare(self, options: DensityOptions, request: Request, bench: Bench) -> Prepared:
        sizes = sizes_of(options)
        if options.path not in PATHS:
            raise UkperfError(
                f"There is no --path {clean(options.path, 40)!r}.", hint=f"There are: {', '.join(PATHS)}."
            )
        if options.ready:
            check_pattern(options.ready, "--ready")
        packed = _packed(options)
        part = _taking_part(request, packed)
        memory = request.memory_mib
        if packed is not None:
            kinds = {name: guest.label for name, guest in part.items()}
            memory = memory_for_files(kinds, dict.fromkeys(kinds, packed.size), request.machine.memory_mib)
        most_mib = options.max_memory or room_mib() // 2
        _refuse_no_room(max([request.machine.memory_mib, *memory.values()]), most_mib, options)
        asked = replace(
            request,
            program=density_program() if packed is None else packed.program,
            default_guests=() if request.guests or request.variants else tuple(part),
            memory_mib=memory,
            listening=Listening(0, CONSOLE, options.ready),
            fleet=Fleet(sizes, most_mib, options.budget or None),
            restores=_restores(options, packed),
        )
        return Prepared(asked.started_at_once())

    def reader(self, options: DensityOptions) -> Reader:
        return read

    def compared(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Sequence[BootRecord]:
        """Without phases, nor what would tell of them: a fleet has none."""
        return tuple(replace(without_phases(record), events={}, ended_by_host=False) for record in records)

    def facts(self, records: Sequence[BootRecord], accelerator: Accelerator) -> Mapping[str, str]:
        """What the machine does with memory by itself, and how large fleets were."""
        seen = [fleet for fleets in _fleets(records).values() for fleet in fleets]
        told: dict[str, dict[str, None]] = {}
        for fleet in seen:
            for name, value in fleet.host.items():
                told.setdefault(clean(name, 40), {})[clean(value, 40)] = None
        return {name: ", then ".join(values) for name, values in told.items()}

    def remarks(self, result: Result) -> tuple[str, ...]:
        return _notes(result)

    def pictures(self, result: Result, summary: RunSummary) -> Sequence[Picture]:
        chart = memory_chart(fleets_of(result.records, summary.baseline))
        return () if chart is None else (chart,)

    def page(
        self,
        finished: Any,
        host: str,
        records: Sequence[BootRecord],
        options: DensityOptions,
        facts: Mapping[str, str],
    ) -> Page:
        plan = finished.result.plan
        summary = summarize(records, plan.baseline, plan.delta)
        rows = tuple(
            replace(row, given_mib=plan.machine_of(row.guest).memory_mib) for row in fleets_of(records, plan.baseline)
        )
        names = MORE, CREATE
        return DensityPage(summary, rows, names, options.budget, facts=facts, notes=_notes(finished.result))


def sizes_of(options: DensityOptions) -> tuple[int, ...]:
    """The numbers of guests at which memory is looked at, ascending. Raises UkperfError for what cannot be meant."""
    if not options.sizes:
        if not LEAST_SIZES <= options.most <= MOST_GUESTS:
            raise UkperfError(
                f"--max {options.most} is not between {LEAST_SIZES} and {MOST_GUESTS}.",
                hint="What one more guest costs is a difference: there must be two.",
            )
        powers = [1 << i for i in range(options.most.bit_length())]
        return tuple(sorted({*powers, options.most}))
    numbers = [int(text) if text.isdecimal() and len(text) < 6 else 0 for text in options.sizes]
    if not all(1 <= number <= MOST_GUESTS for number in numbers):
        raise UkperfError(
            f"--sizes {clean(','.join(options.sizes), 60)} are no numbers from 1 to {MOST_GUESTS}.",
            hint="Write --sizes 1,2,4,8.",
        )
    if len(set(numbers)) < LEAST_SIZES:
        raise UkperfError("--sizes names one number of guests, and a slope needs two.", hint="Write --sizes 1,2,4,8.")
    return tuple(sorted(set(numbers)))


def _packed(options: DensityOptions) -> Packed | None:
    """The program of a run with one; None: ours. Raises UkperfError as `pack`."""
    if not options.words:
        given = {"--file": options.files, "--env": options.env, "--ready": options.ready}
        odd = [name for name, value in given.items() if value]
        if odd:
            verb = "means" if len(odd) == 1 else "mean"
            raise UkperfError(f"{' and '.join(odd)} {verb} nothing without a program.", hint="Write one behind --.")
        return None
    pairs = [text.partition("=") for text in options.env]
    bad = next((text for text, pair in zip(options.env, pairs, strict=True) if not pair[0] or not pair[1]), None)
    if bad is not None:
        raise UkperfError(f"--env {clean(bad, 80)} is no variable.", hint="Write --env NAME=VALUE.")
    env = {**DEFAULT_ENV, **{name: value for name, _, value in pairs}}
    return pack(
        options.words, files=[FileToPack.parse(text) for text in options.files], env=tuple(env.items()), cwd=options.cwd
    )


def _taking_part(request: Request, packed: Packed | None) -> dict[str, Guest]:
    """Name in the run → guest: virtual machines whose VMM is ukperf's own process.

    Raises UkperfError where another was named.
    """
    named = {name: guests.get(name) for name in request.guests if name not in request.variants}
    named |= {name: guests.get(variant.guest) for name, variant in request.variants.items()}
    for name, guest in named.items():
        if runs_here(guest.recipe.protocol):
            raise UkperfError(
                f"{name} has no VMM whose memory could be told from its guest's: it is a program of this machine, or "
                "a command.",
                hint=f"Leave {name} out.",
            )
    known = guests.by_default() if packed is None else guests.loading_programs()
    return named or {guest.name: guest for guest in known if not runs_here(guest.recipe.protocol)}


def _restores(options: DensityOptions, packed: Packed | None) -> Restores | None:
    """Where guests are saved: ours at its gate, another program at the line of --ready, or before its first statement.

    Raises UkperfError where nobody could say when that is.
    """
    if options.path == "boot":
        return None
    plain = Restores(booted=options.path == "both")
    if packed is None:
        return replace(plain, words=("gate",))
    if options.ready:
        return replace(plain, ready=options.ready)
    if packed.timing not in GATED:
        raise UkperfError(
            f"{clean(options.words[0], 80)} takes no library of ours, so nothing says when it is to be saved.",
            hint="Name the line by --ready REGEX, or use --path boot.",
        )
    return replace(plain, env=(GATE,))


def _refuse_no_room(memory_mib: int, most_mib: int, options: DensityOptions) -> None:
    """Raises UkperfError where two guests would not be made, since they might take more than they may."""
    least = LEAST_SIZES * (memory_mib + SPARE_MIB)
    if least > most_mib:
        given = f"--max-memory {most_mib} MiB" if options.max_memory else f"half of what is available, {most_mib} MiB"
        raise UkperfError(
            f"{LEAST_SIZES} guests with {memory_mib} MiB each might take {least:,} MiB with their VMMs, and a fleet "
            f"may take {given}.",
            hint="Give them less --memory, or a fleet more: --max-memory MIB.",
        )


# ---- what a fleet's trial comes to ----


def read(_spec: BootSpec, seen: Observation) -> Readout:
    """The figures of one fleet, with all that was seen of it beside them."""
    if seen.outcome is not Outcome.OK or seen.fleet is None:
        return Readout()
    cost = cost_of(seen.fleet)
    if cost is None:
        why = seen.fleet.stopped or "it has one size"
        return Readout(reason=f"a slope needs {LEAST_SIZES} numbers of guests: {why}")
    return Readout(
        (
            Sample(MORE, Unit.BYTES, (cost.total.slope,), metadata={FLEET: json.dumps(encode(seen.fleet, FORMAT))}),
            Sample(CREATE, Unit.SECONDS, (cost.create_s,)),
        )
    )


def _fleets(records: Sequence[BootRecord]) -> dict[str, list[FleetSeen]]:
    """Guest → its good fleets in the order of the blocks; what a journal has of them may be damaged, and is left out
    then."""
    several: dict[str, list[FleetSeen]] = {}
    for guest in dict.fromkeys(record.trial.guest for record in records):
        for _, record in sorted(final_records(records, guest).items()):
            for sample in record.samples if record.outcome is Outcome.OK else ():
                if (seen := _stored(sample)) is not None:
                    several.setdefault(guest, []).append(seen)
    return several


def _stored(sample: Sample) -> FleetSeen | None:
    text = sample.metadata.get(FLEET) if sample.benchmark == MORE else None
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    try:
        seen = decode_stored(FleetSeen, json.loads(text), FORMAT)
    except (ValueError, RecursionError):
        return None
    return seen if cost_of(seen) is not None and len(seen.points) <= len(seen.ready_ns) <= MOST_GUESTS else None


def fleets_of(records: Sequence[BootRecord], baseline: str) -> tuple[FleetsOf, ...]:
    """The good fleets of each guest: the baseline first, then the others by name."""
    several = _fleets(records)
    order = sorted(several, key=lambda guest: (guest != baseline, guest))
    return tuple(FleetsOf(guest, tuple(several[guest])) for guest in order)


# ---- notes ----


def _notes(result: Result) -> tuple[str, ...]:
    """Fleets that were stopped, what was swapped out, and what the figures are not."""
    return (*_stopped(result), *_swapped(result), *_shared(result), *_meant(result.plan.accelerator))


def _stopped(result: Result) -> list[str]:
    said: dict[tuple[str, str], int] = {}
    for guest, fleets in _fleets(result.records).items():
        for fleet in fleets:
            if fleet.stopped:
                key = guest, clean(fleet.stopped, 200)
                said[key] = said.get(key, 0) + 1
    return [f"{many(count, 'fleet')} of {guest} stopped {why}." for (guest, why), count in said.items()]


def _swapped(result: Result) -> list[str]:
    several = _fleets(result.records)
    hit = [guest for guest, fleets in several.items() if any(p.swapped for fleet in fleets for p in fleet.points)]
    return [f"Memory of {', '.join(hit)} was swapped out, and is counted as if it were there."] if hit else []


def _shared(result: Result) -> list[str]:
    several = [fleet for fleets in _fleets(result.records).values() for fleet in fleets]
    hit = sum(fleet.host.get(OTHERS, "none") != "none" for fleet in several)
    if not hit:
        return []
    return [
        f"Other VMMs ran beside {hit} of {many(len(several), 'fleet')}: pages of the program that they map too count "
        "less in a small fleet than in a large one, so that one more guest seems to take up to a few MiB more."
    ]


def _meant(accelerator: Accelerator) -> list[str]:
    said = [
        "Memory is proportional set size: a page that n processes map counts as 1/n in each, so what all guests share "
        "(QEMU's text, a template) is in the line's start, not in its slope. Page caches of images and the host's own "
        "structures are in no set size.",
    ]
    if accelerator in (Accelerator.TCG, Accelerator.ICOUNT):
        said.append(
            "The code cache is the emulator's: under KVM there is none, and the VMM is smaller by the tables for it."
        )
    return said
