"""A run's folder as ukperf 0.1 wrote it (tests/cases/runs/0.1) is read, and its figures are those that 0.1 said."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_cli import Shell

RUN = Path(__file__).parents[1] / "cases" / "runs" / "0.1"
# What was right then and is said otherwise now: a phase whose events came in one read in some boots had the other
# boots' figure.
BELOW = {("floor", "init"), ("floor", "stop"), ("native", "init")}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def then() -> Any:
    return json.loads((RUN / "compare.json").read_text())


@pytest.mark.parametrize("file", ["", "suite.json"])
def test_compare_says_the_figures_of_then(run: Path, shell: Shell, file: str) -> None:
    now = json.loads(shell("compare", str(run / file), "--baseline", "native", "--json")[1])
    said = {
        (guest["guest"], name): estimate for guest in now["guests"] for name, estimate in guest["estimates"].items()
    }
    figures = [
        (guest["guest"], name, estimate)
        for guest in then()["guests"]
        for name, estimate in guest["estimates"].items()
        if (guest["guest"], name) not in BELOW
    ]
    assert {(guest, name) for guest, name, _ in figures} == {
        *((guest, name) for guest in ("floor", "native") for name in ("kernel", "total")),
        ("floor", "vmm"),
        ("native", "stop"),
    }
    for guest, name, estimate in figures:
        for key in ("value", "low", "high", "n"):
            assert said[guest, name][key] == pytest.approx(estimate[key], rel=1e-12), (guest, name, key)
    verdicts = {(pair["guest"], pair["benchmark"]): pair for pair in now["comparisons"]}
    compared = [pair for pair in then()["comparisons"] if pair["benchmark"] in ("kernel", "total")]
    assert len(compared) == 2
    for pair in compared:
        for key in ("ratio", "low", "high", "p_value", "n"):
            assert verdicts[pair["guest"], pair["benchmark"]][key] == pytest.approx(pair[key], rel=1e-9)
        assert verdicts[pair["guest"], pair["benchmark"]]["verdict"] == pair["verdict"]
    if not file:  # a suite of 0.1 has fewer of them
        assert then()["facts"].items() <= now["facts"].items()


def test_report_tells_it(run: Path, shell: Shell) -> None:
    told = shell("report", str(run))[1]
    assert "floor takes 12,914 % more time than native to boot and stop (130 ×, 95 % interval 49 to 343" in told
    assert "12 good boots; 0 failed" in told and "qemu 7.2.22" in told


def test_export_has_every_value_of_then(run: Path, shell: Shell) -> None:
    now = rows(shell("export", str(run), "--format", "csv")[1])
    before = rows((RUN / "export.csv").read_text())
    assert len(before) > 30
    for place, row in before.items():
        assert row.items() <= now[place].items()
    assert {row["value"] for place, row in now.items() if place not in before} == {""}


def rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["order"], row["benchmark"]): row for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("command", ["compare", "report", "check", "plan"])
def test_every_command_that_reads_runs_reads_it(run: Path, shell: Shell, command: str) -> None:
    words = ["--baseline", str(run), "--allow-untested"] if command == "check" else []
    status, out, err = shell(command, str(run), *words)
    assert status == 0 and "total" in out and "Traceback" not in out + err


def test_a_finished_one_is_shown_by_resume(run: Path, shell: Shell) -> None:
    status, out, _ = shell("resume", str(run))
    assert status == 0 and "[49, 343]" in out


def test_an_unfinished_one_is_not_gone_on_with(run: Path, shell: Shell) -> None:
    journal = run / "journal.ndjson"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-2]))
    before = journal.read_bytes()
    said = shell.refusal("resume", str(run))
    assert "was written by an older version of ukperf" in said and f"ukperf report {run}" in said
    assert journal.read_bytes() == before
