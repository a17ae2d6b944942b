"""The figures of docs/statistics.md on what the promises do not cover: simulations whose truth is known, seeds fixed.

    python benchmarks/promises.py [--trials 20000] [PART …]

Each part runs ukperf's own functions on made-up boots, and prints a Markdown table under a line that says what it is
compared with. Parts: steady, skew, rare, neighbours, carryover, stopping, warmup, calls; without a name all of them,
which takes some minutes. A row is made from --trials runs; in `skew` from five times as many, in `stopping` from a
fifth and in `carryover` from a tenth of that; at 20,000 it is 4,000 boots in `steady`, 1,000 in `warmup`, 500 runs in
`calls`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ukperf.engine.schedule import block_order
from ukperf.model import BALANCED, INDEPENDENT, BootRecord, Outcome, Sample, Trial, Unit, Verdict
from ukperf.stats.arrays import Floats
from ukperf.stats.effect import Effect
from ukperf.stats.figures import Warmth
from ukperf.stats.paired import paired_effect
from ukperf.stats.perboot import collect, quantile_name
from ukperf.stats.simulate import RARE
from ukperf.stats.steady import steady_state
from ukperf.stats.verdict import verdicts_of
from ukperf.stats.within import Candidate, dependence_warning, skew_warning, with_verdicts

NOISE = 0.02  # standard deviation of the log of a boot
DIFFERENT = (Verdict.FASTER, Verdict.SLOWER)
Rows = Iterator[Sequence[object]]


def share(hits: int, trials: int) -> str:
    return f"{100 * hits / trials:.1f} %"


@dataclass(frozen=True)
class Part:
    """what: what is simulated, and what it is compared with; heads: of the columns."""

    what: str
    heads: tuple[str, ...]
    rows: Callable[[int], Rows]


PARTS: dict[str, Part] = {}


def part(what: str, *heads: str) -> Callable[[Callable[[int], Rows]], Callable[[int], Rows]]:
    def keep(rows: Callable[[int], Rows]) -> Callable[[int], Rows]:
        PARTS[rows.__name__] = Part(what, heads, rows)
        return rows

    return keep


def autoregressive(shape: tuple[int, int], f: float, random: np.random.Generator) -> Floats:
    """Stationary AR(1) with variance 1, one row after the other independent."""
    values = random.standard_normal(shape)
    for i in range(1, shape[1]):
        values[:, i] = f * values[:, i - 1] + np.sqrt(1 - f * f) * values[:, i]
    return values


@part(
    "stationary iterations, AR(1) with 0.9: a boot in which nothing changes should be flat",
    "iterations",
    "flat",
    "warming up or slowing down",
    "no steady state",
)
def steady(trials: int) -> Rows:
    for n in (30, 50, 100, 300, 1000):
        random = np.random.default_rng(n)
        values = np.exp(NOISE * autoregressive((min(trials, 4000), n), 0.9, random))
        kinds = steady_state(values).warmth
        seen = [sum(kind in wanted for kind in kinds) for wanted in _KINDS]
        yield n, *(share(count, len(kinds)) for count in seen)


_KINDS = ((Warmth.FLAT,), (Warmth.WARMING_UP, Warmth.SLOWING_DOWN), (Warmth.UNSTEADY,))


@part(
    "normal differences, of which none is skewed",
    "blocks",
    "the note on skewness appears",
)
def skew(trials: int) -> Rows:
    for n in (6, 7, 8, 9, 10, 12, 20, 50, 200):
        draws = np.random.default_rng(n).standard_normal((5 * trials, n))
        yield n, f"{100 * np.mean([bool(skew_warning(row)) for row in draws.tolist()]):.2f} %"


@part(
    "5 % of one guest's boots take twice as long (the true ratio is 1.035); a boot scatters by 2 %",
    "blocks",
    "no such boot in the run",
    "95 % interval covers",
    "equivalent within 2 % (false)",
    "equivalent within 5 % (true)",
    "note on skewness, where one was seen",
)
def rare(trials: int) -> Rows:
    for n in (6, 12, 20, 59):
        random = np.random.default_rng(n)
        slow = random.random((trials, n)) < RARE
        logs = NOISE * random.standard_normal((trials, n)) + np.log(2) * slow
        other = NOISE * random.standard_normal((trials, n))
        covered, noted, equal = 0, 0, [0, 0]
        for over, under in zip(np.exp(logs).tolist(), np.exp(other).tolist(), strict=True):
            effect = paired_effect(over, under)
            low, high = effect.interval() or (0.0, 0.0)
            covered += low <= 2**RARE <= high
            noted += bool(skew_warning([float(np.log(a / b)) for a, b in zip(over, under, strict=True)]))
            for i, delta in enumerate((0.02, 0.05)):
                [found] = with_verdicts([Candidate("total", "a", "b", effect)], delta)
                equal[i] += found.verdict is Verdict.EQUIVALENT
        unseen = int((~slow.any(axis=1)).sum())
        yield n, *(share(count, trials) for count in (unseen, covered, *equal)), share(noted, trials - unseen)


@part(
    "differences of neighbouring blocks have an autocorrelation of 0.3; beside it what independent ones give",
    "blocks",
    "95 % interval covers",
    "note",
    "independent: covers",
    "independent: note",
)
def neighbours(trials: int) -> Rows:
    for n in (6, 12, 20, 30, 50, 100):
        random = np.random.default_rng(n)
        cells: list[str] = []
        for draws in (autoregressive((trials, n), 0.3, random), random.standard_normal((trials, n))):
            covered, noted = 0, 0
            for row in (NOISE * draws).tolist():
                low, high = paired_effect(np.exp(row), [1.0] * n).interval() or (0.0, 0.0)
                covered += low <= 1 <= high
                noted += bool(dependence_warning(row))
            cells += [share(covered, trials), share(noted, trials)]
        yield n, *cells


@part(
    "equal guests a and b, a boot after b is 3 % slower; 20 blocks, a boot scatters by 2 % or 0.5 %",
    "orders",
    "ratio a ÷ b",
    "called different (2 %)",
    "called different (0.5 %)",
)
def carryover(trials: int) -> Rows:
    blocks, runs = 20, trials // 10
    for name, schedule in (
        ("each block by itself", INDEPENDENT),
        ("ours: each block begins as the last ended", BALANCED),
    ):
        cells = []
        for noise in (NOISE, 0.005):
            random = np.random.default_rng(1)
            different, logs = 0, []
            for seed in range(runs):
                order = [(block, g) for block in range(blocks) for g in block_order(("a", "b"), seed, block, schedule)]
                boots = dict(zip(order, noise * random.standard_normal(2 * blocks), strict=True))
                for (_, before), after in pairwise(order):
                    boots[after] += np.log(1.03) * (before == "b")
                effect = paired_effect(*(np.exp([boots[b, g] for b in range(blocks)]) for g in "ab"))
                different += verdicts_of([effect])[0].verdict in DIFFERENT
                logs.append(effect.log_ratio)
            cells += [f"{np.exp(np.mean(logs)):.4f}", share(different, runs)]
        yield name, cells[0], cells[1], cells[3]


@part(
    'equal guests; who sees "(needs N boots)" goes on with the same run to N blocks, until a verdict comes; beside it '
    "the first look alone, and a new run of N boots",
    "first look at",
    "a block scatters by",
    "different in the end",
    "blocks in the end",
    "different at the first look",
    "different in a new run",
)
def stopping(trials: int) -> Rows:
    for first in (6, 10, 20):
        for deviation in (0.02, 0.05):
            random = np.random.default_rng(first)
            runs, different, early, fresh, blocks = trials // 5, 0, 0, 0, 0
            for _ in range(runs):
                logs = deviation * random.standard_normal(first)
                found = verdicts_of([_effect(logs)])[0]
                early += found.verdict in DIFFERENT
                if found.boots_needed:
                    new = deviation * random.standard_normal(found.boots_needed)
                    fresh += verdicts_of([_effect(new)])[0].verdict in DIFFERENT
                while found.boots_needed:
                    more = deviation * random.standard_normal(found.boots_needed - logs.size)
                    logs = np.concatenate([logs, more])
                    found = verdicts_of([_effect(logs)])[0]
                different += found.verdict in DIFFERENT
                blocks += logs.size
            asked = runs - early
            cells = (share(different, runs), round(blocks / runs), share(early, runs), share(fresh, asked))
            yield first, f"{100 * deviation:g} %", *cells


def _effect(logs: Floats) -> Effect:
    return paired_effect(np.exp(logs), np.ones(logs.size))


Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
CALLS: dict[str, Draw] = {
    "log-normal, σ 10 %": lambda random, shape: np.exp(random.normal(0, 0.1, shape)),
    "log-normal, σ 100 %": lambda random, shape: np.exp(random.normal(0, 1, shape)),
    "Pareto, shape 1.5": lambda random, shape: random.pareto(1.5, shape) + 1,
    "2 % of calls take 10 ×": lambda random, shape: (
        np.exp(random.normal(0, 0.02, shape)) * np.where(random.random(shape) < 0.02, 10, 1)
    ),
}
QUANTILES = (0.5, 0.99)


def _taken(values: Floats) -> tuple[dict[float, Floats], float]:
    """(quantile → what ukperf takes of each row's calls, share of the rows in which it saw warm-up)."""
    sample = {"quantiles": ",".join(map(str, QUANTILES))}
    records = [
        BootRecord(Trial(i, i, 0, "a"), Outcome.OK, "", "", {}, Unit.SECONDS, (_sample(row, sample),))
        for i, row in enumerate(values.tolist())
    ]
    table = collect(records, "a")
    found = {q: np.asarray(table[quantile_name("call", q)].values) for q in QUANTILES}
    kinds = table[quantile_name("call", QUANTILES[0])].warmth
    return found, sum(kind is Warmth.WARMING_UP for kind in kinds) / len(kinds)


def _sample(row: list[float], metadata: dict[str, str]) -> Sample:
    return Sample("call", Unit.SECONDS, tuple(row), metadata=metadata)


def _of_all(values: Floats, quantile: float) -> Floats:
    return np.asarray(np.quantile(values, quantile, axis=1, method="inverted_cdf"))


def _off(over: Floats, under: Floats) -> str:
    return f"{100 * np.expm1(np.log(over).mean() - np.log(under).mean()):+.1f} %"


@part(
    "1,000 calls a boot, of which the first 50 take 3 times as long, against the same calls without that",
    "calls",
    "p50 of all",
    "p99 of all",
    "p50 as taken",
    "p99 as taken",
    "warm-up seen",
)
def warmup(trials: int) -> Rows:
    for i, (name, draw) in enumerate(CALLS.items()):
        calls = draw(np.random.default_rng(i), (max(200, trials // 20), 1000))
        slow = calls.copy()
        slow[:, :50] *= 3
        taken, seen = _taken(slow)
        every = [_off(_of_all(slow, q), _of_all(calls, q)) for q in QUANTILES]
        yield name, *every, *(_off(taken[q], _of_all(calls, q)) for q in QUANTILES), f"{100 * seen:.1f} %"


def _different(over: Floats, under: Floats) -> str:
    """Share of runs of 20 blocks that call two sides different."""
    runs = zip(over.reshape(-1, 20), under.reshape(-1, 20), strict=True)
    return f"{100 * np.mean([verdicts_of([paired_effect(a, b)])[0].verdict in DIFFERENT for a, b in runs]):.1f} %"


@part(
    "equal guests, one of which makes fewer calls a boot; 20 blocks",
    "calls",
    "numbers",
    "p50 of the fewer",
    "p99 of the fewer",
    "p50 called different",
    "p99 called different",
)
def calls(trials: int) -> Rows:
    boots = 20 * max(50, trials // 40)
    for i, (name, draw) in enumerate(CALLS.items()):
        for few, many in ((300, 5000), (1000, 5000), (4500, 5000)):
            random = np.random.default_rng(i)
            sides: dict[int, list[list[Floats]]] = {few: [], many: []}
            for n, found in sides.items():
                for _ in range(boots // 200):
                    values = draw(random, (200, n))
                    found.append([_of_all(values, q) for q in QUANTILES])
            over, under = (np.concatenate(found, axis=1) for found in sides.values())
            different = [_different(over[k], under[k]) for k in range(len(QUANTILES))]
            off = [_off(over[k], under[k]) for k in range(len(QUANTILES))]
            yield name, f"{few:,} : {many:,}", *off, *different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="default: all")
    options = parser.parse_args()
    for name in options.part or PARTS:
        found = PARTS[name]
        print(f"{name}: {found.what}:\n")
        print("| " + " | ".join(found.heads) + " |\n|---|" + "--:|" * (len(found.heads) - 1))
        for row in found.rows(options.trials):
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
