"""Comparisons between runs and files, the gate for CI, and the Python API."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyperf
import pytest
from pyperf._utils import is_significant
from records import failed, run_of, save_run
from typer.testing import CliRunner

import ukperf
from ukperf.cli.main import app
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Sample, Unit, Verdict, verdict_word
from ukperf.reports.pyperf_suite import write_suite
from ukperf.runs.loaded import load, sides
from ukperf.runs.pyperffile import read_pyperf
from ukperf.stats.between import DRIFT, compare_pairs
from ukperf.stats.effect import Effect
from ukperf.stats.gate import p_beyond


def cli(*words: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, UkperfError):
        assert status == 2, result.exception
        return str(result.exception)
    assert result.exit_code == status, result.output
    return result.output


def plain_pyperf(path: Path, means: Sequence[float], values: int = 10, noise: float = 0.001) -> Path:
    """A file as pyperf itself writes it: one run a process."""
    draw = random.Random(3)
    runs = [
        pyperf.Run(
            [mean * math.exp(draw.gauss(0, noise)) for _ in range(values)],
            metadata={"name": "bench", "hostname": "here"},
            collect_metadata=False,
        )
        for mean in means
    ]
    pyperf.BenchmarkSuite([pyperf.Benchmark(runs)]).dump(str(path))
    return path


def boots(n: int, mean: float, sigma: float, seed: int) -> list[float]:
    return [float(v) for v in mean * np.exp(np.random.default_rng(seed).normal(0, sigma, n))]


def test_two_runs_are_compared_guest_by_guest_with_a_warning(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0, "nanos": 0.5}))
    new = save_run(tmp_path / "new", run_of({"linux": 1.0, "nanos": 0.6}, seed=7))
    data = json.loads(cli("compare", old, new, "--json"))
    total = {c["guest"]: c for c in data["comparisons"] if c["benchmark"] == "total"}
    assert total["new:nanos"]["verdict"] == "slower" and total["new:nanos"]["baseline"] == "old:nanos"
    assert total["new:nanos"]["low"] < 1.2 < total["new:nanos"]["high"]
    assert DRIFT in total["new:linux"]["warnings"]
    text = cli("compare", old, new)
    assert "new:nanos ÷ old:nanos" in text and "two runs" in text


def test_one_run_is_compared_inside(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}))
    data = json.loads(cli("compare", run, "--json"))
    assert {c["baseline"] for c in data["comparisons"]} == {"linux"}
    assert {c["guest"] for c in json.loads(cli("compare", run, "--baseline", "nanos", "--json"))["comparisons"]} == {
        "linux"
    }


def test_guests_of_one_run_keep_their_blocks(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5, "floor": 0.1}, drift=0.5))
    data = json.loads(cli("compare", f"{run}:nanos", f"{run}:floor", "--json"))
    total = next(c for c in data["comparisons"] if c["benchmark"] == "total")
    assert total["n"] == 20 and total["warnings"] == []
    assert total["high"] / total["low"] < 1.04  # a drift of 50 % would be far wider unpaired


def test_plain_pyperf_files_have_processes_as_units(tmp_path: Path) -> None:
    before = plain_pyperf(tmp_path / "a.json", boots(12, 1.0, 0.03, 1))
    after = plain_pyperf(tmp_path / "b.json", boots(12, 1.0, 0.03, 2))
    [comparison] = json.loads(cli("compare", before, after, "--json"))["comparisons"]
    assert (comparison["guest"], comparison["baseline"], comparison["benchmark"]) == ("b", "a", "bench")
    assert comparison["n"] == 12 and comparison["verdict"] == "inconclusive"


def test_pyperf_calls_that_pair_significant_and_we_do_not(tmp_path: Path) -> None:
    # the reason why ukperf has a comparison of its own: each process scatters, its values agree with each other
    alarms = {"pyperf": 0, "ukperf": 0}
    for seed in range(40):
        pair = [plain_pyperf(tmp_path / f"{s}-{seed}.json", boots(8, 1.0, 0.02, 2 * seed + s)) for s in (0, 1)]
        left, right = (pyperf.Benchmark.load(str(p)).get_values() for p in pair)
        alarms["pyperf"] += is_significant(left, right)[0]
        [comparison] = compare_pairs(sides([str(p) for p in pair]), 0.0001)
        alarms["ukperf"] += comparison.verdict in (Verdict.FASTER, Verdict.SLOWER)
    assert alarms["pyperf"] >= 20 and alarms["ukperf"] <= 6


def test_our_own_suite_is_read_back_with_guests_and_phases(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"])
    write_suite(tmp_path / "suite.json", records, {"accelerator": "tcg"})
    run = load(tmp_path / "suite.json")
    assert run.guests == ("linux", "nanos") and set(run.benchmarks("nanos")) >= {"total", "kernel", "fit"}
    direct = save_run(tmp_path / "run", records)
    assert run.boots("nanos", "total") == pytest.approx(load(direct).boots("nanos", "total"))
    assert run.boots("nanos", "fit") == pytest.approx(load(direct).boots("nanos", "fit"))


def test_different_programs_and_accelerators_are_refused_with_the_reason(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0}))
    new = save_run(tmp_path / "new", run_of({"linux": 1.0}), digest="ef" * 32)
    comparison = json.loads(cli("compare", old, new, "--json"))["comparisons"][0]
    assert comparison["verdict"] == "not comparable" and "the program differs" in comparison["warnings"][0]


def test_lost_boots_are_counted_between_runs(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0})
    old = save_run(tmp_path / "old", records)
    new = save_run(tmp_path / "new", [failed(records[0]), *records[1:]])
    comparison = json.loads(cli("compare", old, new, "--json"))["comparisons"][0]
    assert "1 of 20 boots of new:linux failed" in comparison["warnings"]


def test_the_gate_fails_only_beyond_the_margin(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0}, sigma=0.002))
    little = save_run(tmp_path / "little", run_of({"linux": 1.005}, sigma=0.002, seed=2))
    much = save_run(tmp_path / "much", run_of({"linux": 1.05}, sigma=0.002, seed=3))
    assert "passed" in cli("check", little, "--baseline", old, "--fail-on", "slower")
    assert "failed" in cli("check", much, "--baseline", old, "--fail-on", "slower", status=1)
    assert "passed" in cli("check", much, "--baseline", old, "--delta", 10)
    assert "passed" in cli("check", old, "--baseline", much)  # faster is no failure
    assert json.loads(cli("check", old, "--baseline", much, "--fail-on", "faster", "--json", status=1))["failed"]


def test_the_gate_keeps_the_familys_error_rate() -> None:
    draw = np.random.default_rng(8)
    families = draw.standard_t(18, (4000, 10))  # ten benchmarks that sit exactly on the edge of the margin
    alarms = 0
    for family in families:
        effects = [Effect(math.log(1.01) + 0.01 * float(t), 0.01, 18, 10) for t in family]
        alarms += min(p_beyond(e, 0.01, True) or 0 for e in effects) * 10 <= 0.05
    assert alarms / 4000 <= 0.06


def test_the_gate_never_passes_on_nothing(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0}))
    new = save_run(tmp_path / "new", [failed(r) for r in run_of({"linux": 1.0})])
    assert "Nothing can be compared" in cli("check", new, "--baseline", old, status=2)
    assert "no verdict" in cli("check", old, "--baseline", old, "--fail-on", "slow", status=2)


def test_a_plan_from_a_pilot(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, 10, samples=["fit"]))
    plans = json.loads(cli("plan", run, "--effect", 1, "--json"))
    assert all(p["boots"] > 10 for p in plans["plans"]) and len(plans["variance"]) == 2
    assert "nanos ÷ linux" in cli("plan", run)
    assert "percent" in cli("plan", run, "--effect", 0, status=2)


def test_the_api_gives_arrays_with_units(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"])
    records[0] = failed(records[0])
    run = ukperf.load(save_run(tmp_path / "run", records))
    guest = records[0].trial.guest
    assert run.boots(guest, "total").shape == run.blocks(guest, "total").shape == (19,)
    assert run.boots(guest, "total").dtype == np.float64 and run.unit(guest, "fit") is Unit.SECONDS
    assert [a.shape for a in run.iterations(guest, "fit")] == [(5,)] * 19
    assert len(run.records) == 40 and run.facts["accelerator"] == "tcg"
    assert run.summary().comparison("nanos", "total") is not None
    with pytest.raises(UkperfError, match="no guest"):
        run.boots("plan9", "total")
    with pytest.raises(UkperfError, match="no benchmark"):
        run.boots("linux", "tea")


def test_a_torn_journal_gives_what_is_whole(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", run_of({"linux": 1.0}))
    journal = folder / "journal.ndjson"
    journal.write_bytes(journal.read_bytes()[:-100])
    assert len(ukperf.load(folder).records) == 19


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no JSON"),
        (b"\x00\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no pyperf file"),
        (b'{"version": 6, "benchmarks": []}', "only 1.0 is read"),
        (b'{"version": "1.0", "benchmarks": []}', "no value"),
        (b'{"version": "1.0", "benchmarks": [3]}', "damaged"),
        (b'{"version": "1.0", "benchmarks": [{"runs": [{"values": ["x"]}]}]}', "damaged"),
        (b'{"version": "1.0", "metadata": [], "benchmarks": [{"runs": [{"values": [1]}]}]}', "damaged"),
        (b'{"results": [{"times": [1.0]}]}', "names no command"),
    ],
)
def test_files_that_are_none_are_refused_in_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    assert sentence in cli("compare", tmp_path / "bad.json", tmp_path / "bad.json", status=2)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2 << 30)  # sparse
    start = time.monotonic()
    with pytest.raises(UkperfError, match=r"2\.0 GiB"):
        read_pyperf(tmp_path / "huge.json")
    assert time.monotonic() - start < 5


def test_runs_without_a_common_guest_say_how_to_name_them(tmp_path: Path) -> None:
    old, new = save_run(tmp_path / "old", run_of({"linux": 1.0})), save_run(tmp_path / "new", run_of({"nanos": 1.0}))
    assert "no guest in common" in cli("compare", old, new, status=2)
    assert "does not exist" in cli("compare", old, tmp_path / "gone", status=2)
    assert "no run of ukperf" in cli("compare", tmp_path, status=2)


def test_a_guest_that_the_only_run_lacks_is_named_with_those_that_it_has(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}))
    with pytest.raises(UkperfError, match="run has no guest 'nope'") as caught:
        load(f"{run}:nope")
    assert caught.value.hint == "It has: linux, nanos."
    assert "has no guest 'nope'" in cli("compare", f"{run}:nope", status=2)
    assert "is one guest of a run, and a whole run is wanted" in cli("compare", f"{run}:linux", status=2)


def big(boots: int, values: int, seed: int) -> list[BootRecord]:
    draw = np.random.default_rng(seed)
    records = run_of({"linux": 1.0, "nanos": 0.9}, boots // 2, seed=seed)
    return [
        replace(r, samples=(Sample("fit", Unit.SECONDS, tuple(draw.lognormal(0, 0.02, values).tolist())),))
        for r in records
    ]


def test_a_thousand_boots_of_a_thousand_values_are_compared_in_time() -> None:
    from ukperf.stats.summary import summarize

    records = big(1000, 1000, 1)
    start = time.process_time()  # CPU time: other work on this machine decides nothing
    summary = summarize(records, "linux")
    assert time.process_time() - start < 4
    assert summary.comparison("nanos", "fit") is not None


def test_hosts_are_compared_one_by_one_and_never_pooled(tmp_path: Path) -> None:
    records = [replace(r, host=h) for h in ("xen://a", "xen://b") for r in run_of({"linux": 1.0, "nanos": 0.5}, 8)]
    run = save_run(tmp_path / "run", records)
    hosts = json.loads(cli("compare", run, "--json"))["hosts"]
    assert [part["facts"]["host"] for part in hosts] == ["xen://a", "xen://b"]
    assert all(part["blocks"] == 8 for part in hosts)
    assert cli("compare", run).count("÷ linux") == 2
    assert "never pooled" in cli("compare", run, run, status=2)
    assert "never pooled" in cli("export", run, "--format", "csv", status=2)


def test_bytes_and_counts_are_fewer_or_more_and_time_is_faster_or_slower() -> None:
    cases = Path(__file__).resolve().parents[1] / "cases" / "pyperf"
    for name, word in (("mem", "more"), ("five", "inconclusive")):
        pair = (cases / f"{name}-a.json", cases / f"{name}-b.json")
        found = json.loads(cli("compare", *pair, "--json"))["comparisons"]
        assert {c["word"] for c in found} == {word}, name
    told = json.loads(cli("compare", cases / "mem-a.json", cases / "mem-b.json", "--json"))["comparisons"][0]
    assert told["verdict"] == "slower"  # the old field means what it meant
    assert verdict_word(Verdict.FASTER, Unit.INSTRUCTIONS) == "fewer"
    assert verdict_word(Verdict.SLOWER, Unit.COUNT) == "more"
    assert verdict_word(Verdict.FASTER, Unit.CYCLES) == verdict_word(Verdict.FASTER, Unit.SECONDS) == "faster"
    assert verdict_word(Verdict.EQUIVALENT, Unit.BYTES) == "equivalent"


def test_medians_that_go_the_other_way_are_named_beside_the_ratio() -> None:
    cases = Path(__file__).resolve().parents[1] / "cases" / "pyperf"
    text = cli("compare", cases / "bimodal100-a.json", cases / "bimodal100-b.json")
    assert "the medians go the other way (+19 %)" in " ".join(text.split())
    assert "medians" not in cli("compare", cases / "mem-a.json", cases / "mem-b.json")
