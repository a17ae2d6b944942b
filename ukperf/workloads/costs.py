"""What a system call costs: a scout boot of each guest first, then a campaign that leaves out what would hang it.

The scout runs the whole program once with short batches. An operation that hangs or crashes the guest is named by the
last `phase` frame, and the scout starts again without it; what fails with an errno says so itself. Only then do the
measured boots begin, each guest with its own list of operations to skip.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median

from ukperf import guests
from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import read_json, reason
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import c_program
from ukperf.model import (
    Accelerator,
    BootRecord,
    Frame,
    Image,
    Observation,
    Outcome,
    Program,
    Request,
    Unit,
    Variant,
    kind_of,
)
from ukperf.stats.perboot import without_phases
from ukperf.text import Say, meant, unfitting
from ukperf.workloads.base import Bench, Boots
from ukperf.workloads.findings import kept
from ukperf.workloads.syscall_native import run_here

SOURCE = "syscall_cost/syscall_cost.c"
FORMAT = 1  # of the kept findings
FOUND = "syscall-cost.json"  # in the run's folder: operations and findings, to show the run again
TICKS = ".ticks"  # the same operation by the CPU's counter, where the plain name is in seconds
VSYSCALL = "+vsyscall"  # behind a guest's name: its function-call entry, the same guest in another boot
SCOUT_WORDS = ("min_batch_us=5", "budget_ms=100", "figures=0")
SCOUT_IDLE_S, SCOUT_TIMEOUT_S = 60.0, 900.0
SCOUTS_MAX = 16
_OPERATION = re.compile(r"[a-z0-9_.]{1,40}")

Boot = Callable[[tuple[str, ...]], Observation]


@dataclass(frozen=True)
class Operation:
    """What the program can measure: name like `getppid.raw`, its group, and a phrase for people."""

    name: str
    group: str
    what: str


@dataclass(frozen=True)
class Finding:
    """What the scout found out about one guest. refused: operation → errno; ended: operation → how the guest ended.

    works: operations that gave figures. complaint: why the guest cannot be measured at all.
    """

    guest: str
    works: tuple[str, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    boots: int = 0
    complaint: str = ""


@dataclass(frozen=True)
class Scouted:
    """What the scouts of a run found, as its folder keeps it: host → guest → finding."""

    operations: tuple[Operation, ...]
    findings: Mapping[str, Mapping[str, Finding]]

    def text(self) -> str:
        return json.dumps(encode(self, FORMAT)) + "\n"


def cost_program(*words: str, cache: Cache | None = None) -> Program:
    """The measuring program with these arguments."""
    return c_program("syscall_cost", SOURCE, *words, cache=cache)


def samples_in(records: Sequence[BootRecord], unit: Unit) -> tuple[BootRecord, ...]:
    """The records with nothing but the samples in one unit: one family of comparisons, phases left out."""
    return tuple(
        replace(without_phases(record), samples=tuple(sample for sample in record.samples if sample.unit is unit))
        for record in records
    )


def missing(scouted: Scouted, host: str, operation: str) -> dict[str, str]:
    """Guest → why it has no figure for an operation on a host."""
    reasons = {}
    for guest, finding in scouted.findings.get(host, {}).items():
        elsewhere = [of_host[guest].ended for of_host in scouted.findings.values() if guest in of_host]
        if operation in finding.ended:
            reasons[guest] = finding.ended[operation]
        elif operation in finding.refused:
            reasons[guest] = errno.errorcode.get(finding.refused[operation], "fails")
        elif other := next((ended[operation] for ended in elsewhere if operation in ended), None):
            reasons[guest] = f"{other} elsewhere"  # one run has one command line for each guest
    return reasons


def operations_of(listing: Observation) -> tuple[Operation, ...]:
    """The program's own list (`list=1`). Raises UkperfError when it did not give one."""
    listed = []
    for frame in listing.frames:
        fields = [frame.fields.get(key) for key in ("benchmark", "group", "what")]
        if frame.event == "operation" and all(isinstance(value, str) for value in fields):
            listed.append(Operation(*map(str, fields)))
    if listing.outcome is not Outcome.OK:
        raise UkperfError(f"The program did not list its operations: {listing.reason or listing.outcome}.")
    return tuple(listed)


# ---- scouting ----


def scout(guest: str, boot: Boot, say: Say) -> Finding:
    """Find out which operations a guest has, and which end it. boot: runs the program once with more arguments."""
    works: dict[str, None] = {}
    refused: dict[str, int] = {}
    ended: dict[str, str] = {}
    for boots in range(1, SCOUTS_MAX + 1):
        words = (*SCOUT_WORDS, *_skipping([*works, *refused, *ended]))
        seen = boot(words)
        pending = _take(seen.frames, works, refused)
        if any(frame.event == "exit" for frame in seen.frames):
            return Finding(guest, tuple(works), refused, ended, boots)
        if pending is None:
            return Finding(guest, tuple(works), refused, ended, boots, seen.reason or seen.outcome.value)
        ended[pending] = "hangs" if seen.outcome in (Outcome.HUNG, Outcome.SILENT) else "crashes"
        works.pop(pending, None)
        say(f"{guest} {ended[pending]} in {pending}: it is left out there.")
    return Finding(guest, tuple(works), refused, ended, SCOUTS_MAX, f"it ended in {SCOUTS_MAX} operations")


def _take(frames: Sequence[Frame], works: dict[str, None], refused: dict[str, int]) -> str | None:
    """Takes what one scout boot said; the operation that was under way when it stopped."""
    pending: str | None = None
    for frame in frames:
        name = frame.fields.get("name" if frame.event == "phase" else "benchmark")
        if not isinstance(name, str) or not _OPERATION.fullmatch(name):
            continue
        if frame.event == "phase":
            pending = name
        elif frame.event in ("supported", "samples"):
            works.setdefault(name.removesuffix(TICKS))
        elif frame.event == "unsupported":
            number = frame.fields.get("errno")
            refused[name] = number if isinstance(number, int) and 0 < number <= 4095 else 0
    return pending


def _skipping(names: Sequence[str]) -> tuple[str, ...]:
    return (f"skip={','.join(names)}",) if names else ()


def kept_finding(cache: Cache, image: Image, context: Sequence[str], make: Callable[[], Finding]) -> Finding:
    """A finding for this kernel and program, from the cache or made; complaints are not kept."""
    return kept(Finding, "syscall-cost", FORMAT, image, context, make, cache=cache)


# ---- the run ----


def prepare(
    request: Request, only: str, bench: Bench, *, probe_vsyscall: bool, fresh: bool
) -> tuple[Request, dict[str, str]]:
    """Scout: the request with what each guest can be asked, and the run's file of what was found.

    request.program is replaced; only: globs with commas between them. Raises UkperfError as every campaign does, and
    when no guest can be measured.
    """
    only = ",".join(glob.strip() for glob in only.split(","))
    request = bench.checked(replace(request, program=cost_program(f"only={only}")))
    operations = list_operations(only)
    bench.outlook(request)  # before anything slow: do the hosts go together?
    findings = {}
    for uri in dict.fromkeys(request.connect):
        with bench.boots(replace(request, connect=(uri,))) as one:
            accelerator, findings[uri] = one.accelerator, _scout_all(one, only, probe_vsyscall, fresh, bench.say)
    able = {}
    for name, finding in on_all_hosts(findings).items():
        if finding.complaint:
            bench.say(f"{name} is left out: {finding.complaint}.")
        else:
            able[name] = finding
    if not able:
        raise UkperfError("No guest can be measured.", hint="The sentences above say why.")
    entries = {name: name.removesuffix(VSYSCALL) for name in able if name.endswith(VSYSCALL)}
    variants = {
        **{name: variant for name, variant in request.variants.items() if name in able},
        **{name: replace(request.variants.get(guest, Variant(guest)), words="") for name, guest in entries.items()},
    }
    plain = tuple(name for name in able if name not in variants)
    kernels = {name: path for name, path in request.kernels.items() if name in able}
    cmdlines = {name: words for name, words in request.cmdlines.items() if name in able}
    left = bench.checked(replace(request, guests=plain, variants=variants, kernels=kernels, cmdlines=cmdlines))
    if left.connect != request.connect:  # programs alone are left: no host's accelerator is theirs
        accelerator, findings = request.accelerator, {left.connect[0]: on_all_hosts(findings)}
    units = "units=instructions" if accelerator is Accelerator.ICOUNT else "units=s,cycles"
    arguments = {name: (units, *_skipping(list(finding.ended))) for name, finding in able.items()}
    for name in entries:
        arguments[name] = (*arguments[name], "probe=vsyscall")
    told = Scouted(operations, findings)
    return replace(left, accelerator=accelerator, arguments=arguments), {FOUND: told.text()}


def read_scouted(folder: Path) -> Scouted:
    """What the scouts of a run found. Raises UkperfError where its file is gone, damaged or a newer ukperf's."""
    try:
        return decode_stored(Scouted, read_json(folder / FOUND), FORMAT)
    except (OSError, ValueError) as error:
        raise UkperfError(
            f"{folder / FOUND} cannot be read, so nobody knows what this run measured: {reason(error)}.",
            hint="`ukperf compare` and `ukperf report` show its figures all the same.",
        ) from error


def on_all_hosts(findings: Mapping[str, Mapping[str, Finding]]) -> dict[str, Finding]:
    """Guest → what is true of it on all hosts (host → guest → finding): one run has one command line for each guest.

    An operation that ends it on one is in `ended`; a guest that cannot be measured on one has a complaint.
    """
    merged: dict[str, Finding] = {}
    for name in {guest: None for of_host in findings.values() for guest in of_host}:
        each = [of_host[name] for of_host in findings.values() if name in of_host]
        merged[name] = Finding(
            name,
            works=tuple(operation for operation in each[0].works if all(operation in one.works for one in each)),
            refused={operation: number for one in each for operation, number in one.refused.items()},
            ended={operation: how for one in each for operation, how in one.ended.items()},
            boots=sum(one.boots for one in each),
            complaint=next((one.complaint for one in each if one.complaint), ""),
        )
    return merged


def list_operations(only: str) -> tuple[Operation, ...]:
    """What the program can measure of what is asked for, by asking it here.

    Raises UkperfError for a glob of `only` that no operation is named like.
    """
    known: dict[str, Operation] = {}
    for more in ((), ("probe=vsyscall",)):
        for operation in operations_of(run_here(cost_program("list=1", *more))):
            known.setdefault(operation.name, operation)
    if lost := unfitting(only, known):
        raise UkperfError(f"No operation is named like {lost[0]}.", hint=meant(lost[0], known))
    globs = only.split(",")
    return tuple(
        operation for name, operation in known.items() if any(fnmatchcase(name, glob.strip()) for glob in globs)
    )


def _scout_all(one: Boots, only: str, probe_vsyscall: bool, fresh: bool, say: Say) -> dict[str, Finding]:
    cache = Cache()
    units = ("units=instructions",) if one.accelerator is Accelerator.ICOUNT else ()
    findings = {}
    variants = _vsyscalls(one.images) if probe_vsyscall else {}
    for name in (*one.images, *variants):
        guest, more = (variants[name], ("probe=vsyscall",)) if name in variants else (name, ())

        def boot(words: tuple[str, ...], guest: str = guest, more: tuple[str, ...] = more) -> Observation:
            program = cost_program(f"only={only}", *units, *more, *words)
            # A console may be so slow that only silence means a hang; a slower host, for which --timeout was raised,
            # gets more time for that too.
            return one.boot(guest, program, SCOUT_TIMEOUT_S, max(SCOUT_IDLE_S, one.request.timeout_s / 2))

        def make(name: str = name, boot: Boot = boot) -> Finding:
            return scout(name, boot, say)

        context = (*one.context(guest), only, *more)
        finding = make() if fresh else kept_finding(cache, one.images[guest], context, make)
        if name in variants and not any(op.endswith(".vsyscall") for op in finding.works):
            say(f"{guest} has no __kernel_vsyscall that works: not available.")
            finding = replace(finding, complaint="no __kernel_vsyscall that works")
        findings[name] = replace(finding, guest=name)
    return findings


def _vsyscalls(images: Mapping[str, Image]) -> dict[str, str]:
    """The second name of each guest that may have a function-call entry, under which that is measured → the guest."""
    return {name + VSYSCALL: name for name, image in images.items() if guests.get(kind_of(image.guest)).recipe.vsyscall}


# ---- the counter's frequency ----


def frequencies(records: Sequence[BootRecord], accelerator: Accelerator) -> dict[str, str]:
    """`linux TSC` → "2.600 GHz by the host's clock, 2.601 by its own", for the line under the table.

    records: of one host.
    """
    facts: dict[str, str] = {}
    if accelerator is Accelerator.ICOUNT:
        return facts
    by_guest = _hz_by_guest(records)
    for guest, by_host in _hz_by_host(records).items():
        own = by_guest.get(guest)
        by_own = f", {own / 1e9:.3f} by its own" if own is not None else ""
        facts[f"{guest} TSC"] = f"{by_host / 1e9:.3f} GHz by the host's clock{by_own}"
    return facts


def _hz_by_host(records: Sequence[BootRecord]) -> dict[str, float]:
    """Guest → ticks per host second between the frames `main` and `exit`, median over boots."""
    rates: dict[str, list[float]] = {}
    for record in records:
        ticks, events = record.ticks, record.events
        if all(name in table for table in (ticks, events) for name in ("main", "exit")):
            span = events["exit"] - events["main"]
            if record.outcome is Outcome.OK and span > 0:
                rates.setdefault(record.trial.guest, []).append((ticks["exit"] - ticks["main"]) * 1e9 / span)
    return {guest: median(values) for guest, values in rates.items()}


def _hz_by_guest(records: Sequence[BootRecord]) -> dict[str, float]:
    """Guest → ticks per second of its own clock, over the operations timed by both, median over boots."""
    ratios_of: dict[str, list[float]] = {}
    for record in records:
        seconds = {s.benchmark: s for s in record.samples if s.unit is Unit.SECONDS}
        ticks = {s.benchmark.removesuffix(TICKS): s for s in record.samples if s.unit is Unit.CYCLES}
        both = [name for name in seconds if name in ticks and sum(seconds[name].values) > 0]
        if record.outcome is Outcome.OK and both:
            ratios = [sum(ticks[name].values) / sum(seconds[name].values) for name in both]
            ratios_of.setdefault(record.trial.guest, []).append(median(ratios))
    return {guest: median(values) for guest, values in ratios_of.items()}
