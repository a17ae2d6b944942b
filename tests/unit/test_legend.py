"""What a table, a report and JSON say of the phases is what was measured; "Again" makes such a run anew."""

from __future__ import annotations

import io
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from records import run_of, save_run
from rich.console import Console

from ukperf.cli.runtools import tell
from ukperf.engine.plan import PLAN
from ukperf.engine.plan import load as load_plan
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Phase, Sample, Status, Unit
from ukperf.reports.html import report
from ukperf.reports.story import ReportPage
from ukperf.reports.table import RunPage, legend, phase_events
from ukperf.reports.terminal import render
from ukperf.runs.loaded import load
from ukperf.runs.reproduce import again
from ukperf.stats.summary import summarize


def counted() -> list[BootRecord]:
    """Under icount: no VMM phase; floor has no init."""
    records = run_of({"linux": 3e6, "floor": 1e6}, 8, unit=Unit.INSTRUCTIONS)
    gone = {"linux": {Phase.VMM}, "floor": {Phase.VMM, Phase.INIT}}
    return [replace(r, phases={p: v for p, v in r.phases.items() if p not in gone[r.trial.guest]}) for r in records]


def test_counted_phases_are_explained_by_the_frames_they_end_with() -> None:
    words = legend(summarize(counted(), "linux"))
    assert set(words) == {"kernel", "init", "stop", "total"}
    assert words["total"] == "reset → exit of the program, less the clock check"
    assert not any("byte" in said or "create" in said or "stopped" in said for said in words.values())
    alone = legend(summarize([r for r in counted() if r.trial.guest == "floor"], "floor"))
    assert set(alone) == {"kernel", "stop", "total"}


def test_phases_in_seconds_are_explained_by_the_hosts_events() -> None:
    words = legend(summarize(run_of({"linux": 1.0}, 8), "linux"))
    assert words["total"] == "create called → guest stopped, less the clock check" and "vmm" in words


def test_a_run_with_both_explains_both() -> None:
    records = counted() + [
        replace(r, trial=replace(r.trial, index=100 + r.trial.index)) for r in run_of({"native": 1.0}, 8)
    ]
    words = legend(summarize(records, "linux"))
    assert words["stop"].startswith("main of the program, its clock check over → guest stopped; in instructions: ")
    assert "in instructions" not in words["vmm"]


def test_table_page_and_json_have_the_same_legend(tmp_path: Path) -> None:
    summary = summarize(counted(), "linux")
    text = io.StringIO()
    render(RunPage(summary), Console(file=text, width=200))
    html = report(tell(load(save_run(tmp_path / "run", counted())), "linux", 0.01))
    html = unescape(html)
    assert "create called" not in html and ">vmm<" not in html
    for name, words in legend(summary).items():
        assert f"{name}: {words}\n" in text.getvalue() and f"{name}: {words}</p>" in html
    assert phase_events(summary) == {
        "kernel": {"start": "reset", "end": "first-frame"},
        "init": {"start": "first-frame", "end": "main"},
        "stop": {"start": "clock-checked", "end": "exit"},
        "total": {"start": "reset", "end": "exit"},
    }


def test_nobody_is_said_to_stop_who_does_not(tmp_path: Path) -> None:
    seconds = run_of({"linux": 1.0, "unikraft": 0.5}, 8)
    ended = [
        replace(r, ended_by_host=True, statuses={"stop": Status.ENDED_BY_HOST, "total": Status.ENDED_BY_HOST})
        if r.trial.guest == "unikraft"
        else r
        for r in seconds
    ]
    for name, records, words in (
        ("stops", seconds, "than linux to boot and stop ("),
        ("ended", ended, "than linux to boot and run its program ("),
        ("counted", counted(), "than linux to boot and run its program ("),
    ):
        (story,) = tell(load(save_run(tmp_path / name, records)), "linux", 0.01)
        assert words in story.answers[0]


@pytest.mark.parametrize(
    ("typed", "anew"),
    [
        ("ukperf boot-time -g nanos --run DIR --boots 9", "ukperf boot-time -g nanos --boots 9 --seed 7"),
        ("ukperf boot-time --run=DIR --seed 3", "ukperf boot-time --seed 3"),
        ("ukperf boot-time --seed=3", "ukperf boot-time --seed=3"),
        ("", ""),
    ],
)
def test_again_has_the_seed_and_not_the_folder_which_is_taken(typed: str, anew: str) -> None:
    assert again(typed.split(), 7) == anew.split()


def test_the_report_names_the_kernels_that_again_needs(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 8))
    text = (run / PLAN).read_text().replace('"kernel_digest": ""', f'"kernel_digest": "{"ef" * 32}"')
    (run / PLAN).write_text(text)
    out = io.StringIO()
    for story in tell(load(run), "linux", 0.01):
        render(ReportPage(story), Console(file=out, width=200))
    assert "Again: ukperf boot-time --guest nanos --seed 1\n" in out.getvalue()
    assert "Kernels (sha256): linux efefefefefef\n" in out.getvalue()


def test_the_report_of_costs_compares_what_its_headline_does(tmp_path: Path) -> None:
    """syscall-cost compares costs in one unit, by one family; its report has no boot phases beside them."""
    records = [
        replace(r, samples=(Sample("getppid.raw", Unit.SECONDS, (2e-7,)), Sample("getppid.raw.c", Unit.CYCLES, (9.0,))))
        for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)
    ]
    run = save_run(tmp_path / "run", records)
    (run / PLAN).write_text(
        (run / PLAN).read_text().replace('"workload": "boot",\n "images"', '"workload": "syscall_cost",\n "images"')
    )
    assert load_plan(run).workload == "syscall_cost"
    (story,) = tell(load(run), "linux", 0.01)
    assert story.summary.benchmarks == ("getppid.raw",)


def test_a_run_whose_phases_are_not_compared_has_none_in_comparisons_exports_and_plans(tmp_path: Path) -> None:
    """syscall-cost's `stop` is its whole program: it is no phase that anybody asked for."""
    records = [
        replace(r, samples=(Sample("getppid.raw", Unit.SECONDS, (r.phases[Phase.TOTAL],)),))
        for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)
    ]
    run = save_run(tmp_path / "run", records)
    (run / PLAN).write_text((run / PLAN).read_text().replace('"phases": true', '"phases": false'))
    loaded = load(run)
    assert loaded.benchmarks("linux") == ("getppid.raw",) == loaded.summary().benchmarks
    assert set(loaded.side("nanos", "nanos").series) == {"getppid.raw"}


def test_a_report_says_what_it_could_not_read(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 8))
    lines = (run / "journal.ndjson").read_bytes().split(b"\n")
    lines[3] = b"{}"
    (run / "journal.ndjson").write_bytes(b"\n".join(lines))
    (story,) = tell(load(run), "linux", 0.01)
    assert "1 line of the journal of run could not be read." in story.summary.warnings


def test_the_end_of_a_run_is_a_clause() -> None:
    from test_two_hosts import PLAN as two_hosts

    from ukperf.engine.facts import facts_of

    assert facts_of(two_hosts, why="6 blocks were done")["ended"] == "when 6 blocks were done"


def test_the_report_names_operations_that_a_guest_refused(tmp_path: Path) -> None:
    from ukperf.workloads.costs import FOUND, Finding, Operation, Scouted

    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, 8, samples=["noop.raw"]))
    (run / PLAN).write_text(
        (run / PLAN).read_text().replace('"workload": "boot",\n "images"', '"workload": "syscall_cost",\n "images"')
    )
    finding = Finding("nanos", ("noop.raw",), {"getppid.raw": 38}, {"pipe.raw": "hangs"})
    scouted = Scouted((Operation("noop.raw", "entry", "nothing"),), {"fake": {"nanos": finding}})
    (run / FOUND).write_text(scouted.text())
    (story,) = tell(load(run), "linux", 0.01)
    assert "nanos has no figure for getppid.raw (ENOSYS), pipe.raw (hangs)." in story.summary.warnings


def test_plan_and_export_of_one_guest_say_how_it_is_chosen(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 8))
    with pytest.raises(UkperfError) as caught:
        load(f"{run}:linux")
    assert caught.value.hint == f"Give {run} alone; where one guest can be chosen, --guest linux does."
