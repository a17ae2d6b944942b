"""Runtimes × guests, and scikit-learn against ONNX Runtime, as the page of `ukperf paper` has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ukperf.model import Comparison, Estimate
from ukperf.reports.page import SPACE, Cell, Column, Line, Part, Table, Tone
from ukperf.reports.table import difference
from ukperf.reports.units import number, with_unit


class InGuest(StrEnum):
    """What a guest does with a runtime."""

    RUNS = "runs"
    FAILS = "does not run"
    HANGS = "no end in time"  # the guest's doing, or that of a host that is too slow
    ABSENT = "not installed"
    UNTRIED = "not measured"


_TONE = {
    InGuest.RUNS: Tone.GOOD,
    InGuest.FAILS: Tone.BAD,
    InGuest.HANGS: Tone.BAD,
    InGuest.ABSENT: Tone.DIM,
    InGuest.UNTRIED: Tone.DIM,
}


@dataclass(frozen=True)
class RuntimeLine:
    """One runtime in one guest; guest "": of one that was booted nowhere.

    reason: why it does not run, or not in all boots, or what to type; a sentence. costs: benchmark → median.
    comparisons: benchmark → guest ÷ baseline.
    """

    runtime: str
    model: str
    guest: str
    running: InGuest
    reason: str = ""
    boots: int = 0
    tried: int = 0
    costs: Mapping[str, Estimate] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)


@dataclass(frozen=True)
class LatencyLine:
    """One latency of one classifier in one guest by one runtime. kernel: guest ÷ baseline within the runtime."""

    model: str
    benchmark: str
    runtime: str
    guest: str
    estimate: Estimate | None
    kernel: Comparison | None = None


@dataclass(frozen=True)
class ExchangeLine:
    """The same latency, guest and weights: one runtime ÷ the other."""

    model: str
    benchmark: str
    guest: str
    over: str
    under: str
    ratio: Comparison


def runtime_parts(
    lines: Sequence[RuntimeLine], baseline: str, shown: Sequence[str], total: Sequence[str]
) -> Iterator[Part]:
    """The table, and why what does not run does not. shown: the costs that have a column; total: the names of what is
    divided, the first that is there."""
    if not lines:
        return
    yield SPACE
    yield Line("Runtimes in guests: “inability to run machine learning libraries”", Tone.STRONG)
    columns = (
        Column("runtime"),
        Column("guest"),
        Column(""),
        *(Column(name, right=True) for name in shown),
        Column(f"all ÷ {baseline}", right=True),
        Column("95 % interval"),
        Column("verdict"),
    )
    rows = []
    for line in lines:
        name = f"{line.runtime}, {line.model}" if line.model else line.runtime
        costs = [line.costs.get(cost) for cost in shown]
        whole = next((line.comparisons[name] for name in total if name in line.comparisons), None)
        said = line.running.value
        if line.running is InGuest.RUNS and line.boots < line.tried:
            said += f" ({line.boots} of {line.tried})"
        rows.append(
            (
                Cell(name),
                Cell(line.guest or "–"),
                Cell(said, _TONE[line.running]),
                *(Cell("–" if cost is None else with_unit(cost.value, cost.unit)) for cost in costs),
                *difference(whole),
            )
        )
    yield Table(columns, tuple(rows), grouped=True, fold=3 + len(shown))
    for line in lines:
        if line.reason:
            where = f"{line.runtime} in {line.guest}" if line.guest else line.runtime
            yield Line(f"{where}: {line.reason}", Tone.UNSURE)


def classifier_parts(lines: Sequence[LatencyLine], exchanges: Sequence[ExchangeLine], baseline: str) -> Iterator[Part]:
    """How much of the latency is the kernel's, and how much the runtime's."""
    if not lines:
        return
    yield SPACE
    yield Line("The paper's classifiers, the same weights: how much of their latency is the kernel's", Tone.STRONG)
    columns = (
        Column("latency"),
        Column("runtime"),
        Column("guest"),
        Column("median", right=True),
        Column(f"÷ {baseline}", right=True),
        Column("95 % interval"),
        Column("verdict"),
    )
    rows = [
        (
            Cell(f"{line.model}, {line.benchmark}"),
            Cell(line.runtime),
            Cell(line.guest),
            Cell("–" if line.estimate is None else with_unit(line.estimate.value, line.estimate.unit)),
            *difference(line.kernel),
        )
        for line in lines
    ]
    yield Table(columns, tuple(rows), grouped=True, fold=4)
    if exchanges:
        yield SPACE
        first = exchanges[0]
        yield Line(f"… and how much the runtime's: {first.over} ÷ {first.under} in the same guest", Tone.STRONG)
        titles = (Column("latency"), Column("guest"), Column("÷", right=True))
        cells = [
            (Cell(f"{line.model}, {line.benchmark}"), Cell(line.guest), *difference(line.ratio)) for line in exchanges
        ]
        yield Table((*titles, Column("95 % interval"), Column("verdict")), tuple(cells), grouped=True)
    yield Line(_shares(lines, exchanges, baseline))


def _shares(lines: Sequence[LatencyLine], exchanges: Sequence[ExchangeLine], baseline: str) -> str:
    """One sentence: how far the ratios go, of kernels and of runtimes."""
    kernels = spread(line.kernel for line in lines if line.kernel is not None)
    runtimes = spread(line.ratio for line in exchanges)
    said = [f"the kernel changes the latency by a factor of {kernels} (guest ÷ {baseline})"] if kernels else []
    said += [f"the runtime by {runtimes} ({exchanges[0].over} ÷ {exchanges[0].under})"] if runtimes else []
    text = ", ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else "Nothing of it can be compared."


def spread(comparisons: Iterator[Comparison]) -> str:
    """`0.98 to 1.02`: the least and the greatest ratio; empty where there is none."""
    ratios = sorted(c.ratio for c in comparisons if c.ratio is not None)
    if not ratios:
        return ""
    ends = number(ratios[0], 0.02 * ratios[0]), number(ratios[-1], 0.02 * ratios[-1])
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
