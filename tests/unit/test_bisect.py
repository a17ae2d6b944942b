"""`ukperf bisect`: the sequential test, and a real git bisect that it answers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_compare import cli
from test_history import night

from ukperf.cli.runtools import opened
from ukperf.errors import UkperfError
from ukperf.model import Unit
from ukperf.runs.bisecting import BisectAsked, step
from ukperf.stats.bisecting import Leaning, apart, error_of_step, weigh

PROGRAM = "import sys; sys.argv[0] = 'ukperf'; from ukperf.cli.main import run; run()"


def boots(generator: np.random.Generator, mean: float, count: int) -> list[float]:
    return [float(x) for x in np.exp(0.02 * generator.normal(mean, 1, count))]


@pytest.mark.parametrize(("error", "most_wrong"), [(0.05, 12), (0.005, 4)])
def test_wrong_answers_are_as_rare_as_was_asked_and_easy_steps_short(error: float, most_wrong: int) -> None:
    """Of 120 builds 3 σ from the other side; at 5 % 12 or more wrong ones have a chance of 1 in 70."""
    generator = np.random.default_rng(1)
    wrong = taken = 0
    for trial in range(120):
        good, bad = boots(generator, 0, 10), boots(generator, 3, 10)
        truth = Leaning.BAD if trial % 2 else Leaning.GOOD
        seen = boots(generator, 3.0 * (trial % 2), 64)
        for n in (2, 4, 8, 16, 32, 64):
            weighed = weigh(good, bad, seen[:n], error)
            if weighed.leaning is not Leaning.OPEN:
                break
        wrong += weighed.leaning not in (truth, Leaning.OPEN)
        taken += n
    assert wrong < most_wrong and taken / 120 < 10


def test_counts_that_repeat_are_told_after_two_boots() -> None:
    assert weigh([100.0] * 2, [101.0] * 2, [101.0] * 2, 1e-9).leaning is Leaning.BAD
    weighed = weigh([100.0] * 2, [101.0] * 2, [100.0] * 2, 1e-9)
    assert (weighed.leaning, weighed.exact, weighed.share) == (Leaning.GOOD, True, 0.0)
    assert apart([100.0] * 2, [101.0] * 2) and not apart([100.0] * 2, [100.0] * 2)
    assert not apart([100.0, 101.0], [200.0, 201.0])  # two boots that scatter show nothing


def test_counts_that_nearly_repeat_are_told_after_two_boots_too() -> None:
    """A boot of Linux whose interrupt came earlier: 1,739 instructions of 1.5 thousand million."""
    good, bad, seen = [1.5e9, 1.5e9 - 1739], [1.6e9, 1.6e9], [1.55e9, 1.55e9 + 1739]
    assert apart(good, bad, counted=True) and not apart(good, bad)
    assert weigh(good, bad, [1.6e9 + 9, 1.6e9 - 1739], 1e-9, counted=True).leaning is Leaning.BAD
    between = weigh(good, bad, seen, 1e-9, counted=True)
    assert between.exact and between.share == pytest.approx(0.5, abs=0.02)
    assert not apart([1.5e9, 1.5e9 + 9], [1.5e9 + 99, 1.5e9 + 90], counted=True)


def test_all_steps_together_are_as_sure_as_was_asked() -> None:
    assert error_of_step(0.05, 10) == 0.005


def ends(folder: Path, good: float, bad: float, **more: object) -> tuple[Path, Path]:
    made = {"sigma": 0.0, "unit": Unit.INSTRUCTIONS, "boots": 2, **more}
    return (
        night(folder / "good", 1, {"linux": good}, **made),  # type: ignore[arg-type]
        night(folder / "bad", 2, {"linux": bad}, **made),  # type: ignore[arg-type]
    )


def test_a_build_is_measured_with_more_boots_until_it_is_told(tmp_path: Path) -> None:
    good, bad = ends(tmp_path, 1.0, 1.02, sigma=0.01, unit=Unit.SECONDS, boots=20)
    asked: list[int] = []

    def measure(words: Sequence[str]) -> int:
        asked.append(int(words[2]))
        night(Path(words[1]), 30 + len(asked), {"linux": 1.02}, sigma=0.01, boots=int(words[2]))
        return 0

    answer = step(BisectAsked((str(good),), (str(bad),), ("measure", "@run", "@boots")), opened, measure)
    assert answer.weighed is not None and answer.weighed.leaning is Leaning.BAD
    assert asked == [2, 2, 4, 8, 16, 32][: len(asked)] and answer.boots == sum(asked) <= 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": ("measure",)}, "has no @run"),
        ({"bad": ()}, "do not differ"),
        ({"benchmark": "totl"}, "no benchmark 'totl'"),
        ({"guest": "nanos"}, "no guest 'nanos'"),
    ],
)
def test_a_call_that_cannot_be_answered_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    good, bad = ends(tmp_path, 1e9, 1e9 + 5)
    given: dict[str, object] = {"good": (str(good),), "bad": (str(bad),), "command": ("measure", "@run"), **change}
    if not given["bad"]:
        given["bad"] = given["good"]
    with pytest.raises(UkperfError, match=says):
        step(BisectAsked(**given), opened, lambda words: 0)  # type: ignore[arg-type]


def test_another_accelerator_or_qemu_is_no_step_of_the_same_bisection(tmp_path: Path) -> None:
    good, bad = ends(tmp_path, 1e9, 2e9)

    def measure(words: Sequence[str]) -> int:
        night(Path(words[1]), 3, {"linux": 1e9}, sigma=0, unit=Unit.INSTRUCTIONS, boots=2, qemu="8.2.0")
        return 0

    with pytest.raises(UkperfError, match="the QEMU version differs"):
        step(BisectAsked((str(good),), (str(bad),), ("measure", "@run")), opened, measure)


def test_a_command_that_fails_skips_the_commit(tmp_path: Path) -> None:
    good, bad = ends(tmp_path, 1e9, 2e9)
    words = ("bisect", "--good", good, "--bad", bad, "--")
    assert "skipped (the command ended with status 1)" in cli(*words, "false", "@run", status=125)


def test_git_bisect_names_the_commit_that_changed_the_instructions(tmp_path: Path) -> None:
    """A history of twelve commits of which the eighth costs five instructions, and the sixth cannot be built."""
    good, bad = ends(tmp_path, 1e9, 1e9 + 5)
    repo = tmp_path / "repo"
    repo.mkdir()

    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], cwd=repo, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    for i in range(1, 13):
        kind = "good" if i < 8 else "bad"
        build = "exit 1" if i == 6 else f"cp -r {tmp_path / kind} $1"
        (repo / "measure").write_text(f"#!/bin/sh\n# {i}\n{build}\n")
        git("add", "measure")
        git("commit", "-qm", f"commit {i}")
    git("bisect", "start", "HEAD", "HEAD~11")
    words = [sys.executable, "-c", PROGRAM, "bisect", "--good", str(good), "--bad", str(bad)]
    said = git("bisect", "run", *words, "--", "sh", "./measure", "@run")
    assert re.search(r"is the first '?bad'? commit", said) and "commit 8" in said  # newer gits quote it
    wrong = subprocess.run([*words, "--no-such-option"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 128  # 2 would be a bad commit to git
