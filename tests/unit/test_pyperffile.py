"""Files of pyperf and hyperfine: what is read, and what is said where something is wrong."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import run_of, save_run
from rich.cells import cell_len
from rich.console import Console
from test_gate import CASES, Said, said

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.reports.compare_table import ComparePage
from ukperf.reports.names import LONGEST_NAME, cut
from ukperf.reports.terminal import render
from ukperf.runs.loaded import load, sides
from ukperf.runs.pyperffile import LARGE_BYTES, read_pyperf
from ukperf.stats.between import compare_pairs


def write(path: Path, *benchmarks: object, **more: object) -> Path:
    path.write_text(json.dumps({"version": "1.0", "metadata": {}, "benchmarks": benchmarks, **more}))
    return path


def bench(name: str, values: object = (1.0, 1.1), runs: int = 8, **metadata: object) -> dict[str, Any]:
    draw = random.Random(name)
    one = values if isinstance(values, list) else [v * draw.lognormvariate(0, 0.01) for v in values]  # type: ignore[attr-defined]
    return {"metadata": {"name": name, **metadata}, "runs": [{"values": one} for _ in range(runs)]}


def compare(old: str, new: str, *words: str) -> Said:
    return said("compare", CASES / f"{old}.json", CASES / f"{new}.json", *words)


def rows(found: Said) -> dict[str, dict[str, Any]]:
    return {c["benchmark"]: c for c in json.loads(found.out)["comparisons"]}


def test_integers_are_counts() -> None:
    found = rows(compare("integer-a", "integer-b", "--json"))["instr"]
    assert found["unit"] == "count" and found["n"] == 10 and found["low"] < 1 < found["high"]
    assert "1.001 M" in compare("integer-a", "integer-b").out
    doubled = rows(compare("mixedunits-a", "count2x", "--json"))
    assert set(doubled) == {"time", "rss", "count"} and doubled["count"]["ratio"] == pytest.approx(2, rel=0.01)


def test_no_benchmark_vanishes() -> None:
    assert set(rows(compare("mix-a", "mix-b", "--json"))) == {"count", "t"}


def test_a_benchmark_that_cannot_be_read_is_named_and_the_others_are_compared(tmp_path: Path) -> None:
    power, idle = bench("power", unit="watt"), {"metadata": {"name": "idle"}, "runs": [{"warmups": [[1, 0.5]]}]}
    turns = {"metadata": {"name": "turns"}, "runs": [{"values": [1.0]}, {"values": [1], "metadata": {"unit": "byte"}}]}
    one = write(tmp_path / "one.json", bench("t"), power, idle, turns)
    two = write(tmp_path / "two.json", bench("t", runs=9), power, idle, turns)
    found = said("compare", one, two)
    assert "has the unit 'watt', which is not known" in found.out and "holds no values" in found.out
    assert "turns of one changes its unit from s to bytes" in found.out and "t " in found.out
    assert "'watt'" in said("compare", one).out  # a file by itself, too
    assert said("check", two, "--baseline", one).status == 2


def test_benchmarks_without_a_name_are_refused_as_pyperf_does() -> None:
    found = compare("noname-a", "noname-b")
    assert found.status == 2 and "benchmark 1 has no name" in found.error


def test_two_benchmarks_of_one_name_are_refused_as_pyperf_does(tmp_path: Path) -> None:
    found = said("compare", write(tmp_path / "two.json", bench("t"), bench("t")))
    assert found.status == 2 and "benchmark 2 has the name of an earlier one, 't'" in found.error


def test_null_is_said_in_words() -> None:
    found = compare("null-a", "null-b")
    assert found.status == 2 and "value 1 of run 1 of benchmark 1 (s) is null, not a number" in found.error


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e300, "beyond 1e+30"),
        (-1e300, "beyond 1e+30"),
        (1e-300, "below 1e-30"),
        (0.0, "zero"),
        (-1.0, "negative"),
        (float("inf"), "infinite"),
        (float("nan"), "not a number"),
    ],
)
def test_what_has_no_ratio_is_said_as_what_it_is(tmp_path: Path, value: float, words: str) -> None:
    bad = write(tmp_path / "bad.json", bench("t", [value]))
    many = write(tmp_path / "many.json", bench("t", [value] * 30))
    for file in (bad, many):
        found = said("compare", write(tmp_path / "good.json", bench("t")), file)
        assert f"8 of 8 boots of {file.stem} have a value that is {words}" in found.out


def test_the_cases_of_huge_and_infinite_values() -> None:
    assert "10 of 10 boots of huge-b have a value that is beyond 1e+30" in compare("huge-a", "huge-b").out
    assert "10 of 10 boots of inf-b have a value that is infinite" in compare("inf-a", "inf-b").out


@pytest.mark.parametrize("key", ["ukperf_order", "ukperf_block", "loops"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, 10**30, 1.5, "1", None, [1], True])
def test_a_number_in_the_metadata_that_is_none_is_a_sentence(tmp_path: Path, key: str, value: object) -> None:
    file = write(tmp_path / "odd.json", bench("t", **{key: value}))
    for command in (("check", file, "--baseline", file), ("compare", file, file), ("plan", file)):
        found = said(*command)
        assert found.status == 2 and f"{key} of run 1 of benchmark 1 is no whole number" in found.error


@pytest.mark.parametrize(
    "benchmark",
    [
        3,
        {"metadata": [], "runs": []},
        {"metadata": {"name": "x"}, "runs": 3},
        {"metadata": {"name": "x"}, "runs": [3]},
        {"metadata": {"name": "x"}, "runs": [{"values": 3}]},
        {"metadata": {"name": "x"}, "runs": [{"values": ["1"]}]},
        {"metadata": {"name": "x"}, "runs": [{"values": [True]}]},
        {"metadata": {"name": "x"}, "runs": [{"values": [10**400]}]},
        {"metadata": {"name": "x"}, "runs": [{"values": [1.0], "warmups": 1}]},
        {"metadata": {"name": "x"}, "runs": [{"values": [1.0], "warmups": [1]}]},
        {"metadata": {"name": "x"}, "runs": [{"values": [1.0], "warmups": [[1, 2, 3]]}]},
        {"metadata": {"name": 3}, "runs": [{"values": [1.0]}]},
    ],
)
def test_damage_is_said_in_our_words(tmp_path: Path, benchmark: object) -> None:
    found = said("compare", write(tmp_path / "x.json", benchmark))
    assert found.status == 2 and "is a damaged file: " in found.error
    assert "Error" not in found.error and "object is not" not in found.error  # no words of Python's


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "unit", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
RUNS = st.fixed_dictionaries({}, optional={"values": JSON, "metadata": JSON, "warmups": JSON}) | JSON
BENCHMARKS = st.fixed_dictionaries({}, optional={"metadata": JSON, "runs": st.lists(RUNS, max_size=3) | JSON}) | JSON
FILES = st.fixed_dictionaries(
    {"version": st.just("1.0"), "benchmarks": st.lists(BENCHMARKS, max_size=3)}, optional={"metadata": JSON}
) | st.fixed_dictionaries(
    {"results": st.lists(st.dictionaries(st.sampled_from(["command", "times"]), JSON), max_size=3)}
)


@settings(deadline=None)
@given(data=FILES)
def test_whatever_stands_in_a_file_is_read_or_a_sentence(
    data: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.json"
    path.write_text(json.dumps(data))
    try:
        load(path).summaries()
    except UkperfError as error:
        assert "Error" not in error.message  # nothing of Python's


def test_hyperfines_times_are_runs(tmp_path: Path) -> None:
    found = compare("hyperfine", "hyperfine")
    assert found.status == 0 and "sleep 0.1" in found.out and "100.0 ms" in found.out
    results = [
        {"command": "a", "times": [1.0, 1.1, 9.0, 1.2], "exit_codes": [0, 0, 1, 0]},
        {"command": "b", "times": [2.0] * 4},
        {"command": "b", "times": [3.0] * 4},
    ]
    path = tmp_path / "h.json"
    path.write_text(json.dumps({"results": results}))
    run = load(path)
    assert run.guests == ("h",) and run.benchmarks("h") == ("a", "b", "b (3)")
    assert list(run.boots("h", "a")) == [1.0, 1.1, 1.2] and run.unit("h", "a") is Unit.SECONDS
    assert "1 of 4 runs of a failed and are left out" in said("compare", path, path).out


def test_packed_files_are_read_everywhere_whatever_they_are_called(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.json", bench("t"))
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "odd.json").write_bytes(packed.read_bytes())
    for file in (packed, tmp_path / "odd.json"):
        assert said("compare", plain, file).status == 0
        assert said("check", file, "--baseline", plain).status == 0
        for command in (("compare", file), ("plan", file), ("report", file), ("export", file, "-f", "csv")):
            assert said(*command).status == 0, command
    assert "packed ÷ plain" in said("compare", plain, packed).out


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_damaged_packed_file_is_a_sentence(tmp_path: Path, damage: str) -> None:
    text = gzip.compress(write(tmp_path / "plain.json", bench("t")).read_bytes())
    packed = tmp_path / "x.json.gz"
    packed.write_bytes(text[:-12] if damage == "cut" else text[:10] + b"\xff" * 20 + text[30:])
    found = said("compare", packed)
    assert found.status == 2 and "cannot be unpacked" in found.error


def test_large_files_are_read_alike(tmp_path: Path) -> None:
    # the fast reader refuses NaN and Infinity, and then Python's own reads
    runs = [{"values": [1.0 + i / 1000 + j / 1e6 for j in range(500)]} for i in range(200)]
    plain = write(tmp_path / "plain.json", {"metadata": {"name": "t"}, "runs": runs})
    assert plain.stat().st_size > LARGE_BYTES
    odd = write(tmp_path / "odd.json", {"metadata": {"name": "t"}, "runs": runs}, other=float("inf"))
    one, two = read_pyperf(plain), read_pyperf(odd)
    assert [r.samples for r in one.guests["plain"]] == [r.samples for r in two.guests["odd"]]
    assert one.guests["plain"][3].samples[0].values[7] == 1.0 + 3 / 1000 + 7 / 1e6


def test_only_what_pyperf_converts_is_said_to_be_convertible(tmp_path: Path) -> None:
    for version, converts in ((6, True), (5, True), ("2.0", False), (None, False), ([], False)):
        path = write(tmp_path / "v.json", bench("t"), version=version)
        found = said("compare", path)
        assert found.status == 2 and "only 1.0 is read" in found.error
        assert ("pyperf convert" in found.error) is converts


def test_files_that_were_joined_keep_every_boot(tmp_path: Path) -> None:
    # pyperf convert --add puts the runs of two suites of ours one after the other, with the same blocks
    runs = [{"values": [1.0 + i], "metadata": {"ukperf_block": i % 4, "ukperf_guest": "linux"}} for i in range(8)]
    file = write(tmp_path / "two.json", {"metadata": {"name": "linux/total"}, "runs": runs})
    assert sorted(load(file).boots("linux", "total")) == [1.0 + i for i in range(8)]


@pytest.mark.parametrize("word", ["gone:here/x", "a:b:c", ":linux", "gone.json:linux"])
def test_a_path_that_is_missing_is_named_whole(tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = write(tmp_path / "a.json", bench("t"))
    for words in (("compare", there, word), ("check", word, "--baseline", there), ("plan", word)):
        found = said(*words)
        assert found.status == 2 and f"{word} does not exist" in found.error


def test_a_guest_of_a_file_that_names_none_is_a_sentence(tmp_path: Path) -> None:
    there = write(tmp_path / "a.json", bench("t"))
    found = said("compare", there, f"{there}:linux")
    assert found.status == 2 and "names no guests" in found.error and "It has: ." not in found.error


def test_a_file_of_its_own_goes_by_its_name(tmp_path: Path) -> None:
    draw = random.Random(5)
    runs = [{"values": [draw.lognormvariate(0, 0.01)]} for _ in range(30)]
    runs[3] = {"values": [50.0]}
    telco = write(tmp_path / "telco.json", {"metadata": {"name": "telco"}, "runs": runs})
    assert load(telco).guests == ("telco",)
    text = said("compare", telco).out
    assert "telco has outlying boots" in text and "÷ telco" in text
    report = said("report", telco)
    assert report.status == 0 and " has outlying" not in report.out.replace("telco has outlying", "")


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_what_is_exported_again_matches_what_was_read(tmp_path: Path, suffix: str) -> None:
    telco = write(tmp_path / "telco.json", bench("telco"), bench("total"), bench("n", [7], unit="integer"))
    again = tmp_path / f"again{suffix}"
    text = said("export", telco, "--format", "pyperf").out
    again.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    assert {b["metadata"]["name"] for b in json.loads(text)["benchmarks"]} >= {"telco", "n"}
    found = rows(said("compare", telco, again, "--json"))
    assert len(found) == 3 and all(c["ratio"] == 1 for c in found.values())
    for name in ("csv", "markdown", "hyperfine", "bencher", "benchfmt", "github-action"):
        exported = said("export", telco, "--format", name)
        assert exported.status == 0 and "/telco" not in exported.out and "guest=" not in exported.out


def test_a_plan_on_a_file_knows_what_a_boot_costs_or_says_that_it_does_not(tmp_path: Path) -> None:
    runs = [{"values": [1.0 + i / 100 + j / 1000 for j in range(5)]} for i in range(8)]
    silent = write(tmp_path / "silent.json", {"metadata": {"name": "t"}, "runs": runs})
    assert "not known" in said("plan", silent).out and "0 ns" not in said("plan", silent).out
    timed = [{**run, "metadata": {"duration": 9.0}} for run in runs]
    told = write(tmp_path / "told.json", {"metadata": {"name": "t"}, "runs": timed})
    [part] = json.loads(said("plan", told, "--json").out)["variance"]
    assert part["boot_cost"] == pytest.approx(9 - 5 * 1.037, rel=0.001) and part["best"] >= 1


def test_on_a_narrow_terminal_names_make_room_for_the_figures() -> None:
    pairs = sides([str(CASES / f"markup-{side}.json") for side in "ab"])
    console = Console(width=80, force_terminal=True, color_system=None, record=True, file=io.StringIO())
    render(ComparePage(compare_pairs(pairs, 0.01), pairs, 0.01), console)
    rows = [line for line in console.export_text().splitlines() if "[0." in line]
    assert len(rows) == 8 and max(map(cell_len, rows)) <= 80
    assert any(row.startswith("  xxxx") and "…" in row for row in rows)


def test_names_are_cut_to_a_sane_width_and_stay_apart() -> None:
    text = compare("markup-a", "markup-b").out
    table = text[: text.index("Ratios of geometric means")]
    assert max(map(cell_len, table.splitlines())) < 160
    long = "x" * 300
    assert cell_len(cut("日本語" * 100, 20)) <= 20
    assert cut("short") == "short" and cell_len(cut(long)) == LONGEST_NAME and cut(long + "a") != cut(long + "b")
    assert cell_len(cut("日本語" * 100)) <= LONGEST_NAME
    assert rows(compare("markup-a", "markup-b", "--json")).keys() >= {"[/]", "test_x[bold red]"}  # whole in JSON


def test_a_file_may_be_called_as_the_guest_that_it_names(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"]))
    same = tmp_path / "nanos.json"
    said("export", run, "--format", "pyperf", "--guest", "nanos", "--output", same)
    found = rows(said("compare", f"{run}:nanos", same, "--json"))
    assert found.keys() == {"vmm", "kernel", "init", "stop", "total", "fit"}
    assert all(c["ratio"] == 1 for c in found.values())


def test_benchmarks_that_name_no_guest_stay_apart_from_those_of_a_guest_of_the_files_name(tmp_path: Path) -> None:
    named = {"name": "nanos/fit", "ukperf_guest": "nanos"}
    both = write(tmp_path / "nanos.json", bench("fit"), {"metadata": named, "runs": [{"values": [2.0]}]})
    assert set(read_pyperf(both).guests) == {"nanos", "nanos (unnamed)"}


def test_the_baseline_of_a_file_is_that_of_runs_where_it_is_there_else_the_first_guest(tmp_path: Path) -> None:
    for guests, baseline in ((("nanos", "linux"), "linux"), (("unikraft", "nanos"), "unikraft")):
        benchmarks = [
            {
                "metadata": {"name": f"{guest}/total"},
                "runs": [{"values": [1.0], "metadata": {"ukperf_block": n, "ukperf_guest": guest}} for n in range(3)],
            }
            for guest in guests
        ]
        assert load(write(tmp_path / f"{baseline}.json", *benchmarks)).baseline == baseline
