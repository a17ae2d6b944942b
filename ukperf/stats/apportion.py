"""Where a run over machines gets its next blocks, and when its intervals over machines are narrow enough.

The interval over machines is Student's t on their means (see `machines`). Its variance is that between machines, which
blocks do not lower, and the mean over machines of s² / n, each machine's own scatter over its blocks, which they do: by
s² / (n (n + 1)) with the next one. A machine that is free gets a block where that is at least half of the most that a
block lowers anywhere, which keeps n within √2 of the best allocation, n in proportion to s (Neyman 1934); at first each
gets as many as an interval of its own needs.

Two widths are looked at, and nothing else: `seen`, of the interval as it is, and `own`, as it would be were machines
all alike. Both must be narrow: by chance a few machines agree for a moment (docs/statistics.md has what the rule
covers). A comparison is stuck where what blocks can still lower is small beside what it would have to.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Outcome, Phase
from ukperf.stats.estimate import MIN_BOOTS
from ukperf.stats.perboot import PHASES, boot_summaries, final_records
from ukperf.stats.provenance import OF_THE_STRATUM
from ukperf.stats.special import stdtrit
from ukperf.stats.within import divisors
from ukperf.text import many

LEAST_BLOCKS = 20  # of all machines together, where they scatter
LEAST_EACH = MIN_BOOTS  # blocks of each machine
HELD_SINCE = 0.8  # as of `precision`: one machine's interval was narrow during the last fifth of its blocks
WORTH = 0.5  # of the most that a block lowers anywhere: less is not worth one
SMALL = 1 / 3  # of the width that is wanted: what blocks can still lower is no more than that

# benchmark, guest, what it is divided by ("": nothing), and of what kind the machines are, where kinds are told apart
Key = tuple[str, ...]


@dataclass
class _Own:
    """One machine's log-ratios in one comparison (Welford's sums). wide: the last block after which its own interval
    was wider than wanted."""

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0
    wide: int = 0

    def add(self, value: float, target: float) -> None:
        self.n += 1
        off = value - self.mean
        self.mean += off / self.n
        self.squares += off * (value - self.mean)
        if self.width > target:
            self.wide = self.n

    @property
    def variance(self) -> float | None:
        return None if self.n < 2 else self.squares / (self.n - 1)

    @property
    def width(self) -> float:
        """Half of its own interval."""
        variance = self.variance
        return math.inf if variance is None else stdtrit(self.n - 1, 0.975) * math.sqrt(variance / self.n)

    @property
    def narrow(self) -> bool:
        """The rule of `precision.stops`, for a machine that is alone."""
        exact = self.n >= MIN_BOOTS and self.squares == 0
        return exact or (self.n >= LEAST_BLOCKS and self.wide < math.ceil(HELD_SINCE * self.n))


@dataclass(frozen=True)
class Widths:
    """Half the width of the 95 % interval over machines, of logs. seen: as it is. own: were the machines alike. open:
    the part of `own` that machines which are there can lower. blocks: of all machines."""

    machines: int
    blocks: int
    seen: float
    own: float
    open: float


@dataclass
class Apportionment:
    """What a run over machines knows so far. precision: 0.01 for ± 1 %, of every ratio to the baseline in `total` and
    all samples. strata: machines of another kind are told apart, as `machines` does, and each kind must be precise.
    Raises UkperfError for a precision outside (0, 1)."""

    baseline: str
    precision: float
    strata: bool = False
    blocks: dict[str, int] = field(default_factory=dict)  # machine → blocks that it had

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise UkperfError(f"The precision must lie between 0 and 100 %, and {100 * self.precision:g} % does not.")
        self._target = math.log1p(self.precision)
        self._own: dict[Key, dict[str, _Own]] = {}
        self._odd: set[Key] = set()  # no logarithm, or two units

    def add(self, machine: str, records: Sequence[BootRecord]) -> None:
        """The boots of a block. Blocks of one machine come in any order."""
        self.blocks[machine] = self.blocks.get(machine, 0) + 1
        tried = {record.trial.guest for record in records}
        told = {}
        for guest in tried:
            good = [r for r in final_records(records, guest).values() if r.outcome is Outcome.OK]
            told[guest] = boot_summaries(good[0]) if good else {}
        pairs = [(guest, other) for guest in tried for other in divisors(guest, told, self.baseline)]
        for guest, other in [*(pairs if self.baseline in tried else ()), *((guest, "") for guest in tried)]:
            for name, (value, unit) in told[guest].items():
                if name in PHASES and name != Phase.TOTAL:
                    continue
                under = told[other].get(name) if other else (1.0, unit)
                if under is None:
                    continue
                key = (name, guest, other, *(_kind(records, (guest, other)) if self.strata else ()))
                if unit is not under[1] or not all(math.isfinite(v) and v > 0 for v in (value, under[0])):
                    self._odd.add(key)
                else:
                    self.tell(machine, key, math.log(value) - math.log(under[0]))

    def tell(self, machine: str, key: Key, log_ratio: float) -> None:
        """One block's log-ratio in one comparison."""
        self._own.setdefault(key, {}).setdefault(machine, _Own()).add(log_ratio, self._target)

    def ended(self, there: Collection[str], guests: Collection[str]) -> str:
        """Why no further block is wanted, as a phrase for people; "" while one is.

        there: machines that can have more; while it is not known of any, only narrow intervals end the run. guests:
        those that are not given up.
        """
        if not self.blocks or any(self.blocks.get(machine, 0) < LEAST_EACH for machine in there):
            return ""
        judged = list(self._judged(there, guests))
        if not judged:
            return "nothing was measured that could become precise" if there else ""
        k = len(self.blocks)
        if all(narrow for narrow, _ in judged):
            over = f" over {many(k, 'machine')}" if k > 1 else ""
            return f"the intervals{over} were narrow enough"
        if not there or any(not narrow and not stuck for narrow, stuck in judged):
            return ""
        return (
            f"{many(k, 'machine')} leave intervals wider than ± {100 * self.precision:g} % by what lies between them, "
            "which further machines narrow and further blocks do not"
        )

    def gains(self, there: Iterable[str], guests: Collection[str], flying: Mapping[str, int]) -> dict[str, float]:
        """By how much a further block on each machine lowers the variances that are still too large; infinite for a
        machine that has too few. flying: blocks that are under way, which count as done."""
        names = list(there)
        open_keys = [key for key in self._keys(guests) if not any(self._settled(key, names))]
        shared = {key: self._pooled(key) for key in open_keys}
        return {name: self._gain(name, open_keys, shared, flying.get(name, 0)) for name in names}

    def _gain(self, machine: str, keys: Sequence[Key], shared: Mapping[Key, float], flying: int) -> float:
        if self.blocks.get(machine, 0) + flying < LEAST_EACH:
            return math.inf
        total = 0.0
        for key in keys:
            own = self._own[key].get(machine, _Own())
            n = own.n + flying
            variance = shared[key] if own.variance is None else own.variance
            total += variance / (n * (n + 1)) if n else variance
        return total

    def means(self, key: Key) -> dict[str, float]:
        """Machine → the mean of its blocks' log-ratios."""
        return {machine: own.mean for machine, own in self._own[key].items()}

    def widths(self, key: Key, there: Collection[str]) -> Widths | None:
        """None below two machines."""
        told = self._own[key]
        k = len(told)
        if k < 2:
            return None
        pooled = self._pooled(key)
        parts = {m: (pooled if own.variance is None else own.variance) / own.n for m, own in told.items()}
        mean = math.fsum(own.mean for own in told.values()) / k
        between = math.fsum((own.mean - mean) ** 2 for own in told.values()) / (k - 1)
        t = stdtrit(k - 1, 0.975)
        return Widths(
            k,
            sum(own.n for own in told.values()),
            t * math.sqrt(between / k),
            t * math.sqrt(math.fsum(parts.values())) / k,
            t * math.sqrt(math.fsum(part for m, part in parts.items() if m in there)) / k,
        )

    def widest(self, guests: Collection[str]) -> float | None:
        """How precise the comparison is that is least so, as `precision`: 0.02 for ± 2 %; None while nothing is known,
        or as good as nothing."""
        half = [
            next(iter(self._own[key].values())).width if widths is None else max(widths.seen, widths.own)
            for key in self._keys(guests)
            for widths in [self.widths(key, ())]
        ]
        most = max(half, default=math.inf)
        return math.expm1(most) if most < 7 else None

    def _judged(self, there: Collection[str], guests: Collection[str]) -> Iterable[tuple[bool, bool]]:
        return (self._settled(key, there) for key in self._keys(guests))

    def _settled(self, key: Key, there: Collection[str]) -> tuple[bool, bool]:
        """(narrow enough, stuck)"""
        widths = self.widths(key, there)
        if widths is None:
            return next(iter(self._own[key].values())).narrow, False
        told = widths.own == 0 or widths.blocks >= LEAST_BLOCKS
        narrow = told and max(widths.seen, widths.own) <= self._target
        beyond = max(widths.seen, widths.own) ** 2 - self._target**2
        stuck = told and beyond > 0 and (widths.open <= SMALL * self._target or beyond * SMALL**2 >= widths.open**2)
        return narrow, stuck

    def _keys(self, guests: Collection[str]) -> list[Key]:
        """Comparisons of guests that are not given up: to the baseline where it is one of them, else each by itself."""
        alone = self.baseline not in guests or len(guests) < 2
        return [
            key
            for key in self._own
            if key not in self._odd and key[1] in guests and (not key[2] if alone else key[2] in guests)
        ]

    def _pooled(self, key: Key) -> float:
        """The mean variance of machines that tell theirs."""
        known = [own.variance for own in self._own[key].values() if own.variance is not None]
        return math.fsum(known) / len(known) if known else math.inf


def _kind(records: Sequence[BootRecord], guests: Collection[str]) -> tuple[str, ...]:
    """What executed these guests."""
    first = {record.trial.guest: record.facts for record in reversed(records) if record.trial.guest in guests}
    return tuple(f"{guest} {name} {first[guest].get(name, '')}" for guest in sorted(first) for name in OF_THE_STRATUM)
