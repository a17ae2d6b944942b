"""From records to a run's answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from records import boot, failed, run_of

from ukperf.errors import UkperfError
from ukperf.model import Outcome, Phase, Sample, Unit, Verdict
from ukperf.stats.perboot import boot_summaries, collect, least_calls
from ukperf.stats.precision import precise_enough
from ukperf.stats.summary import by_host, summarize


def test_a_run_is_compared_phase_by_phase() -> None:
    summary = summarize(run_of({"linux": 1.0, "nanos": 0.5, "floor": 1.0}, 30, sigma=0.005), "linux", 0.01)
    assert summary.benchmarks == ("vmm", "kernel", "init", "stop", "total")
    assert [guest.guest for guest in summary.guests] == ["linux", "floor", "nanos"]
    assert len(summary.comparisons) == 10
    total = summary.comparison("nanos", "total")
    assert total is not None and total.verdict is Verdict.FASTER and total.n == 30
    assert total.low is not None and total.high is not None and total.low < 0.5 < total.high
    same = summary.comparison("floor", "total")
    assert same is not None and same.verdict is Verdict.EQUIVALENT


def test_failed_boots_are_counted_and_drop_their_pair_only() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    lost = next(i for i, r in enumerate(records) if r.trial.guest == "nanos" and r.trial.block == 3)
    records[lost] = failed(records[lost])
    summary = summarize(records, "linux")
    nanos, total = summary.guest("nanos"), summary.comparison("nanos", "total")
    assert nanos is not None and total is not None
    assert (nanos.boots, nanos.tried, nanos.failures) == (19, 20, {Outcome.HUNG: 1})
    assert (total.n, total.warnings) == (19, ("1 of 20 pairs dropped: nanos 1 hung",))


def test_a_retry_that_succeeds_stands_in_its_block_and_the_failure_is_still_counted() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    lost = next(i for i, r in enumerate(records) if r.trial.guest == "nanos" and r.trial.block == 3)
    retry = replace(records[lost], trial=replace(records[lost].trial, index=1000, attempt=1))
    records[lost] = failed(records[lost], Outcome.CRASHED)
    summary = summarize([*records, retry], "linux")
    nanos, total = summary.guest("nanos"), summary.comparison("nanos", "total")
    assert nanos is not None and total is not None
    assert (nanos.boots, nanos.tried, nanos.failures) == (20, 21, {Outcome.CRASHED: 1})
    assert (total.n, total.warnings) == (20, ())


def test_all_boots_of_a_side_failed() -> None:
    records = [failed(r) if r.trial.guest == "nanos" else r for r in run_of({"linux": 1.0, "nanos": 0.5})]
    summary = summarize(records, "linux")
    assert {c.verdict for c in summary.comparisons} == {Verdict.NOT_COMPARABLE}
    assert summary.comparisons[0].warnings == ("nanos has no value",)
    assert summary.guests[1].boots == 0


def test_one_boot_gets_a_ratio_and_no_interval() -> None:
    [comparison] = [
        c for c in summarize([boot("linux", 0), boot("nanos", 0, 0.5)], "linux").comparisons if c.benchmark == "total"
    ]
    assert (comparison.ratio, comparison.low, comparison.verdict) == (0.5, None, Verdict.INCONCLUSIVE)
    assert comparison.boots_needed == 6


def test_units_that_differ_are_not_compared() -> None:
    records = run_of({"linux": 1e9}, sigma=0, unit=Unit.INSTRUCTIONS) + run_of({"native": 0.01})
    comparison = summarize(records, "linux").comparison("native", "total")
    assert comparison is not None and comparison.verdict is Verdict.NOT_COMPARABLE
    assert comparison.warnings == ("native is in seconds, linux in instructions",)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan")])
def test_values_without_a_logarithm_are_named_not_dropped(bad: float) -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    index = next(i for i, r in enumerate(records) if r.trial.guest == "nanos")
    records[index] = replace(records[index], phases={**records[index].phases, Phase.INIT: bad})
    summary = summarize(records, "linux")
    comparison, total = summary.comparison("nanos", "init"), summary.comparison("nanos", "total")
    assert comparison is not None and comparison.verdict is Verdict.NOT_COMPARABLE
    assert "1 of 20 boots of nanos" in comparison.warnings[0]
    assert total is not None and total.verdict is Verdict.FASTER


def test_different_answers_refuse_the_samples_not_the_boot() -> None:
    records = [
        replace(r, checks={"predictions": "aaa" if r.trial.guest == "linux" else "bbb"})
        for r in run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"])
    ]
    summary = summarize(records, "linux")
    fit, total = summary.comparison("nanos", "fit"), summary.comparison("nanos", "total")
    assert fit is not None and fit.verdict is Verdict.NOT_COMPARABLE
    assert "aaa" in fit.warnings[0] and "bbb" in fit.warnings[0]
    assert total is not None and total.verdict is Verdict.FASTER


def test_the_stop_of_a_guest_that_the_host_ends_is_not_compared() -> None:
    records = [replace(r, ended_by_host=r.trial.guest == "unikraft") for r in run_of({"linux": 1.0, "unikraft": 0.5})]
    stop = summarize(records, "linux").comparison("unikraft", "stop")
    assert stop is not None and stop.verdict is Verdict.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ((1.0, 1.0), None),
        ((1.0001, 0.9999), None),
        ((0.0, 0.0), "nanos stands still"),
        ((0.5, 0.5), "nanos runs 50.0 % slow"),
        ((1.0, 1.02), "nanos is not constant: 1.000 to 1.020"),
    ],
)
def test_a_clock_must_keep_pace_with_the_instructions_in_every_boot(
    ratios: tuple[float, float], said: str | None
) -> None:
    records = [
        replace(r, unit=Unit.INSTRUCTIONS, clock_ratio=ratios[r.trial.block % 2] if r.trial.guest == "nanos" else 1.0)
        for r in run_of({"linux": 1, "nanos": 1})
    ]
    clocks = [warning for warning in summarize(records, "linux").warnings if "clock" in warning]
    assert clocks == [] if said is None else said in clocks[0]


def test_a_drifting_host_is_named_in_every_summary() -> None:
    [warning] = summarize(run_of({"linux": 1.0, "nanos": 0.5}, 30, sigma=0.01, drift=0.05), "linux").warnings
    assert warning.startswith("The host drifted: total got") and "cancels it" in warning


def test_hosts_are_never_pooled() -> None:
    records = run_of({"linux": 1.0}) + [replace(r, host="xen:///system") for r in run_of({"linux": 1.0})]
    with pytest.raises(UkperfError, match="never pooled"):
        summarize(records, "linux")
    assert {host: len(part) for host, part in by_host(records).items()} == {"": 20, "xen:///system": 20}


@pytest.mark.parametrize("delta", [0.0, -0.1, 1.0])
def test_an_absurd_margin_is_refused(delta: float) -> None:
    with pytest.raises(UkperfError):
        summarize(run_of({"linux": 1.0}), "linux", delta)


def test_no_boots_are_refused_and_a_missing_baseline_is_said() -> None:
    with pytest.raises(UkperfError):
        summarize([], "linux")
    summary = summarize(run_of({"nanos": 1.0}), "linux")
    assert summary.comparisons == () and "baseline linux" in summary.warnings[0]


def test_a_boot_counts_once_however_many_values_it_has() -> None:
    record = replace(
        boot("linux", 0), samples=(Sample("a", Unit.SECONDS, (1.0, 2.0)), Sample("a", Unit.SECONDS, (6.0,)))
    )
    assert boot_summaries(record)["a"] == (3.0, Unit.SECONDS)


def test_quantiles_are_taken_per_boot_and_only_from_enough_calls() -> None:
    assert (least_calls(0.5), least_calls(0.99), least_calls(0.999)) == (5, 299, 2995)
    sample = Sample(
        "call", Unit.SECONDS, tuple(float(i) for i in range(1, 1001)), metadata={"quantiles": "0.5,0.99,0.999"}
    )
    got = boot_summaries(replace(boot("linux", 0), samples=(sample,)))
    assert got["call/p50"][0] == 500 and got["call/p99"][0] == 990
    assert "call/p99.9" not in got and "call" not in got


def test_a_sample_named_like_a_phase_stays_apart() -> None:
    record = replace(boot("linux", 0), samples=(Sample("total", Unit.SECONDS, (7.0,)),))
    assert collect([record], "linux")["sample:total"].values == (7.0,)


def test_precision_looks_at_width_and_waits_for_six() -> None:
    exact = run_of({"linux": 1e9, "nanos": 5e8}, 6, sigma=0, unit=Unit.INSTRUCTIONS)
    assert precise_enough(exact, baseline="linux", precision=0.001)
    assert not precise_enough([r for r in exact if r.trial.block < 5], baseline="linux", precision=0.5)
    noisy = run_of({"linux": 1.0, "nanos": 0.5}, 40, sigma=0.02)
    assert not precise_enough(noisy, baseline="linux", precision=0.005)
    assert precise_enough(noisy, baseline="linux", precision=0.02)
    # the same widths around another difference: the same answer
    assert precise_enough(run_of({"linux": 1.0, "nanos": 1.0}, 40, sigma=0.02), baseline="linux", precision=0.02)
    assert not precise_enough([], baseline="linux", precision=0.02)


def test_precision_of_one_guest_is_that_of_its_own_mean() -> None:
    assert precise_enough(run_of({"linux": 1.0}, 40), baseline="linux", precision=0.02)
    assert not precise_enough(run_of({"linux": 1.0}, 40, sigma=0.2), baseline="linux", precision=0.02)


def test_units_that_differ_do_not_hold_a_run_up() -> None:
    records = run_of({"linux": 1e9, "nanos": 5e8}, 6, sigma=0, unit=Unit.INSTRUCTIONS) + run_of({"native": 0.01}, 6)
    assert precise_enough(records, baseline="linux", precision=0.01)


def test_frames_that_were_lost_in_good_boots_are_told() -> None:
    records = run_of({"linux": 1.0, "nanos": 0.5})
    told = summarize([replace(records[0], bad_frames=2), *records[1:]], "linux").warnings
    guest = records[0].trial.guest
    assert (
        f"2 damaged frames of {guest} in 1 good boot were left out: a sample that lacks one has no value in its boot."
        in told
    )
    assert not any("damaged" in warning for warning in summarize(records, "linux").warnings)


def test_the_line_that_tells_why_is_among_the_last_ones_of_a_failed_boot() -> None:
    """A kernel prints its stack behind it."""
    tail = "Kernel panic - not syncing: No init\nCall Trace:\n ret_from_fork\n </TASK>\nKernel Offset: disabled\n"
    records = [replace(failed(r), console_tail=tail) if r.trial.block < 1 else r for r in run_of({"linux": 1.0}, 8)]
    (guest,) = summarize(records, "linux").guests
    assert guest.last_lines[0] == "Kernel panic - not syncing: No init" and len(guest.last_lines) == 3


def test_guests_that_ran_another_engine_are_not_compared_and_that_is_the_reason() -> None:
    """Also where other answers differ, and come first by their names: the engine is why."""
    checks = {"linux": {"answer": "3a", "engine xnnpack": "yes"}, "nanos": {"answer": "4b", "engine xnnpack": "no"}}
    records = run_of({"linux": 1.0, "nanos": 0.5}, samples=["fit"])
    records = [replace(r, checks=checks[r.trial.guest]) for r in records]
    fit = summarize(records, "linux").comparison("nanos", "fit")
    assert fit is not None and fit.verdict is Verdict.NOT_COMPARABLE
    assert fit.warnings == ("another engine: xnnpack is no in nanos, yes in linux",)
