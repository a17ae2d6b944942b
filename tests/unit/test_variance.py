"""Variance parts, plans and drift on data whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from records import boot, run_of

from ukperf.model import Sample, Unit
from ukperf.stats.drift import drift, time_series
from ukperf.stats.variance import VarianceParts, best_iterations, boots_for, plan, sample_parts, variance_parts


def test_variance_parts_are_found_again() -> None:
    random = np.random.default_rng(1)
    boots = np.exp(random.normal(0, 0.03, (4000, 1)) + random.normal(0, 0.01, (4000, 5)))
    parts = variance_parts(boots.tolist())
    assert parts is not None
    assert parts.between_boots == pytest.approx(0.03, rel=0.03)
    assert parts.between_iterations == pytest.approx(0.01, rel=0.03)
    assert parts.icc == pytest.approx(0.9, abs=0.02)


def test_unequal_boots_are_weighted() -> None:
    random = np.random.default_rng(2)
    boots = [np.exp(random.normal(0, 0.02) + random.normal(0, 0.02, int(random.integers(2, 30)))) for _ in range(500)]
    parts = variance_parts([b.tolist() for b in boots])
    assert parts is not None and parts.icc == pytest.approx(0.5, abs=0.06)


def test_exact_repeats_have_no_variance_and_no_icc() -> None:
    assert variance_parts([[337.0] * 9] * 3) == VarianceParts(0.0, 0.0, None, 3, 9.0)


def test_one_boot_or_one_iteration_cannot_be_taken_apart() -> None:
    assert variance_parts([[1.0, 2.0]]) is None
    assert variance_parts([[1.0], [2.0]]) is None


def test_kalibera_and_jones_worked_example() -> None:
    parts = VarianceParts(0.01, 0.03, 0.1, 20, 10)
    assert best_iterations(parts, boot_cost=100, iteration_cost=4) == 15  # sqrt(25) × 3
    assert best_iterations(VarianceParts(0.0, 0.03, 0.0, 20, 10), 100, 4) is None
    assert best_iterations(VarianceParts(0.03, 0.0, 1.0, 20, 10), 100, 4) == 1


def test_the_optimum_is_the_best_of_its_neighbours() -> None:
    parts, boot_cost, cost = VarianceParts(0.02, 0.05, 0.14, 20, 10), 3.0, 0.01
    best = best_iterations(parts, boot_cost, cost) or 0

    def variance_for_time(r: int) -> float:
        return (parts.between_boots**2 + parts.between_iterations**2 / r) * (boot_cost + r * cost)

    assert variance_for_time(best) <= min(variance_for_time(best // 2), variance_for_time(best * 2))


def test_samples_of_a_run_say_where_they_vary() -> None:
    [linux] = sample_parts(run_of({"linux": 1.0}, 30, sigma=0.02, samples=["fit"]))
    assert (linux.guest, linux.benchmark, linux.parts.boots) == ("linux", "fit", 30)
    assert linux.best is not None and linux.iteration_cost == pytest.approx(10, rel=0.1)


def test_planned_boots_have_the_power_that_was_asked_for() -> None:
    n = boots_for(0.02, 0.01)
    random = np.random.default_rng(4)
    trials = random.normal(np.log(1.01), 0.02, (4000, n))
    t = trials.mean(axis=1) / (trials.std(axis=1, ddof=1) / np.sqrt(n))
    from scipy.stats import t as student

    assert (np.abs(t) > student.ppf(0.975, n - 1)).mean() == pytest.approx(0.80, abs=0.03)


def test_a_plan_names_every_comparison_and_what_cannot_be_planned() -> None:
    plans = plan(run_of({"linux": 1.0, "nanos": 0.5}, 10, samples=["fit"]), "linux", 0.01)
    assert {p.benchmark for p in plans} == {"vmm", "kernel", "init", "stop", "total", "fit"}
    assert all(p.boots and p.boots > 10 and p.seconds for p in plans)
    short = plan(run_of({"linux": 1.0, "nanos": 0.5}, 3), "linux", 0.01)
    assert {p.why for p in short} == {"the pilot has fewer than 6 blocks"}


@pytest.mark.parametrize("effect", [0.0, -1.0])
def test_no_effect_cannot_be_planned(effect: float) -> None:
    with pytest.raises(ValueError):
        boots_for(0.01, effect)


def test_a_drifting_host_is_found_and_a_quiet_one_is_not() -> None:
    drifting = drift(run_of({"linux": 1.0, "nanos": 0.5}, 30, sigma=0.01, drift=0.05))
    assert drifting is not None and drifting.drifted
    assert drifting.trend == pytest.approx(0.05, abs=0.01)
    assert "4." in drifting.sentence() or "5." in drifting.sentence()
    quiet = [drift(run_of({"linux": 1.0, "nanos": 0.5}, 20, seed=s)) for s in range(60)]
    assert sum(result is not None and result.drifted for result in quiet) <= 4


def test_a_step_is_found_where_it_is() -> None:
    random = np.random.default_rng(1)
    residuals = random.normal(0, 0.01, 60)
    residuals[40:] += 0.05
    found = time_series("total", list(range(60)), residuals.tolist())
    assert found.drifted and abs(found.at - 40) <= 1 and found.step == pytest.approx(0.05, abs=0.01)


def test_exact_repeats_do_not_drift() -> None:
    found = drift(run_of({"linux": 1e9, "nanos": 5e8}, 10, sigma=0, unit=Unit.INSTRUCTIONS))
    assert found is not None and not found.drifted


def test_too_few_boots_to_see_drift() -> None:
    assert drift([boot("linux", 0)]) is None


def test_zeroes_do_not_break_the_parts() -> None:
    record = replace(boot("linux", 0), samples=(Sample("fit", Unit.SECONDS, (0.0, 1.0)),))
    assert sample_parts([record, record]) == []
