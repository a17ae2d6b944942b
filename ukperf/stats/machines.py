"""What holds over machines: one figure for all, the machine being the unit, and how unlike the machines are.

Each machine gives one number, the mean of its blocks' log-ratios. Over machines it is Student's t on these numbers with
one degree of freedom less than there are machines: what lies between machines is in their scatter, and so is what a few
boots leave open on each. With unequal numbers of boots the numbers scatter unequally; Student's t keeps its two-sided
5 % all the same, whatever their variances are (Bakirov and Székely 2005; Ibragimov and Müller 2010, Journal of Business
& Economic Statistics 28). No weights: these would have to be estimated from each machine's few boots, and what
Hartung and Knapp's method, which uses them, then does to the error rate is in docs/statistics.md.

Whether machines differ by more than their boots explain is the analysis of variance of Brown and Forsythe with
Mehrotra's degrees of freedom (Mehrotra 1997, Communications in Statistics B 26), which takes each machine's own
scatter; Welch's calls too many alike machines unlike where many have few boots. The standard deviation between machines
is Hedges' estimate (Hedges 1983, Psychological Bulletin 93): the variance of the machines' numbers less the mean of
their squared standard errors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ukperf.model import BootRecord, Comparison, Unit
from ukperf.stats.effect import Effect
from ukperf.stats.estimate import moments
from ukperf.stats.provenance import OF_THE_STRATUM
from ukperf.stats.special import f_tail, stdtrit
from ukperf.stats.summary import RunSummary, by_host, summarize
from ukperf.stats.within import Candidate, block_effect, divisors, refusal, series_of, unequal_answers, with_verdicts
from ukperf.text import many

ALPHA = 0.05
LEAST_FOR_A_FURTHER = 3  # machines
ROUNDING = 1e-12  # of log-ratios: what lies no further apart is equal


@dataclass(frozen=True)
class OverMachines:
    """A guest against its baseline in one benchmark, over the machines that have both.

    comparison: its n is the number of machines, boots_needed that of machines which would settle it. on: machine → the
    comparison of its own boots. p_unlike: of "all machines have one ratio", None where too few boots tell.
    spread: standard deviation between machines, of logs. further: between what the ratio on a further machine, measured
    with as many boots, would lie with 95 %.
    """

    comparison: Comparison
    on: Mapping[str, Comparison]
    p_unlike: float | None = None
    spread: float | None = None
    further: tuple[float, float] | None = None

    @property
    def unlike(self) -> bool:
        """Do machines surely differ?"""
        return self.p_unlike is not None and self.p_unlike <= ALPHA

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """What is said of single machines → those of which it is said, most of them first."""
        said: dict[str, list[str]] = {}
        for machine, comparison in self.on.items():
            said.setdefault(comparison.word, []).append(machine)
        return {word: tuple(names) for word, names in sorted(said.items(), key=lambda item: -len(item[1]))}


@dataclass(frozen=True)
class MachinesSummary:
    """A run over its machines, those of one stratum. stratum: what they have in common and others have not, "" where
    there is but one. boots: machine → blocks in which it booted something."""

    stratum: str
    baseline: str
    delta: float
    machines: tuple[str, ...]
    blocks: Mapping[str, int]
    pairs: tuple[OverMachines, ...]
    warnings: tuple[str, ...] = ()


def over(effects: Sequence[Effect]) -> Effect:
    """The mean over machines of their log-ratios, with its standard error and degrees of freedom (machines - 1).

    effects: one of each machine, at least one. One machine gives no standard error. Where every machine's boots repeat
    exactly and all agree (icount), it is 0. Raises ValueError for none.
    """
    if not effects:
        raise ValueError("no machines")
    k = len(effects)
    mean, variance = moments([effect.log_ratio for effect in effects])
    slack = math.fsum(effect.slack for effect in effects) / k
    if k == 1:
        return Effect(mean, None, 0, 1, slack=slack)
    own = [effect.se for effect in effects]
    if variance <= ROUNDING**2 and any(se is None or se > 0 for se in own):  # equal by chance: nothing is exact here
        known = [se for se in own if se is not None]
        variance = math.fsum(se * se for se in known) / len(known) if known else 0.0
        if variance == 0:
            return Effect(mean, None, 0, k, slack=slack)
    return Effect(mean, math.sqrt(variance / k), k - 1, k, slack=slack)


def p_unlike(effects: Sequence[Effect]) -> float | None:
    """Mehrotra's analysis of variance: the p-value of "all machines have one log-ratio".

    Machines whose boots are too few for a standard error are left out; None where fewer than two are left. Boots that
    repeat exactly leave no doubt: 0 where they differ, 1 where they do not.
    """
    told = [(e.log_ratio, e.df + 1, e.se) for e in effects if e.se is not None]
    if len(told) < 2:
        return None
    if all(se == 0 for _, _, se in told):
        return 0.0 if len({value for value, _, _ in told}) > 1 else 1.0
    total = math.fsum(n for _, n, _ in told)
    mean = math.fsum(n * value for value, n, _ in told) / total
    top = math.fsum(n * (value - mean) ** 2 for value, n, _ in told)
    parts = [(n / total, n, n * se * se) for _, n, se in told]  # share of the blocks, blocks, variance of one
    bottom = math.fsum((1 - f) * v for f, _, v in parts)
    squares = math.fsum(v * v for _, _, v in parts)
    over_df = bottom**2 / (
        squares + math.fsum(f * v for f, _, v in parts) ** 2 - 2 * math.fsum(f * v * v for f, _, v in parts)
    )
    under_df = bottom**2 / math.fsum(((1 - f) * v) ** 2 / (n - 1) for f, n, v in parts)
    return f_tail(over_df, under_df, top / bottom)


def spread_of(effects: Sequence[Effect]) -> float | None:
    """The standard deviation between machines (of logs), 0 where boots explain all; None below two that tell."""
    told = [(e.log_ratio, e.se) for e in effects if e.se is not None]
    if len(told) < 2:
        return None
    _, variance = moments([value for value, _ in told])
    return math.sqrt(max(0.0, variance - math.fsum(se * se for _, se in told) / len(told)))


def further(effects: Sequence[Effect]) -> tuple[float, float] | None:
    """The 95 % prediction interval of the ratio that a further machine would show with as many boots."""
    k = len(effects)
    if k < LEAST_FOR_A_FURTHER:
        return None
    mean, variance = moments([effect.log_ratio for effect in effects])
    reach = stdtrit(k - 1, 0.975) * math.sqrt(variance * (1 + 1 / k))
    return Effect(mean - reach, None, 0, k).ratio, Effect(mean + reach, None, 0, k).ratio


def summarize_machines(
    records: Sequence[BootRecord], baseline: str, delta: float, summaries: Mapping[str, RunSummary] | None = None
) -> tuple[MachinesSummary, ...]:
    """What holds over a run's machines, for each stratum of two or more; () for a run on one.

    A machine is what records call their host. Machines whose guests were executed by another QEMU, Xen or accelerator,
    or by another ukperf, are strata of their own. summaries: machine → what `summarize` gives, where the caller has it.
    Raises UkperfError as `summarize` does.
    """
    parts = by_host(records)
    if len(parts) < 2:
        return ()
    known = summaries or {host: summarize(part, baseline, delta) for host, part in parts.items()}
    strata: dict[str, list[str]] = {}
    for host, part in parts.items():
        strata.setdefault(_stratum(part), []).append(host)
    one = len(strata) == 1
    lone = tuple(
        f"{hosts[0]} is the only machine with {name}, and in no figure over machines."
        for name, hosts in strata.items()
        if len(hosts) == 1
    )
    return tuple(
        _summary("" if one else name, hosts, parts, known, baseline, delta, lone)
        for name, hosts in strata.items()
        if len(hosts) > 1
    )


def _stratum(records: Sequence[BootRecord]) -> str:
    """What executed a machine's guests, for people: the versions that most of its boots have."""
    said = []
    for name in OF_THE_STRATUM:
        values = Counter(record.facts[name] for record in records if name in record.facts)
        if values:
            said.append(f"{name} {values.most_common(1)[0][0]}")
    return ", ".join(said)


def _summary(
    stratum: str,
    hosts: Sequence[str],
    parts: Mapping[str, Sequence[BootRecord]],
    known: Mapping[str, RunSummary],
    baseline: str,
    delta: float,
    lone: tuple[str, ...],
) -> MachinesSummary:
    effects: dict[tuple[str, str, str], dict[str, Effect]] = {}
    units: dict[tuple[str, str, str], set[Unit]] = {}
    for host in hosts:
        for names, effect, unit in _effects(parts[host], known[host], baseline):
            effects.setdefault(names, {})[host] = effect
            units.setdefault(names, set()).add(unit)
    candidates = [
        Candidate(*names, over(list(mine.values())), unit=next(iter(units[names])))
        for names, mine in effects.items()
        if len(units[names]) == 1
    ]
    pairs = []
    for comparison in with_verdicts(candidates, delta):
        names = (comparison.benchmark, comparison.guest, comparison.baseline)
        mine = list(effects[names].values())
        on = {host: one for host in hosts if (one := _own(known[host], names)) is not None}
        pairs.append(OverMachines(_of_machines(comparison), on, p_unlike(mine), spread_of(mine), further(mine)))
    return MachinesSummary(
        stratum,
        baseline,
        delta,
        tuple(hosts),
        {host: known[host].blocks for host in hosts},
        tuple(pairs),
        (*_warnings(hosts, parts, effects), *lone),
    )


def _of_machines(comparison: Comparison) -> Comparison:
    """Without what is meant of boots: how rare an event that none of them showed may be."""
    kept = tuple(said for said in comparison.warnings if "cannot rule out unusual ones" not in said)
    return replace(comparison, warnings=kept)


def _own(summary: RunSummary, names: tuple[str, str, str]) -> Comparison | None:
    benchmark, guest, baseline = names
    return next((c for c in summary.of(guest, benchmark) if c.baseline == baseline), None)


def _effects(
    records: Sequence[BootRecord], summary: RunSummary, baseline: str
) -> list[tuple[tuple[str, str, str], Effect, Unit]]:
    """One machine's effects by (benchmark, guest, baseline), with their units."""
    guests = [guest.guest for guest in summary.guests]
    series = {guest: series_of(records, guest) for guest in guests}
    listed = []
    for guest in guests:
        for other in divisors(guest, series, baseline):
            if other not in series or unequal_answers(records, guest, other):
                continue
            for name in summary.benchmarks:
                left, right = series[guest].get(name), series[other].get(name)
                if left is None or right is None or refusal(left, right, guest, other):
                    continue
                effect = block_effect(left, right)
                if effect is not None:
                    listed.append(((name, guest, other), effect, left.unit))
    return listed


def _warnings(
    hosts: Sequence[str],
    parts: Mapping[str, Sequence[BootRecord]],
    effects: Mapping[tuple[str, str, str], Mapping[str, Effect]],
) -> tuple[str, ...]:
    said = []
    names: dict[str, list[str]] = {}
    for host in hosts:
        called = next((r.facts["hostname"] for r in parts[host] if "hostname" in r.facts), "")
        if called:
            names.setdefault(called, []).append(host)
    for called, same in names.items():
        if len(same) > 1:
            said.append(
                f"{' and '.join(same)} are one machine ({called}), and count as several: what holds over machines is "
                "not shown by them."
            )
    few = max((len(mine) for mine in effects.values()), default=0)
    if 0 < few < 6:
        said.append(f"{many(few, 'machine')} say little about others: the interval over machines is wide for that.")
    return tuple(said)
