"""Change points: what chance alone shows, what is found, where and how surely."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.stats import changes
from ukperf.stats.changes import LEAST_RUNS, Track, change_points, levels, resemblance, scatter, steps, would_be_seen

ALL = 100  # histories of a simulation: small, the large ones are in benchmarks/history_promises.py


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "DRAWS", 399)


def track(logs: np.ndarray | list[float]) -> Track:
    return Track(tuple(range(len(logs))), tuple(map(float, logs)))


def test_a_step_is_found_at_its_run_with_its_size() -> None:
    logs = np.random.default_rng(1).normal(0, 0.01, 20)
    logs[12:] += 0.05
    (cuts,) = change_points([track(logs)])
    (step,) = steps(tuple(logs), cuts)
    assert cuts == (12,) and step.first <= 12 <= step.last
    assert step.half is not None and abs(step.log_ratio - 0.05) < step.half < 0.02


def test_a_spell_that_was_mended_is_found_with_both_ends() -> None:
    """A search for steps alone sees two equal halves here."""
    logs = np.random.default_rng(2).normal(0, 0.01, 24)
    logs[10:14] += 0.06
    assert change_points([track(logs)]) == [(10, 14)]


def test_several_changes_are_found() -> None:
    logs = np.random.default_rng(3).normal(0, 0.01, 40)
    logs[10:] += 0.08
    logs[25:] += 0.08
    assert change_points([track(logs)]) == [(10, 25)]


def test_one_bad_night_is_no_change() -> None:
    logs = np.random.default_rng(4).normal(0, 0.01, 20)
    logs[9] += 0.5
    assert change_points([track(logs)]) == [()]


def test_where_nothing_changed_one_page_in_twenty_shows_a_change_at_most() -> None:
    """Six series a page, of which two are parts of the others; heavy tails in half of them."""
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(ALL):
        own = [generator.normal(0, 1, 12), generator.standard_t(2, 12), generator.normal(0, 1, 12), np.zeros(12)]
        page = [*own, own[0] + own[1], own[0] + 0.01 * own[2]]
        alarms += any(change_points([track(logs) for logs in page]))
    assert alarms <= 12  # of 100: at 5 % more than 12 have a chance of 1 in 650


def test_the_change_that_is_said_to_be_seen_is_seen_four_times_in_five() -> None:
    generator = np.random.default_rng(6)
    size = would_be_seen(1.0, 20)
    assert size is not None
    hits = places = covered = 0
    for _ in range(ALL):
        logs = generator.normal(0, 1, 20)
        logs[10:] += size
        (cuts,) = change_points([track(logs)])
        hits += bool(cuts)
        if len(cuts) == 1:
            (step,) = steps(tuple(logs), cuts)
            assert step.half is not None
            places += step.first <= 10 <= step.last
            covered += abs(step.log_ratio - size) <= step.half
    assert 68 <= hits <= 95
    assert places >= 0.85 * hits - 5 and covered >= 0.82 * hits - 5


def test_fewer_than_eight_runs_are_not_tested_and_eight_are() -> None:
    assert LEAST_RUNS == 8
    assert change_points([track([0.0] * 3 + [9.0] * 4)]) == [()]
    assert change_points([track([0.01 * (i % 3) for i in range(4)] + [9 + 0.01 * (i % 3) for i in range(4)])]) == [(4,)]
    assert would_be_seen(1.0, 7) is None


def test_series_that_miss_runs_are_tested_on_those_that_they_have() -> None:
    logs = np.random.default_rng(7).normal(0, 0.01, 12)
    logs[6:] += 0.1
    assert change_points([Track(tuple(range(0, 24, 2)), tuple(logs)), track(np.zeros(24))]) == [(6,), ()]


def test_nights_that_resemble_their_neighbours_are_noticed_and_others_are_not() -> None:
    generator = np.random.default_rng(9)
    plain = generator.normal(0, 1, (200, 30))
    alike = plain.copy()
    for i in range(1, 30):
        alike[:, i] += 0.8 * alike[:, i - 1]
    assert sum(resemblance(logs.tolist(), ()) is not None for logs in plain) <= 6
    assert sum(resemblance(logs.tolist(), ()) is not None for logs in alike) > 140
    step = plain[0] + 5 * (np.arange(30) > 14)
    assert resemblance(step.tolist(), (15,)) is None and resemblance(step.tolist(), ()) is not None
    assert resemblance([0.0] * 30, ()) is None and resemblance([0.0, 1.0] * 5, ()) is None


def test_the_same_runs_give_the_same_answer() -> None:
    logs = np.random.default_rng(8).normal(0, 1, 15)
    assert change_points([track(logs)]) == change_points([track(logs)])


@pytest.mark.parametrize("logs", [[math.nan] * 9, [math.inf, *[0.0] * 9]])
def test_what_has_no_logarithm_is_refused(logs: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        change_points([track(logs)])


def test_more_runs_than_are_tested_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 500"):
        change_points([track([0.0] * 501)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, -3.0, 1e-9]) | st.floats(-5, 5), max_size=14))
def test_cuts_are_ascending_and_inside_and_levels_partition_the_runs(logs: list[float]) -> None:
    (cuts,) = change_points([track(logs)])
    assert list(cuts) == sorted(set(cuts)) and all(0 < cut < len(logs) for cut in cuts)
    parts = levels(logs, cuts) if logs else []
    assert [place for a, b, _ in parts for place in range(a, b)] == list(range(len(logs)))
    assert not logs or scatter(logs, cuts)[0] >= 0
    assert [step.cut for step in steps(logs, cuts)] == list(cuts) if logs else True
