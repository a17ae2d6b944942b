"""Profiles with their names, as text: what a run's bundle has for machines without the kernels, programs and firmware
whose code was counted. A boot takes a tenth of its counts, and boots that did the same are written once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from ukperf.decode import Within, decode_stored, encode
from ukperf.profile.counts import WINDOWS
from ukperf.profile.flows import NUMBERS
from ukperf.profile.model import CallSum, CodePart, Function, Profile, Profiled
from ukperf.profile.symbols import NAME_MAX
from ukperf.text import clean

FORMAT = 1
TEXT_MAX = 256 << 20  # bytes
_NOTE = 1000  # characters of a sentence
_Count = Annotated[int, Within(0, (1 << 63) - 1, "count")]


@dataclass(frozen=True)
class _Boot:
    """rows: of each function its instructions in each window. as_first: only rows that are not those of the guest's
    first boot, each with its function's number in front. Zeros alone: the function was not executed. calls: window →
    system call → times, instructions."""

    windows: tuple[str, ...]
    rows: tuple[tuple[_Count, ...], ...]
    total: tuple[_Count, ...]
    rest: tuple[_Count, ...]
    counter: Mapping[str, _Count] = field(default_factory=dict)
    as_first: bool = False
    calls: Mapping[str, Mapping[str, tuple[_Count, _Count]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Guest:
    """functions: part, file, name, named."""

    label: str
    functions: tuple[tuple[CodePart, str, str, bool], ...]
    boots: tuple[_Boot, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Kept:
    guests: tuple[_Guest, ...]


def kept_text(sides: Sequence[Profiled]) -> str:
    """The profiles as `kept` reads them: the same text for the same profiles."""
    return json.dumps(encode(_Kept(tuple(map(_guest, sides))), FORMAT), separators=(",", ":")) + "\n"


def _guest(side: Profiled) -> _Guest:
    functions = sorted({function for boot in side.boots for function in boot.rows}, key=lambda f: (f.order, f.named))
    first: tuple[tuple[int, ...], ...] = ()
    boots: list[_Boot] = []
    for boot in side.boots:
        rows = tuple(boot.rows.get(function, (0,) * len(boot.windows)) for function in functions)
        as_first = bool(boots) and boot.windows == side.boots[0].windows
        if as_first:
            rows = tuple((at, *row) for at, (row, other) in enumerate(zip(rows, first, strict=True)) if row != other)
        else:
            first = first or rows
        boots.append(
            _Boot(boot.windows, rows, boot.total, boot.rest, dict(boot.counter), as_first, _calls_written(boot))
        )
    known = tuple((function.part, function.file, function.name, function.named) for function in functions)
    return _Guest(side.label, known, tuple(boots), side.notes)


def kept(data: object) -> tuple[Profiled, ...]:
    """The profiles in what `kept_text` wrote, read as JSON. Raises ValueError for what it did not write."""
    known = decode_stored(_Kept, data, FORMAT)
    if not known.guests:
        raise ValueError("no guest was profiled")
    return tuple(map(_profiled, known.guests))


def _profiled(guest: _Guest) -> Profiled:
    functions = [
        Function(part, clean(file, NAME_MAX), clean(name, NAME_MAX), named)
        for part, file, name, named in guest.functions
    ]
    if not guest.boots or guest.boots[0].as_first or len(set(functions)) != len(functions):
        raise ValueError(f"the boots of {clean(guest.label, 80)} are damaged")
    boots: list[Profile] = []
    for boot in guest.boots:
        own = _rows(boot, functions)
        if boot.as_first:
            if boot.windows != guest.boots[0].windows:
                raise ValueError("a boot has other windows than the first, and is written as if it had not")
            own = {**boots[0].rows, **own}
        ordered = {function: own[function] for function in functions if any(own.get(function, ()))}
        boots.append(Profile(boot.windows, ordered, boot.total, boot.rest, dict(boot.counter), _calls(boot)))
    return Profiled(clean(guest.label, 200), tuple(boots), tuple(clean(note, _NOTE) for note in guest.notes))


def _calls_written(boot: Profile) -> dict[str, dict[str, tuple[int, int]]]:
    return {
        window: {name: (one.times, one.instructions) for name, one in inside.items()}
        for window, inside in boot.calls.items()
    }


def _calls(boot: _Boot) -> dict[str, dict[str, CallSum]]:
    if any(window not in boot.windows or len(inside) > NUMBERS for window, inside in boot.calls.items()):
        raise ValueError("the system calls of a boot are damaged")
    return {
        window: {clean(name, NAME_MAX): CallSum(*one) for name, one in inside.items()}
        for window, inside in boot.calls.items()
    }


def _rows(boot: _Boot, functions: Sequence[Function]) -> dict[Function, tuple[int, ...]]:
    size = len(boot.windows)
    if not 0 < size <= WINDOWS or len(set(boot.windows)) != size or any(w != clean(w) for w in boot.windows):
        raise ValueError("the windows of a boot are damaged")
    wide = size + boot.as_first
    if len(boot.total) != size or len(boot.rest) != size or any(len(row) != wide for row in boot.rows):
        raise ValueError("a boot has not a count for each window")
    if boot.as_first:
        if any(row[0] >= len(functions) for row in boot.rows) or len({row[0] for row in boot.rows}) != len(boot.rows):
            raise ValueError("a boot executed functions that are not there")
        return {functions[row[0]]: row[1:] for row in boot.rows}
    if len(boot.rows) != len(functions):
        raise ValueError("a boot has not a row for each function")
    return dict(zip(functions, boot.rows, strict=True))
