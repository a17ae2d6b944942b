"""The clock check: what frames tell about a guest's clock."""

from __future__ import annotations

import pytest

from ukperf.doctor.clocks import clock_check, interval_ratios
from ukperf.engine.record import clock_ratio
from ukperf.model import Frame

MS = 1_000_000


def frames(rate: float, late: tuple[int, ...] = (0, 0, 0, 0, 0)) -> list[Frame]:
    """main and four ticks, 30 guest-ms apart, of a clock that runs `rate` times as fast as the host's."""
    guest = [1_000 + 30 * MS * i for i in range(5)]
    return [
        Frame("main" if i == 0 else "phase", {"n": i, "t": t, "tsc": 2 * t}, round(t / rate) + late[i])
        for i, t in enumerate(guest)
    ]


@pytest.mark.parametrize("rate", [0.5, 0.98, 1.02, 2.0])
def test_a_clock_that_is_off_by_more_than_a_percent_is_called_a_lie(rate: float) -> None:
    found = clock_check("g", interval_ratios(frames(rate), False), False)
    assert found.lies
    assert found.ratio == pytest.approx(rate, rel=1e-3)


def test_a_true_clock_is_honest_although_one_frame_was_read_a_little_late() -> None:
    found = clock_check("g", interval_ratios(frames(1.0, (0, 0, 100_000, 0, 0)), False), False)
    assert found.honest and not found.lies


def test_a_busy_host_that_reads_late_makes_no_liar_of_a_true_clock() -> None:
    found = clock_check("g", interval_ratios(frames(1.0, (0, 20 * MS, 0, 5 * MS, 0)), False), False)
    assert found.ratio is None and not found.lies and "too busy" in found.sentence


def test_under_icount_the_counter_is_what_the_clock_must_keep_pace_with() -> None:
    assert clock_ratio(frames(1.0, (0, 90 * MS, 0, 0, 0)), counted=True) == pytest.approx(0.5)
    assert clock_check("g", interval_ratios(frames(1.0), True), True).lies


def test_a_clock_that_stands_still_is_a_lie() -> None:
    still = [Frame("phase", {"n": i, "t": 1252, "tsc": 100 * MS * i}, i) for i in range(1, 5)]
    assert clock_check("g", interval_ratios(still, True), True).lies


def test_frames_too_close_together_tell_nothing() -> None:
    assert clock_ratio(frames(1.0)[:2]) is None
    assert clock_check("g", [], False).ratio is None
