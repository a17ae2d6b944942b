"""The steady-state rule on boots whose shape is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import boot

from ukperf.model import Sample, Unit
from ukperf.stats.estimate import far_out
from ukperf.stats.figures import Warmth
from ukperf.stats.perboot import boot_summaries
from ukperf.stats.steady import steady_mean, steady_state
from ukperf.stats.summary import summarize


def noisy(boots: int = 300, n: int = 50, seed: int = 1) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(0, 0.01, (boots, n))


def test_flat_boots_are_left_alone() -> None:
    warmth = steady_state(np.exp(noisy())).warmth
    assert warmth.count(Warmth.FLAT) >= 297


def test_heavy_tails_and_correlated_noise_are_no_change() -> None:
    tails = np.exp(0.01 * np.random.default_rng(2).standard_t(2, (500, 100)))
    assert steady_state(tails).warmth.count(Warmth.FLAT) >= 485
    correlated = noisy(500, 100)
    for i in range(1, 100):
        correlated[:, i] += 0.5 * correlated[:, i - 1]
    assert steady_state(np.exp(correlated)).warmth.count(Warmth.FLAT) >= 475


@pytest.mark.parametrize("slow", [1, 3, 12])
def test_warm_up_is_cut_off_exactly(slow: int) -> None:
    values = noisy()
    values[:, :slow] += 1.0
    found = steady_state(np.exp(values))
    assert set(found.warmth) == {Warmth.WARMING_UP}
    assert np.median(found.starts) == slow
    assert abs(found.means - 1).max() < 0.02


def test_slowing_down_is_called_that() -> None:
    values = noisy()
    values[:, 20:] += 0.3
    found = steady_state(np.exp(values))
    assert set(found.warmth) == {Warmth.SLOWING_DOWN} and set(found.starts) == {20}


def test_a_change_near_the_end_is_no_steady_state_and_all_iterations_count() -> None:
    values = noisy()
    values[:, 42:] += 0.3
    found = steady_state(np.exp(values))
    # by chance one boot of 2,000 looks as if its iterations depended on each other, and its change must then be larger
    assert found.warmth.count(Warmth.UNSTEADY) >= 299
    assert found.means == pytest.approx(np.exp(values).mean(axis=1))


@pytest.mark.parametrize(("n", "least"), [(100, 850), (300, 920), (1000, 960)])
def test_a_stationary_boot_whose_iterations_depend_on_each_other_is_flat(n: int, least: int) -> None:
    random = np.random.default_rng(2)
    values = random.standard_normal((1000, n)) * 0.02
    scatter = np.sqrt(1 - 0.9**2)
    for i in range(1, n):
        values[:, i] = 0.9 * values[:, i - 1] + scatter * values[:, i]
    assert steady_state(np.exp(values)).warmth.count(Warmth.FLAT) >= least


def test_a_lone_outlier_is_kept_and_moves_nothing() -> None:
    values = noisy()
    values[:, 25] += 2.0
    found = steady_state(np.exp(values))
    assert found.warmth.count(Warmth.FLAT) >= 297
    assert found.means == pytest.approx(np.exp(values).mean(axis=1))


def test_exact_repeats_are_flat_and_exact() -> None:
    found = steady_state(np.full((3, 40), 337.0))
    assert set(found.warmth) == {Warmth.FLAT} and set(found.means) == {337.0}


def test_short_boots_are_taken_as_they_are() -> None:
    assert steady_mean([10.0, 1.0, 1.0]) == (4.0, 0, Warmth.SHORT)


def test_huge_and_tiny_scales_change_nothing() -> None:
    values = np.exp(noisy(20))
    values[:, :3] *= 3
    found = steady_state(values)
    for power in (1000, -1000, -1040):
        other = steady_state(np.ldexp(values, power))
        assert (other.starts == found.starts).all()
        assert other.means == pytest.approx(np.ldexp(found.means, power), rel=1e-6)  # the last are subnormal
    mixed = np.ldexp(values, 1000)
    mixed[:, 30] = 1e-300  # still a value with a logarithm
    assert (steady_state(mixed).starts == 3).all()


def test_values_around_zero_have_a_steady_state_too() -> None:
    values = noisy()
    values[:, 0] = 1e308
    assert set(steady_state(values).starts) == {1}
    values = noisy()
    values[:, :3] += 1.0
    assert np.median(steady_state(values).starts) == 3


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_any_finite_boot_gets_an_answer_without_a_numeric_warning(values: list[float]) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        mean, start, kind = steady_mean(values)
    assert isinstance(kind, Warmth) and 0 <= start < len(values)
    if start == 0:
        exact = sum(map(Fraction, values)) / len(values)
        assert abs(Fraction(mean) - exact) <= Fraction(max(map(abs, values))) / 10**12 + Fraction(5e-324)


def test_a_run_says_that_its_boots_warm_up() -> None:
    values = np.exp(noisy(20))
    values[:, :3] *= 3
    records = [
        replace(boot("linux", i), samples=(Sample("fit", Unit.SECONDS, tuple(v)),)) for i, v in enumerate(values)
    ]
    assert boot_summaries(records[0])["fit"][0] == pytest.approx(values[0, 3:].mean())
    [warning] = summarize(records, "linux").warnings
    assert warning.startswith("linux, warming up: fit in 20 of 20 boots")


def test_outliers_are_counted_and_kept() -> None:
    values = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 9.0]
    assert far_out(values) == [False] * 6 + [True]
    summary = summarize([boot("linux", i, v) for i, v in enumerate(values)], "linux")
    assert summary.guests[0].outliers["total"] == 1 and summary.guests[0].estimates["total"].n == 7
