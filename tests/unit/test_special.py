"""Student's t, Fisher's F and the fair coin, for single numbers, against scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special as scipys

from ukperf.stats.estimate import as_list, median_ranks
from ukperf.stats.special import coin_cdf, f_tail, stdtr, stdtrit

FREEDOM = st.one_of(st.floats(1, 10), st.floats(1, 300), st.floats(1, 1e6), st.integers(1, 400).map(float))


@given(df=FREEDOM, t=st.floats(1e-3, 1e3))
def test_the_distribution_of_t_is_scipys_in_both_tails(df: float, t: float) -> None:
    below = float(scipys.stdtr(df, -t))
    if below > 1e-280:
        assert stdtr(df, -t) == pytest.approx(below, rel=1e-10)
    assert stdtr(df, t) == pytest.approx(float(scipys.stdtr(df, t)), rel=1e-12)


@given(df=FREEDOM, tail=st.floats(1e-9, 0.49))
def test_the_quantiles_of_t_are_scipys_on_both_sides(df: float, tail: float) -> None:
    assert stdtrit(df, tail) == pytest.approx(float(scipys.stdtrit(df, tail)), rel=1e-9)
    assert stdtrit(df, 1 - tail) == pytest.approx(-stdtrit(df, tail), rel=1e-6)


@given(df=FREEDOM, tail=st.floats(1e-9, 0.49))
def test_quantile_and_distribution_undo_each_other(df: float, tail: float) -> None:
    assert stdtr(df, stdtrit(df, tail)) == pytest.approx(tail, rel=1e-8)


@given(over=st.floats(1, 1000), under=st.floats(1, 1e5), value=st.floats(1e-3, 100))
def test_the_upper_tail_of_f_is_scipys(over: float, under: float, value: float) -> None:
    above = float(scipys.fdtrc(over, under, value))
    assert f_tail(over, under, value) == pytest.approx(above, rel=1e-7, abs=1e-12)
    assert f_tail(over, under, 0) == 1 and f_tail(over, under, math.inf) == 0 and math.isnan(f_tail(0, under, value))


def test_the_ends_are_what_they_should_be() -> None:
    assert stdtrit(5, 0.5) == 0 and stdtrit(5, 0) == -math.inf and stdtrit(5, 1) == math.inf
    assert stdtr(5, 0) == 0.5 and stdtr(5, math.inf) == 1 and stdtr(5, -math.inf) == 0
    assert stdtr(1, -1) == pytest.approx(0.25, rel=1e-15)  # Cauchy: exact
    assert stdtr(1, -1e-9) == pytest.approx(0.5 - 1e-9 / math.pi, rel=1e-15)
    assert all(math.isnan(v) for v in (stdtr(0, 1), stdtr(5, math.nan), stdtrit(-1, 0.9), stdtrit(5, 1.1)))
    assert stdtr(5, -1e200) < 1e-280


@given(n=st.integers(0, 3000), k=st.integers(-1, 3000))
def test_the_coin_is_scipys(n: int, k: int) -> None:
    expected = 0.0 if k < 0 else float(scipys.bdtr(min(k, n), n, 0.5))
    assert coin_cdf(k, n) == pytest.approx(expected, rel=1e-9, abs=1e-250)


@given(n=st.integers(0, 3000), level=st.floats(0.5, 0.999))
def test_the_median_is_covered_with_the_level_and_with_no_more_ranks_than_that_takes(n: int, level: float) -> None:
    ranks = median_ranks(n, level)
    tail = (1 - level) / 2
    if ranks is None:
        assert n == 0 or 0.5**n > tail
        return
    low, high = ranks
    assert low + high == n - 1 and scipys.bdtr(low, n, 0.5) <= tail < scipys.bdtr(low + 1, n, 0.5)


def test_what_is_no_list_of_finite_numbers_is_refused() -> None:
    for wrong in (3.0, [[1.0]], [math.nan], [math.inf]):
        with pytest.raises(ValueError, match=r"one dimension|not finite"):
            as_list(wrong)
