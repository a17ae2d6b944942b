"""A run's answer: for each guest and benchmark an estimate, for each pair a comparison, Holm over all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Comparison, Estimate, Outcome, Status, Unit, Why
from ukperf.stats.clocks import clock, clock_warning
from ukperf.stats.disturbance import disturbances
from ukperf.stats.drift import Tables, drift
from ukperf.stats.estimate import estimate_of, far_out
from ukperf.stats.figures import Warmth
from ukperf.stats.perboot import PHASES, Series, final_records
from ukperf.stats.provenance import changes
from ukperf.stats.within import compare_guests, series_of
from ukperf.text import clean, many, written_lines

LAST_LINES, LONGEST_LINE = 3, 160
# What says why: behind it kernels print registers, stacks and where they lie.
_TELLING = re.compile(r"panic|\bBUG\b|fatal|assert|exception|error:", re.IGNORECASE)


@dataclass(frozen=True)
class GuestSummary:
    """What one guest did in a run.

    boots: good boots; tried: boots in all, retries included; failures: outcome → count over all, retried or not.
    estimates: benchmark → median of the good boots with its interval; absent where no boot had it, or values were not
    finite. ended_by_host: good boots that the host had to end. warmth: benchmark → what the boots' iterations did.
    outliers: benchmark → boots outside Tukey's outer fences; they are kept. clock: median of the guest's clock ÷
    the host's (under icount: ÷ instructions), None where it has no clock or its boots were too short to tell.
    retried: of `tried` those that were made again after a failure. last_lines: the end of the console of the last
    failed boot that said anything, safe to print.
    seen: benchmark → good boots that had it: a phase whose events did not all come is missing from its boot.
    statuses: benchmark → how many good boots' figures are what, unless they are measured. whys: why boots failed,
    one of a sentence.
    """

    guest: str
    boots: int
    tried: int
    failures: Mapping[Outcome, int]
    reasons: tuple[str, ...]
    ended_by_host: int
    unit: Unit
    estimates: Mapping[str, Estimate]
    warmth: Mapping[str, Mapping[Warmth, int]] = field(default_factory=dict)
    outliers: Mapping[str, int] = field(default_factory=dict)
    clock: Estimate | None = None
    seen: Mapping[str, int] = field(default_factory=dict)
    retried: int = 0
    last_lines: tuple[str, ...] = ()
    statuses: Mapping[str, Mapping[Status, int]] = field(default_factory=dict)
    whys: tuple[Why, ...] = ()

    @property
    def partly(self) -> Mapping[str, int]:
        """Of `seen` those that not every good boot had: an event did not come, or nobody knows why."""
        whys = (Status.BELOW, Status.ENDED_BY_HOST, Status.GAP)
        known = {name: sum(kinds.get(why, 0) for why in whys) for name, kinds in self.statuses.items()}
        return {name: count for name, count in self.seen.items() if count + known.get(name, 0) < self.boots}

    def status(self, benchmark: str) -> Status | None:
        """What a benchmark without an estimate is; None for one that has an estimate, or of which nothing is known."""
        kinds = self.statuses.get(benchmark)
        return None if benchmark in self.estimates or not kinds else max(kinds, key=lambda kind: kinds[kind])


@dataclass(frozen=True)
class RunSummary:
    """Everything that a table or a report prints of a run. benchmarks: phases first, then samples as they were seen."""

    baseline: str
    delta: float
    blocks: int
    guests: tuple[GuestSummary, ...]
    benchmarks: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...] = ()

    def guest(self, name: str) -> GuestSummary | None:
        return next((g for g in self.guests if g.guest == name), None)

    def comparison(self, guest: str, benchmark: str) -> Comparison | None:
        return next(iter(self.of(guest, benchmark)), None)

    def of(self, guest: str, benchmark: str) -> tuple[Comparison, ...]:
        """A guest's comparisons in a benchmark: one, or two of a guest that is restored."""
        return tuple(c for c in self.comparisons if c.guest == guest and c.benchmark == benchmark)

    @property
    def divisors(self) -> tuple[str, ...]:
        """What guests are divided by: the baseline, and in runs with restored guests more."""
        return tuple(dict.fromkeys(c.baseline for c in self.comparisons))


def summarize(
    records: Sequence[BootRecord], baseline: str, delta: float = 0.01, tables: Tables | None = None
) -> RunSummary:
    """The summary of one run on one host.

    records: the journal, in any order; failed boots and retries included. baseline: the guest that the others are
    divided by; if the run has no such guest, nothing is compared and a warning says so. delta: margin of equivalence,
    0.01 = 1 %. tables: guest → what `collect` gives, where the caller has it already.
    Raises UkperfError for no records, records from more than one host, or a margin outside (0, 1).
    """
    if not records:
        raise UkperfError("The run has no boots.", hint="Run it again.")
    if not 0 < delta < 1:
        raise UkperfError(f"The margin of equivalence must lie between 0 and 100 %, and {100 * delta:g} % does not.")
    hosts = {record.host for record in records}
    if len(hosts) > 1:
        raise UkperfError("Boots from different hosts are never pooled.", hint="Summarize the run for each host.")
    ordered = sorted(records, key=lambda r: r.trial.index)
    # the order of execution is random: tables list the baseline, then the others by name
    names = sorted({record.trial.guest for record in ordered}, key=lambda name: (name != baseline, name))
    series = {name: series_of(ordered, name) if tables is None else tables[name] for name in names}
    benchmarks = _benchmark_order(series)
    guests = tuple(_guest_summary(ordered, name, series[name]) for name in names)
    warnings = [said for g in guests if (said := clock_warning(g.guest, g.clock))]
    warnings += [said for name in names if (said := _lost_frames(ordered, name))]
    warnings += disturbances(ordered)
    warnings += changes(ordered)
    moved = drift(ordered, tables=series)
    if moved is not None and moved.drifted:
        warnings.append(moved.sentence())
    if baseline not in names:
        warnings.append(f"The baseline {baseline} is not in the run: nothing is compared.")
    warnings += [warning for guest in guests for warning in _inside_warnings(guest)]
    return RunSummary(
        baseline=baseline,
        delta=delta,
        blocks=len({record.trial.block for record in ordered}),
        guests=guests,
        benchmarks=benchmarks,
        comparisons=compare_guests(ordered, series, baseline, benchmarks, delta),
        warnings=tuple(warnings),
    )


def _lost_frames(records: Sequence[BootRecord], guest: str) -> str:
    """A sentence where frames of good boots were damaged: what they said is missing from the boot."""
    hit = [r for r in records if r.trial.guest == guest and r.outcome is Outcome.OK and r.bad_frames]
    if not hit:
        return ""
    frames, boots = sum(record.bad_frames for record in hit), len(hit)
    return (
        f"{frames} damaged frame{'s' * (frames > 1)} of {guest} in {boots} good boot{'s' * (boots > 1)} "
        f"{'were' if frames > 1 else 'was'} left out: a sample that lacks one has no value in its boot."
    )


def by_host(records: Sequence[BootRecord]) -> dict[str, list[BootRecord]]:
    """Host → its records: runs from different hosts are never pooled, so each is summarized by itself."""
    hosts: dict[str, list[BootRecord]] = {}
    for record in records:
        hosts.setdefault(record.host, []).append(record)
    return hosts


def _benchmark_order(series: Mapping[str, Mapping[str, Series]]) -> tuple[str, ...]:
    seen = dict.fromkeys(name for table in series.values() for name in table)
    return (*(p for p in PHASES if p in seen), *(name for name in seen if name not in PHASES))


def _guest_summary(records: Sequence[BootRecord], guest: str, table: Mapping[str, Series]) -> GuestSummary:
    mine = [record for record in records if record.trial.guest == guest]
    good = [r for r in final_records(mine, guest).values() if r.outcome is Outcome.OK]
    failed = [record for record in mine if record.outcome is not Outcome.OK]
    return GuestSummary(
        guest=guest,
        boots=len(good),
        tried=len(mine),
        failures=dict(Counter(record.outcome for record in failed)),
        reasons=tuple(dict.fromkeys(record.reason for record in failed if record.reason)),
        ended_by_host=sum(record.ended_by_host for record in good),
        unit=(good or mine)[0].unit,
        clock=clock(mine, guest),
        warmth={name: dict(Counter(column.warmth)) for name, column in table.items() if column.warmth},
        outliers={name: count for name, column in table.items() if (count := sum(far_out(column.values)))},
        estimates={name: estimate for name, column in table.items() if (estimate := estimate_of(column)) is not None},
        seen={name: len(column.values) for name, column in table.items()},
        statuses={name: dict(Counter(column.statuses.values())) for name, column in table.items() if column.statuses},
        retried=sum(record.trial.attempt > 0 for record in mine),
        last_lines=_last_lines(failed),
        whys=tuple({why.sentence: why for record in failed if (why := record.why) is not None}.values()),
    )


def _last_lines(failed: Sequence[BootRecord]) -> tuple[str, ...]:
    """The last lines that a failed boot wrote, cut to a line's length; frames are ours to read and are left out."""
    for record in sorted(failed, key=lambda r: -r.trial.index):
        lines = [clean(line, LONGEST_LINE) for line in written_lines(record.console_tail)]
        if lines:
            telling = [line for line in lines[:-LAST_LINES] if _TELLING.search(line)][-1:]
            return (*telling, *lines[-LAST_LINES + len(telling) :])
    return ()


def _inside_warnings(guest: GuestSummary) -> list[str]:
    """What happened inside the boots, in sentences: warm-up, slow-down, no steady state; boots far out."""
    said: dict[str, list[str]] = {}
    for name, kinds in guest.warmth.items():
        for kind, count in kinds.items():
            if kind not in (Warmth.FLAT, Warmth.SHORT):
                said.setdefault(kind, []).append(f"{name} in {count} of {many(sum(kinds.values()), 'boot')}")
    warnings = [f"{guest.guest}, {kind.value}: {_listed(said[kind])}{_USED[kind]}." for kind in _USED if kind in said]
    below = {name: kinds[Status.BELOW] for name, kinds in guest.statuses.items() if kinds.get(Status.BELOW)}
    if below:
        listed = _listed([f"{name} in {count}" for name, count in below.items()])
        said_of = f"{guest.guest}, below the console's resolution (both events in one read): {listed}"
        warnings.append(f"{said_of} of {many(guest.boots, 'boot')}, counted as the shortest.")
    if guest.partly:
        listed = _listed([f"{name} in {count}" for name, count in guest.partly.items()])
        warnings.append(f"{guest.guest}, not seen in every boot: {listed} of {guest.boots}.")
    if guest.outliers:
        listed = _listed([f"{name} {count}" for name, count in guest.outliers.items()])
        warnings.append(f"{guest.guest} has outlying boots, kept: {listed}.")
    return warnings


_USED = {
    Warmth.WARMING_UP: "; iterations before the steady state are left out",
    Warmth.SLOWING_DOWN: "; iterations before the last level are left out",
    Warmth.UNSTEADY: "; all their iterations are used",
}


def _listed(items: Sequence[str], most: int = 4) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
