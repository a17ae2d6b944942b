"""The self-test: its simulated methods are the ones that we use, its limits bite, its tables say what it found."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import boot, run_of, save_run
from scipy import stats
from test_compare import cli

from ukperf.errors import UkperfError
from ukperf.model import Phase, Sample, Unit
from ukperf.reports.selftest_table import SelftestPage, aa_table, markdown, tables, worst_of
from ukperf.stats import contest, machinetrials
from ukperf.stats.aa import aa_rates
from ukperf.stats.arrays import Floats
from ukperf.stats.machinetrials import MachinesPoint
from ukperf.stats.paired import paired_effect
from ukperf.stats.precision import running_half_widths, stops
from ukperf.stats.selftest import (
    MachinesResult,
    PointResult,
    SelfTest,
    between_grid,
    excuse,
    grid,
    run_between,
    run_machines,
    run_point,
    run_power,
    run_stopping,
    smallest_detectable,
)
from ukperf.stats.simulate import Campaigns, Drift, Layout, Point, Skew, campaigns
from ukperf.stats.welch import welch_effect


@pytest.fixture(autouse=True)
def no_numeric_warning() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def data(point: Point, trials: int = 50, seed: int = 1, ratio: float = 1.0) -> Campaigns:
    return campaigns(point, trials, np.random.default_rng(seed), ratio=ratio)


@pytest.mark.parametrize("point", [Point(8), Point(8, 5, 0.5), Point(12, lost=0.2), Point(9, unequal=True)], ids=str)
def test_what_is_simulated_is_what_we_ship(point: Point) -> None:
    made = data(point, ratio=1.05)
    ours, apart = contest.paired(made), contest.wider(made)
    for i in range(50):
        left, right = made.guest[i].mean(axis=1), made.baseline[i].mean(axis=1)
        both = np.isfinite(left) & np.isfinite(right)
        effect = paired_effect(left[both], right[both])
        assert (effect.interval() is not None) == bool(ours.tested[i])
        if ours.tested[i]:
            assert np.log(effect.interval() or (0, 0)) == pytest.approx((ours.low[i], ours.high[i]))
        if apart.tested[i]:
            other = welch_effect(left[np.isfinite(left)], right[np.isfinite(right)])
            assert np.log(other.interval() or (0, 0)) == pytest.approx((apart.low[i], apart.high[i]))


def test_the_other_methods_are_the_real_ones() -> None:
    made = data(Point(6, 5, 0.5))
    student, ranks = contest.pooled_t(made), contest.pooled_mann_whitney(made)
    for i in range(50):
        left, right = made.guest[i].ravel(), made.baseline[i].ravel()
        assert student.significant[i] == (stats.ttest_ind(np.log(left), np.log(right)).pvalue < 0.05)
        p = stats.mannwhitneyu(left, right, method="asymptotic", use_continuity=False).pvalue
        assert ranks.significant[i] == (p < 0.05)


def test_exact_repeats_alarm_nobody() -> None:
    same = Campaigns(np.full((10, 8, 3), 337.0), np.full((10, 8, 3), 337.0))
    for method in contest.METHODS.values():
        assert not method(same).significant.any()


def test_rare_slow_boots_are_as_many_as_they_are_said_to_be() -> None:
    logs = np.log(data(Point(50, skew=Skew.RARE), 2000).baseline)
    assert (logs > np.log(1.5)).mean() == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize("skew", [Skew.NONE, Skew.MODERATE, Skew.HEAVY])
def test_simulated_scatter_has_the_spread_and_ratio_asked_for(skew: Skew) -> None:
    made = data(Point(50, skew=skew), 2000, ratio=1.1)
    logs = np.log(made.baseline)
    assert logs.mean() == pytest.approx(0, abs=0.001) and logs.std() == pytest.approx(0.02, rel=0.1)
    assert np.log(made.guest).mean() == pytest.approx(np.log(1.1), abs=0.001)


def test_layouts_put_drift_where_they_say() -> None:
    random = np.random.default_rng(1)
    point = Point(20, drift=Drift.LINEAR)
    gap = {
        layout: float(np.abs(np.log(made.guest).mean(axis=(1, 2)) - np.log(made.baseline).mean(axis=(1, 2))).mean())
        for layout in Layout
        for made in [campaigns(point, 500, random, spread=1e-6, layout=layout)]
    }
    assert gap[Layout.BLOCKS] < gap[Layout.SHUFFLED] < gap[Layout.ONE_AFTER_THE_OTHER]
    assert gap[Layout.ONE_AFTER_THE_OTHER] == pytest.approx(np.log(1.05) / 2, rel=0.05)


@pytest.mark.parametrize(
    "point",
    [Point(6), Point(10, 10, 0.5, unequal=True, drift=Drift.STEP, lost=0.1), Point(10, skew=Skew.HEAVY)],
    ids=str,
)
def test_our_error_rates_are_inside_their_limits(point: Point) -> None:
    result = run_point(point, 4000, 1)
    assert result.false_alarms["paired"] <= 0.06 and result.coverage >= 0.94


def test_pooling_iterations_raises_false_alarms_and_the_selftest_sees_it() -> None:
    result = run_point(Point(10, 10, 0.9), 4000, 1)
    assert result.false_alarms["pooled t"] > 0.4 and result.false_alarms["pooled Mann-Whitney"] > 0.4


def test_stopping_on_width_keeps_its_coverage_and_stopping_at_once_does_not() -> None:
    assert run_stopping(2.0, Skew.NONE, 4000, 1).coverage >= 0.94
    draws = np.random.default_rng(1).normal(0, 2.0, (4000, 200))
    widths = running_half_widths(draws)
    eager = (widths <= 1) & (np.arange(1, 201) >= 6)
    at = eager.argmax(axis=1)
    rows = np.arange(4000)
    means = draws.cumsum(axis=1)[rows, at] / (at + 1)
    assert (np.abs(means) <= widths[rows, at]).mean() < 0.935


def test_the_stopping_rule_waits_for_twenty_and_for_a_fifth() -> None:
    widths = np.full(40, 0.5)
    assert int(stops(widths, 1.0).argmax()) + 1 == 20
    widths[21] = 2.0
    widths[:20] = 2.0
    assert int(stops(widths, 1.0).argmax()) + 1 == 28  # wide at 22, and 0.8 × 28 > 22
    assert int(stops(np.zeros(10), 1.0).argmax()) + 1 == 6


def test_running_widths_are_those_of_the_t_interval() -> None:
    draws = np.random.default_rng(1).normal(0.3, 0.1, 12)
    low, high = stats.t.interval(0.95, 11, draws.mean(), stats.sem(draws))
    assert running_half_widths(draws)[-1] == pytest.approx((high - low) / 2)
    assert running_half_widths(np.full(8, 0.123))[-1] == 0


def test_blocks_need_half_the_boots_under_drift() -> None:
    found = run_power(Drift.LINEAR, 4000, 1)
    assert found.kept and found.one_after_the_other > 0.5
    assert smallest_detectable(0.01 * 2**0.5, found.paired) == pytest.approx(1.01, abs=0.001)


def test_the_grid_covers_every_factor_and_names_its_excuses() -> None:
    points = grid()
    assert {p.boots for p in points} == {6, 10, 20, 50}
    for drift in Drift:
        assert any(p.drift is drift and p.lost and p.unequal for p in points) or drift is Drift.NONE
    assert len(set(points)) == len(points) and len(grid(full=True)) == 4 * 3 * 3 * 2 * 3 * 2
    assert all(p.skew is not Skew.RARE for p in grid(full=True))
    assert not excuse(Point(6)) and not excuse(Point(6, skew=Skew.HEAVY)) and not excuse(Point(6, unequal=True))
    assert excuse(Point(50, skew=Skew.HEAVY, unequal=True))


def test_a_rate_beyond_its_limit_fails_and_an_excused_one_is_shown() -> None:
    def result(rate: float, why: str = "") -> SelfTest:
        return SelfTest((PointResult(Point(6), 4000, dict.fromkeys(contest.METHODS, rate), 0.95, why),), (), (), ())

    assert result(0.05).passed and not result(0.07).passed and result(0.07, "skew").passed
    [_, _, rows] = tables(result(0.07, "skew"))[0]
    assert rows[0][-1] == "beyond: skew"
    text = markdown(*next(SelftestPage(result(0.07, "skew"), ()).sections()))
    assert "| 6 boots | 7.0 % |" in text and text.count("\n|") == 3


def test_too_few_trials_are_refused() -> None:
    with pytest.raises(ValueError):
        run_point(Point(6), 100, 1)
    assert "not between 4000" in cli("selftest", "--trials", 10, status=2)


def test_boots_of_one_guest_are_compared_with_themselves(tmp_path: Path) -> None:
    made = run_of({"linux": 1.0}, 40, samples=["fit"], drift=0.05)
    records = [replace(r, phases={Phase.TOTAL: r.phases[Phase.TOTAL]}) for r in made]
    results = {r.benchmark: r for r in aa_rates(records)}
    assert results["total"].kept and results["fit"].kept
    assert results["fit"].false_alarms["pooled t"] > 0.15
    run = save_run(tmp_path / "run", records)
    assert aa_table([results["total"]])[2][0][0] == "linux total"
    out = json.loads(cli("selftest", "--aa-run", run, "--trials", 4000, "--json"))
    assert out["passed"] and {r["benchmark"] for r in out["aa"]} >= {"total", "fit"}


def test_an_aa_run_has_one_guest_and_enough_boots() -> None:
    with pytest.raises(UkperfError, match="one guest"):
        aa_rates(run_of({"linux": 1.0, "nanos": 1.0}))
    with pytest.raises(UkperfError, match="12 good boots"):
        aa_rates([boot("linux", i) for i in range(11)])
    zero = [replace(boot("linux", i), samples=(Sample("a", Unit.SECONDS, (0.0,)),)) for i in range(12)]
    assert "a" not in {r.benchmark for r in aa_rates(zero)}


def test_the_full_grid_begins_with_its_worst_points() -> None:
    rates = {"paired": [0.05, 0.058, 0.11], "between": [0.05, 0.04, 0.12]}
    made = [Point(6), Point(6, drift=Drift.LINEAR), Point(6, skew=Skew.HEAVY, unequal=True)]
    points = tuple(
        PointResult(
            point,
            4000,
            dict.fromkeys(contest.METHODS, 0.0) | {m: rates[m][i] for m in rates},
            0.95 - i / 200,
            excuse(point),
        )
        for i, point in enumerate(made)
    )
    assert len(tables(SelfTest(points, (), (), ()))) == 5
    _, _, rows = tables(SelfTest(points, (), (), (), full=True))[0]
    assert [row[:6] for row in rows] == [
        ["6", "normal", "2", "5.8 %", "5.0 %", "94.5 %"],
        ["6", "heavy skew, σ 3:1", "1", "11.0 %", "12.0 %", "94.0 %"],
    ]
    assert rows[0][6] == "ok" and rows[1][6].startswith("beyond: heavy skew")
    moderate = Point(20, skew=Skew.MODERATE, unequal=True)
    mixed = [replace(points[0], point=p, excuse=excuse(p)) for p in (moderate, replace(moderate, lost=0.1))]
    assert worst_of([mixed[0], replace(mixed[1], coverage=0.93)])[6] == "beyond: skew on one side, below 20 pairs"


@pytest.mark.parametrize(
    "place",
    [MachinesPoint(2, 6, 1.0), MachinesPoint(5, 6, 0.0, True, True), MachinesPoint(40, 20, 0.3, True, True)],
    ids=str,
)
def test_over_machines_our_rates_are_inside_their_limits(place: MachinesPoint) -> None:
    result = run_machines(place, 4000, 1)
    assert result.kept and not result.excuse and 0 < result.different < 0.08
    assert (result.unlike is None) == bool(place.between) and (result.further is None) == (place.machines < 3)


def test_an_interval_over_machines_that_is_too_narrow_fails_the_selftest(monkeypatch: pytest.MonkeyPatch) -> None:
    def normal(trials: machinetrials.Trials) -> tuple[Floats, Floats, float]:
        mean, error, _ = real(trials)
        return mean, error, 1e9

    real = machinetrials.unweighted
    monkeypatch.setattr(machinetrials, "unweighted", normal)
    result = run_machines(MachinesPoint(5, 6, 0.3), 4000, 1)
    assert result.different > 0.1 and result.coverage < 0.9 and not SelfTest((), (), (), (), (result,)).passed


def test_a_rate_over_machines_is_beyond_its_limit_only_where_the_trials_show_it() -> None:
    at = MachinesResult(MachinesPoint(3, 6, 0.0), 10_000, 0.05, 0.95, 0.05, 0.95)
    assert at.kept and replace(at, unlike=0.066).kept and not replace(at, unlike=0.068).kept
    assert replace(at, coverage=0.934).kept and not replace(at, coverage=0.932).kept
    assert not replace(at, trials=10_000_000, different=0.061).kept
    assert not replace(at, further=0.9).kept and replace(at, further=0.9, excuse="heavy tail").kept
    rows = next(rows for title, _, rows in tables(SelfTest((), (), (), (), (at,))) if "over machines" in title)
    assert rows == [["3 machines × 6 blocks, σ between 0", "5.0 %", "95.0 %", "5.0 %", "95.0 %", "ok"]]


RARE = Point(10, skew=Skew.RARE, baseline_boots=100)


@pytest.mark.parametrize(
    "point",
    [
        RARE,
        Point(100, skew=Skew.RARE, baseline_boots=10),
        Point(6, skew=Skew.HEAVY, baseline_boots=50),
        Point(60, skew=Skew.MODERATE, baseline_boots=20),
        Point(6, unequal=True, baseline_boots=20),
        Point(20, unequal=True, baseline_boots=6),
    ],
    ids=str,
)
def test_between_runs_of_unequal_numbers_our_rates_are_inside_their_limits(point: Point) -> None:
    assert run_between(point, 4000, 1).kept


def test_welch_alone_fails_where_the_smaller_side_missed_the_rare_slow_boot() -> None:
    found = run_between(RARE, 4000, 1)
    assert found.welch > 0.25 and found.welch_equivalent > 0.25
    assert not replace(found, different=found.welch).kept and not replace(found, gate=0.24).kept


def test_unequal_numbers_cost_at_most_a_fifth_of_the_boots_on_normal_data() -> None:
    for n, m in ((6, 20), (6, 50), (10, 100), (20, 60)):
        random = np.random.default_rng(4)
        ratio = np.exp(0.02 * 2.9 * (1 / n + 1 / m) ** 0.5)
        few = campaigns(Point(n, baseline_boots=m), 4000, random, ratio=ratio)
        more = campaigns(Point(round(1.2 * n), baseline_boots=round(1.2 * m)), 4000, random, ratio=ratio)
        assert contest.wider(more).significant.mean() >= contest.welch(few).significant.mean()


def test_the_grid_between_runs_has_either_side_as_the_smaller() -> None:
    points = between_grid()
    assert {(p.boots, p.baseline_boots) for p in points} >= {(10, 100), (100, 10), (6, 20), (20, 6), (6, 50), (20, 60)}
    assert {p.skew for p in points} == set(Skew) and any(p.unequal for p in points)
    assert "10:100 boots, 5 % of boots at 2 ×" in map(str, points)
