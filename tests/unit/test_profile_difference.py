"""What functions add to one side, with intervals; gates on groups of functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import guest, kernel, profile

from ukperf.errors import UkperfError
from ukperf.model import Unit, Verdict
from ukperf.profile.difference import changes, comparable, gate_of, gated, total_change
from ukperf.profile.model import CodePart, Function, Profiled
from ukperf.stats.addends import addend, addends, mean, p_grown, p_shrunk
from ukperf.stats.welch import welch_effect

numbers = st.lists(st.integers(0, 10**9), min_size=1, max_size=12)


@given(numbers, numbers)
def test_a_difference_is_that_of_the_means_and_turns_round_with_the_sides(a: list[int], b: list[int]) -> None:
    one, other = addend(a, b), addend(b, a)
    assert one.difference == pytest.approx(np.mean(a) - np.mean(b), abs=1e-3, rel=1e-9)
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low is None) == (min(len(a), len(b)) < 6)
    if one.low is not None and one.high is not None and other.low is not None:
        assert one.low <= one.difference <= one.high
        assert one.low == pytest.approx(-(other.high or 0), abs=1e-3)
        assert one.p_value == pytest.approx(other.p_value)


def test_intervals_are_those_of_welch_and_student() -> None:
    random = np.random.default_rng(5)
    a, b = random.normal(1e6, 3e4, 9), random.normal(0.9e6, 1e4, 14)
    one = addend(a.tolist(), b.tolist())
    logs = welch_effect(np.exp(a / 1e6), np.exp(b / 1e6)).half_width()
    assert logs is not None and one.high is not None
    assert one.high - one.difference == pytest.approx(logs * 1e6, rel=1e-9)


def test_boots_that_repeat_have_exact_differences_and_few_boots_no_verdict() -> None:
    sure, few, same = addends([([7] * 6, [5] * 6), ([7] * 5, [5] * 6), ([3] * 6, [3] * 6)])
    assert (sure.low, sure.high, sure.verdict) == (2, 2, Verdict.SLOWER)
    assert few.verdict is Verdict.INCONCLUSIVE and few.low is None
    assert same.verdict is Verdict.EQUIVALENT


def test_equal_functions_are_called_different_in_few_families_only() -> None:
    random = np.random.default_rng(11)
    false = 0
    for _ in range(200):
        family = [(random.normal(1e5, 1e3, 8).tolist(), random.normal(1e5, 1e3, 8).tolist()) for _ in range(10)]
        false += any(one.verdict is not Verdict.INCONCLUSIVE for one in addends(family))
    assert false <= 18  # 5 % of 200, and what chance adds to it once in a thousand runs


@given(st.lists(st.integers(1, 10**6), min_size=6, max_size=9), st.floats(0, 0.5))
def test_no_side_grew_beyond_itself(values: list[int], delta: float) -> None:
    assert (p_grown(values, values, delta) or 0) >= 0.5 and (p_shrunk(values, values, delta) or 0) >= 0.5


def test_a_mean_is_exact_where_boots_repeat() -> None:
    assert (mean([5] * 6, Unit.INSTRUCTIONS).low, mean([5] * 5, Unit.INSTRUCTIONS).low) == (5, None)
    with pytest.raises(ValueError, match="no values"):
        mean([], Unit.INSTRUCTIONS)


def test_differences_of_functions_add_up_to_that_of_the_boots() -> None:
    side = guest("new", 1.02, sigma=0.01, seed=1, acpi_ns_lookup=5e7, only_new=1e6)
    baseline = guest("old", sigma=0.01, seed=2, only_old=2e6)
    listed = changes(side, baseline)
    assert sum(c.addend.difference for c in listed) == pytest.approx(total_change(side, baseline).difference, rel=1e-9)
    named = {c.function.name: c.addend for c in listed}
    assert named["only_new"].baseline == 0 and named["only_new"].verdict is Verdict.SLOWER
    assert named["only_old"].side == 0 and named["only_old"].verdict is Verdict.FASTER


def test_a_compilers_copies_of_a_function_are_compared_with_the_function() -> None:
    new = Profiled("new", (profile({kernel("f.constprop.0"): (3, 0), kernel("f.cold"): (4, 0)}),))
    old = Profiled("old", (profile({kernel("f"): (7, 0)}),))
    assert [(c.function.name, c.addend.difference) for c in changes(new, old)] == [("f", 0)]
    assert comparable(kernel("x.isra.0.part.1")).name == "x"
    assert comparable(kernel(".cold")).name == ".cold"
    moved = Function(CodePart.LIBRARY, "libz.so", "+0x1000", named=False)
    assert comparable(moved).name == ""


@given(st.text(max_size=30))
@settings(max_examples=200)
def test_what_is_no_gate_is_a_sentence(text: str) -> None:
    try:
        gate = gate_of(text)
    except UkperfError as error:
        assert error.hint
    else:
        assert gate.verdict in (Verdict.SLOWER, Verdict.FASTER) and gate.pattern


@pytest.mark.parametrize(
    ("text", "pattern", "word"),
    [
        ("acpi_*:more", "acpi_*", "more"),
        ("kernel/a*:slower", "kernel/a*", "more"),
        ("a:b:fewer", "a:b", "fewer"),
    ],
)
def test_a_gate_is_a_pattern_and_a_word(text: str, pattern: str, word: str) -> None:
    gate = gate_of(text)
    assert (gate.pattern, gate.text) == (pattern, f"{pattern}:{word}")


def test_a_gate_on_a_group_fails_where_it_surely_grew_beyond_the_margin() -> None:
    old = guest("old", sigma=0.002, seed=1)
    grown, little = guest("new", sigma=0.002, seed=2, acpi_ns_lookup=3e7), guest("new", sigma=0.002, seed=3)
    more, fewer = gate_of("acpi_*:more"), gate_of("acpi_*:fewer")
    results = gated(grown, old, [more, fewer, gate_of("pci_*:more")], 0.01)
    assert [result.failed for result in results] == [True, False, False]
    assert len(results[0].functions) == 3
    assert [result.failed for result in gated(little, old, [more], 0.01)] == [False]
    assert [result.failed for result in gated(old, grown, [fewer], 0.01)] == [True]
    assert "acpi_*:more failed" in results[0].sentence


def test_a_gate_on_a_function_that_is_new_fails_and_one_without_boots_says_so() -> None:
    old, new = guest("old"), guest("new", added_init=1e6)
    assert [result.failed for result in gated(new, old, [gate_of("added_init:more")], 0.01)] == [True]
    few = gated(guest("new", boots=3), old, [gate_of("acpi_*:more")], 0.01)[0]
    assert few.failed is None and "6 a side are needed" in few.sentence
    with pytest.raises(UkperfError, match="No function fits"):
        gated(new, old, [gate_of("apci_*:more")], 0.01)
