"""The page of a run: medians, ratios, verdicts, what the figures are, and what its names mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ukperf.model import PHASE_EVENTS, Comparison, Estimate, Phase, Unit, Why
from ukperf.reports.answers import answers
from ukperf.reports.jsonout import Json, members, plain
from ukperf.reports.names import cut
from ukperf.reports.page import Cell, Column, Line, Page, Part, Table, Tone, fact_lines, tone_of
from ukperf.reports.spans import span_of
from ukperf.reports.units import common_scale, interval, number, scale_for
from ukperf.stats.perboot import PHASES
from ukperf.text import many

if TYPE_CHECKING:
    from ukperf.stats.summary import GuestSummary, RunSummary

# In seconds phases lie between the host's events; counted ones between frames, in which the guest's counter stands.
_TIMED = {
    "vmm": "VMM start: create called → virtual CPUs may run",
    "kernel": "firmware and kernel: virtual CPUs may run (native: exec called) → first byte on the console",
    "init": "first byte on the console → main of the program",
    "stop": "main of the program, its clock check over → guest stopped",
    "ready": "create called → the line that its recipe calls ready",
    "total": "create called → guest stopped, less the clock check",
}
_COUNTED = {
    "kernel": "firmware and kernel: reset → first frame: our init's in Linux guests, the program's main elsewhere",
    "init": "our init, or a distribution's initramfs and systemd: first frame → main of the program",
    "stop": "main of the program, its clock check over → exit of the program",
    "total": "reset → exit of the program, less the clock check",
}
_COUNTED_EVENTS = {
    "kernel": ("reset", "first-frame"),
    "init": ("first-frame", "main"),
    "stop": ("clock-checked", "exit"),
    "total": ("reset", "exit"),
}
MOST_WHYS = 3
MOST_TITLE = 24  # cells of a name in the title of a column
# Who goes on until a verdict comes gives chance more than one chance (docs/statistics.md, "Boots that it needs").
OPTIONAL_STOPPING = (
    "Boots needed are those of a new run: going on with this one until a verdict comes calls equal guests different in "
    "7 to 14 % of cases, not 5 %. Start a run of so many boots, or use --precision."
)


@dataclass(frozen=True)
class RunPage(Page):
    """One host's part of a run."""

    summary: RunSummary

    def answers(self) -> Sequence[str]:
        return answers(self.summary)

    def brief(self) -> Iterator[Part]:
        yield from super().brief()
        for guest in self.summary.guests:
            if guest.failures:
                lost, tried = sum(guest.failures.values()), many(guest.tried, "boot")
                yield Line(f"{lost} of {tried} of {guest.guest} failed.", Tone.UNSURE)

    def body(self) -> Iterator[Part]:
        yield figures(self.summary)
        yield from self.below()

    def below(self) -> Iterator[Part]:
        """What stands below the figures: failures, what they are, what is to be said of them."""
        summary = self.summary
        for guest in summary.guests:
            if guest.failures:
                yield Line(_failures(guest), Tone.UNSURE)
        yield from fact_lines(self.facts, ended(summary))
        for name, words in legend(summary).items():
            yield Line(f"{name}: {words}", Tone.DIM)
        if any(e.unit is Unit.INSTRUCTIONS for guest in summary.guests for e in guest.estimates.values()):
            yield Line("instr: instructions that the guest executed, not time", Tone.DIM)
        for warning in (*summary.warnings, *comparison_warnings(summary)):
            yield Line(f"Note: {warning}", Tone.UNSURE)
        if any(c.boots_needed is not None for c in summary.comparisons):
            yield Line(f"Note: {OPTIONAL_STOPPING}", Tone.DIM)

    def said(self) -> Mapping[str, object]:
        summary = self.summary
        return {
            "baseline": summary.baseline,
            "delta": summary.delta,
            "blocks": summary.blocks,
            "facts": self.facts,
            "phases": phase_events(summary),
            "benchmarks": summary.benchmarks,
            "guests": [_guest_said(guest) for guest in summary.guests],
            "failures": {guest.guest: guest.failures for guest in summary.guests},
            "comparisons": [comparison_said(c, _unit_of(summary, c)) for c in summary.comparisons],
            "warnings": summary.warnings,
        }


def _guest_said(guest: GuestSummary) -> dict[str, Json]:
    clock = guest.clock
    return {
        **members(guest, "warmth", "outliers", "clock"),
        "clock_ratio": None if clock is None else plain(clock.value),
        "clock_interval": None if clock is None else plain((clock.low, clock.high)),
    }


def comparison_said(comparison: Comparison, unit: str | None = None) -> dict[str, Json]:
    """A comparison for JSON. unit: of its figures, also where they cannot be compared."""
    return {**members(comparison), "word": comparison.word, "unit": unit}


def _unit_of(summary: RunSummary, comparison: Comparison) -> str | None:
    guest = summary.guest(comparison.guest)
    estimate = guest.estimates.get(comparison.benchmark) if guest else None
    return estimate.unit.value if estimate else None


def figures(summary: RunSummary) -> Table:
    """Guests and benchmarks: median, ratio to the baseline, verdict. Of guests with several divisors each has a row."""
    rows, spans = [], []
    several = any(name != summary.baseline for name in summary.divisors)
    for guest in summary.guests:
        for benchmark in summary.benchmarks:
            estimate = guest.estimates.get(benchmark)
            comparisons = summary.of(guest.guest, benchmark)
            if estimate is None and not comparisons and guest.status(benchmark) is None:
                continue  # neither a figure, nor a reason why there is none
            place = location(guest, benchmark, _scale(summary, benchmark))
            for comparison in comparisons or (None,):
                by = () if not several else (Cell("" if comparison is None else cut(comparison.baseline, MOST_TITLE)),)
                rows.append((Cell(guest.guest), Cell(benchmark), *place, *by, *difference(comparison)))
                spans.append(span_of(comparison.ratio, comparison.low, comparison.high) if comparison else None)
                place = (Cell(""), Cell(""))
    columns = (
        Column("guest", cuts=True),
        Column("benchmark", cuts=True),
        Column("median", right=True),
        Column("95 % interval", stays=True),
        *((Column("÷", cuts=True),) if several else ()),
        Column("ratio" if several else f"÷ {cut(summary.baseline, MOST_TITLE)}", right=True),
        Column("95 % interval", stays=True),
        Column("verdict", stays=True),
    )
    return Table(columns, tuple(rows), grouped=True, fold=5 if several else 4, spans=tuple(spans))


def _scale(summary: RunSummary, benchmark: str) -> tuple[float, str] | None:
    """One unit for a benchmark of all guests; None where they are in different ones."""
    estimates = [guest.estimates[benchmark] for guest in summary.guests if benchmark in guest.estimates]
    units = {estimate.unit for estimate in estimates}
    return common_scale([estimate.value for estimate in estimates], units.pop()) if len(units) == 1 else None


def location(guest: GuestSummary, benchmark: str, scale: tuple[float, str] | None = None) -> tuple[Cell, Cell]:
    """The cells median and interval. scale: (divisor, symbol), where the value stands among others."""
    estimate = guest.estimates.get(benchmark)
    if estimate is None:
        status = guest.status(benchmark)
        return Cell("–" if status is None else status.value), Cell("")
    divisor, symbol = scale or scale_for(estimate.value, estimate.unit)
    spread = 0.0
    if estimate.low is not None and estimate.high is not None:
        spread = (estimate.high - estimate.low) / divisor
    value = Cell(f"{number(estimate.value / divisor, spread)} {symbol}")
    if estimate.unit is Unit.SECONDS and estimate.low is not None and estimate.low == estimate.high:
        return value, Cell("below resolution")  # seconds that repeat show the clock's step, and are not exact
    said = interval((estimate.low, estimate.high), divisor, spread)
    if said == "exact" and estimate.off:  # the interval has no width, and yet some boots differ
        said = f"exact but in {many(estimate.off, 'boot')}"
    return value, Cell(said)


def difference(comparison: Comparison | None, of: str = "boots") -> tuple[Cell, Cell, Cell]:
    """The cells ratio, interval and verdict with the boots that would settle it. of: what these are."""
    if comparison is None:
        return Cell(""), Cell(""), Cell("")
    label = comparison.word
    if comparison.boots_needed is not None:
        label += f" (needs {comparison.boots_needed:,} {of})"
    verdict = Cell(label, tone_of(comparison.verdict), comparison.word)
    if comparison.ratio is None:
        return Cell("–"), Cell(""), verdict
    spread = 0.0
    if comparison.low is not None and comparison.high is not None:
        spread = comparison.high - comparison.low
    return Cell(number(comparison.ratio, spread)), Cell(interval((comparison.low, comparison.high))), verdict


def _clock(clock: Estimate) -> str:
    """Four digits where the boots agree to a percent or so; else what they say, with what they leave open."""
    if clock.high == math.inf:
        return f"{clock.value:.3g} [{clock.low:.3g}, …]" if clock.low else f"about {clock.value:.3g}"
    if clock.low is None or clock.high is None or clock.high - clock.low <= 0.02:
        return f"{clock.value:.4f}"
    return f"{clock.value:.3g} [{clock.low:.3g}, {clock.high:.3g}]"


def _failures(guest: GuestSummary) -> str:
    kinds = ", ".join(f"{count} {outcome.value}" for outcome, count in sorted(guest.failures.items()))
    reasons = "; ".join(guest.reasons[:3])
    retries = f", {guest.retried} of them made again after a failure," if guest.retried else ""
    said = f"{guest.guest}: {sum(guest.failures.values())} of {many(guest.tried, 'boot')}{retries} failed ({kinds})"
    said += f": {reasons}" if reasons else ""
    whys = guest.whys[:MOST_WHYS]
    evidence = {why.evidence for why in whys}
    said += "".join(f"\n  {_cause(guest, why)}" for why in whys)
    return said + "".join(f"\n  {guest.guest} wrote: {line}" for line in guest.last_lines if line not in evidence)


def _cause(guest: GuestSummary, why: Why) -> str:
    """Why, with what shows it; without the sentence where it stands above, as a part of the reason."""
    if why.evidence and any(why.sentence in reason for reason in guest.reasons[:3]):
        return f"{guest.guest} said: {why.evidence}"
    return f"why: {why.words}"


def ended(summary: RunSummary) -> list[str]:
    """What a run came to: blocks, boots, clocks, and the margin of `equivalent` where there is something to compare."""
    boots = sum(guest.boots for guest in summary.guests)
    failed = sum(sum(guest.failures.values()) for guest in summary.guests)
    parts = [many(summary.blocks, "block"), many(boots, "good boot"), f"{failed} failed"]
    if any(c.ratio is not None for c in summary.comparisons):
        parts.append(f"equivalent within ±{100 * summary.delta:g} %")
    clocks = [f"{guest.guest} {_clock(guest.clock)}" for guest in summary.guests if guest.clock is not None]
    if clocks:
        counted = any(guest.unit is Unit.INSTRUCTIONS for guest in summary.guests)
        parts.append(f"guest clock ÷ {'instructions' if counted else 'host clock'} {', '.join(clocks)}")
    return parts


def comparison_warnings(summary: RunSummary) -> list[str]:
    """One line for each warning, with the comparisons that it falls on; a guest's phases are not listed one by one."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for comparison in summary.comparisons:
        for warning in comparison.warnings:
            grouped.setdefault((comparison.guest, warning), []).append(comparison.benchmark)
    lines = []
    for (guest, warning), benchmarks in grouped.items():
        every = sum(c.guest == guest for c in summary.comparisons) == len(benchmarks)
        phases = [b for b in benchmarks if b in PHASES]
        listed = "all phases" if len(phases) == len(PHASES) == len(benchmarks) else ", ".join(benchmarks[:4])
        listed += f" and {len(benchmarks) - 4} more" if len(benchmarks) > 4 and listed != "all phases" else ""
        lines.append(f"{guest}{'' if every else f' ({listed})'}: {warning}.")
    return lines


def legend(summary: RunSummary) -> dict[str, str]:
    """Phase → what it is, for the phases that have a figure in this run, in both ways where it has both."""
    units = _units(summary)
    words = {}
    for name in _TIMED:
        ways = units.get(name, set())
        said = [way[name] for way, counted in ((_TIMED, False), (_COUNTED, True)) if counted in ways and name in way]
        if said:
            words[name] = "; in instructions: ".join(said)
    return words


def phase_events(summary: RunSummary) -> dict[str, dict[str, str]]:
    """Phase → its start and end event, for JSON; of a run with both ways those in seconds are told. `ready` is there
    where a guest has it: few do."""
    ways = _units(summary)
    counted = set().union(*ways.values()) == {True}
    timed = {phase.value: (str(first), str(last)) for phase, (first, last) in PHASE_EVENTS.items()}
    told = _COUNTED_EVENTS if counted else timed
    return {n: {"start": a, "end": b} for n, (a, b) in told.items() if n != Phase.READY or n in ways}


def _units(summary: RunSummary) -> dict[str, set[bool]]:
    """Phase → is it counted? of the guests that have a figure of it, or of whose figure the status is known."""
    ways: dict[str, set[bool]] = {}
    for guest in summary.guests:
        for name in (*guest.estimates, *guest.statuses):
            if name in _TIMED:
                ways.setdefault(name, set()).add(guest.unit is Unit.INSTRUCTIONS)
    return ways
