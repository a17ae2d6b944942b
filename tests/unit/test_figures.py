"""What a figure is goes with it: into the table, JSON, every export, comparisons of runs and files, gates and plans."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import run_of, save_run
from rich.console import Console

from ukperf.console import encode_frame
from ukperf.engine.journal import from_json, to_json
from ukperf.engine.record import record_of
from ukperf.hosts.fake import good_boot
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootRecord,
    BootSpec,
    Event,
    Image,
    Machine,
    Observation,
    Phase,
    Sample,
    Status,
    Trial,
    Unit,
    Verdict,
)
from ukperf.reports.exports import EXPORTS, Exportable, export
from ukperf.reports.pyperf_suite import write_suite
from ukperf.reports.table import RunPage
from ukperf.reports.terminal import render
from ukperf.runs.loaded import load, sides
from ukperf.stats.between import compare_pairs
from ukperf.stats.effect import Effect
from ukperf.stats.figures import statuses_of
from ukperf.stats.gate import gate
from ukperf.stats.resolution import clock_step, with_resolution
from ukperf.stats.summary import summarize
from ukperf.stats.variance import plan as plan_boots

IMAGE = Image("unikraft", "boot", "ab" * 32, "cd" * 32, BootProtocol.KERNEL, powers_off=False)
SPEC = BootSpec(IMAGE, Machine(), Accelerator.TCG)


def judged(seen: Observation, accelerator: Accelerator = Accelerator.TCG) -> BootRecord:
    return record_of(Trial(0, 0, 0, "unikraft"), replace(SPEC, accelerator=accelerator), seen)


def ended_by_host(records: Sequence[BootRecord], guest: str, *, said: bool) -> list[BootRecord]:
    """Boots of a guest that does not power off. said: as records say it now; else as old journals have it."""
    told = {"stop": Status.ENDED_BY_HOST} if said else {}
    return [replace(r, ended_by_host=True, statuses=told) if r.trial.guest == guest else r for r in records]


@pytest.fixture(params=[True, False], ids=["said", "old journal"])
def counted(request: pytest.FixtureRequest) -> list[BootRecord]:
    """nanos powers off, unikraft does not; under icount even an old journal holds a number for its `stop`."""
    records = run_of({"linux": 3e6, "nanos": 1e6, "unikraft": 2e6}, 12, unit=Unit.INSTRUCTIONS)
    return ended_by_host(records, "unikraft", said=bool(request.param))


def table(records: Sequence[BootRecord]) -> str:
    text = io.StringIO()
    render(RunPage(summarize(records, "linux")), Console(file=text, width=200))
    return text.getvalue()


def row(text: str, guest: str, benchmark: str) -> str:
    lines = text.splitlines()
    return next(line for line in lines[lines.index(guest) :] if line.strip().startswith(benchmark))


def test_the_stop_of_a_guest_that_the_host_ends_is_no_value_anywhere(counted: list[BootRecord], tmp_path: Path) -> None:
    summary = summarize(counted, "linux")
    assert "ended by host" in row(table(counted), "unikraft", "stop")
    unikraft = summary.guest("unikraft")
    assert unikraft is not None and "stop" not in unikraft.estimates
    assert unikraft.status("stop") is Status.ENDED_BY_HOST
    as_json = json.dumps(RunPage(summary).json())
    assert '"statuses": {"stop": {"ended by host": 12}}' in as_json
    exportable = Exportable(counted, summary, {})
    for name in EXPORTS.names():
        if name == "hyperfine":  # knows seconds only
            continue
        text = export(name, exportable)
        assert "unikraft" in text and ("nanos/stop" in text or "stop" in text)
        if name in ("pyperf", "bencher", "github-action"):
            assert "unikraft/stop" not in text and "nanos/stop" in text
    assert "No value: unikraft/stop: ended by host\n" in export("benchfmt", exportable)
    cells = [line.split(",") for line in export("csv", exportable).splitlines()]
    assert {(c[6], c[-1]) for c in cells if c[4] == "unikraft" and c[5] == "stop"} == {("", "ended by host")}
    assert {c[-1] for c in cells if c[4] == "nanos" and c[5] == "stop"} == {"measured"}
    plans = {(p.guest, p.benchmark): p for p in plan_boots(counted, "linux", 0.05)}
    assert plans["unikraft", "stop"].boots is None and "does not power off" in plans["unikraft", "stop"].why


def test_two_guests_of_one_run_and_of_its_suite_are_refused_for_the_same_reason(
    counted: list[BootRecord], tmp_path: Path
) -> None:
    run = save_run(tmp_path / "run", counted)
    write_suite(tmp_path / "suite.json", counted, {})
    for path in (run, tmp_path / "suite.json"):
        found = compare_pairs(sides([f"{path}:nanos", f"{path}:unikraft"]), 0.01)
        stop = next(c for c in found if c.benchmark == "stop")
        assert (stop.ratio, stop.verdict) == (None, Verdict.NOT_COMPARABLE)
        assert stop.warnings[0].endswith("unikraft does not power off, the host ends it")
        assert next(c for c in found if c.benchmark == "total").ratio == pytest.approx(2, rel=0.1)


def test_a_gate_does_not_miss_what_neither_side_can_have(counted: list[BootRecord], tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", counted)
    again = save_run(tmp_path / "again", [replace(r, started_at="2026-01-02T00:00:00+00:00") for r in counted])
    pairs = sides([f"{run}:unikraft", f"{again}:unikraft"])
    found = gate(pairs, compare_pairs(pairs, 0.01), 0.01, ["slower"])
    assert not found.untested and not found.missing and not found.new
    assert {c.benchmark for c in found.tested} == {"vmm", "kernel", "init", "total"}


def test_in_seconds_the_total_of_such_a_guest_ends_with_its_program_and_the_comparison_says_so() -> None:
    seen = good_boot()
    events = {event: at for event, at in seen.events.items() if event is not Event.STOPPED}
    record = judged(replace(seen, events=events, ended_by_host=True))
    assert record.statuses == {"stop": Status.ENDED_BY_HOST, "total": Status.ENDED_BY_HOST}
    assert record.phases[Phase.TOTAL] == pytest.approx(0.09)
    boots = run_of({"linux": 1.0}, 8) + [
        replace(record, trial=Trial(100 + block, block, 1, "unikraft")) for block in range(8)
    ]
    summary = summarize(boots, "linux")
    total = summary.comparison("unikraft", "total")
    assert total is not None and total.ratio is not None
    assert "unikraft ends with its program, since it does not power off; linux ends when it has powered off" in (
        total.warnings
    )


def below(records: Sequence[BootRecord], guest: str, blocks: int) -> list[BootRecord]:
    """In the first blocks the guest's first byte and its main came in one read."""
    told = []
    for r in records:
        short = r.trial.guest == guest and r.trial.block < blocks
        events = {"start": 0, "resumed": 10, "first-byte": 20, "main": 20 if short else 30, "stopped": 10**9}
        phases = {p: v for p, v in r.phases.items() if not (short and p is Phase.INIT)}
        told.append(replace(r, events=events, phases=phases))
    return told


def test_a_phase_whose_events_came_in_one_read_is_below_resolution_and_counts_as_the_shortest() -> None:
    plain = run_of({"linux": 1.0, "nanos": 0.1}, 20)
    some, most = below(plain, "nanos", 8), below(plain, "nanos", 11)
    assert {status for r in some for status in statuses_of(r).values()} == {Status.BELOW}
    told = summarize(some, "linux").guest("nanos")
    assert told is not None
    seen = sorted(r.phases[Phase.INIT] for r in some if r.trial.guest == "nanos" and Phase.INIT in r.phases)
    assert told.estimates["init"].value == pytest.approx((seen[1] + seen[2]) / 2)  # of 20, of which 8 are shorter
    assert told.estimates["init"].low == 0.0
    silent = summarize(most, "linux").guest("nanos")
    assert silent is not None and "init" not in silent.estimates and silent.status("init") is Status.BELOW
    assert "below resolution" in row(table(most), "nanos", "init")
    note = "nanos, below the console's resolution (both events in one read): init in 8 of 20 boots, counted as the "
    assert note in table(some)
    init = summarize(some, "linux").comparison("nanos", "init")
    assert init is not None and init.verdict is Verdict.NOT_COMPARABLE
    assert init.warnings == ("nanos is below the console's resolution in 8 of 20 boots",)


@given(st.integers(0, 30), st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30))
def test_the_median_with_boots_below_resolution_is_that_of_any_values_they_may_have_had(
    short: int, values: list[float]
) -> None:
    from statistics import median

    from ukperf.stats.estimate import estimate_of
    from ukperf.stats.perboot import Series

    n = len(values)
    statuses = dict.fromkeys(range(n, n + short), Status.BELOW)
    found = estimate_of(Series(Unit.SECONDS, tuple(range(n)), tuple(values), statuses=statuses))
    for fill in (0.0, min(values)):
        truth = median([*[fill] * short, *values])
        if found is not None:
            assert found.value == pytest.approx(truth) and found.n == n
    if found is None:
        assert median([*[0.0] * short, *values]) != median([*[min(values)] * short, *values]) or short >= n


def test_a_boot_is_below_resolution_by_its_judge_too() -> None:
    seen = good_boot()
    events = {**seen.events, Event.FIRST_BYTE: seen.events[Event.MAIN]}
    record = judged(replace(seen, events=events))
    assert record.statuses == {"init": Status.BELOW} and Phase.INIT not in record.phases
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


def frames(*numbers: int, names: Sequence[str]) -> bytes:
    """Frames of samples with these numbers."""
    return b"".join(
        encode_frame("samples", n, 10**8, 10**8, benchmark=name, unit="s", loops=1, values=[1.0 + n])
        for n, name in zip(numbers, names, strict=True)
    )


def test_a_sample_beside_a_lost_frame_has_no_value_and_the_others_keep_theirs() -> None:
    whole = judged(good_boot(frames=frames(1, 2, 3, 4, names=["a", "a", "b", "c"])))
    assert {s.benchmark: s.values for s in whole.samples} == {"a": (2.0, 3.0), "b": (4.0,), "c": (5.0,)}
    inside = judged(good_boot(frames=frames(1, 3, 4, 5, names=["a", "a", "b", "c"])))
    assert [s.benchmark for s in inside.samples] == ["b", "c"] and inside.statuses == {"a": Status.GAP}
    border = judged(good_boot(frames=frames(1, 2, 4, 5, names=["a", "a", "b", "c"])))
    assert [s.benchmark for s in border.samples] == ["c"]  # what was lost may have been of a or of b
    assert border.statuses == {"a": Status.GAP, "b": Status.GAP}


def accused(records: Sequence[BootRecord], guest: str, ratio: float) -> list[BootRecord]:
    """A guest whose clock is off, beyond what any way to read it can explain."""
    events = {"start": 0, "main": 10**9, "clock-checked": 11 * 10**9, "exit": 11 * 10**9, "stopped": 12 * 10**9}
    return [replace(r, clock_ratio=ratio, events=events) if r.trial.guest == guest else r for r in records]


def test_what_a_guest_timed_by_a_wrong_clock_is_marked_in_tables_files_and_comparisons(tmp_path: Path) -> None:
    records = accused(run_of({"linux": 1.0, "nanos": 0.9}, 12, samples=["fit"]), "nanos", 1.5)
    summary = summarize(records, "linux")
    guests = {g.guest: g for g in summary.guests}
    assert guests["nanos"].estimates["fit"].status is Status.ACCUSED
    assert guests["nanos"].estimates["total"].status is guests["linux"].estimates["fit"].status is Status.MEASURED
    fit = summary.comparison("nanos", "fit")
    assert fit is not None and "timed by the clock of nanos, which is off" in fit.warnings
    run = save_run(tmp_path / "run", records)
    suite = tmp_path / "suite.json"
    write_suite(suite, records, {})
    for path in (run, suite):
        found = {c.benchmark: c for c in compare_pairs(sides([f"{path}:linux", f"{path}:nanos"]), 0.01)}
        assert any("timed by the clock of" in w for w in found["fit"].warnings)
        assert not any("timed by the clock of" in w for w in found["total"].warnings)
    rows = [line.split(",") for line in export("csv", Exportable(records, summary, {})).splitlines()]
    assert {(c[4], c[-1]) for c in rows if c[5] == "fit"} == {("linux", "measured"), ("nanos", "accused clock")}
    entries = json.loads(export("github-action", Exportable(records, summary, {})))
    extra = {entry["name"]: entry["extra"].splitlines()[0] for entry in entries}
    assert extra["nanos/fit"] == "median of 12 boots, accused clock" and extra["linux/fit"] == "median of 12 boots"


def test_a_suite_reads_back_with_the_statuses_it_was_written_with(tmp_path: Path) -> None:
    records = below(ended_by_host(run_of({"linux": 1.0, "nanos": 0.1}, 12), "nanos", said=True), "linux", 4)
    write_suite(tmp_path / "suite.json", records, {})
    found = {(r.trial.guest, r.trial.block): statuses_of(r) for r in load(tmp_path / "suite.json").records}
    assert found == {(r.trial.guest, r.trial.block): statuses_of(r) for r in records}


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0.01, 0.02], 0.01),
        ([0.012, 0.016, 0.02], 0.004),
        ([0.01], 0.01),
        ([1.0, math.pi], 0.0),
        ([3e-9, 5e-9], 1e-9),
    ],
)
def test_the_step_of_a_clock_is_what_divides_its_values(values: list[float], step: float) -> None:
    assert clock_step(values) == pytest.approx(step, abs=1e-10 if step else 1e-5)


def test_seconds_that_repeat_are_not_exact_and_decide_no_more_than_their_clock_can() -> None:
    flat = Effect(0.0, 0.0, 9, 10)
    same = with_resolution(flat, [0.01] * 10, [0.01] * 10, Unit.SECONDS)
    assert same.interval() == pytest.approx((0.25, 4.0)) and same.p_equivalence(0.01) == 1.0
    double = with_resolution(replace(flat, log_ratio=math.log(2)), [0.02] * 10, [0.01] * 10, Unit.SECONDS)
    assert double.p_difference() == 1.0
    fine = with_resolution(replace(flat, log_ratio=math.log(2.5)), [2.5] * 10, [1.0] * 10, Unit.SECONDS)
    assert fine.p_difference() == 0.0  # steps of half a second at most: (2, 3) over (0.5, 1.5)
    counts = with_resolution(flat, [337.0] * 10, [337.0] * 10, Unit.INSTRUCTIONS)
    assert counts == flat


def test_ties_name_the_clocks_step_and_the_table_does_not_call_seconds_exact() -> None:
    values = [0.012, 0.016] * 5
    found = with_resolution(Effect(0.1, 0.01, 9, 10), values, [0.010 + i * 1e-5 for i in range(10)], Unit.SECONDS)
    assert found.warnings == ("a clock with steps of 4 ms: 2 different values in 10 boots",) and found.slack == 0
    records = run_of({"linux": 1.0, "nanos": 1.0}, 8, sigma=0.0)
    flat = [replace(r, samples=(Sample("fit", Unit.SECONDS, (0.004,)),)) for r in records]
    text = table(flat)
    assert "below resolution" in row(text, "linux", "fit") and "exact" not in text
    assert "inconclusive" in row(text, "nanos", "fit") and "needs" not in row(text, "nanos", "fit")


def test_a_median_is_not_exact_where_some_boots_differ() -> None:
    records = run_of({"linux": 3e6}, 20, sigma=0.0, unit=Unit.INSTRUCTIONS)
    odd = [
        replace(r, phases={**r.phases, Phase.STOP: r.phases[Phase.STOP] - 5}) if r.trial.block in (3, 8) else r
        for r in records
    ]
    assert row(table(odd), "linux", "stop").rstrip().endswith("exact but in 2 boots")
    assert row(table(odd), "linux", "total").rstrip().endswith("exact")


def test_a_gate_names_what_is_below_resolution_on_either_side(tmp_path: Path) -> None:
    plain = run_of({"linux": 1.0}, 8)
    fine, short = save_run(tmp_path / "fine", plain), save_run(tmp_path / "short", below(plain, "linux", 8))
    again = save_run(tmp_path / "again", below(run_of({"linux": 1.0}, 8, seed=2), "linux", 8))
    for side, baseline in ((fine, short), (short, fine), (again, short)):
        pairs = sides([f"{baseline}:linux", f"{side}:linux"])
        found = gate(pairs, compare_pairs(pairs, 0.01), 0.01, ["slower"])
        assert [(u.benchmark, "below the console's resolution" in u.why) for u in found.untested] == [("init", True)]
        assert not found.new and not found.missing


def test_a_total_that_ends_with_its_program_is_marked_in_exports_too() -> None:
    told = {"stop": Status.ENDED_BY_HOST, "total": Status.ENDED_BY_HOST}
    records = [
        replace(r, ended_by_host=True, statuses=told) if r.trial.guest == "unikraft" else r
        for r in run_of({"linux": 1.0, "unikraft": 0.5}, 8)
    ]
    exportable = Exportable(records, summarize(records, "linux"), {})
    assert "Mark: unikraft/total: ended by host\n" in export("benchfmt", exportable)
    marks = {r["command"]: r["parameters"]["status"] for r in json.loads(export("hyperfine", exportable))["results"]}
    assert marks["unikraft/total"] == "ended by host" and marks["linux/total"] == "measured"
