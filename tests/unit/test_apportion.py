"""--precision over machines: who gets the next block, and when it is enough."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from records import boot, failed, run_of
from test_runner import plan_of
from test_spread import FakeCluster, about, run

from ukperf.engine.errand import Done, Question, Told
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.engine.runner import Silent
from ukperf.engine.session import precise
from ukperf.errors import UkperfError
from ukperf.model import BootRecord, Limits, Outcome, Unit
from ukperf.stats.apportion import LEAST_EACH, WORTH, Apportionment
from ukperf.stats.machinetrials import until_precise

KEY, BOTH = ("total", "nanos", "linux"), ("linux", "nanos")


def told(machines: dict[str, list[float]], precision: float = 0.01) -> Apportionment:
    shares = Apportionment("linux", precision)
    for machine, values in machines.items():
        for value in values:
            shares.blocks[machine] = shares.blocks.get(machine, 0) + 1
            shares.tell(machine, KEY, value)
    return shares


def around(middle: float, sigma: float, n: int) -> list[float]:
    return [middle + sigma * (1 if i % 2 else -1) for i in range(n)]


def test_the_next_block_goes_to_the_machine_that_scatters_most_for_its_blocks() -> None:
    shares = told({"quiet": around(0, 0.01, 10), "loud": around(0, 0.05, 10)})
    gains = shares.gains(("quiet", "loud"), BOTH, {})
    assert gains["loud"] == pytest.approx(25 * gains["quiet"])
    busy = shares.gains(("quiet", "loud"), BOTH, {"loud": 45})  # what is under way counts as done
    assert busy["loud"] < busy["quiet"]


def test_a_machine_that_comes_late_gets_as_many_blocks_as_an_interval_needs_first() -> None:
    shares = told({"a": around(0, 0.01, 10), "late": around(0, 0.0, LEAST_EACH - 2)})
    gains = shares.gains(("a", "late", "new"), BOTH, {"late": 1})
    assert gains["late"] == gains["new"] == math.inf
    assert not shares.ended(("a", "late"), BOTH)


def test_alike_machines_are_enough_where_both_widths_are_narrow() -> None:
    shares = told({f"m{n}": around(0.0001 * n, 0.005, 10) for n in range(5)})
    assert shares.ended([f"m{n}" for n in range(5)], BOTH) == "the intervals over 5 machines were narrow enough"
    agreeing = told({f"m{n}": around(0, 0.2, 10) for n in range(5)})  # by chance: their blocks scatter far more
    assert not agreeing.ended([f"m{n}" for n in range(5)], BOTH)


def test_the_widest_interval_is_told_while_a_run_goes_on() -> None:
    alone, few = told({"a": around(0, 0.005, 40)}), told({"a": [0.1]})
    assert few.widest(BOTH) is None and Apportionment("linux", 0.01).widest(BOTH) is None
    assert alone.widest(BOTH) == pytest.approx(math.expm1(2.0227 * 0.00506 / math.sqrt(40)), rel=0.01)
    agreeing = told({f"m{n}": around(0, 0.2, 10) for n in range(5)})
    widths = agreeing.widths(KEY, ())
    assert widths is not None and widths.seen < widths.own
    assert agreeing.widest(BOTH) == pytest.approx(math.expm1(widths.own))
    agreeing.tell("m0", ("fit", "nanos", "linux"), 0.5)  # what is known least counts
    assert agreeing.widest(BOTH) is None


def test_where_machines_differ_further_blocks_are_said_to_be_of_no_use() -> None:
    shares = told({f"m{n}": around(0.1 * n, 0.005, 10) for n in range(5)})
    why = shares.ended([f"m{n}" for n in range(5)], BOTH)
    assert why == (
        "5 machines leave intervals wider than ± 1 % by what lies between them, which further machines narrow and "
        "further blocks do not"
    )
    assert not shares.ended((), BOTH)  # nobody knows yet who else comes


def test_a_noisy_machine_that_is_gone_does_not_hold_the_run_up_for_ever() -> None:
    gone = around(0, 0.5, 10)
    shares = told({"a": around(0, 0.0001, 10), "b": around(0, 0.0001, 10), "c": around(0, 0.0001, 10), "gone": gone})
    assert not shares.ended(("a", "b", "c", "gone"), BOTH)
    assert "further machines narrow" in shares.ended(("a", "b", "c"), BOTH)


def test_one_machine_is_judged_by_its_own_interval() -> None:
    assert told({"a": around(0, 0.005, 40)}).ended(("a",), BOTH) == "the intervals were narrow enough"
    assert not told({"a": around(0, 0.005, 19)}).ended(("a",), BOTH)
    assert not told({"a": around(0, 0.5, 40)}).ended(("a",), BOTH)


def test_counts_that_repeat_exactly_need_six_blocks_of_each_machine() -> None:
    exact = {f"m{n}": [0.5] * LEAST_EACH for n in range(2)}
    assert "narrow enough" in told(exact).ended(("m0", "m1"), BOTH)
    assert not told(exact | {"m1": [0.5] * 5}).ended(("m0", "m1"), BOTH)
    assert "further machines" in told(exact | {"m1": [0.9] * 6}).ended(("m0", "m1"), BOTH)


def test_boots_become_log_ratios_and_what_cannot_be_compared_holds_nothing_up() -> None:
    shares = Apportionment("linux", 0.01)
    for block in range(8):
        records = [boot("linux", block, 2.0), boot("nanos", block, 1.0, unit=Unit.SECONDS)]
        shares.add("a", records)
        shares.add("b", records)
    assert shares.means(("total", "nanos", "linux")) == pytest.approx({"a": -math.log(2), "b": -math.log(2)})
    assert "narrow enough" in shares.ended("ab", BOTH)
    shares.add("a", [boot("linux", 9, 2.0), boot("nanos", 9, unit=Unit.INSTRUCTIONS)])
    assert shares.ended("ab", BOTH) == "nothing was measured that could become precise"
    lost = Apportionment("linux", 0.01)
    for block in range(8):
        for machine in "ab":
            lost.add(machine, [boot("linux", block, 2.0), failed(boot("nanos", block), Outcome.HUNG)])
    assert "narrow enough" in lost.ended("ab", ("linux",))  # without nanos, given up
    with pytest.raises(UkperfError, match="between 0 and 100"):
        Apportionment("linux", 1.5)


def test_each_kind_of_machine_must_be_precise_where_kinds_are_told_apart() -> None:
    def block(machine: str, ratio: float, block_: int) -> list[BootRecord]:
        facts = {"qemu": "8" if machine in "ab" else "9", "accelerator": "tcg"}
        return [replace(boot(g, block_, t), facts=facts) for g, t in (("linux", 1.0), ("nanos", ratio))]

    for strata, why in ((True, "narrow enough"), (False, "further machines narrow")):
        shares = Apportionment("linux", 0.01, strata)
        for n in range(8):
            for machine, ratio in {"a": 0.5, "b": 0.5, "c": 0.9, "d": 0.9}.items():
                shares.add(machine, block(machine, ratio, n))
        assert why in shares.ended("abcd", BOTH)


def test_each_host_of_several_connections_must_be_precise_by_itself() -> None:
    plan = replace(plan_of(BOTH), limits=Limits(None, 0.01))
    quiet = [replace(r, host="a") for r in run_of({"linux": 1.0, "nanos": 1.0}, 40, sigma=0.001)]
    loud = [replace(r, host="b") for r in run_of({"linux": 1.0, "nanos": 1.0}, 40, sigma=0.05)]
    assert precise(plan, quiet) and not precise(plan, quiet + loud) and not precise(plan, [])


@pytest.mark.parametrize(("machines", "between"), [(3, 0.0), (3, 0.3), (8, 0.1)])
def test_intervals_cover_what_they_promise_when_the_run_stops_on_their_width(machines: int, between: float) -> None:
    random, trials = np.random.default_rng(machines), 200
    stops = [until_precise(machines, between, 1.0, random, loud=True, worth=WORTH, most=2000) for _ in range(trials)]
    assert sum(stop.covers for stop in stops) / trials >= 0.94 - 3 * math.sqrt(0.05 * 0.95 / trials)


def test_blocks_that_go_where_they_help_are_fewer_than_the_same_number_everywhere() -> None:
    def mean(worth: float) -> float:
        random = np.random.default_rng(1)
        stops = [until_precise(12, 0.0, 0.5, random, loud=True, worth=worth, most=4000) for _ in range(8)]
        return sum(stop.total for stop in stops) / len(stops)

    assert mean(WORTH) < 0.75 * mean(0.0)


class Watch(Silent):
    def __init__(self) -> None:
        self.told: list[float | None] = []

    def over_machines(self, blocks: int, machines: int, precision: float | None = None) -> None:
        self.told.append(precision)


@pytest.fixture
def noisy() -> Iterator[FakeCluster]:
    """Three machines of which `loud` scatters ten times as much, and nanos takes half as long as floor."""
    random = {name: np.random.default_rng(seed) for seed, name in enumerate(("a", "b", "loud"))}

    def act(worker: str, question: Question) -> Told:
        if question.do == "about":
            return Told(about=about(worker))
        if question.do == "end":
            return Told()
        sigma = 0.03 if worker == "loud" else 0.003
        boots = [
            boot(guest, question.block, (1.0 if guest == "floor" else 0.5) * math.exp(random[worker].normal(0, sigma)))
            for guest in question.guests
        ]
        return Told(done=Done(question.block, tuple(boots)))

    yield FakeCluster({"a": 1, "b": 1, "loud": 1}, act)


def test_a_run_over_machines_stops_when_it_is_precise_and_the_noisy_one_had_most_blocks(
    noisy: FakeCluster, tmp_path: Path
) -> None:
    plan = replace(plan_of(("floor", "nanos")), limits=Limits(None, 0.02))
    watch = Watch()
    why = run(tmp_path, noisy, plan, observer=watch)
    assert why == "the intervals over 3 machines were narrow enough"
    known = [precision for precision in watch.told if precision is not None]
    assert watch.told[0] is None and known[0] > known[-1] and known[-1] <= 0.02
    records = read_journal(tmp_path / JOURNAL).records
    had = {name: len({r.trial.block for r in records if r.host == f"node-{name}"}) for name in ("a", "b", "loud")}
    assert had["loud"] > 2 * max(had["a"], had["b"]) >= 2 * LEAST_EACH, had
    assert run(tmp_path, noisy, plan) == why  # begun again, it has nothing left to do
    assert len(read_journal(tmp_path / JOURNAL).records) == len(records)


def test_a_run_that_only_further_machines_help_goes_on_when_they_are_there(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    own = {name: 1 + 0.05 * (place % 2) for place, name in enumerate("abcdefghijkl")}

    def act(worker: str, question: Question) -> Told:
        if question.do == "about":
            return Told(about=about(worker))
        if question.do == "end":
            return Told()
        ratio = {"floor": 1.0, "nanos": own[worker]}
        boots = [boot(g, question.block, ratio[g] * math.exp(random.normal(0, 0.001))) for g in question.guests]
        return Told(done=Done(question.block, tuple(boots)))

    plan = replace(plan_of(("floor", "nanos")), limits=Limits(None, 0.03))
    why = run(tmp_path, FakeCluster(dict.fromkeys("abcd", 1), act), plan)
    assert why.startswith("4 machines leave intervals wider than ± 3 %")
    before = len(read_journal(tmp_path / JOURNAL).records)
    why = run(tmp_path, FakeCluster(dict.fromkeys(own, 1), act), plan)
    assert why == "the intervals over 12 machines were narrow enough"
    assert len(read_journal(tmp_path / JOURNAL).records) >= before + 2 * 8 * LEAST_EACH


def test_boots_are_the_most_of_a_run_that_asks_for_precision(noisy: FakeCluster, tmp_path: Path) -> None:
    plan = replace(plan_of(("floor", "nanos")), limits=Limits(20, 0.0001))
    assert run(tmp_path, noisy, plan) == "20 blocks were done"
