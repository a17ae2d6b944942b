"""The host as pyperf's manager: loops, values and warm-ups from one run on this machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.model import Observation, Outcome, Repetitions, Report, Sample, Unit
from ukperf.workloads.calibrating import SLOWDOWN, VALUE_S, Cost, choose, costs, timeout_s


@given(st.floats(1e-9, 1e3), st.booleans())
def test_a_value_lasts_long_enough_and_a_boot_not_for_ever(seconds: float, emulated: bool) -> None:
    made = choose({"a": Cost(seconds)}, emulated)["a"]
    one = made.loops * seconds * (SLOWDOWN if emulated else 1)
    assert one >= VALUE_S * 0.999
    assert made.loops == 1 or one < 2 * VALUE_S
    assert made.values == 1 or one * (made.values + made.warmups) < 10


def test_loops_that_a_script_fixes_are_kept_and_what_is_no_time_is_not_repeated_for_long() -> None:
    known = {"fixed": Cost(1e-3, own_loops=7), "slow": Cost(2.0, own_loops=2), "bytes": Cost(None)}
    assert choose(known, emulated=False) == {
        "fixed": Repetitions(7, 5, 1),
        "slow": Repetitions(2, 1, 0),
        "bytes": Repetitions(1, 3, 0),
    }


def test_costs_are_of_one_loop_whatever_a_script_says_of_itself() -> None:
    def sample(name: str, value: float, **facts: object) -> Sample:
        return Sample(name, Unit.SECONDS, (value,), 4, (), facts)

    samples = (
        sample("inner", 0.5, inner_loops=10),
        sample("lies", 0.5, inner_loops=-3, own_loops=1 << 40),
        sample("odd", 0.5, inner_loops="many", own_loops=2),
        Sample("empty", Unit.SECONDS, (), 1),
        Sample("memory", Unit.BYTES, (1e6,), 1),
    )
    assert costs(Observation(Outcome.OK, "", {}, report=Report(samples=samples))) == {
        "inner": Cost(5.0),
        "lies": Cost(0.5),
        "odd": Cost(0.5, 2),
        "memory": Cost(None),
    }


def test_a_boot_may_take_four_times_as_long_as_expected() -> None:
    known = {"a": Cost(0.01), "b": Cost(None)}
    told = {"a": Repetitions(10, 3, 1), "b": Repetitions(1, 3, 0)}
    assert timeout_s(known, told, emulated=False) == pytest.approx(120 + 4 * (0.4 + 3))
    assert timeout_s(known, told, emulated=True) == pytest.approx(120 + 4 * 25 * (0.4 + 3))
