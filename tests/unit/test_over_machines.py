"""What holds over machines: one figure for all, the machine being the unit, and what is said of single ones."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import run_of, save_run
from test_two_hosts import plan_on

from ukperf import workloads
from ukperf.cli.output import show
from ukperf.cli.report import command as report
from ukperf.model import Accelerator, BootRecord, Result, Unit, Verdict
from ukperf.reports import html
from ukperf.reports.machinestable import MachinesPage
from ukperf.reports.story import stories_of
from ukperf.stats.effect import Effect
from ukperf.stats.machines import further, over, p_unlike, spread_of, summarize_machines
from ukperf.stats.machinetrials import POINTS, MachinesPoint, covers_further, draw, misses, unlike, unweighted
from ukperf.workloads.base import Finished, NoOptions

TRIALS = 4000
MISSED = 0.06 + 2 * math.sqrt(0.05 * 0.95 / TRIALS)  # the limit, and what simulating adds


def on_machines(ratios: dict[str, float], blocks: int = 8, *, unit: Unit = Unit.SECONDS, sigma: float = 0.01):
    """The same guests on each machine; nanos takes so many times as long as linux there."""
    made: list[BootRecord] = []
    for number, (host, ratio) in enumerate(ratios.items()):
        mine = run_of({"linux": 1.0, "nanos": ratio}, blocks, sigma=sigma, seed=number, unit=unit)
        made += [replace(record, host=host, facts={"hostname": host}) for record in mine]
    return made


def test_eleven_machines_of_twelve_agree_and_the_one_that_does_not_is_named() -> None:
    ratios = {f"node{n:02d}": 0.8 + 0.01 * n for n in range(11)} | {"odd": 1.3}
    (summary,) = summarize_machines(on_machines(ratios), "linux", 0.01)
    total = next(pair for pair in summary.pairs if pair.comparison.benchmark == "total")
    assert {word: len(names) for word, names in total.words.items()} == {"faster": 11, "slower": 1}
    assert total.words["slower"] == ("odd",) and total.unlike
    page = MachinesPage(summary)
    (answer,) = page.answers()
    assert answer.startswith("Over 12 machines: ") and "faster on 11 of 12, slower on 1 (odd)" in answer
    assert any("differ by more than their boots explain" in text for text in page.json()["warnings"])  # type: ignore


def test_the_mean_over_machines_does_not_ask_how_many_blocks_each_had() -> None:
    many = [Effect(math.log(0.5), 0.01, 99, 100), Effect(math.log(2.0), 0.3, 5, 6)]
    assert over(many).ratio == pytest.approx(1.0) and over(many).df == 1
    low, high = over(many).interval() or (0, 0)
    assert low < 0.01 and high > 100  # two machines that contradict each other leave everything open


def test_one_machine_says_nothing_about_others() -> None:
    alone = Effect(0.1, 0.01, 19, 20)
    assert over([alone]).interval() is None and p_unlike([alone]) is None
    assert spread_of([alone]) is None and further([alone]) is None
    assert summarize_machines(on_machines({"one": 0.5}), "linux", 0.01) == ()
    with pytest.raises(ValueError, match="no machines"):
        over([])


def test_counts_that_repeat_on_every_machine_are_exact_over_them() -> None:
    ratios = dict.fromkeys(("a", "b", "c"), 0.5)
    (summary,) = summarize_machines(on_machines(ratios, unit=Unit.INSTRUCTIONS, sigma=0), "linux", 0.01)
    total = next(pair for pair in summary.pairs if pair.comparison.benchmark == "total")
    c = total.comparison
    assert (c.ratio, c.low, c.high, c.word) == (0.5, 0.5, 0.5, "fewer")
    assert total.p_unlike == 1 and total.spread == 0


def test_means_that_are_equal_by_chance_are_not_taken_for_exact() -> None:
    same = [Effect(0.1, 0.02, 7, 8), Effect(0.1, 0.02, 7, 8)]
    low, high = over(same).interval() or (0, 0)
    assert low < high
    assert over([Effect(0.1, None, 0, 2), Effect(0.1, None, 0, 2)]).interval() is None


def test_machines_with_another_qemu_are_a_stratum_of_their_own() -> None:
    ratios = {"a": 0.5, "b": 0.5, "c": 2.0, "d": 2.0, "e": 3.0}
    version = {"a": "7.2", "b": "7.2", "c": "9.0", "d": "9.0", "e": "10.0"}
    records = [replace(r, facts={"qemu": version[r.host]}) for r in on_machines(ratios)]
    strata = summarize_machines(records, "linux", 0.01)
    assert [(s.stratum, s.machines) for s in strata] == [("qemu 7.2", ("a", "b")), ("qemu 9.0", ("c", "d"))]
    for summary in strata:  # e is not passed over in silence
        assert summary.warnings[-1].startswith("e is the only machine with qemu 10.0")


def test_two_connections_to_one_machine_are_said_to_be_one() -> None:
    records = [replace(r, facts={"hostname": "same"}) for r in on_machines({"a": 0.5, "b": 0.5})]
    (summary,) = summarize_machines(records, "linux", 0.01)
    assert any("a and b are one machine (same)" in said for said in summary.warnings)


def test_a_guest_that_failed_on_a_machine_is_over_the_others() -> None:
    records = [r for r in on_machines({"a": 0.5, "b": 0.5, "c": 0.5}) if (r.host, r.trial.guest) != ("b", "nanos")]
    (summary,) = summarize_machines(records, "linux", 0.01)
    total = next(pair for pair in summary.pairs if pair.comparison.benchmark == "total")
    assert total.comparison.n == 2 and set(total.on) == {"a", "c"} and summary.machines == ("a", "b", "c")


EFFECTS = st.lists(
    st.builds(
        lambda y, se, n: Effect(round(y, 9), se, n - 1, n), st.floats(-3, 3), st.floats(1e-3, 2), st.integers(6, 200)
    ),
    min_size=2,
    max_size=30,
)


@given(effects=EFFECTS, shift=st.floats(-2, 2))
def test_a_common_factor_moves_the_ratio_and_nothing_else(effects: list[Effect], shift: float) -> None:
    moved = [replace(e, log_ratio=e.log_ratio + shift) for e in effects]
    assert over(moved).log_ratio == pytest.approx(over(effects).log_ratio + shift, abs=1e-9)
    assert over(moved).se == pytest.approx(over(effects).se, abs=1e-6)
    assert p_unlike(moved) == pytest.approx(p_unlike(effects), abs=1e-6)
    assert spread_of(moved) == pytest.approx(spread_of(effects), abs=1e-5)


def test_the_functions_of_single_campaigns_are_those_that_are_simulated() -> None:
    trials = draw(MachinesPoint(5, 6, 0.5, unequal=True, loud=True), 50, np.random.default_rng(3))
    mean, error, df = unweighted(trials)
    inside = unlike(trials)
    for row in range(50):
        effects = [
            Effect(float(y), float(v) ** 0.5, n - 1, n)
            for y, v, n in zip(trials.ratios[row], trials.squared_errors[row], trials.sizes, strict=True)
        ]
        whole = over(effects)
        assert (whole.log_ratio, whole.se, whole.df) == (pytest.approx(mean[row]), pytest.approx(error[row]), df)
        assert p_unlike(effects) == pytest.approx(inside[row], rel=1e-6)
        low, high = further(effects) or (0, 0)
        assert (low <= math.exp(trials.fresh[row]) <= high) == bool(covers_further(trials)[row])


@pytest.mark.parametrize("point", POINTS[::5], ids=str)
def test_error_rates_over_machines_are_what_is_promised(point: MachinesPoint) -> None:
    """A part of the grid of benchmarks/over_machines.py, with fewer trials."""
    trials = draw(point, TRIALS, np.random.default_rng(1))
    assert misses(trials) <= MISSED  # coverage is what is left: at least 94 %
    if point.between == 0:
        assert float((unlike(trials) <= 0.05).mean()) <= MISSED


def test_pooling_boots_over_machines_would_not_keep_it() -> None:
    """What the mean over all blocks does where machines differ: the reason for all this."""
    trials = draw(MachinesPoint(5, 20, 1.0), TRIALS, np.random.default_rng(1))
    w = 1 / trials.squared_errors
    z = np.abs((w * trials.ratios).sum(1) / w.sum(1)) * np.sqrt(w.sum(1))
    assert float((z > 1.96).mean()) > 0.5


def finished_on(folder: Path, hosts: dict[str, str]) -> Finished:
    """A run on these machines, host → QEMU; nanos takes half as long as linux on all."""
    records = [replace(r, facts={"qemu": hosts[r.host]}) for r in on_machines(dict.fromkeys(hosts, 0.5), 6)]
    folder.mkdir()
    plan = replace(plan_on(tuple(hosts), {}), accelerator=Accelerator.TCG)
    return Finished(Result(folder, plan, tuple(records), "6 blocks were done"))


def test_many_machines_are_one_page_and_few_each_have_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = workloads.get("boot")
    pages = {}
    for name, hosts in {
        "few": dict.fromkeys("ab", "7.2"),
        "many": dict.fromkeys("abcd", "7.2"),
        "unlike": dict(zip("abcd", ("1", "2", "3", "4"), strict=True)),
    }.items():
        show(workload, finished_on(tmp_path / name, hosts), NoOptions(), as_json=False)
        pages[name] = capsys.readouterr().out
    own = {name: sum(f"host {host};" in text for host in "abcd") for name, text in pages.items()}
    assert own == {"few": 2, "many": 0, "unlike": 4}
    assert "Each machine by itself: ukperf report " in pages["many"] and "Over 4 machines" in pages["many"]
    assert "Over 2 machines" in pages["few"] and "by itself" not in pages["few"] + pages["unlike"]


def test_a_report_says_what_holds_over_machines_below_each_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_run(tmp_path / "run", on_machines({"a": 0.5, "b": 0.6, "c": 0.55}))
    report(str(run), html=False, output=None, baseline=None, delta=None, json=False, brief=False)
    text = capsys.readouterr().out
    assert "Over 3 machines: nanos takes" in text and "faster on each of them" in text
    report(str(run), html=False, output=None, baseline=None, delta=None, json=True, brief=False)
    (said,) = json.loads(capsys.readouterr().out)["over_machines"]
    assert said["machines"] == {"a": 8, "b": 8, "c": 8}
    total = next(pair for pair in said["over"] if pair["benchmark"] == "total")
    assert total["verdict"] == Verdict.FASTER and set(total["on"]) == {"a", "b", "c"} and total["n"] == 3
    report(str(run), html=True, output=None, baseline=None, delta=None, json=False, brief=False)
    page = (run / "report.html").read_text()
    assert "<h2>Over machines</h2>" in page and "by themselves" not in page
    assert page.count("<h2>Host ") == 3 and page.count('<tr id="') == 48  # every boot


def test_a_page_of_many_machines_is_bounded_and_says_what_it_leaves_out() -> None:
    hosts = {f"m{n:02d}": 0.5 + n / 1000 for n in range(30)}
    records = on_machines(hosts, 6)
    stories = stories_of(records, {}, title="run", baseline="linux", delta=0.01)
    over = [MachinesPage(summary) for summary in summarize_machines(records, "linux", 0.01)]
    page = html.report(stories, over)
    assert page.count("<h2>Host ") == html.MOST_MACHINES and "<h2>Host m23</h2>" in page
    assert "24 of 30 machines are shown by themselves" in page and "m29" in page  # over machines it counts
    few = html.report(stories[:12], [])
    assert few.count('<tr id="') == 12 * 12 and "by themselves" not in few


def test_dots_are_shared_by_the_machines_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html.charts, "MOST_DOTS", 20)
    stories = stories_of(on_machines(dict.fromkeys("abcd", 0.5)), {}, title="run", baseline="linux", delta=0.01)
    two, four = html.report(stories[:2]), html.report(stories)
    assert two.count('<tr id="') == 2 * 16 and "are drawn" not in two
    assert four.count('<tr id="') == 4 * 8 and four.count("Of 16 boots every so many are drawn, 8 are not.") == 4
