"""Rates, of which more is better: the direction is that of the unit, wherever a verdict is made or said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyperf
import pytest
from records import boot, run_of, save_run
from test_compare import cli
from typer.testing import CliRunner

from ukperf.cli.main import app
from ukperf.console import FrameDecoder, assemble, encode_frame
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Sample, Unit, Verdict
from ukperf.reports.answers import answers
from ukperf.reports.exports import Exportable, export
from ukperf.reports.units import with_unit
from ukperf.runs.pyperffile import read_pyperf
from ukperf.stats.drift import drifts
from ukperf.stats.figures import Warmth
from ukperf.stats.perboot import collect
from ukperf.stats.summary import summarize

UNITS = (Unit.SECONDS, Unit.CYCLES, Unit.INSTRUCTIONS, Unit.BYTES, Unit.COUNT)


def rates(nanos: float = 5e6, linux: float = 4e6, blocks: int = 20, unit: Unit = Unit.PER_SECOND) -> list[BootRecord]:
    """A run whose guests send so many a second; boots scatter by 1 %."""
    random = np.random.default_rng(3)
    means = {"linux": linux, "nanos": nanos}

    def sample(guest: str) -> Sample:
        return Sample("sent", unit, tuple((means[guest] * np.exp(random.normal(0, 0.01, 5))).tolist()))

    return [replace(r, samples=(sample(r.trial.guest),)) for r in run_of({"linux": 1.0, "nanos": 1.0}, blocks)]


def check(new: Path, old: Path, *words: str) -> int:
    found = CliRunner().invoke(app, ["check", str(new), "--baseline", str(old), "-b", "sent", *words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found.exit_code


def test_a_guest_may_say_that_its_values_are_rates() -> None:
    said = [encode_frame("main", 0, 1, 1), encode_frame("samples", 1, 2, 2, benchmark="sent", unit="1/s", loops=1)]
    decoder = FrameDecoder()
    frames = decoder.feed(said[0] + encode_frame("samples", 1, 2, 2, benchmark="a", unit="1/s", loops=1, values=[5]), 1)
    [sample] = assemble(frames).samples
    assert sample.unit is Unit.PER_SECOND and sample.values == (5.0,)


@pytest.mark.parametrize(("nanos", "verdict", "word"), [(5e6, "faster", "higher"), (3e6, "slower", "lower")])
def test_the_higher_rate_is_the_faster_one(nanos: float, verdict: str, word: str, tmp_path: Path) -> None:
    records = rates(nanos)
    comparison = summarize(records, "linux").comparison("nanos", "sent")
    assert comparison is not None and (comparison.verdict, comparison.word) == (verdict, word)
    found = json.loads(cli("compare", save_run(tmp_path / "run", records), "--json"))["comparisons"]
    [sent] = [c for c in found if c["benchmark"] == "sent"]
    assert (sent["verdict"], sent["word"], sent["unit"]) == (verdict, word, "1/s")
    assert f" {word}" in cli("report", tmp_path / "run")


@pytest.mark.parametrize("unit", UNITS)
def test_of_everything_else_less_is_better(unit: Unit) -> None:
    comparison = summarize(rates(5e6, unit=unit), "linux").comparison("nanos", "sent")
    assert comparison is not None and comparison.verdict is Verdict.SLOWER and comparison.word in ("slower", "more")


def test_the_gate_fails_where_a_rate_fell_and_not_where_it_rose(tmp_path: Path) -> None:
    usual, more, less = (save_run(tmp_path / str(n), rates(n)) for n in (5e6, 6e6, 4e6))
    only = lambda folder: f"{folder}:nanos"  # noqa: E731
    assert check(only(less), only(usual)) == 1 and check(only(more), only(usual)) == 0
    for word, status in (("slower", 1), ("lower", 1), ("faster", 0), ("higher", 0)):
        assert check(only(less), only(usual), "--fail-on", word) == status
    assert check(only(more), only(usual), "--fail-on", "higher") == 1
    told = CliRunner().invoke(app, ["check", only(more), "--baseline", only(usual), "-b", "sent"]).output
    assert "check: passed (lower: none of 1 tested)" in told


def test_what_a_pass_does_not_rule_out_is_a_rate_that_fell(tmp_path: Path) -> None:
    usual, other = (save_run(tmp_path / str(n), rates(n, blocks=7)) for n in (5e6, 4.98e6))
    words = ["check", f"{other}:nanos", "--baseline", f"{usual}:nanos", "-b", "sent", "--delta", "0.1"]
    low = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)["comparisons"][0]["low"]
    assert f"nanos sent up to {100 * (1 / low - 1):.3g} %" in CliRunner().invoke(app, words).output


def test_rates_are_written_for_people() -> None:
    assert [with_unit(v, Unit.PER_SECOND) for v in (0.5, 12.0, 4.2e4, 5e6)] == [
        "0.5000 /s",
        "12.00 /s",
        "42.00 k/s",
        "5.000 M/s",
    ]
    [sentence] = [a for a in answers(summarize(rates(), "linux")) if "sent" in a]
    assert sentence.startswith("The rate of nanos is 24.95 %") and "higher than that of linux for sent" in sentence


def test_a_report_says_on_which_side_of_the_line_higher_rates_are(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", rates())
    cli("report", run, "--html", "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "of rates, more is better" in page and "higher" in page
    plain = save_run(tmp_path / "plain", run_of({"linux": 1.0, "nanos": 2.0}))
    cli("report", plain, "--html", "-o", tmp_path / "p.html")
    assert "of rates" not in (tmp_path / "p.html").read_text()


def test_a_suite_of_rates_is_pyperfs_and_reads_back_as_rates(tmp_path: Path) -> None:
    records = rates()
    text = export("pyperf", Exportable(records, summarize(records, "linux"), {}, ("nanos",)))
    assert pyperf.BenchmarkSuite.loads(text).get_benchmark("sent").get_nvalue() == 100
    (tmp_path / "out.json").write_text(text)
    [(_, boots)] = read_pyperf(tmp_path / "out.json").guests.items()
    [sample] = boots[0].samples
    assert sample.unit is Unit.PER_SECOND and sample.values == pytest.approx(collect_first(records))


def collect_first(records: list[BootRecord]) -> tuple[float, ...]:
    return next(r for r in sorted(records, key=lambda r: r.trial.index) if r.trial.guest == "nanos").samples[0].values


def exported(kind: str, *benchmarks: str) -> str:
    records = rates()
    return export(kind, Exportable(records, summarize(records, "linux"), {}, (), benchmarks))


def test_exports_say_which_direction_is_better() -> None:
    lines = exported("benchfmt").splitlines()
    assert lines.count("Unit op/s better=higher") == 1 and any(line.endswith(" op/s") for line in lines)
    assert json.loads(exported("bencher"))["linux/sent"].keys() == {"throughput"}
    assert "1/s" in exported("csv") and "higher" in exported("markdown")
    entries = json.loads(exported("github-action", "sent"))
    assert all("tool: customBiggerIsBetter" in e["extra"] and e["unit"] == "1/s" for e in entries)
    assert "tool: customSmallerIsBetter" in exported("github-action", "total")


def test_one_file_for_the_action_never_holds_both_directions() -> None:
    with pytest.raises(UkperfError, match=r"sent is a rate and .* is not"):
        exported("github-action")


def test_what_an_iteration_costs_is_not_its_rate(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", rates())
    parts = json.loads(cli("plan", run, "--effect", "1", "--json"))["variance"]
    assert [part["iteration_cost"] for part in parts] == [None, None]
    assert "M/s" not in cli("plan", run, "--effect", "1")


def test_rates_that_rise_are_warming_up() -> None:
    rising = tuple([3.0] * 20 + [5.0] * 80)
    for unit, kind in ((Unit.PER_SECOND, Warmth.WARMING_UP), (Unit.SECONDS, Warmth.SLOWING_DOWN)):
        series = collect([replace(boot("linux", 0), samples=(Sample("sent", unit, rising),))], "linux")["sent"]
        assert series.warmth == (kind,) and series.values == (5.0,)


@pytest.mark.parametrize(
    ("unit", "word"),
    [(Unit.SECONDS, "got 10.0 % slower"), (Unit.PER_SECOND, "rose by"), (Unit.BYTES, "rose by")],
)
def test_drift_of_a_rate_or_a_count_is_not_called_slower(unit: Unit, word: str) -> None:
    records = [
        replace(boot("linux", i, 1.0, index=i), samples=(Sample("sent", unit, (1e6 * 1.1 ** (i / 29),)),))
        for i in range(30)
    ]
    assert word in drifts(records)["sent"].sentence()
