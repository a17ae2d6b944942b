"""Whose programs wait until their kernel has done what it put off at boot: those that are timed, not their guests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ukperf.model import Request
from ukperf.workloads import density
from ukperf.workloads.cold_start import ColdStart
from ukperf.workloads.cold_ways import ColdOptions
from ukperf.workloads.density import Density, DensityOptions
from ukperf.workloads.run import Run, RunOptions

BENCH: Any = SimpleNamespace(say=lambda _: None)
TRUE = ("true",)


def test_a_program_that_is_timed_waits() -> None:
    assert Run().prepare(RunOptions(words=TRUE), Request(guests=("linux",)), BENCH).request.program.settled


def test_one_whose_guests_start_is_timed_does_not() -> None:
    asked = ColdStart().prepare(ColdOptions(words=TRUE, path="boot"), Request(guests=("linux",)), BENCH).request
    assert asked.program.argv and not asked.program.settled


def test_nor_does_one_of_a_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "room_mib", lambda: 8000)
    asked = Density().prepare(DensityOptions(words=TRUE), Request(guests=("linux",)), BENCH).request
    assert asked.program.argv and not asked.program.settled


def test_nor_does_a_variants_program() -> None:
    timed = Run().prepare(RunOptions(words=TRUE), Request(guests=("linux",)), BENCH).request.program
    request = Request(program=timed, programs={"other": timed}).started_at_once()
    assert not request.program.settled and not request.programs["other"].settled
