"""The paper's Table I, measured: which system calls each guest has, and what one has that another lacks."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rich.console import Console
from rich.text import Text

from ukperf.errors import UkperfError
from ukperf.model import CallClass, CallTable, SystemCall, kind_of
from ukperf.reports.columns import Column, lines, show
from ukperf.text import meant, unfitting

# Table I of the paper that ukperf starts from: the number of calls "supported", as its authors quote it.
PAPER = {"linux": ("Linux 3.7", 393), "unikraft": ("Unikraft", 146), "nanos": ("nanos", 148)}

KNOWS = frozenset({CallClass.WORKS, CallClass.ERROR})
_STYLE = {
    CallClass.WORKS: "green",
    CallClass.ERROR: "cyan",
    CallClass.STUB: "yellow",
    CallClass.ENOSYS: "dim",
    CallClass.KILLS: "red",
    CallClass.HANGS: "red",
    CallClass.UNPROBED: "dim",
}
_MEANING = (
    "works: a success, and proof of it where there can be one",
    "error: knows the call, and refuses what the prober may ask of it",
    "stub: a success that cannot be true",
    "supported = works + error; provided = those, stubs, and calls that end the guest",
)


@dataclass(frozen=True)
class Difference:
    """A call that one guest supports and the other does not."""

    nr: int
    name: str
    here: SystemCall
    there: SystemCall


def counts(table: CallTable) -> dict[CallClass, int]:
    """Class → number of calls, every class named."""
    found = Counter(call.kind for call in table.calls)
    return {kind: found[kind] for kind in CallClass}


def supported(table: CallTable) -> int:
    """Calls that do what they should, or say why not."""
    return sum(call.kind in KNOWS for call in table.calls)


def provided(table: CallTable) -> int:
    """Calls that are more than ENOSYS: what counting entries in a kernel's table would find."""
    return sum(call.kind not in (CallClass.ENOSYS, CallClass.UNPROBED) for call in table.calls)


def difference(here: CallTable, there: CallTable) -> tuple[Difference, ...]:
    """What `here` supports and `there` does not, by number."""
    found = []
    for call in here.calls:
        other = there.call(call.nr)
        if other is not None and call.kind in KNOWS and other.kind not in KNOWS:
            found.append(Difference(call.nr, call.name, call, other))
    return tuple(found)


def render(tables: Sequence[CallTable], console: Console) -> None:
    """Print Table I beside the paper's numbers, and the calls that are neither supported nor plainly absent."""
    columns = [
        Column("guest"),
        *(Column(kind.value, right=True) for kind in CallClass),
        Column("supported", right=True),
        Column("provided", right=True),
        Column("paper", right=True),
        Column("kernel"),
    ]
    rows = [_row(table) for table in tables]
    for line in lines(rows, columns):
        show(console, line, wrap=False)
    for table in tables:
        _odd_calls(table, console)
    for meaning in _MEANING:
        show(console, Text(meaning, style="dim"), wrap=True)
    total = max((len(table.calls) for table in tables), default=0)
    note = f"{total} x86-64 numbers tried in each guest. The paper's column: Table I, as its authors quote it."
    show(console, Text(note, style="dim"), wrap=True)
    for table in tables:
        if table.complaint:
            show(console, Text(f"Note: {table.guest} is incomplete: {table.complaint}.", style="yellow"), wrap=True)


def _row(table: CallTable) -> list[Text]:
    number = counts(table)
    name, paper = PAPER.get(kind_of(table.guest), ("", 0))
    return [
        Text(table.guest),
        *(Text(str(number[kind]), style=_STYLE[kind] if number[kind] else "dim") for kind in CallClass),
        Text(str(supported(table)), style="bold"),
        Text(str(provided(table))),
        Text(f"{paper} ({name})" if paper else "–"),
        Text(table.kernel_version or "?"),
    ]


def _odd_calls(table: CallTable, console: Console) -> None:
    for kind in (CallClass.STUB, CallClass.KILLS, CallClass.HANGS):
        names = [call.name for call in table.calls if call.kind is kind]
        if names:
            line = Text(f"{table.guest}, {kind.value}: ", style=_STYLE[kind]) + Text(", ".join(names), style="default")
            show(console, line, wrap=True)


def render_calls(tables: Sequence[CallTable], names: Sequence[str], console: Console) -> None:
    """Print one line a call (those in `names`), one column a guest."""
    columns = [Column("nr", right=True), Column("call"), *(Column(table.guest) for table in tables)]
    wanted = set(names)
    rows = []
    for call in tables[0].calls if tables else ():
        if call.name in wanted:
            cells = [table.call(call.nr) for table in tables]
            rows.append([Text(str(call.nr)), Text(call.name), *(_cell(cell) for cell in cells)])
    for line in lines(rows, columns):
        show(console, line, wrap=False)


def render_difference(here: CallTable, there: CallTable, console: Console) -> None:
    """Print what each of two guests supports and the other does not."""
    for one, other in ((here, there), (there, here)):
        found = difference(one, other)
        show(console, Text(f"{one.guest} supports, {other.guest} does not: {len(found)}", style="bold"), wrap=True)
        columns = [Column("nr", right=True), Column("call"), Column(one.guest), Column(other.guest)]
        rows = [[Text(str(d.nr)), Text(d.name), _cell(d.here), _cell(d.there)] for d in found]
        for line in lines(rows, columns) if rows else ():
            show(console, line, wrap=False)


def error_name(number: int) -> str:
    """`EBADF`; the bare number where nobody named it."""
    return errno.errorcode.get(number, str(number))


def _cell(call: SystemCall | None) -> Text:
    if call is None:
        return Text("–", style="dim")
    text = Text(call.kind.value, style=_STYLE[call.kind])
    if call.kind is CallClass.ERROR:
        text.append(f" {error_name(call.errno)}", style="dim")
    elif call.detail:
        text.append(f" ({call.detail})", style="dim")
    return text


def matching(tables: Sequence[CallTable], globs: str) -> list[str]:
    """Names of calls that one of the globs (commas between them) matches, by number.

    Raises UkperfError for a glob that matches none.
    """
    names = {call.name: None for table in tables for call in table.calls}
    if lost := unfitting(globs, names):
        raise UkperfError(f"No system call is named like {lost[0]}.", hint=meant(lost[0], names))
    return [name for name in names if any(fnmatchcase(name, glob.strip()) for glob in globs.split(","))]


def to_json(tables: Sequence[CallTable], names: Sequence[str]) -> dict[str, object]:
    """The calls in `names` of every guest, the counts over all calls, and the paper's numbers."""
    wanted = set(names)
    return {
        "paper": {guest: {"kernel": name, "supported": number} for guest, (name, number) in PAPER.items()},
        "guests": [
            {
                "guest": table.guest,
                "kernel_version": table.kernel_version,
                "kernel_digest": table.kernel_digest,
                "program_digest": table.program_digest,
                "boots": table.boots,
                "complaint": table.complaint,
                "supported": supported(table),
                "provided": provided(table),
                "counts": {kind.value: number for kind, number in counts(table).items()},
                "calls": [
                    {
                        "nr": call.nr,
                        "name": call.name,
                        "class": call.kind.value,
                        "errno": error_name(call.errno) if call.errno else None,
                        "detail": call.detail or None,
                    }
                    for call in table.calls
                    if call.name in wanted
                ],
            }
            for table in tables
        ],
    }


def difference_json(here: CallTable, there: CallTable) -> dict[str, object]:
    """What each of two guests supports and the other does not."""
    return {
        f"{one.guest} only": [
            {"nr": d.nr, "name": d.name, other.guest: d.there.kind.value} for d in difference(one, other)
        ]
        for one, other in ((here, there), (there, here))
    }
