"""Every export against its consumer, or the shape that the consumer's own code reads."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
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
from ukperf.reports.exports import EXPORTS, Exportable, export
from ukperf.reports.markdown import cell
from ukperf.stats.summary import summarize

FACTS = {"accelerator": "tcg", "odd name:": "a\nb"}


def exportable(records: list[BootRecord], *only: str, benchmarks: tuple[str, ...] = ()) -> Exportable:
    return Exportable(records, summarize(records, "linux"), FACTS, only, benchmarks)


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
    assert "nanos: 1 of 20 boots failed (1 hung): no end in 120 s" in lines


@settings(deadline=None)
@given(st.text())
def test_no_name_can_break_a_markdown_cell(text: str) -> None:
    assert not re.search(r"(?<!\\)\|", cell(text)) and len(cell(text).splitlines()) <= 1


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


def test_the_github_action_gets_names_units_and_numbers() -> None:
    entries = json.loads(export("github-action", exportable(example())))
    assert all(isinstance(e["value"], float) and e["unit"] and e["name"] for e in entries)
    assert all(isinstance(e.get("range", ""), str) and isinstance(e["extra"], str) for e in entries)
    total = next(e for e in entries if e["name"] == "linux/total")
    assert (total["unit"], total["value"]) == ("ms", pytest.approx(1000, rel=0.02))


@pytest.mark.parametrize("name", EXPORTS.names())
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
    record = replace(boot("linux", 0), samples=(Sample(name, Unit.SECONDS, (value,)),))
    run = exportable([record])
    for kind in ("pyperf", "hyperfine", "bencher", "github-action"):
        json.loads(export(kind, run))
    lines = export("benchfmt", run).split("\n")
    assert all(" 1 " in line or ": " in line for line in lines if line.strip())
    rows = list(csv.reader(io.StringIO(export("csv", run), newline="")))
    assert {len(row) for row in rows} == {15}


@pytest.mark.parametrize("name", EXPORTS.names())
def test_guests_and_benchmarks_are_chosen(name: str) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5, "floor": 0.1}, samples=["getppid", "stat"])
    text = export(name, exportable(records, "linux", "nanos", benchmarks=("total", "stat"))).lower()
    assert all(word in text for word in ("linux", "nanos", "total", "stat"))
    assert not any(word in text for word in ("floor", "getppid", "vmm,", "linux/init"))


def test_exactly_two_results_can_be_had_for_tools_that_want_two() -> None:
    run = exportable(run_of({"linux": 1.0, "nanos": 0.5, "floor": 0.1}), "linux", "nanos", benchmarks=("total",))
    assert [r["command"] for r in json.loads(export("hyperfine", run))["results"]] == ["linux/total", "nanos/total"]


def test_a_quantile_brings_its_sample_for_pyperf() -> None:
    sample = Sample("latency", Unit.SECONDS, (0.1,) * 300, metadata={"quantiles": "0.99"})
    records = [replace(boot("linux", i), samples=(sample,)) for i in range(6)]
    suite = pyperf.BenchmarkSuite.loads(export("pyperf", exportable(records, benchmarks=("latency/p99",))))
    assert suite.get_benchmark_names() == ["linux/latency"]


def test_what_a_guest_says_of_itself_replaces_nothing_that_we_know() -> None:
    sample = Sample("a", Unit.SECONDS, (0.1,), metadata={"guest": "linux", "block": 99, "colour": "red"})
    suite = pyperf.BenchmarkSuite.loads(
        export("pyperf", exportable([replace(boot("nanos", 3), samples=(sample,))], "nanos"))
    )
    [found] = suite.get_benchmark("a").get_runs()
    known = found.get_metadata()
    assert (known["ukperf_guest"], known["ukperf_block"], known["ukperf_colour"]) == ("nanos", 3, "red")


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=4, unique=True))
def test_bencher_takes_every_name(names: list[str]) -> None:
    """lib/bencher_valid: 1 to 1,024 bytes; a UUID would be looked up instead of made."""
    names += ["x" * 2000, "x" * 2001, "123e4567-e89b-12d3-a456-426614174000"]
    samples = tuple(Sample(name, Unit.SECONDS, (0.1,)) for name in names)
    data = json.loads(export("bencher", exportable([replace(boot("linux", 0), samples=samples)], "linux")))
    assert all(0 < len(name.encode()) <= 1024 for name in data)
    assert len(data) == len(boot("linux", 0).phases) + len(names)
    assert "123e4567-e89b-12d3-a456-426614174000" not in data


@pytest.mark.parametrize("name", ["bencher", "github-action", "hyperfine", "benchfmt"])
def test_sizes_beyond_reason_are_left_out(name: str) -> None:
    records = [replace(boot("linux", i), samples=(Sample("speed", Unit.SECONDS, (1e305,)),)) for i in range(8)]
    text = export(name, exportable(records)).lower()
    assert "speed" not in text and "total" in text


def test_the_command_writes_files_and_refuses_in_sentences(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", example())
    cli("export", run, "--format", "csv", "--output", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("order,block")
    assert "no format" in cli("export", run, "--format", "xml", status=2)
    assert "no guest" in cli("export", run, "--format", "csv", "--guest", "plan9", status=2)
    assert "no benchmark" in cli("export", run, "--format", "csv", "--benchmark", "speed", status=2)
    assert "cannot be written" in cli("export", run, "--format", "csv", "--output", "/nowhere/x", status=2)
