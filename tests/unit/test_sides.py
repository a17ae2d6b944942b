"""Several runs as one side, figures divided by a control, and a suite as one figure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ukperf.cli.main import _spread
from ukperf.errors import UkperfError
from ukperf.model import Unit, Verdict
from ukperf.runs.loaded import sides_of_runs
from ukperf.stats.between import COPIES, DRIFT, Side, compare_pairs
from ukperf.stats.perboot import Series
from ukperf.stats.sides import pooled, relative_to, suites


def side(label: str, tables: Mapping[str, Sequence[float]], unit: Unit = Unit.SECONDS, **more: object) -> Side:
    series = {name: Series(unit, tuple(range(len(v))), tuple(v)) for name, v in tables.items()}
    return replace(Side(label, label, series, tried=max(map(len, tables.values()))), **more)  # type: ignore[arg-type]


def nights(generator: np.random.Generator, count: int, mood: float, shift: float = 1.0) -> list[Side]:
    """Runs of eight boots whose level differs from night to night by `mood`."""
    levels = shift * np.exp(generator.normal(0, mood, count))
    names = (f"night{generator.integers(1 << 60)}" for _ in range(count))
    return [
        side(name, {"a": level * np.exp(generator.normal(0, 0.01, 8))})
        for name, level in zip(names, levels, strict=False)
    ]


def test_a_run_is_the_unit_and_its_value_the_geometric_mean_of_its_boots() -> None:
    one = pooled([side("x", {"a": (1.0, 4.0)}), side("y", {"a": (9.0, 1.0)})], "both")
    assert one.series["a"].values == pytest.approx((2.0, 3.0))
    assert (one.runs, one.tried, one.series["a"].unit) == (2, 4, Unit.SECONDS)
    assert one.notes == ("both is 2 runs of 2 boots, and the run is the unit",)


def test_equal_nights_are_told_apart_by_two_runs_and_not_by_several() -> None:
    """What a run's mood does to all of its boots is no difference of what was measured."""
    generator = np.random.default_rng(7)
    alarms = {"one": 0, "six": 0}
    for _ in range(200):
        old, new = nights(generator, 6, 0.02), nights(generator, 6, 0.02)
        pairs = {"one": (new[0], old[0]), "six": (pooled(new, "new"), pooled(old, "old"))}
        for name, pair in pairs.items():
            (comparison,) = compare_pairs([pair], 1e-6)
            alarms[name] += comparison.verdict in (Verdict.FASTER, Verdict.SLOWER)
    assert alarms["one"] > 100 and alarms["six"] <= 20  # of 200; 5 % would be 10, and 20 has a chance of 1 in 600


def test_the_interval_of_several_runs_covers_the_true_difference() -> None:
    generator = np.random.default_rng(8)
    covered = slower = 0
    for _ in range(200):
        pair = pooled(nights(generator, 8, 0.01, 1.05), "new"), pooled(nights(generator, 8, 0.01), "old")
        (comparison,) = compare_pairs([pair], 0.01)
        assert comparison.low is not None and comparison.high is not None and comparison.n == 8
        covered += comparison.low < 1.05 < comparison.high
        slower += comparison.verdict is Verdict.SLOWER
    assert 180 <= covered <= 199 and slower > 180  # of 200; 95 % are 190


def test_drift_is_noted_between_two_runs_and_is_in_the_interval_of_several() -> None:
    generator = np.random.default_rng(9)
    old, new = nights(generator, 6, 0.01), nights(generator, 6, 0.01)
    (two,) = compare_pairs([(new[0], old[0])], 0.01)
    (several,) = compare_pairs([(pooled(new, "new"), pooled(old, "old"))], 0.01)
    (mixed,) = compare_pairs([(pooled(new, "new"), old[0])], 0.01)
    assert DRIFT in two.warnings and DRIFT in mixed.warnings and DRIFT not in several.warnings
    (same,) = compare_pairs([(pooled(old, "a"), replace(pooled(old, "a"), run="copy"))], 0.01)
    assert COPIES in same.warnings


def test_runs_of_other_programs_or_answers_are_no_side() -> None:
    one = side("x", {"a": (1.0,)}, context={"program": "aa" * 32}, answers={"sum": "1"})
    with pytest.raises(UkperfError, match="the program differs"):
        pooled([one, replace(one, label="y", context={"program": "bb" * 32})], "both")
    with pytest.raises(UkperfError, match="did not do the same work: sum differs"):
        pooled([one, replace(one, label="y", answers={"sum": "2"})], "both")


def test_a_benchmark_that_a_run_lacks_is_left_out_by_name() -> None:
    both = pooled([side("x", {"a": (1.0,), "b": (1.0,)}), side("y", {"a": (1.0,)})], "both")
    assert set(both.series) == {"a"}
    assert both.left_out == {"b": "has no value that can be compared in y"}


def test_a_control_takes_out_what_moves_every_benchmark() -> None:
    generator = np.random.default_rng(10)

    def measured(label: str, change: float) -> Side:
        speed = np.exp(generator.normal(0, 0.05, 12))  # of the machine, boot by boot
        tables = {"work": change * speed * np.exp(generator.normal(0, 0.001, 12)), "control": 2 * speed}
        return side(label, tables)

    pair = measured("new", 1.03), measured("old", 1.0)
    plain = {c.benchmark: c for c in compare_pairs([pair], 0.01)}
    divided = relative_to(pair[0], "control"), relative_to(pair[1], "control")
    freed = {c.benchmark: c for c in compare_pairs([divided], 0.01)}
    assert plain["work"].verdict is Verdict.INCONCLUSIVE and freed["work"].verdict is Verdict.SLOWER
    assert freed["work"].ratio == pytest.approx(1.03, rel=0.005)
    assert freed["control"].ratio == pytest.approx(plain["control"].ratio)  # it stays, to be looked at


def test_boots_without_the_control_are_not_divided_by_that_of_others() -> None:
    series = {
        "work": Series(Unit.SECONDS, (0, 1, 2), (10.0, 20.0, 40.0)),
        "control": Series(Unit.SECONDS, (2, 0), (4.0, 5.0)),
    }
    divided = relative_to(Side("x", "x", series), "control").series["work"]
    assert (divided.blocks, divided.values) == ((0, 2), (2.0, 10.0))


@pytest.mark.parametrize(
    ("name", "says"), [("contrl", "no benchmark 'contrl'"), ("zero", "no value that can be divided")]
)
def test_a_control_that_is_none_is_refused(name: str, says: str) -> None:
    with pytest.raises(UkperfError, match=says):
        relative_to(side("x", {"control": (1.0,), "zero": (0.0,)}), name)


def test_a_suite_is_the_geometric_mean_of_each_boot() -> None:
    old = side("old", {"a": (1.0, 2.0), "b": (4.0, 8.0), "kernel": (9.0, 9.0)})
    new = side("new", {"a": (2.0, 4.0), "b": (8.0, 16.0), "kernel": (1.0, 1.0), "c": (1.0, 1.0)})
    ((side_new, side_old),) = suites([(new, old)])
    assert side_old.series["geometric mean of 2 benchmarks"].values == pytest.approx((2.0, 4.0))
    assert side_new.series["geometric mean of 2 benchmarks"].values == pytest.approx((4.0, 8.0))


def test_units_are_not_mixed_in_a_suite_and_one_benchmark_makes_none() -> None:
    times, counts = side("x", {"a": (1.0,), "b": (1.0,)}), side("x", {"n": (1.0,), "m": (4.0,)}, Unit.COUNT)
    both = replace(times, series={**times.series, **counts.series})
    units = [series.unit for pair in suites([(both, both)]) for series in pair[0].series.values()]
    assert units == [Unit.SECONDS, Unit.COUNT]
    alone = side("x", {"a": (1.0,), "b": (0.0,)})  # zero has no logarithm
    assert suites([(alone, alone)]) == []


def test_what_benchmarks_have_in_common_is_in_the_suites_interval() -> None:
    """Ten copies of one benchmark say no more than one."""
    generator = np.random.default_rng(11)

    def copies(label: str) -> Side:
        values = tuple(np.exp(generator.normal(0, 0.1, 10)))
        return side(label, {f"copy{i}": values for i in range(10)})

    pair = copies("new"), copies("old")
    single = compare_pairs([pair], 0.01)[0]
    (whole,) = compare_pairs(suites([pair]), 0.01)
    assert whole.low is not None and whole.high is not None
    assert (whole.ratio, math.log(whole.high / whole.low)) == pytest.approx(
        (single.ratio, math.log((single.high or 0) / (single.low or 1)))
    )


# the command line


def test_all_words_behind_against_are_its_own_up_to_the_next_option() -> None:
    words = ["compare", "a", "b", "--against", "c", "d", "--json"]
    assert _spread(words, "--against") == ["compare", "a", "b", "--against", "c", "--against", "d", "--json"]


def written(path: Path, level: float) -> str:
    runs = [{"metadata": {}, "values": [level * (1 + 0.001 * i)]} for i in range(6)]
    benchmark = {"metadata": {"name": "a", "unit": "second"}, "runs": runs}
    path.write_text(json.dumps({"version": "1.0", "benchmarks": [benchmark]}))
    return str(path)


def test_files_are_runs_of_a_side_and_none_counts_twice(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{name}.json", level) for name, level in (("a", 1.0), ("b", 1.1), ("c", 2.0))]
    ((new, old),) = sides_of_runs(files[:2], files[2:])
    assert (old.label, old.runs, new.label, new.runs) == ("a + 1", 2, "c", 1)
    for twice in ([files[0], files[0]], [files[0]]):
        with pytest.raises(UkperfError, match="named twice"):
            sides_of_runs(twice, [files[0]])
