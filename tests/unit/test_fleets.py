"""What one more guest of a fleet costs: slopes, figures over fleets, and how many fit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ukperf.model import FleetMemory, FleetSeen, Unit
from ukperf.stats.fleets import cost_of, figure, fits, fitted

MIB = 1 << 20
sizes = st.lists(st.integers(1, 1000), min_size=2, max_size=12, unique=True)
amount = st.floats(-1e9, 1e9)


def fleet(slope: float, start: float, guests: tuple[int, ...] = (1, 2, 4, 8), **more: object) -> FleetSeen:
    """Memory on a line, MiB, all of it the VMM's but for a quarter of the slope, which is the guest's."""
    points = tuple(
        FleetMemory(n, round(n * slope / 4 * MIB), 0, round((start + 3 * n * slope / 4) * MIB)) for n in guests
    )
    ready = tuple(100_000_000 + 1_000_000 * k for k in range(guests[-1]))
    return FleetSeen(points, ready, ready, **more)  # type: ignore[arg-type]


@given(sizes, amount, amount)
def test_a_line_is_found_again(guests: list[int], slope: float, start: float) -> None:
    line = fitted(guests, [start + slope * n for n in guests])
    scale = 1 + abs(slope) * max(guests) + abs(start)
    assert line.slope == pytest.approx(slope, abs=1e-9 * scale)
    assert line.at(0) == pytest.approx(start, abs=1e-7 * scale)


@given(sizes, st.data(), amount, st.floats(0.1, 10))
def test_what_is_added_to_all_or_multiplies_all_goes_through(
    guests: list[int], data: st.DataObject, more: float, times: float
) -> None:
    values = data.draw(st.lists(st.floats(0, 1e6), min_size=len(guests), max_size=len(guests)))
    line = fitted(guests, values)
    moved = fitted(guests, [times * value + more for value in values])
    assert moved.slope == pytest.approx(times * line.slope, abs=1e-5 * (1 + abs(more)))


@given(sizes, st.data())
def test_no_other_line_lies_nearer(guests: list[int], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.floats(0, 1e3), min_size=len(guests), max_size=len(guests)))
    line = fitted(guests, values)
    turned, lifted = data.draw(st.floats(-1, 1)), data.draw(st.floats(-1, 1))

    def away(slope: float, start: float) -> float:
        return math.fsum((value - start - slope * n) ** 2 for n, value in zip(guests, values, strict=True))

    assert away(line.slope, line.start) <= away(line.slope + turned, line.start + lifted) * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize(("guests", "values"), [([], []), ([3], [1.0]), ([3, 3], [1.0, 2.0]), ([1, 2], [1.0])])
def test_no_line_goes_through_less_than_two_numbers_of_guests(guests: list[int], values: list[float]) -> None:
    with pytest.raises(ValueError):
        fitted(guests, values)


def test_a_fleets_parts_add_up_to_its_whole() -> None:
    cost = cost_of(fleet(40, 60))
    assert cost is not None
    assert cost.total.slope == pytest.approx(40 * MIB, rel=1e-6)
    assert sum(cost.parts[name].slope for name in ("guest", "vmm", "code_cache")) == pytest.approx(cost.total.slope)
    assert cost.growth == pytest.approx(107 / 100, rel=1e-3) and cost.create_s == pytest.approx(0.1035)


def test_one_busy_moment_is_no_growth_and_steady_growth_is() -> None:
    times = [100_000_000] * 32
    times[-1] = 200_000_000
    busy = replace(fleet(40, 60, (1, 32)), ready_ns=tuple(times))
    grown = replace(busy, ready_ns=tuple(round(1e8 * 3 ** (k / 31)) for k in range(32)))
    costs = cost_of(busy), cost_of(grown)
    assert costs[0] is not None and 1 < costs[0].growth < 1.2
    assert costs[1] is not None and costs[1].growth == pytest.approx(3, rel=1e-6)


def test_a_fleet_of_one_size_has_no_slope() -> None:
    assert cost_of(fleet(40, 60, (3,))) is None
    assert cost_of(FleetSeen((), (), ())) is None


def test_figures_are_geometric_means_and_of_values_that_have_no_logarithm_medians() -> None:
    assert figure([1.0, 100.0], Unit.BYTES).value == pytest.approx(10)
    assert figure([0.0, 5.0, 9.0], Unit.BYTES).value == 5.0
    exact = figure([7.0] * 6, Unit.BYTES)
    assert (exact.value, exact.low, exact.high) == (7.0, 7.0, 7.0)


def test_how_many_fit_is_told_by_the_line_beyond_what_was_measured() -> None:
    fleets = [fleet(40, 60 + i) for i in range(6)]
    costs = [cost for one in fleets if (cost := cost_of(one)) is not None]
    known = fits(fleets, costs, 4000 * MIB)
    assert known is not None and not known.measured
    assert known.guests == (4000 - 62) // 40
    assert known.low is not None and known.high is not None and known.low <= known.guests <= known.high


def test_how_many_fit_is_what_was_measured_where_a_fleet_filled_the_budget() -> None:
    fleets = [fleet(40, 60, fits=5), fleet(40, 60, fits=6), fleet(40, 60, fits=6)]
    known = fits(fleets, [], 300 * MIB)
    assert known is not None and known.measured and (known.low, known.guests, known.high) == (5, 6, 6)


def test_a_budget_that_the_shared_part_alone_fills_holds_no_guest() -> None:
    fleets = [fleet(40, 60)]
    costs = [cost for one in fleets if (cost := cost_of(one)) is not None]
    known = fits(fleets, costs, 10 * MIB)
    assert known is not None and known.guests == 0


def test_a_line_that_does_not_rise_fills_nothing() -> None:
    fleets = [fleet(-1, 60)]
    costs = [cost for one in fleets if (cost := cost_of(one)) is not None]
    assert fits(fleets, costs, 1000 * MIB) is None


@given(st.floats(1, 500), st.floats(0, 500), st.integers(1, 1 << 20))
def test_one_more_than_fit_would_not_fit(slope: float, start: float, budget: int) -> None:
    fleets = [fleet(slope, start)]
    costs = [cost for one in fleets if (cost := cost_of(one)) is not None]
    known = fits(fleets, costs, budget * MIB)
    assert known is not None
    assume(known.guests > 0)
    line, most = costs[0].total, budget * MIB
    assert line.at(known.guests) <= most * (1 + 1e-9) and most < line.at(known.guests + 1) * (1 + 2e-9)
