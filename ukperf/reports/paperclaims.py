"""What the paper claims, each with the verdict of what was measured here, and the dependencies that it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ukperf.reports.page import SPACE, Cell, Column, Line, Part, Table, Tone


class Holding(StrEnum):
    """What a claim is worth by what was measured."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_SHOWN = "not shown"
    NOT_MEASURED = "not measured here"


_TONE = {
    Holding.HOLDS: Tone.GOOD,
    Holding.FAILS: Tone.BAD,
    Holding.NOT_SHOWN: Tone.UNSURE,
    Holding.NOT_MEASURED: Tone.DIM,
}


@dataclass(frozen=True)
class ClaimLine:
    """quote: the paper's words; where: in it; because: what the verdict rests on, a sentence without its full stop.

    counted: by instructions, which are not the time that the claim is about.
    """

    name: str
    quote: str
    where: str
    verdict: Holding
    because: str
    counted: bool = False


@dataclass(frozen=True)
class Needs:
    """What became of the dependencies that the paper names for a framework, in the package that runs here.

    replaced: name → what does its work. missing: why nothing is known of it.
    """

    framework: str
    package: str
    version: str = ""
    seen: tuple[str, ...] = ()
    replaced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    missing: str = ""


def claim_parts(claims: Sequence[ClaimLine]) -> Iterator[Part]:
    """How many hold, and then each in two lines: its words, and its verdict."""
    if not claims:
        return
    counts = Counter(claim.verdict for claim in claims)
    said = ", ".join(f"{verdict.value} {counts[verdict]}" for verdict in Holding if counts[verdict])
    yield SPACE
    yield Line(f"What the paper says, {len(claims)} claims: {said}.", Tone.STRONG)
    yield Line(
        "Kernels and libraries are those of this machine: what does not hold here may have held in 2021.", Tone.DIM
    )
    for claim in claims:
        yield SPACE
        yield Line(f"“{claim.quote}” ({claim.where})")
        counted = ", by instructions" if claim.counted else ""
        yield Line(f": {claim.because}.", _TONE[claim.verdict], lead=f"{claim.verdict.value}{counted}")


def needs_parts(needs: Sequence[Needs]) -> Iterator[Part]:
    """Figures 1 and 2: a row for each dependency, a column for each framework."""
    there = [each for each in needs if not each.missing]
    if there:
        yield SPACE
        yield Line("Figures 1 and 2: what the paper says is needed, in the packages as they run here", Tone.STRONG)
        names = dict.fromkeys(name for each in there for name in (*each.seen, *each.replaced, *each.gone))
        columns = (Column("dependency"), *(Column(f"{each.package} {each.version}".rstrip()) for each in there))
        yield Table(columns, tuple((Cell(name), *(_fate(each, name) for each in there)) for name in names))
    for each in needs:
        if each.missing:
            yield Line(f"{each.framework}: {each.missing}", Tone.UNSURE)


def _fate(needs: Needs, name: str) -> Cell:
    if name in needs.seen:
        return Cell("seen", Tone.GOOD)
    if name in needs.replaced:
        return Cell(f"by {', '.join(needs.replaced[name])}", Tone.ALIKE, brief="replaced")
    return Cell("gone" if name in needs.gone else "–", Tone.DIM)
