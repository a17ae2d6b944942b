"""Bisection for the least memory, with guests that are functions."""

from __future__ import annotations

import math
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.workloads.memory import find_least


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(1, 4000), st.integers(1, 4))
def test_the_least_size_is_found_in_few_boots(low: int, span: int, need: int, times: int) -> None:
    boots: list[int] = []

    def works(mib: int) -> bool:
        boots.append(mib)
        return mib >= need

    found = find_least(works, low, low + span, times=times)
    assert found.least_mib == (None if need > low + span else max(low, need))
    assert len(boots) <= times * (2 + math.ceil(math.log2(span + 1)))
    assert list(found.tried) == list(dict.fromkeys(boots))


def test_a_size_that_fails_once_in_three_is_not_enough() -> None:
    turns = {20: count()}

    def works(mib: int) -> bool:
        return mib > 20 or (mib == 20 and next(turns[20]) < 2)

    found = find_least(works, 16, 64)
    assert found.least_mib == 21
    assert found.tried[20] == 2
    assert found.tried[21] == 3


def test_a_failing_size_costs_one_boot_where_the_first_fails() -> None:
    boots: list[int] = []
    find_least(lambda mib: boots.append(mib) is not None, 10, 100)
    assert boots == [100]


@pytest.mark.parametrize(("low", "high", "times"), [(0, 5, 3), (6, 5, 3), (1, 5, 0)])
def test_absurd_bounds_are_an_error_of_the_caller(low: int, high: int, times: int) -> None:
    with pytest.raises(ValueError, match="low"):
        find_least(lambda mib: True, low, high, times=times)
