"""What frames that are read late force about a guest's clock, and what is said of it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from records import run_of

from benchmarks.clock_accusations import LOADS, accused, accused_before, boot
from ukperf.console import FrameDecoder, encode_frame
from ukperf.engine.record import clock_frames, record_of
from ukperf.hosts.fake import MS, good_boot
from ukperf.model import Accelerator, BootProtocol, BootRecord, BootSpec, Image, Machine, Trial, Unit
from ukperf.stats.clocks import boot_bounds, clock, clock_step, clock_warning
from ukperf.stats.summary import summarize

US = 1_000


def frames(rate: float, late: Sequence[int] = (0,) * 6) -> tuple[tuple[int, int], ...]:
    """Six frames, 10 ms of a clock at `rate` and a little more apart, each read so much late."""
    at = [10 * MS * i + 1_700 * i * i for i in range(6)]
    return tuple((guest, round(guest / rate) + late[i]) for i, guest in enumerate(at))


def boots(*told: tuple[tuple[int, int], ...], guest: str = "linux") -> list[BootRecord]:
    """Good boots of one guest with these frames."""
    return [
        replace(record, clock_frames=pairs, clock_ratio=pairs[-1][0] / max(pairs[-1][1], 1))
        for record, pairs in zip(run_of({guest: 1.0}, len(told)), told, strict=True)
    ]


def said(records: Sequence[BootRecord]) -> list[str]:
    return [warning for warning in summarize(records, "linux").warnings if "clock" in warning]


@pytest.mark.parametrize("count", [2, 6, 20])
@pytest.mark.parametrize(("rate", "words"), [(1.03, "at least 3.0 % fast"), (0.97, "at least 3.0 % slow")])
def test_a_clock_that_lies_is_named_with_what_is_forced(count: int, rate: float, words: str) -> None:
    [warning] = said(boots(*[frames(rate)] * count))
    assert f"The clock of linux runs {words}: what it timed itself by it is off by at least as much." == warning


def test_no_more_is_said_than_was_seen() -> None:
    """The last span was read 0.16 ms late: 1.4 % is what it forces, and no digit is rounded up."""
    [warning] = said(boots(*[frames(1.03, (0, 160 * US, 0, 160 * US, 0, 160 * US))] * 6))
    assert "at least 1.3 % fast" in warning


@pytest.mark.parametrize("rate", [1.0, 1.005, 0.995])
def test_a_clock_within_a_percent_is_not_named(rate: float) -> None:
    assert said(boots(*[frames(rate)] * 20)) == []


@pytest.mark.parametrize("first", [1, 20, 5_000])
def test_a_first_frame_that_is_read_late_in_every_boot_makes_no_liar_of_a_true_clock(first: int) -> None:
    """The fault that was seen: the median of whole spans called a true clock 20.5 % fast, between 1.02 and 104."""
    read = [max(at, first * MS) for _, at in frames(1.0)]
    late = [at - host for at, (_, host) in zip(read, frames(1.0), strict=True)]
    records = boots(*[frames(1.0, late)] * 20)
    assert said(records) == []
    found = clock(records, "linux")
    assert found is not None and found.low is not None and found.low <= 1.0


def test_a_last_frame_that_is_read_late_in_every_boot_makes_no_slow_clock() -> None:
    assert said(boots(*[frames(1.0, (0, 0, 0, 0, 0, 20 * MS))] * 20)) == []


def test_delays_that_fall_in_every_other_boot_are_no_fast_clock() -> None:
    falling = frames(1.0, tuple(2 * MS - 300 * US * i for i in range(6)))
    assert said(boots(*[falling, frames(1.0)] * 6)) == []


def test_one_late_frame_hides_no_clock_that_lies() -> None:
    for i in range(6):
        late = [0] * 6
        late[i] = 5 * MS
        assert "fast" in said(boots(*[frames(1.1, late)] * 6))[0]


def test_frames_of_one_read_count_as_the_last_of_them() -> None:
    told = [(0, 0), (10, 40), (20, 40), (30, 40), (40, 40), (50, 50)]
    assert boot_bounds(told) == (0.0, math.inf)  # three reads are two spans
    told = [(0, 15), (10, 15), (20, 20), (30, 30), (40, 40)]
    assert boot_bounds(told) == (1.0, 2.0)


@pytest.mark.parametrize("told", [(), frames(1.5)[:1], frames(1.5)[:3], ((0, 0), (5, 0), (9, 0), (12, 0), (15, 0))])
def test_few_frames_force_nothing(told: tuple[tuple[int, int], ...]) -> None:
    assert boot_bounds(told) == (0.0, math.inf)


def test_one_boot_forces_only_what_100_ms_of_late_reading_cannot_explain() -> None:
    assert said(boots(frames(1.5))) == []
    slow = tuple((27_600 * MS * i // 5, 30_000 * MS * i // 5) for i in range(6))
    [warning] = said(boots(slow))
    assert "at least 7.6 % slow" in warning  # 27.6 s in 29.9 s at least


@pytest.mark.parametrize(("span_s", "named"), [(0.05, False), (1.0, False), (30.0, True)])
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("count", [1, 2, 20])
def test_two_frames_name_a_clock_only_where_late_reads_cannot_explain_it(
    span_s: float, named: bool, checked: bool, count: int
) -> None:
    """Records of old runs, and programs that write `main` and `exit` alone."""
    end = 10**9 + int(span_s * 1e9)
    events = {"main": 10**9, "clock-checked": end if checked else 10**9, "exit": end}
    records = [replace(r, clock_ratio=0.92, events=events) for r in run_of({"linux": 1.0}, count)]
    assert [w.split(":")[0] for w in said(records)] == (
        ["The clock of linux runs at least 7.6 % slow"] if named else []
    )
    found = clock(records, "linux")
    assert found is not None and found.value == 0.92
    assert found.low == (pytest.approx(0.92 * 30 / 30.1) if named else 0.0)


def test_a_boot_that_could_not_tell_leaves_the_others_clock_its_bounds() -> None:
    events = {"main": 10**9, "clock-checked": 10**9, "exit": 31 * 10**9}
    told, untold = run_of({"linux": 1.0}, 2)
    records = [replace(told, clock_ratio=0.92, events=events), replace(untold, clock_ratio=None)]
    found = clock(records, "linux")
    assert found is not None and found.low == pytest.approx(0.92 * 30 / 30.1)


def test_the_step_of_a_coarse_clock_is_seen_and_it_is_not_called_fast() -> None:
    """4 ms ticks: 10 ms are over at the third, so that every span is 12 ms long; the check looked 4.3 % fast."""
    coarse = [(12 * MS * i, round(11.5 * MS * i)) for i in range(6)]
    assert clock_step(12 * MS for _ in range(5)) == 12 * MS
    assert clock_step([12 * MS, 8 * MS, 12 * MS + 1, 16 * MS, 12 * MS]) == pytest.approx(4 * MS, abs=1)
    assert said(boots(*[tuple(coarse)] * 20)) == []
    assert "fast" in said(boots(*[frames(1.043)] * 20))[0]  # nobody's steps: in the boots' noise lies the difference


@pytest.mark.parametrize(
    "differences",
    [
        (),
        (12 * MS,) * 3,
        (10_300_017, 10_299_551, 10_301_118, 10_300_702),
        (10_000, 20_000, 7, 40_000),
        (10_000, 777, 20_000, 20_000),
    ],
)
def test_a_fine_clock_has_no_step_that_matters(differences: tuple[int, ...]) -> None:
    assert clock_step(differences) == 0


def test_a_clock_that_stands_still_is_named() -> None:
    assert "stands still" in said(boots(*[tuple((0, 10 * MS * i) for i in range(6))] * 2))[0]


def test_a_guest_may_say_anything_about_its_time() -> None:
    for told in (((0, 0), (-5, 10), (7, 20), (-(2**62), 30), (2**62, 40)), ((0, 0), (0, 0), (0, 0), (0, 0))):
        low, high = boot_bounds(told, 7)
        assert low >= 0 and high > low


# ---- busy hosts, made up ----


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_true_clocks_are_accused_on_no_busy_host(load: object) -> None:
    source = random.Random(3)
    runs = [[boot(1.0, load, block, source) for block in range(count)] for count in (1, 2, 6, 20) for _ in range(50)]  # type: ignore[arg-type]
    assert sum(map(accused, runs)) <= 1
    if load in (LOADS[6], LOADS[7]):
        assert sum(map(accused_before, runs)) > 100  # so it was


def test_a_clock_that_is_5_percent_off_is_named_where_the_host_is_idle() -> None:
    source = random.Random(4)
    for rate in (1.05, 0.95):
        assert all(accused([boot(rate, LOADS[0], block, source) for block in range(6)]) for _ in range(50))


# ---- from the console ----


def console(*told: tuple[str, int, int]) -> list[object]:
    """Frames with the guest's time and ours, ms."""
    found = []
    for n, (name, guest, host) in enumerate(told):
        event, fields = ("phase", {"name": name}) if name not in ("main", "exit") else (name, {})
        found += FrameDecoder().feed(encode_frame(event, n, guest * MS, guest, **fields), host * MS)
    return found


def test_a_clock_checks_frames_are_kept_and_those_around_it_are_not() -> None:
    names = ["main", "clock started", *["clock running"] * 4, "clock checked", "exit"]
    seen = console(*[(name, 100 + 10 * i, 500 + 11 * i) for i, name in enumerate(names)])
    assert clock_frames(seen) == tuple((10 * MS * i, 11 * MS * i) for i in range(6))  # type: ignore[arg-type]


def test_of_many_frames_six_at_equal_steps_of_the_guests_time_are_kept() -> None:
    seen = console(("main", 1, 1), *[(f"op{i}", 2 + i, 2 + i) for i in range(99)], ("exit", 101, 101))
    assert clock_frames(seen) == tuple((20 * MS * i, 20 * MS * i) for i in range(6))  # type: ignore[arg-type]
    assert clock_frames(seen[:1]) == ()  # type: ignore[arg-type]


def test_the_record_has_the_frames_of_a_clock_that_is_timed_by_the_host_and_no_others() -> None:
    image = Image("linux", "boot", "d", "p", BootProtocol.KERNEL)
    seen = good_boot(2000)
    for accelerator, count in ((Accelerator.TCG, 2), (Accelerator.ICOUNT, 0)):
        record = record_of(Trial(0, 0, 0, "linux"), BootSpec(image, Machine(), accelerator), seen)
        assert len(record.clock_frames) == count or record.clock_ratio is None


def test_a_clock_without_bounds_is_about_something() -> None:
    found = clock(boots(*[frames(1.2)[:3]] * 3), "linux")
    assert found is not None and (found.low, found.high, found.unit) == (0.0, math.inf, Unit.SECONDS)
    assert clock_warning("linux", found) == ""
