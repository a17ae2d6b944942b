"""Measuring commands on this machine itself, as the control does: whole runs, without a virtual machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from realrun import SHARED
from test_cli import Shell

from ukperf.paths import cache_dir

USERS = cache_dir()
ALONE = ("-g", "native", "--baseline", "native", "--share-host", "--boots", "2", "--seed", "1")


@pytest.fixture
def measured(shell: Shell, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a command, with one cache for all tests here, whose programs and trees of Python are the user's own."""
    for name in SHARED:
        if not (cache / name).exists():
            (USERS / name).mkdir(parents=True, exist_ok=True)
            (cache / name).symlink_to(USERS / name)
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(cache))
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))

    def run(*words: str) -> dict[str, Any]:
        command, rest = words[0], words[1:]
        status, out, err = shell(command, *ALONE, "--run", str(tmp_path / "run"), "--json", *rest)
        assert status == 0, err
        answer: dict[str, Any] = json.loads(out)
        assert (tmp_path / "run" / "suite.json").is_file()
        (native,) = answer["guests"]
        assert (native["guest"], native["boots"]) == ("native", 2)
        return {"said": err, **native["estimates"], **answer}

    return run


def test_learning_is_calibrated_and_measured_and_its_answers_are_this_hosts_own(
    measured: Any, shell: Shell, tmp_path: Path
) -> None:
    learnt = measured("sklearn", "--model", "multinomialnb", "--scale", "0.002", "--no-rows")
    assert "Calibrating on this host" in learnt["said"] and "Data synthetic-0.002: 80 × 260 to train" in learnt["said"]
    assert learnt["multinomialnb train"]["unit"] == "s" and 0 < learnt["multinomialnb train"]["value"] < 30
    told = shell("report", str(tmp_path / "run"))[1]
    assert "Same work: native and this host itself gave the same" in told


def test_a_model_is_measured_in_its_runtime(measured: Any) -> None:
    answer = measured("infer", "sklearn", "--calls", "5", "--bare")
    assert "Calibrating sklearn on this host" in answer["said"]
    for name in ("import", "load", "first prediction", "single row", "batch"):
        assert 0 < answer[name]["value"] < 60, name


def test_system_calls_are_measured_in_a_process(measured: Any) -> None:
    answer = measured("syscall-cost", "--only", "getppid.raw")
    assert 0 < answer["getppid.raw"]["value"] < 1e-3


def test_the_operations_are_listed_and_nothing_is_run(shell: Shell) -> None:
    status, out, err = shell("syscall-cost", "--list", "--only", "getppid.*")
    assert (status, err) == (0, "") and "getppid.raw" in out and "read1.raw" not in out


def test_the_calls_of_this_machine_are_those_of_its_kernel(shell: Shell) -> None:
    words = ("syscalls", "-g", "native", "--share-host")
    status, out, _ = shell(*words, "--only", "getpid,tuxcall")
    rows = {line.split()[1]: line.split()[2:] for line in out.splitlines()[1:]}
    assert status == 0 and rows == {"getpid": ["works"], "tuxcall": ["enosys"]}
    told = json.loads(shell(*words, "--json")[1])
    assert "getpid" in json.dumps(told) and shell(*words, "--list")[0] == 0
    assert "No system call is named like nosuch*" in shell.refusal(*words, "--only", "nosuch*")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("sklearn", "--threads", "0"), "--threads 0 is not between 1 and"),
        (("sklearn", "--data", "newsgroups", "--scale", "0.1"), "--scale is for the synthetic data only"),
        (("sklearn", "--model", "knn", "--model-file", "x"), "--model and --model-file exclude each other"),
        (("sklearn", "--model-file", "no-such-file"), "There is no file"),
        (("sklearn", "--scale", "-1"), "cale"),
        (("infer", "sklearn", "--batch", "0"), "--batch 0 is less than 1"),
        (("infer", "sklearn", "--batch", "99999999"), "--batch 99999999 is not between 1 and"),
        (("infer", "sklearn", "--calls", "99999999"), "--calls 99999999 is not between 1 and"),
        (("infer", "sklearn", "--threads", "7", "--vcpus", "2"), "hreads"),
        (("infer", "no-such-runtime"), "no-such-runtime"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_built(
    shell: Shell, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in shell.refusal(*words, "-g", "native", "--baseline", "native", "--share-host")
