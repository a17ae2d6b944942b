"""Forecasts for guests, and the boots that confirm them, by what a workload prepares and the engine lends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ukperf import guests
from ukperf.deps import forecast
from ukperf.deps.asking import Asked, Provided, asked_of, provided
from ukperf.deps.forecast import Forecast, Running, run_in_tree, truth_of
from ukperf.deps.subject import Subject, packed, runtime_of, trace_here
from ukperf.errors import UkperfError
from ukperf.guests.recipes import Role
from ukperf.imaging.pack import Packed
from ukperf.model import CallTable, Request, kind_of
from ukperf.text import clean
from ukperf.workloads.base import Bench
from ukperf.workloads.joining import memory_for_files
from ukperf.workloads.run import PYTHON_MIB
from ukperf.workloads.syscall_probe import tables

ALL = ("/dev/", "/proc/", "/sys/")
LEAST_S, PATIENCE = 10.0, 5.0  # of a run without a guest's calls: so long, or so many times one with all of them


@dataclass(frozen=True)
class Tried:
    """What was found out by running. has: what each guest has of what was asked for."""

    asked: Asked
    has: tuple[Provided, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> tuple[int, int]:
        """(forecasts that boots confirmed, those that boots tried)."""
        both = [f for f in self.forecasts if Running.UNKNOWN not in (f.says, f.truth)]
        return sum(f.says is f.truth for f in both), len(both)


def traced(subject: Subject, timeout_s: float) -> Tried:
    """What it asks for on this machine. Raises UkperfError where it cannot be traced."""
    return Tried(asked_of(trace_here(subject, timeout_s)))


def tried(subject: Subject, request: Request, bench: Bench, *, confirm: bool, fresh: bool = False) -> Tried:
    """And what guests will do with it. confirm: boots each. Raises UkperfError where nothing can be forecast."""
    here = trace_here(subject, request.timeout_s)
    asked = asked_of(here)
    others = (guest.name for guest in guests.loading_programs() if guest.recipe.role is not Role.CONTROL)
    request = replace(request, guests=request.guests or tuple(others))
    if unknown := {*request.kernels, *request.cmdlines} - {*request.guests}:
        raise UkperfError(f"{', '.join(sorted(unknown))}: named by --kernel or --append, but not among the guests.")
    made = packed(subject)
    for line in dict.fromkeys(made.left_out):
        bench.say(f"{line[0].upper()}{line[1:]}.")
    program = made.program
    status = here.status or 0
    began = time.monotonic()
    control = run_in_tree(program, ALL, (), request.timeout_s)
    patience_s = min(request.timeout_s, max(LEAST_S, PATIENCE * (time.monotonic() - began)))
    has = _tables(request, bench, fresh)
    provides = tuple(provided(asked, table, program.path) for table in has)
    if control.status != here.status:
        why = f"exit status {control.status}" if not control.signal else control.signal
        said = f": {control.last_line}" if control.last_line else ""
        note = f"Packed, it does not run on this machine itself ({why}{said}), so nothing is forecast."
        forecasts = tuple(Forecast(t.guest, t.kernel_version, Running.UNKNOWN, "it does not run packed") for t in has)
        return Tried(asked, provides, forecasts, (note,))
    forecasts = tuple(forecast.forecast(program, table, patience_s, status) for table in has)
    if confirm:
        prepared = _with_memory(replace(request, program=program), subject, made)
        forecasts = tuple(_confirmed(item, prepared, bench, status) for item in forecasts)
    return Tried(asked, provides, forecasts)


def _alone(request: Request, name: str) -> Request:
    """Of one guest, with what was said of it and not of others."""
    kernels = {guest: path for guest, path in request.kernels.items() if guest == name}
    cmdlines = {guest: words for guest, words in request.cmdlines.items() if guest == name}
    return replace(request, guests=(name,), baseline=name, kernels=kernels, cmdlines=cmdlines)


def _with_memory(request: Request, subject: Subject, made: Packed) -> Request:
    """With as much memory as Python, its packages and the tree need in guests."""
    runtime = runtime_of(subject)
    least = runtime.memory_mib if runtime is not None else PYTHON_MIB if subject.is_package else 0
    machine = replace(request.machine, memory_mib=max(request.machine.memory_mib, least))
    kinds = {name: kind_of(name) for name in request.guests}
    memory = memory_for_files(kinds, dict.fromkeys(kinds, made.size), machine.memory_mib)
    return replace(request, machine=machine, memory_mib=memory)


def _tables(request: Request, bench: Bench, fresh: bool) -> Sequence[CallTable]:
    """Guests that cannot be probed here are said and left out."""
    there: list[CallTable] = []
    for name in request.guests:
        try:
            there += tables(_alone(request, name), bench, fresh=fresh)
        except UkperfError as error:
            bench.say(f"{name} is left out: {clean(str(error), 300)}")
    if not there:
        raise UkperfError("There is no guest to forecast for.", hint="ukperf doctor says what is missing.")
    return there


def _confirmed(item: Forecast, request: Request, bench: Bench, status: int) -> Forecast:
    """With what a boot says; a guest that refuses the program does not run it."""
    assert request.program is not None
    try:
        with bench.boots(_alone(request, item.guest), exact=False) as one:
            seen = one.boot(item.guest, request.program, request.timeout_s)
    except UkperfError as error:
        return replace(item, truth=Running.NO, truth_reason=clean(error.message, 300))
    truth, why = truth_of(seen, status)
    return replace(item, truth=truth, truth_reason=why)
