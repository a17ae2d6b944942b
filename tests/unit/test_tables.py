"""What a person, a program and pyperf read of a run."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import boot, failed, run_of
from rich.console import Console

from ukperf.model import BootRecord, Phase, Sample, Unit
from ukperf.reports.pyperf_suite import suite, write_suite
from ukperf.reports.table import RunPage
from ukperf.reports.terminal import render
from ukperf.reports.units import common_scale, interval, number, with_unit
from ukperf.stats.summary import summarize
from ukperf.text import many

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
FACTS = {"accelerator": "tcg", "machine": "q35", "seed": "1"}


def printed(records: list[BootRecord], width: int, terminal: bool) -> str:
    out = io.StringIO()
    render(RunPage(summarize(records, "linux"), facts=FACTS), Console(file=out, width=width, force_terminal=terminal))
    return ESCAPE.sub("", out.getvalue()) if terminal else out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_cut_at_any_width(width: int, terminal: bool) -> None:
    text = printed(
        run_of({"linux": 1.0, "nanos": 0.5, "unikraft-elfloader": 0.4}, samples=["getppid"]), width, terminal
    )
    assert "…" not in text
    for word in ("unikraft-elfloader", "getppid", "faster", "kernel", "accelerator tcg"):
        assert word in text
    if terminal and width >= 60:
        assert max(len(line) for line in text.splitlines()) <= width


def test_a_pipe_gets_no_escape_codes() -> None:
    assert "\x1b" not in printed(run_of({"linux": 1.0, "nanos": 0.5}), 80, False)


def test_failures_and_facts_are_under_the_table() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    records[0] = failed(records[0])
    text = printed(records, 200, False)
    assert f"{records[0].trial.guest}: 1 of 20 boots failed (1 hung): no end in 120 s" in text
    assert "\nOn: accelerator tcg.\nHow: machine q35; seed 1.\nEnded: 20 blocks; 39 good boots; 1 failed; equi" in text


def test_instructions_are_never_shown_as_time() -> None:
    text = printed(run_of({"linux": 1_553_279_165.0, "nanos": 5e8}, sigma=0, unit=Unit.INSTRUCTIONS), 80, False)
    assert "1,553 M instr" in text and "exact" in text
    assert " ms" not in text and " s " not in text


def test_a_guest_that_the_host_ends_says_so() -> None:
    records = [replace(r, ended_by_host=r.trial.guest == "unikraft") for r in run_of({"linux": 1.0, "unikraft": 0.5})]
    assert "ended by host" in printed(records, 80, False)


def test_text_from_guests_is_not_markup() -> None:
    records = [failed(r, reason="[red]boom[/red]") for r in run_of({"linux": 1.0}, 1)]
    assert "[red]boom[/red]" in printed(records, 200, False)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.4123, Unit.SECONDS, "412.3 ms"),
        (2.0, Unit.SECONDS, "2.000 s"),
        (1e-7, Unit.SECONDS, "100.0 ns"),
        (1.003e-12, Unit.SECONDS, "1.003 ps"),
        (337.0, Unit.INSTRUCTIONS, "337.0 instr"),
        (3 * 2**20, Unit.BYTES, "3.000 MiB"),
        (0.0, Unit.SECONDS, "0 ns"),
    ],
)
def test_numbers_get_a_humane_unit(value: float, unit: Unit, text: str) -> None:
    assert with_unit(value, unit) == text


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 1e300))
def test_any_number_can_be_printed(value: float, spread: float) -> None:
    assert number(value, spread)
    assert interval((value, value), 1.0, spread)


def test_ends_of_an_interval_that_differ_are_never_printed_alike() -> None:
    assert interval((1.0000000001, 1.0000000003)) == "± 1e-08 %"
    assert interval((1.0, 1.0)) == "exact"


@given(st.floats(1e-12, 1e12), st.floats(1e-16, 1.0))
def test_an_interval_shows_that_it_has_a_width(low: float, width: float) -> None:
    high = low * (1 + width)
    text = interval((low, high))
    if low < high:
        ends = text.strip("[]").split(", ")
        assert text.startswith("± ") or len({float(end.replace(",", "")) for end in ends}) == 2


@settings(deadline=None)
@given(st.floats(), st.integers(1, 8))
def test_json_is_strict_whatever_was_measured(value: float, blocks: int) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, blocks)
    records[0] = replace(records[0], phases={**records[0].phases, Phase.INIT: value})
    data = json.loads(json.dumps(RunPage(summarize(records, "linux"), facts=FACTS).json(), allow_nan=False))
    keys = {"benchmark", "guest", "baseline", "ratio", "low", "high", "verdict", "unit", "n", "p_value", "boots_needed"}
    assert all(keys <= set(comparison) for comparison in data["comparisons"])
    assert {"guests", "phases", "facts", "failures"} <= set(data)


def pyperf(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pyperf_reads_the_suite(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert write_suite(first, run_of({"linux": 1.0, "nanos": 0.5}, samples=["getppid"]), FACTS)
    assert write_suite(second, run_of({"linux": 1.0, "nanos": 0.6}, samples=["getppid"], seed=2), FACTS)
    assert "nanos/total" in pyperf("show", first)
    assert "Total number of values: 20" in pyperf("stats", first)
    assert "#" in pyperf("hist", first)
    metadata = pyperf("metadata", first)
    assert "ukperf_accelerator: tcg" in metadata and "ukperf_guest: nanos" in metadata
    assert "nanos/total: Mean +- std dev: [a]" in pyperf("compare_to", first, second)
    assert not list(tmp_path.glob(".*"))


def test_pyperf_compares_two_guests_files(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    for guest in ("linux", "nanos"):
        assert write_suite(tmp_path / f"{guest}.json", records, FACTS, [guest])
    assert "total: Mean" in pyperf("compare_to", tmp_path / "linux.json", tmp_path / "nanos.json")


def test_instructions_are_integers_to_pyperf(tmp_path: Path) -> None:
    records = run_of({"linux": 1_553_279_165.0}, sigma=0, unit=Unit.INSTRUCTIONS)
    assert write_suite(tmp_path / "a.json", records, FACTS)
    assert "1553279165" in pyperf("show", tmp_path / "a.json")


def test_a_boot_is_one_run_and_its_warmups_stay_apart() -> None:
    data = suite(run_of({"linux": 1.0}, 3, samples=["getppid"]), FACTS)
    assert data is not None
    [bench] = [b for b in data["benchmarks"] if b["metadata"]["name"] == "linux/getppid"]  # type: ignore[attr-defined]
    assert [len(run["values"]) for run in bench["runs"]] == [5, 5, 5]
    assert all(run["warmups"][0][0] == run["metadata"]["loops"] == 10 for run in bench["runs"])


def test_no_suite_without_a_value(tmp_path: Path) -> None:
    assert not write_suite(tmp_path / "a.json", [failed(boot("linux", 0))], FACTS)
    assert not (tmp_path / "a.json").exists()


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=20), st.one_of(st.text(max_size=30), st.integers(), st.booleans(), st.floats()), max_size=4
    ),
    st.lists(st.floats(), min_size=1, max_size=5),
    st.text(max_size=20),
)
def test_any_record_becomes_a_suite_that_pyperf_loads(
    metadata: dict[str, object], values: list[float], name: str
) -> None:
    import pyperf as library

    sample = Sample(name or "x", Unit.SECONDS, tuple(values), metadata=metadata)
    record = replace(boot("linux", 0), samples=(sample,), checks={"a\nb": "x\ny"})
    data = suite([record], {"odd\nname": "a\nb", "empty": ""})
    library.BenchmarkSuite.loads(json.dumps(data, allow_nan=False))


def test_phases_that_only_some_boots_showed_say_in_how_many() -> None:
    records = run_of({"linux": 1.0, "floor": 0.1}, 20)
    records = [
        replace(r, phases={p: v for p, v in r.phases.items() if p is not Phase.INIT})
        if r.trial.guest == "floor" and r.trial.block < 8
        else r
        for r in records
    ]
    summary = summarize(records, "linux")
    assert [w for w in summary.warnings if "floor" in w] == ["floor, not seen in every boot: init in 12 of 20."]
    guests = json.loads(json.dumps(RunPage(summary).json()))["guests"]
    linux, floor = guests
    assert floor["seen"]["init"] == 12 and floor["boots"] == floor["seen"]["total"] == 20
    assert set(linux["seen"].values()) == {20}
    text = io.StringIO()
    render(RunPage(summary), Console(file=text, width=200))
    assert "Note: floor, not seen in every boot: init in 12 of 20." in text.getvalue()


def test_a_benchmark_has_one_unit_in_all_rows_of_its_column() -> None:
    assert common_scale([1.001, 0.99], Unit.SECONDS) == (1.0, "s")
    assert common_scale([1.556e9, 15.83e6], Unit.INSTRUCTIONS) == (1e6, "M instr")
    assert common_scale([16_300.0, 37.0], Unit.INSTRUCTIONS) == (1.0, "instr")  # 0.037 k would lose digits
    assert common_scale([0.0, math.inf], Unit.SECONDS) == (1e-9, "ns")
    text = printed(run_of({"linux": 1.002, "nanos": 0.998}, 12, sigma=0.0005), 200, False)
    rows = [line for line in text.splitlines() if line.startswith("  total")]
    assert len(rows) == 2 and all(" s " in row and " ms" not in row for row in rows), rows


def test_one_of_a_thing_is_in_the_singular() -> None:
    text = printed(run_of({"linux": 1.0}, 1), 200, False)
    assert "1 block; 1 good boot; 0 failed" in text
    records = run_of({"linux": 1.0}, 1)
    assert "linux: 1 of 1 boot failed" in printed([failed(records[0])], 200, False)
    assert (many(1, "block"), many(0, "block"), many(2, "boot")) == ("1 block", "0 blocks", "2 boots")


def test_a_failed_boot_shows_what_its_guest_wrote_last_and_that_it_was_made_again() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    lost = next(i for i, r in enumerate(records) if r.trial.guest == "nanos" and r.trial.block == 3)
    tail = "old\n" + "x" * 500 + '\nKernel panic\x1b[31m - not syncing\n\x1e{"event":"main","n":0}\nReboot\n\n'
    retry = replace(records[lost], trial=replace(records[lost].trial, index=1000, attempt=1))
    records[lost] = replace(failed(records[lost]), console_tail=tail)
    text = printed([*records, retry], 200, False)
    assert "nanos: 1 of 21 boots, 1 of them made again after a failure, failed (1 hung)" in text
    assert "nanos wrote: Kernel panic·[31m - not syncing" in text and "nanos wrote: Reboot" in text
    assert "old" not in text and '"event"' not in text and "x" * 200 not in text and "\x1b" not in text
