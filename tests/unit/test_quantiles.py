"""Quantiles of a boot's calls: of its steady calls, from enough of them, and beside how many the other side made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from records import run_of, save_run
from test_gate import said

from ukperf.model import BootRecord, Sample, Unit
from ukperf.stats.figures import Warmth
from ukperf.stats.perboot import collect
from ukperf.stats.summary import RunSummary, summarize

Calls = NDArray[np.float64]
SLOW = 50


def calls(n: int, seed: int, slow: int = 0, factor: float = 3.0) -> Calls:
    """n calls of 1 ms that scatter by 5 %; the first `slow` take `factor` times as long."""
    values = 1e-3 * np.exp(np.random.default_rng(seed).normal(0, 0.05, n))
    values[:slow] *= factor
    return values


def with_calls(of: Mapping[str, Sequence[Calls]], quantiles: str = "0.5,0.99") -> list[BootRecord]:
    """A run whose boot in block i made the calls of[guest][i]."""
    records = run_of(dict.fromkeys(of, 1.0), len(next(iter(of.values()))))

    def sample(record: BootRecord) -> Sample:
        values = of[record.trial.guest][record.trial.block]
        return Sample("call", Unit.SECONDS, tuple(values.tolist()), metadata={"quantiles": quantiles})

    return [replace(r, samples=(sample(r),)) for r in records]


def column(values: Calls, quantile: str) -> tuple[float, Warmth, int]:
    [series] = (
        s for n, s in collect(with_calls({"linux": [values]}, quantile), "linux").items() if n.startswith("call/")
    )
    return series.values[0], series.warmth[0], len(values) - series.starts[0]


def found(run: RunSummary, benchmark: str) -> tuple[str, ...]:
    comparison = run.comparison("nanos", benchmark)
    assert comparison is not None
    return comparison.warnings


@pytest.mark.parametrize("quantile", ["0.5", "0.99"])
def test_calls_before_the_steady_state_are_not_in_a_quantile(quantile: str) -> None:
    warm = column(calls(1000, 1), quantile)
    value, warmth, count = column(calls(1000, 1, SLOW), quantile)
    assert warm[1:] == (Warmth.FLAT, 1000)
    assert (warmth, count) == (Warmth.WARMING_UP, 1000 - SLOW)
    assert value == np.quantile(calls(1000, 1)[SLOW:], float(quantile), method="inverted_cdf")


def test_warm_up_among_the_calls_is_said() -> None:
    run = summarize(
        with_calls({"linux": [calls(1000, i) for i in range(6)], "nanos": [calls(1000, i, SLOW) for i in range(6)]}),
        "linux",
    )
    assert (
        "nanos, warming up: call/p50 in 6 of 6 boots, call/p99 in 6 of 6 boots; iterations before the steady state are "
        "left out." in run.warnings
    )


def test_slow_calls_that_come_again_are_no_warm_up_and_stay() -> None:
    values = calls(1000, 2)
    values[::60] *= 10
    value, warmth, count = column(values, "0.99")
    assert (warmth, count) == (Warmth.FLAT, 1000) and value > 5e-3


def test_where_the_steady_calls_are_too_few_all_count_and_it_is_said() -> None:
    values = calls(320, 3, SLOW)
    assert column(values, "0.99") == (np.quantile(values, 0.99, method="inverted_cdf"), Warmth.UNSTEADY, 320)


@pytest.mark.parametrize("step", [1, -1])
def test_calls_that_a_guest_sorted_are_taken_whole(step: int) -> None:
    values = np.sort(calls(1000, 4))[::step]
    assert column(values, "0.5") == (np.quantile(values, 0.5, method="inverted_cdf"), Warmth.SHORT, 1000)


@pytest.mark.parametrize(("other", "noted"), [(1000, False), (1090, False), (5000, True), (800, True)])
def test_unequal_numbers_of_calls_are_noted(tmp_path: Path, other: int, noted: bool) -> None:
    records = with_calls(
        {"linux": [calls(1000, i) for i in range(6)], "nanos": [calls(other, 10 + i) for i in range(6)]}, "0.99"
    )
    expected = f"a quantile of {other:,} calls a boot against one of 1,000"
    assert any(w.startswith(expected) for w in found(summarize(records, "linux"), "call/p99")) is noted
    run = save_run(tmp_path / "run", records)
    for sides in ((f"{run}:linux", f"{run}:nanos"), (f"{run}:linux", f"{run}/suite.json:nanos")):
        said("export", run, "--format", "pyperf", "--output", run / "suite.json")
        rows = json.loads(said("compare", *sides, "--json").out)["comparisons"]
        [row] = [c for c in rows if c["benchmark"] == "call/p99"]
        assert any(w.startswith(expected) for w in row["warnings"]) is noted
        (run / "suite.json").unlink()


def test_a_median_hardly_depends_on_the_number_of_calls_and_has_no_note() -> None:
    of = {"linux": [calls(1000, i) for i in range(6)], "nanos": [calls(5000, 10 + i) for i in range(6)]}
    run = summarize(with_calls(of), "linux")
    assert not any("calls a boot" in w for w in found(run, "call/p50"))
    assert any("calls a boot" in w for w in found(run, "call/p99"))


def test_a_quantile_that_the_guest_took_itself_says_of_how_many_calls_it_is() -> None:
    def sample(record: BootRecord) -> Sample:
        return Sample(
            "row p99", Unit.SECONDS, (1e-3,), metadata={"calls": 900 if record.trial.guest == "nanos" else 400}
        )

    records = [replace(r, samples=(sample(r),)) for r in run_of({"linux": 1.0, "nanos": 1.0}, 6)]
    assert any("900 calls a boot against one of 400" in w for w in found(summarize(records, "linux"), "row p99"))


def test_a_suite_has_the_quantiles_of_its_run(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", with_calls({"linux": [calls(400, i, SLOW) for i in range(6)]}))
    said("export", run, "--format", "pyperf", "--output", tmp_path / "suite.json")
    rows = json.loads(said("compare", f"{run}:linux", f"{tmp_path / 'suite.json'}:linux", "--json").out)["comparisons"]
    ratios = {c["benchmark"]: c["ratio"] for c in rows if c["benchmark"].startswith("call")}
    assert ratios == {"call/p50": 1, "call/p99": 1}


def test_two_guests_of_a_run_are_told_the_same_by_compare_as_by_the_run(tmp_path: Path) -> None:
    """What the differences say against the interval: skew and neighbours that resemble each other."""
    records = run_of({"linux": 1.0, "nanos": 1.0}, 20, sigma=0.01)
    slow = [
        replace(r, phases={p: 2 * v for p, v in r.phases.items()})
        if (r.trial.guest, r.trial.block) == ("nanos", 7)
        else r
        for r in records
    ]
    mine = [w for w in found(summarize(slow, "linux"), "total") if "skewed" in w]
    run = save_run(tmp_path / "run", slow)
    rows = json.loads(said("compare", f"{run}:linux", f"{run}:nanos", "--json").out)["comparisons"]
    assert mine and set(mine) <= set(next(c for c in rows if c["benchmark"] == "total")["warnings"])
