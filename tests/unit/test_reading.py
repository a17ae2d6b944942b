"""What a workload reads out of a boot besides what the guest's frames say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_session import Stage, stage  # noqa: F401  # a fixture

from ukperf.engine.session import start
from ukperf.model import (
    BootSpec,
    Listening,
    Observation,
    Outcome,
    Readout,
    Sample,
    Unit,
    Verdict,
    direction,
    verdict_word,
)


def reading_of(spec: BootSpec, seen: Observation) -> Readout:
    level = 1.0 if spec.image.guest == "linux" else 2.0
    return Readout((Sample("score (kB/s)", Unit.SCORE, (level,)),), {"output": "ab"}, {"output/ab": b"text"})


def test_what_is_read_is_in_the_journal_and_what_is_kept_in_the_runs_folder(stage: Stage) -> None:  # noqa: F811
    result = start(stage.request, say=print, read=reading_of)
    assert [record.samples[-1].benchmark for record in result.records] == ["score (kB/s)"] * 4
    assert {record.checks["output"] for record in result.records} == {"ab"}
    assert (result.folder / "output" / "ab").read_bytes() == b"text"


def test_a_boot_that_the_reader_finds_no_good_has_failed(stage: Stage) -> None:  # noqa: F811
    result = start(stage.request, say=print, read=lambda spec, seen: Readout(reason="it said nothing"))
    assert {(record.outcome, record.reason) for record in result.records} == {(Outcome.FAILED, "it said nothing")}
    assert not any(record.samples or record.phases for record in result.records)


def test_what_is_wanted_of_the_output_is_in_the_plan_and_in_every_boot(stage: Stage) -> None:  # noqa: F811
    wanted = Listening(keep=1000, limit=5000, ready="up", until_ready=True)
    asked: list[BootSpec] = []

    def read(spec: BootSpec, seen: Observation) -> Readout:
        asked.append(spec)
        return Readout()

    result = start(replace(stage.request, listening=wanted), say=print, read=read)
    assert result.plan.listening == wanted
    assert {(s.keep_output, s.console_limit, s.ready, s.until_ready) for s in asked} == {(1000, 5000, "up", True)}


@pytest.mark.parametrize(("ratio", "word"), [(1.1, "higher"), (0.9, "lower")])
def test_of_a_score_more_is_better(ratio: float, word: str) -> None:
    verdict = direction(ratio - 1, Unit.SCORE)
    assert verdict is (Verdict.FASTER if word == "higher" else Verdict.SLOWER)
    assert verdict_word(verdict, Unit.SCORE) == word
