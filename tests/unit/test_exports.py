"""Every export against its consumer, or the shape that the consumer's own code reads."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyperf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import boot, failed, run_of, save_run
from test_compare import cli

from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Sample, Unit
from ukperf.reports.exports import FORMATS, Exportable, export
from ukperf.reports.exports.markdown import cell
from ukperf.stats.summary import summarize

FACTS = {"accelerator": "tcg", "odd name:": "a\nb"}


def exportable(records: list[BootRecord], guest: str | None = None) -> Exportable:
    return Exportable(records, summarize(records, "linux"), FACTS, guest)


def example() -> list[BootRecord]:
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=["getppid"])
    index = next(i for i, r in enumerate(records) if r.trial.guest == "nanos")
    records[index] = failed(records[index])
    return records


def instructions() -> list[BootRecord]:
    return run_of({"linux": 1_553_279_165.0, "nanos": 5e8}, sigma=0, unit=Unit.INSTRUCTIONS)


def test_pyperf_reads_all_iterations_of_every_good_boot() -> None:
    suite = pyperf.BenchmarkSuite.loads(export("pyperf", exportable(example())))
    assert suite.get_benchmark("nanos/getppid").get_nrun() == 19
    assert suite.get_benchmark("linux/getppid").get_nvalue() == 100
    single = pyperf.BenchmarkSuite.loads(export("pyperf", exportable(example(), "nanos")))
    assert "total" in single.get_benchmark_names()


def test_csv_has_a_row_for_every_boot_also_the_failed_one() -> None:
    rows = list(csv.DictReader(io.StringIO(export("csv", exportable(example())), newline="")))
    assert len([row for row in rows if row["benchmark"] == "total"]) == 39
    [lost] = [row for row in rows if row["outcome"] == "hung"]
    assert (lost["value"], lost["reason"]) == ("", "no end in 120 s")
    linux = [float(row["value"]) for row in rows if row["guest"] == "linux" and row["benchmark"] == "total"]
    assert np.median(linux) == pytest.approx(1.0, rel=0.02)


def test_markdown_is_a_table_of_equal_rows() -> None:
    lines = export("markdown", exportable(example())).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 12 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert any("faster" in row for row in rows)
    assert "nanos: 1 of 20 boots failed (1 hung)." in lines


@settings(deadline=None)
@given(st.text())
def test_no_name_can_break_a_markdown_cell(text: str) -> None:
    assert not re.search(r"(?<!\\)(\\\\)*[|`<]", cell(text)) and len(cell(text).splitlines()) <= 1


def test_hyperfine_has_the_members_that_its_scripts_read() -> None:
    results = json.loads(export("hyperfine", exportable(example())))["results"]
    for result in results:
        assert {"command", "mean", "stddev", "median", "user", "system", "min", "max", "times"} <= set(result)
        assert result["min"] <= result["median"] <= result["max"]
        assert len(result["times"]) == len(result["exit_codes"])
    assert {r["parameters"]["guest"] for r in results} == {"linux", "nanos"}


def test_hyperfine_gets_no_instructions_sold_as_seconds() -> None:
    with pytest.raises(UkperfError, match="in seconds"):
        export("hyperfine", exportable(instructions()))


def conforms(data: Any) -> bool:
    """Bencher's published schema, https://bencher.dev/docs/reference/bencher-metric-format, in Python."""
    return isinstance(data, dict) and all(
        isinstance(measures, dict)
        and all(
            isinstance(metric, dict)
            and "value" in metric
            and all(isinstance(metric[k], int | float) for k in ("value", "lower_value", "upper_value") if k in metric)
            for metric in measures.values()
        )
        for measures in data.values()
    )


def test_bencher_gets_nanoseconds_with_bounds() -> None:
    data = json.loads(export("bencher", exportable(example())))
    assert conforms(data)
    latency = data["linux/total"]["latency"]
    assert latency["lower_value"] < latency["value"] < latency["upper_value"]
    assert latency["value"] == pytest.approx(1e9, rel=0.02)
    assert "instructions" in json.loads(export("bencher", exportable(instructions())))["linux/total"]


def test_benchfmt_keeps_the_formats_grammar() -> None:
    lines = export("benchfmt", exportable(example())).splitlines()
    split = lines.index("")
    assert all(re.fullmatch(r"[a-z][^A-Z\s:]*: \S.*", line) for line in lines[:split])
    assert all(re.fullmatch(r"Benchmark[A-Z]\S* 1 \S+ ns/op", line) for line in lines[split + 1 :])
    assert sum("BenchmarkTotal/guest=nanos " in line for line in lines) == 19


@pytest.mark.skipif(not shutil.which("benchstat"), reason="benchstat is not installed")
def test_benchstat_reads_benchfmt(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text(export("benchfmt", exportable(example())))
    done = subprocess.run(["benchstat", "-col", "/guest", path], capture_output=True, text=True, check=True)
    assert "n=20+19" in done.stdout and not done.stderr


def test_the_github_action_gets_names_units_and_numbers() -> None:
    entries = json.loads(export("github-action", exportable(example())))
    assert all(isinstance(e["value"], float) and e["unit"] and e["name"] for e in entries)
    assert all(isinstance(e.get("range", ""), str) and isinstance(e["extra"], str) for e in entries)
    total = next(e for e in entries if e["name"] == "linux/total")
    assert (total["unit"], total["value"]) == ("ms", pytest.approx(1000, rel=0.02))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_run_without_a_good_boot_is_a_sentence_or_an_empty_table(name: str) -> None:
    run = exportable([failed(r) for r in run_of({"linux": 1.0})])
    if name in ("csv", "markdown"):
        assert "hung" in export(name, run)
    else:
        with pytest.raises(UkperfError):
            export(name, run)


@settings(deadline=None)
@given(st.text(min_size=1), st.floats(-1e18, 1e18) | st.sampled_from([float("nan"), float("inf")]))
def test_whatever_guests_say_exports_stay_well_formed(name: str, value: float) -> None:
    from dataclasses import replace

    record = replace(boot("linux", 0), samples=(Sample(name, Unit.SECONDS, (value,)),))
    run = exportable([record])
    for kind in ("pyperf", "hyperfine", "bencher", "github-action"):
        json.loads(export(kind, run))
    lines = export("benchfmt", run).split("\n")
    assert all(" 1 " in line or ": " in line for line in lines if line.strip())
    rows = list(csv.reader(io.StringIO(export("csv", run), newline="")))
    assert {len(row) for row in rows} == {14}


def test_the_command_writes_files_and_refuses_in_sentences(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", example())
    cli("export", run, "--format", "csv", "--output", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("order,block")
    assert "no format" in cli("export", run, "--format", "xml", status=2)
    assert "no guest" in cli("export", run, "--format", "csv", "--guest", "plan9", status=2)
    assert "cannot be written" in cli("export", run, "--format", "csv", "--output", "/nowhere/x", status=2)
