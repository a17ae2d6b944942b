"""`ukperf density`: what may be asked, what is made of a fleet, and its page; guests are never booted here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import boot, failed, save_run

from ukperf.engine.plan import load, save
from ukperf.errors import UkperfError
from ukperf.model import (
    MOST_GUESTS,
    Accelerator,
    BootRecord,
    BootSpec,
    FleetMemory,
    FleetSeen,
    Image,
    Machine,
    Observation,
    Outcome,
    Request,
    Result,
    Variant,
)
from ukperf.reports.densitytable import FleetsOf, memory_chart
from ukperf.reports.html import document
from ukperf.reports.pictures import Slope
from ukperf.workloads import density
from ukperf.workloads.density import CREATE, FLEET, LONGEST, MORE, Density, DensityOptions, read, sizes_of

MIB = 1 << 20


def seen_of(slope: float, guests: tuple[int, ...] = (1, 2, 4), *, start: float = 20, **more: object) -> FleetSeen:
    points = tuple(FleetMemory(n, n * 4 * MIB, n * 2 * MIB, round((start + (slope - 6) * n) * MIB)) for n in guests)
    ready = tuple((100 + k) * 1_000_000 for k in range(guests[-1]))
    return FleetSeen(points, ready, ready, **{"host": {"KSM": "off"}, **more})  # type: ignore[arg-type]


def record_of(guest: str, block: int, fleet: FleetSeen, index: int = 0) -> BootRecord:
    reading = read(SPEC, Observation(Outcome.OK, fleet=fleet))
    return replace(boot(guest, block, index=index), phases={}, samples=reading.samples)


SPEC = BootSpec(Image("g", "density", "d", "p", None), Machine(), Accelerator.TCG)  # type: ignore[arg-type]


def records_of(slopes: dict[str, float], blocks: int = 6, **more: object) -> list[BootRecord]:
    return [
        record_of(guest, block, seen_of(slope * (1 + 0.001 * block), **more), index=block * len(slopes) + place)
        for block in range(blocks)
        for place, (guest, slope) in enumerate(slopes.items())
    ]


def stored(folder: Path, records: list[BootRecord], budget: int = 0) -> Result:
    save_run(folder, records)
    plan = replace(load(folder), workload="density", parameters={"budget": budget})
    save(plan, folder)
    return Result(folder, plan, tuple(records), "")


# ---- what may be asked ----


@given(st.integers(2, MOST_GUESTS))
def test_fleets_are_looked_at_with_powers_of_two_and_with_all(most: int) -> None:
    sizes = sizes_of(DensityOptions(most=most))
    assert sizes[0] == 1 and sizes[-1] == most and list(sizes) == sorted(set(sizes))
    assert all(size & (size - 1) == 0 for size in sizes[:-1])


def test_sizes_may_be_named_in_any_order() -> None:
    assert sizes_of(DensityOptions(sizes=("8", "1", "3", "1"))) == (1, 3, 8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DensityOptions(most=1), "--max 1 is not between 2 and 1000"),
        (DensityOptions(most=1001), "--max 1001"),
        (DensityOptions(sizes=("4",)), "one number of guests"),
        (DensityOptions(sizes=("4", "4")), "one number of guests"),
        (DensityOptions(sizes=("0", "4")), "no numbers from 1"),
        (DensityOptions(sizes=("1", "²")), "no numbers from 1"),
        (DensityOptions(sizes=("1", "99999999999")), "no numbers from 1"),
        (DensityOptions(sizes=("1", "\x1b[2J")), "no numbers from 1"),
        (DensityOptions(ready="up"), "--ready means nothing without a program"),
        (DensityOptions(env=("A=1",), files=("x",)), "--file and --env mean nothing"),
        (DensityOptions(words=("true",), env=("A",)), "--env A is no variable"),
        (DensityOptions(words=("true",), ready="("), "--ready"),
        (DensityOptions(path="both ways"), "There is no --path 'both ways'"),
        (DensityOptions(max_memory=300), "2 guests with 256 MiB each might take 832 MiB"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(options: DensityOptions, said: str) -> None:
    bench = SimpleNamespace(say=lambda _: None)
    with pytest.raises(UkperfError) as error:
        Density().prepare(options, Request(guests=("floor",)), bench)  # type: ignore[arg-type]
    assert said in error.value.message and "\x1b" not in error.value.message


@pytest.mark.parametrize(
    "request_", [Request(guests=("native",)), Request(variants={"mine": Variant("native")}, guests=("floor",))]
)
def test_a_guest_without_a_vmm_of_its_own_is_refused(request_: Request) -> None:
    bench = SimpleNamespace(say=lambda _: None)
    with pytest.raises(UkperfError, match="has no VMM whose memory could be told"):
        Density().prepare(DensityOptions(), request_, bench)  # type: ignore[arg-type]


def test_without_names_all_guests_that_are_virtual_machines_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "room_mib", lambda: 8000)
    bench = SimpleNamespace(say=lambda _: None)
    asked = Density().prepare(DensityOptions(), Request(), bench).request  # type: ignore[arg-type]
    assert {"floor", "linux", "nanos", "unikraft"} <= set(asked.default_guests)
    assert "native" not in asked.default_guests
    assert asked.fleet is not None and asked.fleet.sizes == (1, 2, 4, 8)
    assert asked.fleet.most_mib == 4000 and asked.fleet.budget_mib is None, "half of what is available"


def asked(monkeypatch: pytest.MonkeyPatch, options: DensityOptions) -> Request:
    monkeypatch.setattr(density, "room_mib", lambda: 8000)
    bench = SimpleNamespace(say=lambda _: None)
    return Density().prepare(options, Request(guests=("linux",)), bench).request  # type: ignore[arg-type]


def test_our_program_is_saved_at_its_gate_and_anothers_at_its_line_or_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asked(monkeypatch, DensityOptions()).restores is None
    ours = asked(monkeypatch, DensityOptions(path="restore")).restores
    assert ours is not None and (ours.booted, ours.words, ours.ready) == (False, ("gate",), "")
    both = asked(monkeypatch, DensityOptions(path="both", words=("sleep", "9"))).restores
    assert both is not None and both.booted and both.words == () and dict(both.env) == {"UKPERF_GATE": "closed"}
    line = asked(monkeypatch, DensityOptions(path="both", words=("sleep", "9"), ready="up")).restores
    assert line is not None and (line.ready, line.env) == ("up", ())


# ---- what is made of a fleet ----


def test_a_fleet_becomes_a_slope_and_a_time_with_all_that_was_seen_beside_them() -> None:
    memory, create = read(SPEC, Observation(Outcome.OK, fleet=seen_of(40))).samples
    assert memory.benchmark == MORE and memory.values == (pytest.approx(40 * MIB),)
    assert create.benchmark == CREATE and create.values == (pytest.approx(0.1015),)
    assert json.loads(str(memory.metadata[FLEET]))["points"][2]["guests"] == 4


def test_what_failed_has_no_figures() -> None:
    assert read(SPEC, Observation(Outcome.HUNG, fleet=seen_of(40))).samples == ()
    assert "a slope needs 2" in read(SPEC, Observation(Outcome.OK, fleet=seen_of(40, (3,)))).reason


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"points": 5}', '{"format": 99}', "9" * (LONGEST + 1), 7]
)
def test_a_journal_whose_fleets_are_damaged_is_shown_without_them(tmp_path: Path, text: object) -> None:
    records = records_of({"linux": 100, "floor": 20})
    damaged = [
        replace(r, samples=(replace(r.samples[0], metadata={FLEET: text}), r.samples[1]))
        if r.trial.guest == "floor"
        else r
        for r in records
    ]
    result = stored(tmp_path / "run", damaged)
    page = Density().page(SimpleNamespace(result=result), "", damaged, DensityOptions(), {})
    assert [row["guest"] for row in page.json()["per_guest"]] == ["linux"]  # type: ignore[index,call-overload,union-attr]


# ---- its page ----


def page_of(folder: Path, records: list[BootRecord], budget: int = 0) -> str:
    workload = Density()
    result = stored(folder, records, budget)
    compared = list(workload.compared(records, Accelerator.TCG))
    options = workload.options_of(result)
    facts = workload.facts(compared, Accelerator.TCG)
    page = workload.page(SimpleNamespace(result=replace(result, records=tuple(compared))), "", compared, options, facts)
    return document([page], "density")


def test_the_page_has_what_one_more_guest_takes_and_of_what_it_is_made(tmp_path: Path) -> None:
    text = page_of(tmp_path / "run", records_of({"linux": 120, "unikraft": 30}), budget=1000)
    for words in ("one more, MiB", "guest memory", "code cache", "fewer", "0.25", "KSM off", "last ÷ first"):
        assert words in text, words
    assert "unikraft: 32 guests fit into 1,000 MiB, by the line, beyond the 4 that were measured." in text


def test_fleets_that_failed_or_were_stopped_are_told(tmp_path: Path) -> None:
    records = records_of({"linux": 120, "floor": 20}, stopped="after 4 guests: there is no room")
    records[3] = failed(records[3], Outcome.CRASHED, "guest 3 of 8: it broke")
    text = page_of(tmp_path / "run", records)
    assert "guest 3 of 8: it broke" in text
    assert "fleets of linux stopped after 4 guests: there is no room." in text


def test_memory_that_was_swapped_out_and_other_vmms_are_told() -> None:
    fleet = seen_of(40, host={"other VMMs": "2"})
    swapped = replace(fleet, points=tuple(replace(point, swapped=5) for point in fleet.points))
    plan = SimpleNamespace(accelerator=Accelerator.KVM)
    result = SimpleNamespace(records=(record_of("linux", 0, swapped),), plan=plan)
    said = " ".join(Density().remarks(result))  # type: ignore[arg-type]
    assert "Memory of linux was swapped out" in said and "Other VMMs ran beside 1 of 1 fleet" in said
    assert "code cache" not in said, "under KVM there is none"


def test_the_picture_has_a_dot_for_each_size_and_the_line_through_them() -> None:
    rows = (FleetsOf("linux", (seen_of(100), seen_of(102))), FleetsOf("floor", (seen_of(20),)))
    chart = memory_chart(rows)
    assert chart is not None and [row.name for row in chart.rows] == ["linux", "floor"]
    (line,) = [mark for mark in chart.rows[0].marks if isinstance(mark, Slope)]
    dots = [mark for mark in chart.rows[0].marks if type(mark).__name__ == "Dot"]
    assert len(dots) == 6 and line.start[0] == 0 and line.end[0] == 4
    last = [dot.y for dot in dots if dot.x == 4]  # type: ignore[union-attr]
    assert min(last) <= line.end[1] <= max(last), "the line is not where the dots are"
    assert memory_chart(()) is None
