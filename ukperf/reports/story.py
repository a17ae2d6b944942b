"""What a report tells: the answer in sentences first, then everything behind it.

`ReportPage` is what a terminal shows of it; `html` adds drawings.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.model import BootRecord, Outcome
from ukperf.reports.answers import answers
from ukperf.reports.page import SPACE, Line, Page, Part, Quote, Tone
from ukperf.reports.pictures import Picture
from ukperf.reports.plan_table import percent
from ukperf.reports.table import RunPage
from ukperf.stats.drift import DriftResult, drifts
from ukperf.stats.perboot import PHASES, Series
from ukperf.stats.summary import RunSummary, by_host, summarize
from ukperf.stats.variance import SampleParts, sample_parts
from ukperf.stats.within import series_of
from ukperf.text import clean, many

MOST_TAILS = 20
TAIL_LINES = 40


@dataclass(frozen=True)
class Failure:
    """A boot that failed, with the end of its console made printable."""

    trial: int
    block: int
    guest: str
    attempt: int
    outcome: str
    reason: str
    tail: str
    why: str = ""  # a sentence without its full stop


@dataclass(frozen=True)
class Noise:
    """What the host did during the boots: median and maximum over them."""

    name: str
    median: float
    maximum: float


@dataclass(frozen=True)
class Origin:
    """How to do it again. digests: (guest, what, sha256)."""

    command: str = ""
    seed: str = ""
    created_at: str = ""
    digests: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Story:
    """One host's part of a run. pictures: those that its workload has of it."""

    host: str
    title: str
    answers: tuple[str, ...]
    summary: RunSummary
    records: tuple[BootRecord, ...]
    facts: Mapping[str, str]
    series: Mapping[str, Mapping[str, Series]]  # guest → benchmark → boots
    drifts: Mapping[str, DriftResult]
    parts: tuple[SampleParts, ...]
    failures: tuple[Failure, ...]
    noise: tuple[Noise, ...]
    origin: Origin = field(default_factory=Origin)
    pictures: tuple[Picture, ...] = ()

    @property
    def primary(self) -> tuple[str, ...]:
        """The benchmarks that the run was made for: its samples, or `total` where there are none."""
        samples = tuple(name for name in self.summary.benchmarks if name not in PHASES)
        return samples or tuple(name for name in self.summary.benchmarks if name == "total")


def stories_of(
    records: Sequence[BootRecord],
    facts: Mapping[str, str],
    *,
    title: str,
    baseline: str,
    delta: float,
    origin: Origin | None = None,
) -> list[Story]:
    """One story for each host of the run. Raises UkperfError as `summarize` does."""
    hosts = by_host(records) or {"": []}
    return [_story(title, host, part, facts, baseline, delta, origin or Origin()) for host, part in hosts.items()]


def _story(
    title: str,
    host: str,
    records: Sequence[BootRecord],
    facts: Mapping[str, str],
    baseline: str,
    delta: float,
    origin: Origin,
) -> Story:
    ordered = tuple(sorted(records, key=lambda r: r.trial.index))
    tables = {guest: series_of(ordered, guest) for guest in {record.trial.guest for record in ordered}}
    summary = summarize(ordered, baseline, delta, tables)
    return Story(
        host=host,
        title=title,
        answers=answers(summary),
        summary=summary,
        records=ordered,
        facts=facts,
        series=tables,
        drifts=drifts(records, tables),
        parts=tuple(sample_parts(records, tables)),
        failures=tuple(_failure(r) for r in ordered if r.outcome is not Outcome.OK),
        noise=_noise(ordered),
        origin=origin,
    )


def _failure(record: BootRecord) -> Failure:
    trial = record.trial
    return Failure(
        trial.index,
        trial.block,
        trial.guest,
        trial.attempt,
        record.outcome.value,
        record.reason,
        last_lines(record.console_tail),
        "" if record.why is None else record.why.words,
    )


def last_lines(text: str) -> str:
    """The last lines of what a guest wrote, safe to show."""
    return "\n".join(clean(text.replace("\r", ""), keep="\n\t").splitlines()[-TAIL_LINES:])


def _noise(records: Sequence[BootRecord]) -> tuple[Noise, ...]:
    names = sorted({name for record in records for name in record.noise})
    columns = {name: [record.noise[name] for record in records if name in record.noise] for name in names}
    return tuple(Noise(name, statistics.median(values), max(values)) for name, values in columns.items())


@dataclass(frozen=True)
class ReportPage(Page):
    """The answers, the table, drift, variance; failures with their consoles."""

    story: Story

    def answers(self) -> Sequence[str]:
        return self.story.answers

    def brief(self) -> Iterator[Part]:
        yield from RunPage(self.story.summary, title=self.title).brief()

    def body(self) -> Iterator[Part]:
        story = self.story
        for answer in story.answers:
            yield Line(answer, Tone.STRONG)
        yield SPACE
        yield from RunPage(story.summary, facts=story.facts).parts()
        for result in story.drifts.values():
            if result.sentence() not in story.summary.warnings:
                yield Line(result.sentence(), Tone.UNSURE if result.drifted else Tone.DIM)
        for part in story.parts:
            icc = "" if part.parts.icc is None else f", ICC {part.parts.icc:.2f}"
            between, within = percent(part.parts.between_boots), percent(part.parts.between_iterations)
            words = f"{part.guest}, {part.benchmark}: σ between boots {between}, between iterations {within}{icc}."
            yield Line(words, Tone.DIM)
        if story.failures:
            yield from failures(story)
        if story.origin.command:
            yield Line(f"Again: {story.origin.command}", wraps=False)
            kernels = [f"{guest} {digest[:12]}" for guest, what, digest in story.origin.digests if what == "kernel"]
            if kernels:
                yield Line(f"Kernels (sha256): {', '.join(kernels)}", Tone.DIM)

    def said(self) -> Mapping[str, object]:
        """The answers, what a run's page says, and the failures with the ends of their consoles."""
        run = RunPage(self.story.summary, facts=self.story.facts).said()
        return {"answers": self.story.answers, **run, "failed_boots": self.story.failures}


def failures(story: Story) -> Iterator[Part]:
    """How many boots failed, and what the first of them wrote last."""
    failed, boots = len(story.failures), many(len(story.records), "boot")
    if not failed:
        yield Line("The one boot did not fail." if len(story.records) == 1 else f"None of {boots} failed.")
        return
    yield Line(f"{failed} of {boots} failed; they are not in the figures above.")
    for failure in story.failures[:MOST_TAILS]:
        retry = ", retry" if failure.attempt else ""
        lead = f"{failure.guest}, boot {failure.trial} (block {failure.block}{retry}): {failure.outcome}"
        lead += f": {failure.reason}." if failure.reason else "."
        lead += f" Why: {failure.why}." if failure.why else ""
        yield Quote(lead, failure.tail if failure.tail.strip() else "(nothing on the console)")
    if failed > MOST_TAILS:
        yield Line(f"{failed - MOST_TAILS} more are in the run's journal.", Tone.DIM)
