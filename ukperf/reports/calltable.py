"""The paper's Table I, measured: which system calls each guest has, and what one has that another lacks."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ukperf.errors import UkperfError
from ukperf.model import CallClass, CallTable, QuotedCalls, SystemCall, kind_of
from ukperf.reports.jsonout import members
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone
from ukperf.text import meant, unfitting

KNOWS = frozenset({CallClass.WORKS, CallClass.ERROR})
_TONE = {
    CallClass.WORKS: Tone.GOOD,
    CallClass.ERROR: Tone.ALIKE,
    CallClass.STUB: Tone.UNSURE,
    CallClass.ENOSYS: Tone.DIM,
    CallClass.KILLS: Tone.BAD,
    CallClass.HANGS: Tone.BAD,
    CallClass.UNPROBED: Tone.DIM,
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
    kinds = Counter(call.kind for call in table.calls)
    return {kind: kinds[kind] for kind in CallClass}


def supported(table: CallTable) -> int:
    """Calls that do what they should, or say why not."""
    return sum(call.kind in KNOWS for call in table.calls)


def provided(table: CallTable) -> int:
    """Calls that are more than ENOSYS: what counting entries in a kernel's table would find."""
    return sum(call.kind not in (CallClass.ENOSYS, CallClass.UNPROBED) for call in table.calls)


def difference(here: CallTable, there: CallTable) -> tuple[Difference, ...]:
    """What `here` supports and `there` does not, by number."""
    differences = []
    for call in here.calls:
        other = there.call(call.nr)
        if other is not None and call.kind in KNOWS and other.kind not in KNOWS:
            differences.append(Difference(call.nr, call.name, call, other))
    return tuple(differences)


@dataclass(frozen=True)
class CallsPage(Page):
    """Table I beside the paper's numbers. names: the calls that JSON lists one by one; the counts are over all.

    paper: guest → what it says of it.
    """

    tables: Sequence[CallTable]
    names: Sequence[str]
    paper: Mapping[str, QuotedCalls]

    def body(self) -> Iterator[Part]:
        """The table, and the calls that are neither supported nor plainly absent."""
        columns = (
            Column("guest"),
            *(Column(kind.value, right=True) for kind in CallClass),
            Column("supported", right=True),
            Column("provided", right=True),
            Column("paper", right=True),
            Column("kernel"),
        )
        yield Table(columns, tuple(_row(table, self.paper.get(kind_of(table.guest))) for table in self.tables))
        for table in self.tables:
            yield from _odd_calls(table)
        for meaning in _MEANING:
            yield Line(meaning, Tone.DIM)
        total = max((len(table.calls) for table in self.tables), default=0)
        note = f"{total} x86-64 numbers tried in each guest. The paper's column: Table I, as its authors quote it."
        yield Line(note, Tone.DIM)
        for table in self.tables:
            if table.complaint:
                yield Line(f"Note: {table.guest} is incomplete: {table.complaint}.", Tone.UNSURE)

    def said(self) -> Mapping[str, object]:
        """The calls in `names` of every guest, the counts over all calls, and the paper's numbers."""
        wanted = set(self.names)
        return {
            "paper": {guest: members(quoted) for guest, quoted in self.paper.items()},
            "guests": [_said(table, wanted) for table in self.tables],
        }


@dataclass(frozen=True)
class CallListPage(CallsPage):
    """One line a call (those in `names`), one column a guest."""

    def body(self) -> Iterator[Part]:
        columns = (Column("nr", right=True), Column("call"), *(Column(table.guest) for table in self.tables))
        wanted = set(self.names)
        rows = []
        for call in self.tables[0].calls if self.tables else ():
            if call.name in wanted:
                cells = [table.call(call.nr) for table in self.tables]
                rows.append((Cell(str(call.nr)), Cell(call.name), *map(_cell, cells)))
        yield Table(columns, tuple(rows), keys=2)


@dataclass(frozen=True)
class CallDifferencePage(Page):
    """What each of two guests supports and the other does not."""

    here: CallTable
    there: CallTable

    def body(self) -> Iterator[Part]:
        for one, other, lacking in self._both():
            yield Line(f"{one.guest} supports, {other.guest} does not: {len(lacking)}", Tone.STRONG)
            columns = (Column("nr", right=True), Column("call"), Column(one.guest), Column(other.guest))
            if lacking:
                rows = [(Cell(str(d.nr)), Cell(d.name), _cell(d.here), _cell(d.there)) for d in lacking]
                yield Table(columns, tuple(rows))

    def said(self) -> Mapping[str, object]:
        return {
            f"{one.guest} only": [{"nr": d.nr, "name": d.name, other.guest: d.there.kind} for d in lacking]
            for one, other, lacking in self._both()
        }

    def _both(self) -> Iterator[tuple[CallTable, CallTable, tuple[Difference, ...]]]:
        for one, other in ((self.here, self.there), (self.there, self.here)):
            yield one, other, difference(one, other)


def _row(table: CallTable, paper: QuotedCalls | None) -> tuple[Cell, ...]:
    number = counts(table)
    return (
        Cell(table.guest),
        *(Cell(str(number[kind]), _TONE[kind] if number[kind] else Tone.DIM) for kind in CallClass),
        Cell(str(supported(table)), Tone.STRONG),
        Cell(str(provided(table))),
        Cell(f"{paper.supported} ({paper.kernel})" if paper else "–"),
        Cell(table.kernel_version or "?"),
    )


def _odd_calls(table: CallTable) -> Iterator[Line]:
    for kind in (CallClass.STUB, CallClass.KILLS, CallClass.HANGS):
        names = [call.name for call in table.calls if call.kind is kind]
        if names:
            yield Line(", ".join(names), _TONE[kind], lead=f"{table.guest}, {kind.value}: ")


def error_name(number: int) -> str:
    """`EBADF`; the bare number where nobody named it."""
    return errno.errorcode.get(number, str(number))


def _cell(call: SystemCall | None) -> Cell:
    if call is None:
        return Cell("–", Tone.DIM)
    why = f" {error_name(call.errno)}" if call.kind is CallClass.ERROR else f" ({call.detail})" if call.detail else ""
    return Cell(call.kind.value + why, _TONE[call.kind])


def matching(tables: Sequence[CallTable], globs: str) -> list[str]:
    """Names of calls that one of the globs (commas between them) matches, by number.

    Raises UkperfError for a glob that matches none.
    """
    names = {call.name: None for table in tables for call in table.calls}
    if lost := unfitting(globs, names):
        raise UkperfError(f"No system call is named like {lost[0]}.", hint=meant(lost[0], names))
    return [name for name in names if any(fnmatchcase(name, glob.strip()) for glob in globs.split(","))]


def _said(table: CallTable, wanted: set[str]) -> dict[str, object]:
    return {
        "guest": table.guest,
        "kernel_version": table.kernel_version,
        "kernel_digest": table.kernel_digest,
        "program_digest": table.program_digest,
        "boots": table.boots,
        "complaint": table.complaint,
        "supported": supported(table),
        "provided": provided(table),
        "counts": counts(table),
        "calls": [
            {
                "nr": call.nr,
                "name": call.name,
                "class": call.kind,
                "errno": error_name(call.errno) if call.errno else None,
                "detail": call.detail or None,
            }
            for call in table.calls
            if call.name in wanted
        ],
    }
