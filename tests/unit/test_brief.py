"""What `--brief` leaves, and the lines of facts that it leaves out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import failed, run_of, save_run
from rich.console import Console
from test_cli import Shell

from ukperf.reports.page import Line, fact_lines
from ukperf.reports.story import ReportPage, stories_of
from ukperf.reports.terminal import render
from ukperf.stats.summary import summarize


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("command", ["report", "compare"])
def test_brief_leaves_the_answer_and_the_whole_table(shell: Shell, command: str) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, 8)
    records[0] = failed(records[0])
    run = save_run(shell.folder / "run", records)
    status, brief, _ = shell(command, "--brief", str(run))
    assert status == 0
    answer, *table = brief.splitlines()
    assert answer.startswith("nanos takes ") and answer.endswith(" blocks).")
    _, long, _ = shell(command, str(run))
    whole = long.splitlines()
    first = whole.index(table[0])
    rows = 1 + 2 + 2 * 5
    assert table[:rows] == whole[first : first + rows]
    notes = "Without --brief there are 2 notes to this."
    assert table[rows:] == [notes, f"1 of 8 boots of {records[0].trial.guest} failed."]
    assert not [line for line in table if line.startswith(("On: ", "How: ", "Ended: ", "Note: ", "total: "))]


def test_brief_of_two_runs_answers_in_a_sentence(shell: Shell) -> None:
    one = save_run(shell.folder / "one", run_of({"linux": 1.0}, 8, seed=1))
    two = save_run(shell.folder / "two", run_of({"linux": 1.5}, 8, seed=2))
    status, out, _ = shell("compare", "--brief", str(one), str(two))
    assert status == 0 and out.startswith("two:linux takes ") and "% more time than one:linux for total (" in out
    status, out, _ = shell("check", "--brief", str(two), "--baseline", str(one))
    assert status == 1 and out.startswith("check: failed (") and out.count("check: ") == 1


def test_a_question_that_stays_open_names_boots_a_side(shell: Shell) -> None:
    one = save_run(shell.folder / "one", run_of({"linux": 1.0}, 8, seed=1))
    two = save_run(shell.folder / "two", run_of({"linux": 1.005}, 8, seed=2))
    _, out, _ = shell("compare", "--brief", str(one), str(two))
    assert "cannot be told apart for total" in out.splitlines()[0] and "boots a side would settle it." in out


def test_json_is_the_same_with_brief(shell: Shell) -> None:
    run = save_run(shell.folder / "run", run_of({"linux": 1.0, "nanos": 0.5}, 8))
    assert json.loads(shell("report", "--json", "--brief", str(run))[1]) == json.loads(
        shell("report", "--json", str(run))[1]
    )


def test_many_benchmarks_are_counted_in_a_sentence_for_each_guest() -> None:
    names = [f"bench{i}" for i in range(9)]
    [story] = stories_of(
        run_of({"linux": 1.0, "nanos": 0.5}, 8, samples=names), {}, title="", baseline="linux", delta=0.01
    )
    out = io.StringIO()
    render(ReportPage(story), Console(file=out, width=200), brief=True)
    assert out.getvalue().startswith("nanos against linux, 9 benchmarks: faster in 9.\n")


FACTS = {
    "accelerator": "tcg",
    "machine": "q35",
    "ended": "when 6 blocks were done",
    "linux kernel": "6.1",
    "seed": "7",
    "cpu": "a",
    "nanos is": "an older one",
}


def test_facts_are_lines_of_what_was_run_on_what_how_and_how_it_ended() -> None:
    assert [line.lead + line.text for line in fact_lines(FACTS, ["6 blocks"])] == [
        "Ran: linux kernel 6.1; nanos is an older one.",
        "On: accelerator tcg; cpu a.",
        "How: machine q35; seed 7.",
        "Ended: when 6 blocks were done; 6 blocks.",
    ]
    assert list(fact_lines({})) == []


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_no_fact_is_lost(facts: dict[str, str]) -> None:
    said = [part for line in fact_lines(facts) for part in [line.text]]
    assert all(isinstance(line, Line) for line in fact_lines(facts))
    assert sum(map(len, said)) >= sum(len(value) for value in facts.values())
    assert all(any(value in text for text in said) for value in facts.values())


@pytest.mark.parametrize("width", [40, 80, 120])
def test_facts_wrap_at_the_terminals_width_and_stay_whole_in_a_pipe(width: int) -> None:
    summary = summarize(run_of({"linux": 1.0, "nanos": 0.5}, 8), "linux")
    facts = {**FACTS, "firmware": "a " * 60 + "end", "cpu": "b " * 60 + "end"}
    from ukperf.reports.table import RunPage

    out = io.StringIO()
    render(RunPage(summary, facts=facts), Console(file=out, width=width, force_terminal=True, color_system=None))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    on = next(i for i, line in enumerate(lines) if line.startswith("On: "))
    assert lines[on + 1].startswith("  ")
    out = io.StringIO()
    render(RunPage(summary, facts=facts), Console(file=out, width=width))
    assert any(line.startswith("On: ") and line.endswith("end.") for line in out.getvalue().splitlines())
