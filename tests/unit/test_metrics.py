"""Numbers that a program prints: what is a metric, and what comes of text that is not well meant."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.patterns import PatternError
from ukperf.workloads import metrics
from ukperf.workloads.metrics import MOST_VALUES, PATTERN_S, Metric, metric_of, metrics_of, samples_of, without_lines


@pytest.mark.parametrize(
    ("typed", "metric"),
    [
        (r"n=([\d.]+)", Metric("n", r"([\d.]+)", Unit.COUNT)),
        (r"t=took (\d+) ms:ms", Metric("t", r"took (\d+) ms", Unit.SECONDS, 1e-3)),
        (r"size=(\d+):KiB", Metric("size", r"(\d+)", Unit.BYTES, 1024.0)),
        (r"rate=(\d+):higher", Metric("rate", r"(\d+)", Unit.SCORE)),
        (r"sha=sha256\s+([\d.]+)k:kB/s:higher", Metric("sha (kB/s)", r"sha256\s+([\d.]+)k", Unit.SCORE)),
        (r"lag=(\d+):ops:lower", Metric("lag (ops)", r"(\d+)", Unit.COUNT)),
        (r"real=real: ([\d.]+)", Metric("real", r"real: ([\d.]+)", Unit.COUNT)),  # its colon is the pattern's
        (r"x=(?:a|b):(\d+)", Metric("x", r"(?:a|b):(\d+)", Unit.COUNT)),
    ],
)
def test_a_metric_is_name_pattern_unit_and_direction(typed: str, metric: Metric) -> None:
    assert metric_of(typed) == metric


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("n", "is no metric"),
        ("n=", "is no metric"),
        ("=x", "is no metric"),
        (" b=x", "is no metric"),
        ("n=(", "is no pattern"),
        ("n=:s", "has no pattern"),
        (f"n={'x' * 1001}", "longer than 1,000 characters"),
    ],
)
def test_what_is_no_metric_is_one_sentence(typed: str, says: str) -> None:
    with pytest.raises(UkperfError, match=says):
        metric_of(typed)


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(UkperfError, match="Two metrics are called n"):
        metrics_of(["n=a", "n=b"])


def test_every_match_is_a_value_of_the_first_group_or_of_all_of_it() -> None:
    text = "total 1,200 ms\ntotal 7.5 ms\n"
    assert metric_of(r"t=^total ([\d.,]+) ms$:ms").values(text) == (1.2, 0.0075)
    assert metric_of(r"t=[\d.]+$").values("a 1\nb 2") == (1.0, 2.0)


def test_a_metric_that_matches_nothing_makes_no_sample() -> None:
    assert samples_of([metric_of("n=(x)")], "abc") == ()


@pytest.mark.parametrize(
    ("typed", "text", "says"),
    [
        ("n=(.*)", "abc", "'abc', which is no number"),
        (r"n=(\S+)", "-1", "no figure"),
        (r"n=(\S+)", "inf", "no figure"),
        (r"n=(\S+)", "nan", "no figure"),
        ("n=1", "1" * (MOST_VALUES + 1), f"more than {MOST_VALUES:,} times"),
        ("n=(a)?b", "b", "'nothing', which is no number"),
    ],
)
def test_what_a_guest_prints_need_not_be_a_figure(typed: str, text: str, says: str) -> None:
    with pytest.raises(PatternError, match=says):
        samples_of([metric_of(typed)], text)


def test_a_pattern_that_backtracks_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATTERN_S <= 5
    monkeypatch.setattr(metrics, "PATTERN_S", 0.5)
    started = time.process_time()
    with pytest.raises(PatternError, match=r"the metric n: it was searched for longer than 0\.5 s"):
        samples_of([metric_of("n=(?:(?:a|aa)+)+$1")], "a" * 5000 + "b")
    assert time.process_time() - started < 10


@given(st.binary(max_size=300))
def test_any_bytes_may_stand_in_an_output(written: bytes) -> None:
    assert without_lines(written, ["never matches this"]) == written
    assert without_lines(written, [""]) == b""


def test_ignored_lines_are_taken_out_whole() -> None:
    assert without_lines(b"pid 17\nsum 4\r\npid 18", ["^pid"]) == b"sum 4\r\n"
