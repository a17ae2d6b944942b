"""`ukperf check`: what it fails on, and that it never passes where it tested nothing. Inputs: tests/cases/pyperf."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from records import failed, run_of, save_run
from scipy.special import stdtrit
from typer.testing import CliRunner

from ukperf import workloads
from ukperf.cli.main import app
from ukperf.cli.measuring import Shared
from ukperf.cli.output import refuse_if_not_compared, show
from ukperf.engine.plan import load as load_plan
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Result, Sample, Unit
from ukperf.stats.variance import boots_for_width
from ukperf.workloads.base import Finished, NoOptions
from ukperf.workloads.paper import Paper

CASES = Path(__file__).resolve().parents[1] / "cases" / "pyperf"


@dataclass(frozen=True)
class Said:
    """What a command printed, the sentence that it ended with, and its exit status."""

    out: str
    error: str
    status: int


def said(*words: object) -> Said:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, UkperfError):
        return Said(result.output, str(result.exception), result.exception.exit_status)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Said(result.output, "", result.exit_code)


def check(new: Path | str, old: Path | str, *words: object) -> Said:
    return said("check", CASES / new, "--baseline", CASES / old, *words)


@pytest.mark.parametrize(("new", "old", "boots"), [("five-b", "five-a", "5 boots"), ("n5", "n200", "5 boots")])
def test_too_few_boots_are_named_and_do_not_pass(new: str, old: str, boots: str) -> None:
    found = check(f"{new}.json", f"{old}.json")
    assert found.status == 2 and "1 could not be tested" in found.error
    assert f"Not tested: {new} b: {boots} against" in found.out and "check: passed" not in found.out


def test_what_could_not_be_tested_may_be_allowed() -> None:
    found = check("five-b.json", "five-a.json", "--allow-untested")
    assert found.status == 0 and "check: passed (slower: none of 0 tested)" in found.out
    assert check("five-b.json", "five-a.json", "--allow-missing").status == 2


def test_a_benchmark_that_is_gone_is_named_and_does_not_pass() -> None:
    found = check("gone.json", "mixedunits-a.json")
    assert found.status == 2 and "1 gone" in found.error and "Gone: gone time" in found.out
    assert check("gone.json", "mixedunits-a.json", "--allow-untested").status == 2
    allowed = check("gone.json", "mixedunits-a.json", "--allow-missing")
    assert allowed.status == 0 and "none of 2 tested" in allowed.out and "Gone: gone time" in allowed.out


def test_a_benchmark_that_only_the_new_side_has_is_named_and_no_fault() -> None:
    found = check("mixedunits-a.json", "gone.json")
    assert found.status == 0 and "New: mixedunits-a time" in found.out and "none of 2 tested" in found.out


def test_a_count_that_doubled_fails() -> None:
    found = check("count2x.json", "mixedunits-a.json")
    assert found.status == 1 and "check: failed (count2x count; 3 tested)" in found.out


def test_the_words_of_counts_ask_the_same_question() -> None:
    for word, status in (("more", 1), ("slower", 1), ("fewer", 0), ("faster", 0)):
        assert check("count2x.json", "mixedunits-a.json", "--fail-on", word).status == status
    assert check("mixedunits-a.json", "count2x.json", "--fail-on", "fewer").status == 1
    only = check("integer-a.json", "integer-b.json").out
    assert "check: passed (more: none of 1 tested)" in only
    assert "slower, faster" in check("mix-a.json", "mix-b.json", "--fail-on", "worse").error


def test_a_pass_says_how_many_were_tested_and_what_it_does_not_rule_out() -> None:
    found = check("mixedunits-b.json", "mixedunits-a.json")
    assert found.status == 0 and "check: passed (slower or more: none of 3 tested)" in found.out
    assert "more than 1 % is not ruled out: mixedunits-b rss up to 1.12 %" in found.out


def test_json_says_the_same_and_has_the_same_status() -> None:
    found = check("gone.json", "mixedunits-a.json", "--json")
    data = json.loads(found.out)
    assert found.status == 2 and data["passed"] is False and data["tested"] == 2 and data["failed"] == []
    assert [(m["guest"], m["benchmark"]) for m in data["missing"]] == [("gone", "time")] and data["untested"] == []
    five = json.loads(check("five-b.json", "five-a.json", "--json").out)
    assert [(u["benchmark"], u["why"]) for u in five["untested"]] == [
        ("b", "5 boots against 5, and 6 a side are needed")
    ]
    assert json.loads(check("mixedunits-b.json", "mixedunits-a.json", "--json").out)["passed"] is True


def test_benchmarks_can_be_chosen_by_name_and_by_pattern() -> None:
    assert check("count2x.json", "mixedunits-a.json", "-b", "time").status == 0
    assert check("count2x.json", "mixedunits-a.json", "-b", "time", "-b", "c*").status == 1
    assert check("gone.json", "mixedunits-a.json", "--benchmark", "rss").status == 0
    assert check("gone.json", "mixedunits-a.json", "-b", "time").status == 2  # asked for, and gone
    typo = check("gone.json", "mixedunits-a.json", "-b", "tine")
    assert typo.status == 2 and "There is no benchmark 'tine'" in typo.error and "Did you mean time?" in typo.error


def test_a_name_with_signs_of_a_pattern_is_meant_as_it_stands() -> None:
    assert "none of 1 tested" in check("markup-a.json", "markup-b.json", "-b", "[/]").out


def slow_but(change: Callable[[list[BootRecord]], Sequence[BootRecord]]) -> list[BootRecord]:
    """A run in which everything is ten times slower, but something else is the matter with it."""
    return list(change(run_of({"linux": 10.0, "nanos": 5.0}, samples=["fit"], seed=2)))


def all_of(guest: str, records: Sequence[BootRecord]) -> list[BootRecord]:
    return [failed(r) if r.trial.guest == guest else r for r in records]


def in_bytes(records: Sequence[BootRecord]) -> list[BootRecord]:
    return [replace(r, samples=tuple(replace(s, unit=Unit.BYTES) for s in r.samples)) for r in records]


def infinite(records: Sequence[BootRecord]) -> list[BootRecord]:
    return [replace(r, samples=(Sample("fit", Unit.SECONDS, (1e40,)),)) for r in records]


NANOS = ("--fail-on", "slower", "-b", "fit")


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        (lambda rs: [r for r in rs if r.trial.guest == "linux"], (), "new:nanos does not have it"),
        (lambda rs: all_of("nanos", rs), (), "all 20 boots of new:nanos failed"),
        (lambda rs: [r for r in rs if r.trial.block < 5], (), "5 boots against 20"),
        (in_bytes, NANOS, "is in bytes"),
        (infinite, NANOS, "beyond 1e+30"),
        (lambda rs: [replace(r, checks={"answer": "other"}) for r in rs], (), "not the same work"),
        (lambda rs: [replace(r, samples=()) for r in rs], NANOS, "new:nanos has no value"),
    ],
    ids=["guest gone", "all failed", "too few", "other unit", "not finite", "other work", "sample gone"],
)
def test_nothing_that_cannot_be_tested_passes(
    tmp_path: Path,
    change: Callable[[list[BootRecord]], Sequence[BootRecord]],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    records = [replace(r, checks={"answer": "right"}) for r in run_of({"linux": 10.0, "nanos": 5.0}, samples=["fit"])]
    old = save_run(tmp_path / "old", records)
    new = save_run(tmp_path / "new", change(records))
    found = said("check", new, "--baseline", old, *words)
    assert found.status == 2 and sentence in found.out + found.error


def test_a_baseline_whose_boots_all_failed_is_no_new_benchmark(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    old, new = save_run(tmp_path / "old", all_of("nanos", records)), save_run(tmp_path / "new", records)
    found = said("check", new, "--baseline", old)
    assert found.status == 2 and "all 20 boots of old:nanos failed" in found.out


def test_the_only_boot_is_one_boot(tmp_path: Path) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    old = save_run(tmp_path / "old", records)
    new = save_run(
        tmp_path / "new", [r for r in all_of("nanos", records) if r.trial.block == 0 or r.trial.guest == "linux"]
    )
    assert "the only boot of new:nanos failed" in said("check", new, "--baseline", old).out


def test_other_programs_do_not_pass(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0}))
    new = save_run(tmp_path / "new", run_of({"linux": 10.0}), digest="ef" * 32)
    found = said("check", new, "--baseline", old)
    assert found.status == 2 and "the program differs" in found.error


def test_what_is_slower_fails_whatever_else_was_not_tested(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0, "nanos": 0.5}))
    new = save_run(tmp_path / "new", run_of({"linux": 2.0}, seed=4))
    found = said("check", new, "--baseline", old)
    assert found.status == 1 and "Gone: new:nanos" in found.out and "new:linux total" in found.out


def test_a_word_that_fails_what_was_not_tested_fails_it(tmp_path: Path) -> None:
    found = check("five-b.json", "five-a.json", "--fail-on", "inconclusive")
    assert found.status == 1 and "check: failed (five-b b; 0 tested)" in found.out
    found = check("gone.json", "mixedunits-a.json", "--fail-on", "not comparable")
    assert found.status == 1 and "gone time" in found.out


def test_a_run_and_its_copy_are_told(tmp_path: Path) -> None:
    old = save_run(tmp_path / "old", run_of({"linux": 1.0}))
    shutil.copytree(old, tmp_path / "copy")
    found = said("check", tmp_path / "copy", "--baseline", old)
    assert found.status == 0 and "hold the same values" in found.out
    counts = save_run(tmp_path / "counts", run_of({"linux": 1.0}, sigma=0.0))  # counts may repeat between real runs
    again = save_run(tmp_path / "again", run_of({"linux": 1.0}, sigma=0.0))
    assert "hold the same values" not in said("check", again, "--baseline", counts).out


def test_a_run_without_a_boot_is_one_sentence(tmp_path: Path) -> None:
    run, empty = (
        save_run(tmp_path / "run", run_of({"linux": 1.0})),
        save_run(tmp_path / "empty", run_of({"linux": 1.0})),
    )
    (empty / "journal.ndjson").write_bytes(b"")
    for words in (("check", empty, "--baseline", run), ("check", run, "--baseline", empty), ("compare", empty, run)):
        found = said(*words)
        assert found.status == 2 and "empty has no boots" in found.error and "resume" in found.error
    for command in (("plan", empty), ("compare", empty), ("report", empty), ("export", empty, "--format", "csv")):
        assert said(*command).status == 2


def test_damaged_lines_of_a_journal_are_told_where_runs_are_compared(tmp_path: Path) -> None:
    old, new = (save_run(tmp_path / n, run_of({"linux": 1.0}, seed=i)) for i, n in enumerate(("old", "new")))
    lines = (new / "journal.ndjson").read_bytes().split(b"\n")
    lines[3] = b"{}"
    (new / "journal.ndjson").write_bytes(b"\n".join(lines))
    for words in (("check", new, "--baseline", old), ("compare", old, new)):
        assert "1 line of the journal of new could not be read" in said(*words).out


def ended(folder: Path, records: Sequence[BootRecord]) -> Result:
    run = save_run(folder, records)
    return Result(run, load_plan(run), tuple(records), "20 blocks were done")


@pytest.mark.parametrize("bad", ["linux", "nanos"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_in_which_nothing_could_be_compared_does_not_end_well(
    tmp_path: Path, bad: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ended(tmp_path / "run", all_of(bad, run_of({"linux": 1.0, "nanos": 0.5}, 8)))
    with pytest.raises(UkperfError, match=f"Nothing could be compared: every boot of {bad} failed.*no end in 120 s"):
        show(workloads.get("boot"), Finished(result), NoOptions(), as_json=as_json)
    out = capsys.readouterr().out
    assert "hung" in out and "nanos" in out  # what was measured is shown first


def test_the_papers_experiments_without_a_comparison_do_not_end_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ended(tmp_path / "run", all_of("linux", run_of({"linux": 1.0, "nanos": 0.5}, 8)))
    made = Paper(tmp_path, (), Finished(result), ())
    monkeypatch.setattr("ukperf.workloads.paper.reproduce", lambda *_, **__: made)
    for words in ((), ("--json",)):
        found = said("paper", "--quick", "--run", tmp_path / "paper", *words)
        assert found.status == 2 and "every boot of linux failed" in found.error and found.out


def test_a_run_with_one_good_pair_ends_well(tmp_path: Path) -> None:
    refuse_if_not_compared(ended(tmp_path / "one", run_of({"floor": 1.0}, 8)))
    three = run_of({"linux": 1.0, "nanos": 0.5, "floor": 0.1}, 8)
    refuse_if_not_compared(ended(tmp_path / "three", all_of("nanos", three)))


def test_on_two_hosts_one_without_a_comparison_is_named(tmp_path: Path) -> None:
    here = [replace(r, host="xen://a") for r in run_of({"linux": 1.0, "nanos": 0.5}, 4)]
    there = [replace(r, host="xen://b") for r in all_of("linux", run_of({"linux": 1.0, "nanos": 0.5}, 4))]
    with pytest.raises(UkperfError, match="compared on xen://b: every boot of linux"):
        refuse_if_not_compared(ended(tmp_path / "run", [*here, *there]))


@pytest.mark.parametrize("option", ["kernel", "append"])
def test_a_guest_named_twice_in_one_option_is_refused(option: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(b"x")
    words = [f"linux={file}" for file in files]
    with pytest.raises(UkperfError, match=f"--{option} names linux twice"):
        Shared(**{option: words}).request()  # type: ignore[arg-type]
    assert Shared(**{option: [words[0], f"nanos={files[1]}"]}).request()  # type: ignore[arg-type]


def test_a_pilot_of_one_guest_is_planned_by_its_own_precision(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", run_of({"linux": 1.0}, 40, sigma=0.02))
    data = json.loads(said("plan", run, "--effect", 1, "--json").out)
    total = next(p for p in data["alone"] if p["benchmark"] == "total")
    assert data["plans"] == [] and total["deviation"] == pytest.approx(0.02, rel=0.3)
    # 1.96² × 2² ≈ 16 boots for the mean case; with 80 % assurance and Student's t more
    assert 16 < total["boots"] < 40 and total["seconds"] == pytest.approx(total["boots"], rel=0.05)
    text = said("plan", run)
    assert text.status == 0 and "known to ± 1 %" in text.out and "total" in text.out
    assert "no guest 'lunix'" in said("plan", run, "--baseline", "lunix").error


def test_the_boots_of_a_plan_bring_the_width_as_often_as_it_says() -> None:
    draw = np.random.default_rng(3)
    n = boots_for_width(0.02, 0.01, 0.80)
    logs = draw.normal(0, 0.02, (4000, n))
    widths = stdtrit(n - 1, 0.975) * logs.std(axis=1, ddof=1) / n**0.5
    assert 0.80 <= (widths <= math.log1p(0.01)).mean() <= 0.90
    logs = draw.normal(0, 0.02, (4000, n - 1))
    widths = stdtrit(n - 2, 0.975) * logs.std(axis=1, ddof=1) / (n - 1) ** 0.5
    assert (widths <= math.log1p(0.01)).mean() < 0.80
