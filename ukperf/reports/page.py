"""What a command shows: a page of tables, lines and quotes. It is made once; terminal, JSON, Markdown and HTML draw it.

A page's own class holds what was found, typed, and says of it two things: `body`, what is drawn, and `said`,
what JSON has. Nothing here knows how it is drawn: `terminal`, `markdown`, `html` and `jsonout` do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from ukperf.model import Verdict
from ukperf.reports.jsonout import Json, plain

if TYPE_CHECKING:
    from ukperf.reports.pictures import Picture


class Tone(StrEnum):
    """How something is meant; each output has its own way to show it."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    GOOD = "good"
    BAD = "bad"
    ALIKE = "alike"
    UNSURE = "unsure"
    GRAVE = "grave"  # what keeps everything else from working


_OF_VERDICT = {
    Verdict.FASTER: Tone.GOOD,
    Verdict.SLOWER: Tone.BAD,
    Verdict.EQUIVALENT: Tone.ALIKE,
    Verdict.INCONCLUSIVE: Tone.UNSURE,
    Verdict.NOT_COMPARABLE: Tone.DIM,
}


def tone_of(verdict: Verdict) -> Tone:
    return _OF_VERDICT[verdict]


@dataclass(frozen=True)
class Cell:
    """brief: what is enough where there is little room."""

    text: str
    tone: Tone = Tone.PLAIN
    brief: str | None = None


@dataclass(frozen=True)
class Column:
    """least: cells that it takes on a terminal at least. cuts: its names may be cut there; nothing else ever is.
    wraps: the last column, with sentences that may take several lines. stays: where a terminal breaks the table into
    blocks, it stays beside the column before it."""

    title: str
    right: bool = False
    least: int = 0
    cuts: bool = False
    wraps: bool = False
    stays: bool = False


Span: TypeAlias = tuple[float, float, float]  # a ratio's interval: its low end, the ratio, its high end; all above 0


@dataclass(frozen=True)
class Table:
    """Every row has a cell for each column.

    grouped: rows with the same first cell belong together; a terminal prints that cell once, above them. corner: what
    stands above their names there. fold: the column at which a terminal that is too narrow breaks rows in two. keys:
    how many columns, that of groups not counted, say what a row is: they stand in each block of a table that a terminal
    breaks into blocks. spans: one for each row, or nothing: what a terminal that is wide draws beside it. bare: a
    terminal needs no titles. gap: cells between columns there.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    grouped: bool = False
    corner: str = ""
    fold: int | None = None
    keys: int = 1
    spans: tuple[Span | None, ...] = ()
    bare: bool = False
    gap: int = 2


@dataclass(frozen=True)
class Line:
    """A sentence or two. lead: its beginning, which alone has the tone where there is one. wraps: a terminal may break
    it at a word; what is to be copied is never broken. An empty one keeps others apart."""

    text: str
    tone: Tone = Tone.PLAIN
    lead: str = ""
    wraps: bool = True


@dataclass(frozen=True)
class Quote:
    """What somebody else wrote, like the end of a guest's console. lead: what it is; text: its lines as they were
    written. A terminal has the last of them."""

    lead: str
    text: str

    @property
    def last(self) -> str:
        """The last line that says something, or ""."""
        return next((line for line in reversed(self.text.splitlines()) if line.strip()), "")


Part: TypeAlias = Table | Line | Quote
SPACE = Line("")


def table(titles: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[int] = ()) -> Table:
    """A table of words. right: the columns that are numbers."""
    numbers = set(right)
    columns = tuple(Column(title, index in numbers) for index, title in enumerate(titles))
    return Table(columns, tuple(tuple(Cell(cell) for cell in row) for row in rows))


# What a fact is about, by its name: what was run, and how. The rest is about what it ran on.
_RAN = (" kernel", " is", " command")  # how such a name ends
_HOW = ("machine", "firmware", "console", "launch", "pinned", "seed")
_END = "ended"


def fact_lines(facts: Mapping[str, str], ended: Sequence[str] = ()) -> Iterator[Line]:
    """What was run, on what, how, and how it ended: a line for each that has something to say.

    facts: name → value; each line has them in their order. ended: what else there is to say of the end.
    """
    groups: dict[str, list[str]] = {"Ran": [], "On": [], "How": [], "Ended": []}
    for name, value in facts.items():
        group = "How" if name in _HOW else "Ran" if name.endswith(_RAN) else "Ended" if name == _END else "On"
        groups[group].append(value if group == "Ended" else f"{name} {value}")
    groups["Ended"] += ended
    for lead, said in groups.items():
        if said:
            yield Line("; ".join(said) + ".", Tone.DIM, lead=f"{lead}: ")


@dataclass(frozen=True, kw_only=True)
class Page(ABC):
    """facts: name → value, in the order of printing: what the figures are. notes: lines below everything. title: a line
    above it. more: members of the JSON besides."""

    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    title: str = ""
    more: Mapping[str, object] = field(default_factory=dict)

    @abstractmethod
    def body(self) -> Iterable[Part]:
        """Tables, lines and quotes, in the order of reading."""

    def answers(self) -> Sequence[str]:
        """What was found, in a sentence or a few."""
        return ()

    def brief(self) -> Iterator[Part]:
        """The answers and the tables, and of everything else only how much of it warns."""
        if self.title:
            yield Line(self.title, wraps=False)
        for answer in self.answers():
            yield Line(answer, Tone.STRONG)
        parts = list(self.body())
        yield from (part for part in parts if isinstance(part, Table))
        notes = sum(isinstance(part, Line) and part.tone is Tone.UNSURE for part in parts) + len(self.notes)
        if notes:
            yield Line(f"Without --brief there {_more(notes)} to this.", Tone.DIM)

    @abstractmethod
    def said(self) -> object:
        """What JSON has: anything that `jsonout.plain` takes."""

    def pictures(self) -> Iterable[Picture]:
        """What HTML has below."""
        return ()

    def parts(self) -> Iterator[Part]:
        """All that is drawn."""
        if self.title:
            yield Line(self.title, wraps=False)
        yield from self.body()
        for note in self.notes:
            yield Line(note, wraps=False)

    def json(self) -> Json:
        """All that is said, as plain data."""
        data = plain(self.said())
        if not self.more:
            return data
        assert isinstance(data, dict)
        return {**data, **{name: plain(value) for name, value in self.more.items()}}


def _more(notes: int) -> str:
    return "is a note" if notes == 1 else f"are {notes} notes"


@dataclass(frozen=True)
class PlainPage(Page):
    """A page of a few words. content: what is drawn; data: what JSON has."""

    content: tuple[Part, ...]
    data: object

    def body(self) -> Iterable[Part]:
        return self.content

    def said(self) -> object:
        return self.data


def sentences(data: object, *lines: str) -> PlainPage:
    """Lines that are printed whole, and the same as data."""
    return PlainPage(tuple(Line(line, wraps=False) for line in lines), data)
