"""From events to phases: in seconds by the host's clock, in instructions by the guest's counter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.console import CLOCK_CHECKED, CLOCK_STARTED, encode_frame
from ukperf.engine.record import CLOCK_SPAN_NS, COUNTED_SPAN, clock_ratio, record_of
from ukperf.hosts.fake import bad_boot, good_boot
from ukperf.model import (
    PHASE_EVENTS,
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Event,
    Frame,
    Image,
    Machine,
    Observation,
    Outcome,
    Phase,
    Trial,
    Unit,
)

TRIAL = Trial(3, 1, 0, "linux")
GUEST = Image("linux", "boot", "ab" * 32, "cd" * 32, BootProtocol.KERNEL)
SPEC = BootSpec(GUEST, Machine(), Accelerator.TCG)
MS = 1_000_000


def judged(seen: Observation, accelerator: Accelerator = Accelerator.TCG, image: Image = GUEST) -> BootRecord:
    return record_of(TRIAL, replace(SPEC, accelerator=accelerator, image=image), seen)


def test_phases_lie_between_their_events() -> None:
    record = judged(good_boot(100.0))
    assert record.unit is Unit.SECONDS
    assert record.phases == pytest.approx(
        {Phase.VMM: 0.01, Phase.KERNEL: 0.06, Phase.INIT: 0.01, Phase.STOP: 0.02, Phase.TOTAL: 0.1}
    )
    assert record.events["stopped"] == 100 * MS
    assert (record.image_digest, record.trial) == ("ab" * 32, TRIAL)


@given(st.lists(st.integers(1, 10**12), min_size=7, max_size=7))
def test_phases_add_up_to_the_total_and_none_has_the_clock_check_in_it(steps: list[int]) -> None:
    ours = [event for event in Event if event not in (Event.READY, Event.LOADED)]  # of a booted guest
    events = dict(zip(ours, (sum(steps[:i]) for i in range(8)), strict=True))
    record = judged(replace(good_boot(), events=events))
    parts = [record.phases[phase] for phase in (Phase.VMM, Phase.KERNEL, Phase.INIT, Phase.STOP)]
    assert sum(parts) == pytest.approx(record.phases[Phase.TOTAL])
    checking = events[Event.CHECKED] - events[Event.MAIN]
    assert record.phases[Phase.TOTAL] == pytest.approx((events[Event.STOPPED] - events[Event.START] - checking) / 1e9)


@given(st.dictionaries(st.sampled_from([e for e in Event if e is not Event.CHECKED]), st.integers(0, 10**12)))
def test_a_phase_is_there_only_if_both_its_events_were_seen_and_time_went_by(events: dict[Event, int]) -> None:
    known = {**events, Event.CHECKED: events[Event.MAIN]} if Event.MAIN in events else events
    for phase, seconds in judged(replace(good_boot(), events=events)).phases.items():
        first, last = PHASE_EVENTS[phase]
        assert seconds == (known[last] - known[first]) / 1e9 > 0


@given(st.dictionaries(st.sampled_from(Event), st.integers(0, 10**12)))
def test_no_order_of_a_guests_frames_makes_a_phase_shorter_than_nothing(events: dict[Event, int]) -> None:
    ordered = {**events, Event.START: 0, Event.STOPPED: 10**12 + 1}
    phases = judged(replace(good_boot(), events=ordered)).phases
    assert all(seconds > 0 for seconds in phases.values())


def test_instructions_of_the_clock_check_are_in_no_phase() -> None:
    ticks = {Event.FIRST_BYTE: 1_000, Event.MAIN: 1_500, Event.CHECKED: 9_500, Event.EXIT: 9_700}
    phases = judged(replace(good_boot(), ticks=ticks), Accelerator.ICOUNT).phases
    assert phases == {Phase.KERNEL: 1_000, Phase.INIT: 500, Phase.STOP: 200, Phase.TOTAL: 1_700}


def test_a_guest_that_we_ended_has_no_stop_phase_and_its_total_ends_with_exit() -> None:
    seen = good_boot(100.0)
    events = {event: at for event, at in seen.events.items() if event is not Event.STOPPED}
    record = judged(replace(seen, events=events, ended_by_host=True))
    assert Phase.STOP not in record.phases
    assert record.phases[Phase.TOTAL] == pytest.approx(0.09)
    assert record.ended_by_host


def test_instructions_are_the_guests_own_counter() -> None:
    ticks = {Event.FIRST_BYTE: 1_000, Event.MAIN: 1_500, Event.EXIT: 1_700}
    record = judged(replace(good_boot(), ticks=ticks), Accelerator.ICOUNT)
    assert record.unit is Unit.INSTRUCTIONS
    assert record.phases == {Phase.KERNEL: 1_000, Phase.INIT: 500, Phase.STOP: 200, Phase.TOTAL: 1_700}


def test_a_guest_without_an_init_of_ours_has_no_init_phase() -> None:
    record = judged(replace(good_boot(), ticks={Event.MAIN: 1_500, Event.EXIT: 1_700}), Accelerator.ICOUNT)
    assert record.phases == {Phase.KERNEL: 1_500, Phase.STOP: 200, Phase.TOTAL: 1_700}


@given(st.dictionaries(st.sampled_from([Event.FIRST_BYTE, Event.MAIN, Event.EXIT]), st.integers(0, 2**64)))
def test_no_counter_gives_a_phase_without_instructions(ticks: dict[Event, int]) -> None:
    phases = judged(replace(good_boot(), ticks=ticks), Accelerator.ICOUNT).phases
    assert all(count > 0 for count in phases.values())
    assert Phase.VMM not in phases


def test_programs_of_this_machine_are_measured_in_seconds_also_beside_icount() -> None:
    native = replace(GUEST, guest="anything", protocol=BootProtocol.EXEC)
    assert judged(good_boot(), Accelerator.ICOUNT, native).unit is Unit.SECONDS


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_a_failure_has_a_tail_and_no_figures(outcome: Outcome) -> None:
    told = encode_frame("samples", 1, 85 * MS, 85 * MS, benchmark="b", unit="s", loops=1, values=[1])
    record = judged(replace(good_boot(frames=told), outcome=outcome, reason="because", console_tail="panic"))
    assert (record.phases, record.samples, record.console_tail, record.reason) == ({}, (), "panic", "because")
    assert judged(bad_boot(outcome)).outcome is outcome


def test_the_trial_is_dated_at_its_start() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert record_of(TRIAL, SPEC, good_boot(), started_at=at).started_at == "2026-01-02T03:04:05+00:00"


def frames(*stamps: tuple[int, int], event: str = "phase") -> list[Frame]:
    """(guest ns, host ns)"""
    return [Frame(event, {"t": guest, "tsc": guest}, host) for guest, host in stamps]


def test_a_clock_is_compared_between_the_first_and_the_last_frame() -> None:
    assert clock_ratio(frames((5, 0), (7, 1), (5 + 2 * CLOCK_SPAN_NS, CLOCK_SPAN_NS))) == 2.0


def named(name: str, guest: int, host: int) -> Frame:
    return Frame("phase", {"name": name, "t": guest, "tsc": guest}, host)


def test_a_clock_check_has_two_frames_of_its_own_and_the_others_do_not_count() -> None:
    span = CLOCK_SPAN_NS
    told = [
        Frame("main", {"t": 1, "tsc": 1}, 900_000),  # its code was cold: a millisecond late
        named(CLOCK_STARTED, 1_000_000, 1_000_000),
        named(CLOCK_CHECKED, 1_000_000 + span, 1_000_000 + span),
        Frame("exit", {"t": 2_000_000 + span, "tsc": 2_000_000 + span, "status": 0}, 9_000_000 + span),
    ]
    assert clock_ratio(told) == 1.0


def test_a_clock_that_runs_fast_is_told_although_its_check_is_short_by_ours() -> None:
    assert clock_ratio(frames((5, 0), (5 + CLOCK_SPAN_NS, CLOCK_SPAN_NS // 2))) == 2.0


@pytest.mark.parametrize(
    "told",
    [
        [],
        frames((1, 0)),
        frames((1, 0), (2, CLOCK_SPAN_NS - 1)),
        frames((0, 0), (0, CLOCK_SPAN_NS)),  # a guest without a clock
        frames((1, 0), (2, CLOCK_SPAN_NS), event="init"),
        [Frame("main", {"t": "1", "tsc": 1}, 0), Frame("exit", {}, CLOCK_SPAN_NS)],
    ],
)
def test_clocks_that_cannot_be_told_apart_are_not_compared(told: list[Frame]) -> None:
    assert clock_ratio(told) is None


def test_under_icount_the_guests_clock_is_compared_with_its_counter() -> None:
    told = [
        Frame("main", {"t": 10, "tsc": 10}, 0),
        Frame("exit", {"t": 10 + COUNTED_SPAN, "tsc": 10 + COUNTED_SPAN}, 1),
    ]
    assert clock_ratio(told, True) == 1.0
    assert clock_ratio(told) is None


def test_a_kernel_that_did_not_come_to_rest_is_remembered_as_noise_that_the_program_had() -> None:
    def noise_of(**members: object) -> dict[str, float]:
        ended = Frame("status", {"status": 0, "signal": 0, **members}, 1)
        seen = replace(good_boot(), noise={"load": 0.5})
        return dict(judged(replace(seen, report=replace(seen.report, frames=(*seen.report.frames, ended)))).noise)

    assert noise_of() == {"load": 0.5}
    assert noise_of(restless=1) == {"load": 0.5, "restless": 1.0}
    assert noise_of(restless="much") == noise_of(restless=10**30) == {"load": 0.5}
