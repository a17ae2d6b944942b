"""What of the page tells of runs: calls, special files, and in which guests it will run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ukperf.deps.asking import Asked, Provided
from ukperf.deps.forecast import Forecast, Running
from ukperf.deps.trying import Tried
from ukperf.reports.page import SPACE, Cell, Column, Line, Part, Table, Tone
from ukperf.text import many

CALLS_MAX, FILES_MAX = 12, 24  # names in a cell, rows of a table; JSON has them all
_TONES = {Running.YES: Tone.GOOD, Running.NO: Tone.BAD, Running.UNKNOWN: Tone.DIM}


def tried_parts(tried: Tried) -> Iterator[Part]:
    """Below what it is made of."""
    yield SPACE
    yield from _asked(tried.asked)
    yield from _files(tried.asked, tried.has)
    yield from _has(tried.has)
    yield from _forecasts(tried)
    for note in tried.notes:
        yield Line(note, Tone.UNSURE)


def _asked(asked: Asked) -> Iterator[Part]:
    made = sum(asked.calls.values())
    what = [f"{many(len(asked.calls), 'system call')} ({made:,} times)", many(asked.threads, "thread")]
    if asked.processes:
        what.append(f"{asked.processes} other process{'es' if asked.processes > 1 else ''}")
    yield Line(f"{', '.join(what)}", Tone.STRONG, "asks a kernel for: ")
    yield Line(_names(list(asked.calls), 200))
    if asked.ioctls:
        commands = [name if good else f"{name} (refused)" for name, good in asked.ioctls.items()]
        yield Line(f"ioctl: {_names(commands, 40)}")
    if not asked.good:
        yield Line(f"On this machine it ended with {asked.end}.", Tone.UNSURE)


def _files(asked: Asked, has: Sequence[Provided]) -> Iterator[Part]:
    special = [item for item in asked.special if item.there] or list(asked.special)
    if not special:
        return
    columns = [Column("special file", cuts=True), Column("here"), *(Column(guest.guest) for guest in has)]
    rows = []
    for item in special[:FILES_MAX]:
        cells = [Cell(item.path), _there(item.there)]
        cells += [_there(item.there and item.path not in guest.files) for guest in has]
        rows.append(tuple(cells))
    yield SPACE
    yield Table(tuple(columns), tuple(rows))
    if len(special) > FILES_MAX:
        yield Line(f"and {len(special) - FILES_MAX} more; --json has them")


def _there(there: bool) -> Cell:
    return Cell("yes") if there else Cell("no", Tone.BAD)


def _has(has: Sequence[Provided]) -> Iterator[Part]:
    if not has:
        return
    rows = tuple(
        (Cell(f"{item.guest} {item.version}".strip()), Cell(_names(item.lacking) or "none", _lack(item.lacking)))
        for item in has
    )
    yield SPACE
    yield Table((Column("guest"), Column("calls that it asks for and that are not there", wraps=True)), rows)
    for item in has:
        if item.fatal:
            yield Line(f"{item.guest} ends or hangs in {_names(item.fatal)}.", Tone.BAD)
        if item.stubs:
            yield Line(f"{item.guest} only pretends: {_names(item.stubs)}.", Tone.UNSURE)


def _lack(names: Sequence[str]) -> Tone:
    return Tone.PLAIN if names else Tone.DIM


def _forecasts(tried: Tried) -> Iterator[Part]:
    if not tried.forecasts:
        return
    confirmed = any(item.truth is not Running.UNKNOWN for item in tried.forecasts)
    columns = [Column("guest"), Column("forecast"), *([Column("booted")] if confirmed else []), Column("", wraps=True)]
    yield SPACE
    yield Table(tuple(columns), tuple(_row(item, confirmed) for item in tried.forecasts))
    if confirmed:
        right, both = tried.right
        yield Line(f"{right} of {many(both, 'forecast')} came true.")


def _row(item: Forecast, confirmed: bool) -> tuple[Cell, ...]:
    cells = [Cell(item.guest), Cell(item.says.value, _TONES[item.says])]
    if confirmed:
        cells.append(Cell(item.truth.value, _TONES[item.truth]))
    why = [item.reason] if item.reason else []
    if item.says is Running.YES and (item.lacking or item.files):
        why.append(f"although it lacks {_names([*item.lacking, *item.files])}")
    if item.truth_reason:
        why.append(f"booted: {item.truth_reason}")
    return (*cells, Cell("; ".join(why)))


def _names(names: Sequence[str], most: int = CALLS_MAX) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
