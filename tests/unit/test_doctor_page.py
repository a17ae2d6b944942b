"""`ukperf doctor`'s page on narrow and wide terminals and in a pipe."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from ukperf.doctor.checks import Check, Diagnosis, State
from ukperf.doctor.page import DoctorPage
from ukperf.hosts.noise import NoiseSource
from ukperf.hosts.truth import Truth
from ukperf.model import Accelerator
from ukperf.reports.jsonout import encode
from ukperf.reports.terminal import render

LONG = (
    "KVM booted the floor guest, but its instructions took 1000 times as long as on the host itself, so it is not used."
)
ADVICE = "The host of this machine emulates guest code: ask for nested KVM, or go on with icount, which is exact."


def diagnosis(*states: State, accelerator: Accelerator | None = Accelerator.ICOUNT) -> Diagnosis:
    checks = [
        Check(f"check {i}", state, LONG, ADVICE if state is not State.OK else "") for i, state in enumerate(states)
    ]
    noise = (NoiseSource("load", "9.10 on 2 CPUs", False, "Stop what else runs."), NoiseSource("SMT", "off", True, "x"))
    return Diagnosis("qemu:///embed", tuple(checks), accelerator, Truth(False, LONG, ADVICE, 1000.0, 1.0), noise)


def page(found: Diagnosis, width: int, terminal: bool) -> str:
    out = io.StringIO()
    render(
        DoctorPage(found), Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False)
    )
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    text = page(diagnosis(State.OK, State.OPTIONAL, State.MISSING), width, True)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    assert flat.count(LONG) == 3
    assert flat.count(ADVICE) == 2


def test_in_a_pipe_each_sentence_is_one_line() -> None:
    lines = page(diagnosis(State.OK, State.MISSING), 80, False).splitlines()
    assert f"{'ok':8}{'check 0':15} {LONG}" in lines
    assert f"{'MISSING':8}{'check 1':15} {LONG}" in lines
    assert " " * 24 + ADVICE in lines


def test_what_is_quiet_needs_no_advice() -> None:
    text = page(diagnosis(State.OK), 120, False)
    assert "Stop what else runs." in text
    assert "off\n" in text and " x\n" not in text


@pytest.mark.parametrize(
    ("states", "accelerator", "ok", "says"),
    [
        ([State.OK, State.OPTIONAL], Accelerator.ICOUNT, True, "icount: figures are guest instructions"),
        ([State.OK], Accelerator.KVM, True, "kvm: figures are seconds"),
        ([State.OK, State.MISSING], None, False, "cannot run here"),
    ],
)
def test_the_last_line_is_the_verdict(
    states: list[State], accelerator: Accelerator | None, ok: bool, says: str
) -> None:
    found = diagnosis(*states, accelerator=accelerator)
    assert found.ok is ok
    assert says in page(found, 120, False).splitlines()[-1]


def test_the_figures_of_the_truth_check_are_facts() -> None:
    data = json.loads(encode(DoctorPage(diagnosis(State.OK)).json()))
    assert data["truth"]["slowdown"] == 1000.0
    assert data["accelerator"] == "icount"
