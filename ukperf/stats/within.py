"""Comparisons inside one run: every guest against the baseline, paired over blocks, Holm over all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ukperf.model import RESTORED, BootRecord, Comparison, Outcome, Status, Unit, Verdict
from ukperf.stats.clocks import clock, clock_warning
from ukperf.stats.effect import Effect
from ukperf.stats.estimate import MIN_BOOTS, middle, moments
from ukperf.stats.figures import oddity, why_no_value
from ukperf.stats.paired import paired_effect
from ukperf.stats.perboot import PHASES, Series, collect, final_records, sample_name
from ukperf.stats.resolution import with_resolution
from ukperf.stats.verdict import Judgement, verdicts_of
from ukperf.text import many

# Skewness that normal differences of so many blocks pass once in a thousand runs (100,000 simulated); from 10 on less
# often. Of n values it is at most (n - 2) / sqrt(n - 1), which at 6 is 1.79.
MOST_SKEW = {6: 1.70, 7: 1.87, 8: 1.94, 9: 1.99}
MOST_SKEW_FROM_10 = 2.02
_DIFFERENT = (Verdict.FASTER, Verdict.SLOWER)
LEAST_FOR_DEPENDENCE = 12
RARE_ENOUGH = 0.05  # 59 blocks
MOST_CALLS_APART = 1.1
ENOUGH_FOR_SKEW = 200  # from here on the mean of even such differences is near enough to normal


@dataclass(frozen=True)
class Candidate:
    """One comparison before the family is judged: an effect, or the reason why there is none."""

    benchmark: str
    guest: str
    baseline: str
    effect: Effect | None
    refusal: str = ""
    verdict: Verdict = Verdict.NOT_COMPARABLE  # where there is no effect
    unit: Unit | None = None
    medians: float | None = None  # ratio of the two sides' medians, which tables show


def with_verdicts(candidates: Sequence[Candidate], delta: float) -> tuple[Comparison, ...]:
    """Comparisons with their verdicts, in the order given; the family is all candidates that have an interval."""
    family = [(candidate.effect, candidate.unit) for candidate in candidates if candidate.effect is not None]
    verdicts = iter(verdicts_of([effect for effect, _ in family], delta, [unit for _, unit in family]))
    return tuple(_finished(c, None if c.effect is None else next(verdicts)) for c in candidates)


def _finished(candidate: Candidate, judgement: Judgement | None) -> Comparison:
    names = (candidate.benchmark, candidate.guest, candidate.baseline)
    effect = candidate.effect
    if effect is None or judgement is None:
        warnings = (candidate.refusal,) if candidate.refusal else ()
        return Comparison(*names, None, None, None, candidate.verdict, 0, warnings=warnings)
    low, high = effect.interval() or (None, None)
    scatters = effect.se is not None and effect.se > 0
    other = medians_warning(effect.log_ratio, candidate.medians) if judgement.verdict in _DIFFERENT else ()
    rare = rarity_warning(effect.n) if scatters and judgement.verdict is Verdict.EQUIVALENT else ()
    return Comparison(
        *names,
        ratio=effect.ratio,
        low=low,
        high=high,
        verdict=judgement.verdict,
        n=effect.n,
        p_value=judgement.p_value,
        boots_needed=judgement.boots_needed,
        warnings=(*other, *effect.warnings, *judgement.warnings, *rare),
        unit=candidate.unit,
    )


def compare_guests(
    records: Sequence[BootRecord],
    series: Mapping[str, Mapping[str, Series]],
    baseline: str,
    benchmarks: Sequence[str],
    delta: float,
) -> tuple[Comparison, ...]:
    """All guests but the baseline × benchmarks that either has, each against its divisors; () when the baseline has no
    boots in the run."""
    if baseline not in series:
        return ()
    pairs = [(guest, other) for guest in series for other in divisors(guest, series, baseline)]
    return with_verdicts([c for pair in pairs for c in _candidates(records, series, *pair, benchmarks)], delta)


def divisors(guest: str, names: Container[str], baseline: str) -> tuple[str, ...]:
    """What a guest is divided by: the baseline. A restored one: by the baseline restored, and by itself booted."""
    if not guest.endswith(RESTORED):
        return () if guest == baseline else (baseline,)
    wanted = (baseline.removesuffix(RESTORED) + RESTORED, guest.removesuffix(RESTORED))
    return tuple(name for name in wanted if name in names and name != guest)


def _candidates(
    records: Sequence[BootRecord],
    series: Mapping[str, Mapping[str, Series]],
    guest: str,
    baseline: str,
    benchmarks: Sequence[str],
) -> Iterator[Candidate]:
    """One pair in every benchmark that either has."""
    unequal = unequal_answers(records, guest, baseline)
    lost = _loss_counter(records, guest, baseline)
    itself = guest.removesuffix(RESTORED) == baseline
    for benchmark in benchmarks:
        over, under = series[guest].get(benchmark), series[baseline].get(benchmark)
        if (over is None and under is None) or (itself and (over is None or under is None)):
            continue  # what only one of both paths has, like the loading of a state, is no fault of the other's
        why = refusal(over, under, guest, baseline) or (unequal if benchmark not in PHASES else "")
        if why or over is None or under is None:
            yield Candidate(benchmark, guest, baseline, None, why)
        else:
            yield _paired((benchmark, guest, baseline), over, under, lost)


def _paired(names: tuple[str, str, str], over: Series, under: Series, lost: str) -> Candidate:
    effect = block_effect(over, under)
    if effect is None:
        why = "; ".join(["no block has a good boot of both", *([lost] if lost else [])])
        return Candidate(*names, None, why, Verdict.INCONCLUSIVE)
    effect = replace(effect, warnings=(*between_statuses(over, under, *names[1:]), *effect.warnings))
    missing = len({*over.blocks, *under.blocks}) - effect.n
    if lost:
        effect = replace(effect, warnings=(lost, *effect.warnings))
    elif missing:
        effect = replace(effect, warnings=(f"{missing} pairs dropped: one side has no value", *effect.warnings))
    return Candidate(*names, effect, unit=over.unit, medians=median_ratio(over, under))


def block_effect(over: Series, under: Series) -> Effect | None:
    """Paired over the blocks that both have, with what the differences and the calls say against it; None without such
    blocks. Values are positive and finite."""
    left, right = over.by_block(), under.by_block()
    shared = sorted(left.keys() & right.keys())
    if not shared:
        return None
    effect = with_resolution(
        paired_effect([left[b] for b in shared], [right[b] for b in shared]), over.values, under.values, over.unit
    )
    differences = [math.log(left[b]) - math.log(right[b]) for b in shared]
    said = (*skew_warning(differences), *dependence_warning(differences), *calls_warning(over, under))
    return replace(effect, warnings=(*effect.warnings, *said))


def calls_warning(over: Series, under: Series) -> tuple[str, ...]:
    """A sentence where quantiles are of unequal numbers of calls (docs/statistics.md says what that does)."""
    if not over.calls or not under.calls:
        return ()
    n, m = (round(middle(sorted(map(float, side.calls)))) for side in (over, under))
    if max(n, m) <= MOST_CALLS_APART * min(n, m):
        return ()
    return (
        f"a quantile of {n:,} calls a boot against one of {m:,}: of fewer calls it is lower where the tail is long",
    )


def median_ratio(over: Series, under: Series) -> float:
    """The ratio of two sides' medians; their values are positive."""
    return middle(sorted(over.values)) / middle(sorted(under.values))


def medians_warning(log_ratio: float, medians: float | None) -> tuple[str, ...]:
    """A sentence where the medians of the table go the other way than the ratio of geometric means beside them."""
    if medians is None or (medians - 1) * log_ratio >= 0:
        return ()
    return (
        f"the medians go the other way ({100 * (medians - 1):+.2g} %): the ratio is of geometric means, in which every "
        "boot counts",
    )


def skew_warning(differences: Sequence[float]) -> tuple[str, ...]:
    """A sentence where the log-ratios are so skewed that the t interval's promise does not hold at this size.

    The self-test's points with heavy skew on one side: 12 % false alarms at 6 boots, 9 % at 50.
    """
    n = len(differences)
    if n < MIN_BOOTS or n > ENOUGH_FOR_SKEW or min(differences) == max(differences):
        return ()
    mean, variance = moments(list(differences))
    deviation = math.sqrt(variance * (n - 1) / n)
    if deviation == 0:
        return ()
    skewness = sum(((d - mean) / deviation) ** 3 for d in differences) / n
    if abs(skewness) <= MOST_SKEW.get(n, MOST_SKEW_FROM_10):
        return ()
    return (f"one side's scatter is skewed (skewness {skewness:.1f}): the true error rate may be up to 12 %",)


def dependence_warning(differences: Sequence[float]) -> tuple[str, ...]:
    """A sentence where neighbouring blocks resemble each other: the t interval takes them for independent.

    differences: log-ratios in the order of the blocks. Lag-1 autocorrelation r, tested one-sided at 1 % by its normal
    approximation under independence (Anderson 1942: mean -1/n, variance 1/n nearly). docs/statistics.md says what
    dependence does to coverage.
    """
    n = len(differences)
    if n < LEAST_FOR_DEPENDENCE:
        return ()
    mean = math.fsum(differences) / n
    centred = [d - mean for d in differences]
    total = math.fsum(c * c for c in centred)
    if total == 0:
        return ()
    r = math.fsum(a * b for a, b in pairwise(centred)) / total
    if (r + 1 / n) * math.sqrt(n) <= 2.326:
        return ()
    return (f"neighbouring blocks resemble each other (autocorrelation {r:.2f}): the interval is too narrow",)


def rarity_warning(n: int) -> tuple[str, ...]:
    """What `equivalent` cannot promise: an event that no boot of n showed may still be in 1 - 0.05^(1/n) of them.

    The exact form of the "rule of three" (Hanley & Lippman-Hand 1983). If so many boots take twice as long, the true
    ratio is up to 2 to the power of that share.
    """
    share = 1 - 0.05 ** (1 / n)
    if share <= RARE_ENOUGH:
        return ()
    return (
        f"{n} boots a side cannot rule out unusual ones that are rarer than {100 * share:.0f} % (95 %); equivalent is "
        "meant without them",
    )


def _loss_counter(records: Sequence[BootRecord], guest: str, baseline: str) -> str:
    """ "2 of 20 pairs dropped: linux failed 1 (hung 1), …": blocks that failed, after retries."""
    finals = {name: final_records(records, name) for name in (guest, baseline)}
    blocks = finals[guest].keys() | finals[baseline].keys()
    bad = {name: [r for r in table.values() if r.outcome is not Outcome.OK] for name, table in finals.items()}
    absent = {name: len(blocks - table.keys()) for name, table in finals.items()}
    dropped = {r.trial.block for side in bad.values() for r in side}
    dropped |= {b for table in finals.values() for b in blocks - table.keys()}
    if not dropped:
        return ""
    parts = []
    for name in (guest, baseline):
        kinds = Counter(record.outcome.value for record in bad[name])
        if absent[name]:
            kinds["not run"] = absent[name]
        if kinds:
            parts.append(f"{name} " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    return f"{len(dropped)} of {len(blocks)} pairs dropped: " + "; ".join(parts)


def refusal(over: Series | None, under: Series | None, guest: str, baseline: str) -> str:
    """Why two series cannot be divided; empty when they can."""
    for side, name in ((over, guest), (under, baseline)):
        if side is None:
            return f"{name} has no value"
        if why := why_no_value(side.statuses, len(side.values), name):
            return why
    assert over is not None and under is not None
    if over.unit is not under.unit:
        return f"{guest} is in {_spoken(over.unit)}, {baseline} in {_spoken(under.unit)}"
    for side, name in ((over, guest), (under, baseline)):
        bad = [side.odd.get(i) or oddity(v) for i, v in enumerate(side.values) if not math.isfinite(v) or v <= 0]
        if bad:
            kinds = " or ".join(dict.fromkeys(bad))
            have = "has" if len(bad) == 1 else "have"
            return f"{len(bad)} of {many(len(side.values), 'boot')} of {name} {have} a value that is {kinds}"
    return ""


def _spoken(unit: Unit) -> str:
    return "seconds" if unit is Unit.SECONDS else unit.value


def unequal_answers(records: Sequence[BootRecord], guest: str, baseline: str) -> str:
    """Why two guests did not do the same work: a check whose digests differ, with both; empty when they agree."""
    digests: dict[str, dict[str, set[str]]] = {}
    for record in records:
        if record.outcome is Outcome.OK and record.trial.guest in (guest, baseline):
            for name, digest in record.checks.items():
                digests.setdefault(name, {}).setdefault(record.trial.guest, set()).add(digest)
    for name, sides in sorted(digests.items(), key=lambda item: engine_first(item[0])):
        values = set().union(*sides.values())
        if len(values) > 1:
            shown = {side: " and ".join(sorted(sides.get(side, {"nothing"}))) for side in (guest, baseline)}
            return unlike(name, f"{shown[guest]} in {guest}", f"{shown[baseline]} in {baseline}")
    return ""


_ENGINE = "engine "  # of a check's name: a program's own word on what it runs with


def engine_first(name: str) -> tuple[bool, str]:
    """The order in which checks are looked at: another engine is why other answers differ."""
    return not name.startswith(_ENGINE), name


def unlike(name: str, left: str, right: str) -> str:
    """Why two sides are not comparable whose answers to one check differ."""
    if name.startswith(_ENGINE):
        return f"another engine: {name.removeprefix(_ENGINE)} is {left}, {right}"
    return f"not the same work: {name} is {left}, {right}"


def accuse(records: Sequence[BootRecord]) -> list[BootRecord]:
    """The records, and what a guest timed itself by a clock that is surely off is marked as such."""
    liars = [name for name in {r.trial.guest for r in records} if clock_warning(name, clock(records, name))]
    return [_accused(record) if record.trial.guest in liars else record for record in records]


def _accused(record: BootRecord) -> BootRecord:
    own = (sample_name(sample.benchmark) for sample in record.samples if sample.unit is Unit.SECONDS)
    return replace(record, statuses=dict.fromkeys(own, Status.ACCUSED) | dict(record.statuses))


def series_of(records: Sequence[BootRecord], guest: str) -> dict[str, Series]:
    """What `collect` gives, with what the guest timed by a wrong clock marked."""
    return collect(accuse([record for record in records if record.trial.guest == guest]), guest)


def between_statuses(over: Series, under: Series, guest: str, baseline: str) -> tuple[str, ...]:
    """Sentences where the figures of two sides are not of one kind, or were timed by a clock that is off."""
    said = []
    ended = [bool(side.values) and side.count(Status.ENDED_BY_HOST) > 0 for side in (over, under)]
    if ended[0] is not ended[1]:
        first, other = (guest, baseline) if ended[0] else (baseline, guest)
        said.append(f"{first} ends with its program, since it does not power off; {other} ends when it has powered off")
    for side, name in ((over, guest), (under, baseline)):
        if side.count(Status.ACCUSED):
            said.append(f"timed by the clock of {name}, which is off")
    return tuple(said)
