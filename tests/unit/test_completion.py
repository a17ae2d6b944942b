"""Completion in bash, which breaks words at colons."""

from __future__ import annotations

import pytest

from ukperf.cli import completion


@pytest.mark.parametrize(
    ("words", "at", "whole", "place"),
    [
        (["ukperf", "-g", "nanos", ":", "0.1"], 4, ["ukperf", "-g", "nanos:0.1"], 2),
        (["ukperf", "-g", "nanos", ":"], 3, ["ukperf", "-g", "nanos:"], 2),
        (["ukperf", "-g", "linux", ""], 3, ["ukperf", "-g", "linux", ""], 3),
        (["ukperf", "report"], 2, ["ukperf", "report"], 2),
        (["ukperf", "a", ":", "b", "c"], 1, ["ukperf", "a:b", "c"], 1),
    ],
)
def test_what_bash_took_apart_is_one_word_again(words: list[str], at: int, whole: list[str], place: int) -> None:
    assert completion.joined(words, at) == (whole, place)


def test_only_what_is_behind_the_last_colon_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def application() -> None:
        asked.append((completion.os.environ["COMP_WORDS"], completion.os.environ["COMP_CWORD"]))
        print("nanos:0.1.54\nnanos:0.1.55")
        raise SystemExit(0)

    for name, value in {
        "_UKPERF_COMPLETE": "complete_bash",
        "COMP_WORDS": "ukperf -g nanos : 0.1",
        "COMP_CWORD": "4",
    }.items():
        monkeypatch.setenv(name, value)
    assert completion.in_bash()
    completion.answer(application)
    assert asked == [("ukperf -g nanos:0.1", "2")]
    assert capsys.readouterr().out == "0.1.54\n0.1.55\n"


def test_a_place_that_is_no_number_is_answered_with_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_WORDS", "ukperf -g")
    monkeypatch.setenv("COMP_CWORD", "many")
    completion.answer(lambda: pytest.fail("it was asked"))
    assert capsys.readouterr().out == ""
