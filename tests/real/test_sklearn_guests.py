"""`ukperf sklearn` in real guests, as a user would meet it: every model, models of one's own, too little memory."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from operator import getitem
from pathlib import Path

import joblib
import numpy as np
import pytest
from realrun import World, journal, wait_for, world
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ukperf import guests
from ukperf.engine.setting import open_hosts
from ukperf.guests.base import BuildOptions
from ukperf.hosts.connection import EMBED
from ukperf.hosts.native import NativeHost
from ukperf.imaging.datasources import dataset_folder
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome
from ukperf.paths import data_dir
from ukperf.workloads import learning
from ukperf.workloads.learning import Repetitions, Work

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
]
HOW = ("--accel", "tcg", "--boots", "1")


def here(*names: str) -> list[str]:
    """Of these guests, those whose kernels are in the user's store."""
    return [n for n in names if n == "linux" or guests.get(n).availability(BuildOptions()).ok]


@pytest.fixture
def learner(libvirt_here: None) -> Iterator[World]:
    """A world with the user's own kernels."""
    with world(extra={"UKPERF_DATA_DIR": str(data_dir())}, patience_s=840) as ours:
        yield ours
        assert ours.left_behind() == []


def named(names: list[str]) -> list[str]:
    return [word for name in names for word in ("-g", name)]


def few_classes(path: Path) -> Path:
    """Three of them: boosting grows a tree for each in every round, and its two threads meet at each split."""
    random = np.random.default_rng(0)
    rows = random.random((120, 12))
    np.savez(path, X=rows, y=np.digitize(rows[:, 0] + rows[:, 1], (0.8, 1.2)))
    return path


@pytest.mark.parametrize("name", ["nanos", "unikraft"])  # linux has threads without doubt, and half a minute costs
def test_every_model_with_two_threads_gives_the_hosts_answers(name: str, libvirt_here: None, tmp_path: Path) -> None:
    if name not in here(name):
        pytest.skip(f"no {name} kernel here: ukperf images pull {name}")
    work = Work(learning.MODELS, dataset_folder(str(few_classes(tmp_path / "data.npz"))), threads=2)
    rows = {f"{model} single-row": Repetitions(2, 1, 0) for model in learning.MODELS}

    def boot(guest: str, accelerator: Accelerator) -> Observation:
        image = guests.get(guest).build(
            learning.program(work, accelerator, rows), BuildOptions(accelerator=accelerator)
        )
        spec = BootSpec(
            image, Machine(memory_mib=learning.MEMORY_MIB, vcpus=2), accelerator, timeout_s=600, name=f"t-{guest}"
        )
        if guest == "native":
            return NativeHost().boot(spec)
        with open_hosts([EMBED]) as hosts:
            return hosts[EMBED].boot(spec)

    seen, control = boot(name, Accelerator.TCG), boot("native", Accelerator.NATIVE)
    assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"
    report = seen.report
    assert report.checks == control.report.checks
    assert len(report.checks) == 2 * len(learning.MODELS)
    said = {s.benchmark: s.metadata for s in report.samples}["import"]
    assert said["threads"] == 2  # what BLAS makes of it differs in unikernels


@pytest.fixture
def own(learner: World) -> Path:
    """A folder with the user's data and a fitted model."""
    folder = learner.path("own")
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = random.random((60, 8))
    labels = (rows[:, 0] > 0.5).astype(int)
    np.savez(folder / "data.npz", X=rows, y=labels)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    joblib.dump(model, folder / "model.joblib", compress=3)
    (folder / "model.pickle").write_bytes(pickle.dumps(Trapped(model, learner.path("trapped"))))
    return folder


@dataclass(frozen=True)
class Trapped:
    """A model whose pickle makes a folder where it is unpickled."""

    model: object
    folder: Path

    def __reduce__(self) -> tuple[object, ...]:
        return getitem, ({"model": self.model, "made": _Made(str(self.folder))}, "model")


@dataclass(frozen=True)
class _Made:
    path: str

    def __reduce__(self) -> tuple[object, ...]:
        return os.makedirs, (self.path,)


@pytest.mark.parametrize(("name", "wanted"), [("model.joblib", ("nanos", "unikraft")), ("model.pickle", ("linux",))])
def test_a_model_of_ones_own_is_measured_and_answers_alike(
    learner: World, own: Path, name: str, wanted: tuple[str, ...]
) -> None:
    """A pickle is code, which runs in the guest and leaves nothing on this host."""
    there = here(*wanted)
    if not there:
        pytest.skip(f"no kernel of {' or '.join(wanted)} here: ukperf images pull {wanted[0]}")
    words = ("--model-file", own / name, "--data", own / "data.npz", "--run", learner.path("run"))
    answer = learner.json("sklearn", *named(there), "--baseline", there[0], *HOW, *words)
    assert not any(answer["failures"].values())
    records = journal(learner.path("run"))
    assert sorted(r["trial"]["guest"] for r in records) == sorted(there)
    assert len({json.dumps(r["checks"]) for r in records}) == 1
    assert float(records[0]["checks"]["model accuracy"]) > 0.8
    assert {"model test", "model single-row"} <= {s["benchmark"] for s in records[0]["samples"]}
    assert not learner.path("trapped").exists()


@pytest.mark.skipif("UKPERF_SLOW_TESTS" not in os.environ, reason="takes 80 s; UKPERF_SLOW_TESTS=1 runs it")
def test_a_guest_with_too_little_memory_is_told_how_much_would_do(learner: World) -> None:
    """Others' results stay, and what was found out is not tried again when the run is shown again."""
    if not here("unikraft"):
        pytest.skip("no unikraft kernel here: ukperf images pull unikraft")
    run = learner.path("run")
    words = ("--memory", "160", "--scale", "0.003", "--model", "multinomialnb", "--no-rows", "--run", run)
    answer = learner.json("sklearn", "-g", "native", "-g", "unikraft", "--baseline", "native", *HOW, *words, status=2)
    (advice,) = [note for note in answer["notes"] if "MiB" in note]
    assert advice.startswith("unikraft does not get through with 160 MiB; with ")
    assert 160 < int(advice.split("; with ")[1].split(" MiB")[0].replace(",", "")) <= learning.MEMORY_MIB
    assert any(r["outcome"] == "ok" and r["trial"]["guest"] == "native" for r in journal(run))
    assert learner.json("resume", run, status=2)["notes"] == answer["notes"]


def test_a_resumed_run_says_what_the_whole_one_would_have_said(learner: World) -> None:
    run = learner.path("run")
    words = ("-g", "native", "--baseline", "native", "--boots", "4", "--scale", "0.003", "--no-rows")
    process = learner.start("sklearn", *words, "--model", "multinomialnb", "--run", run)
    wait_for(lambda: journal(run), "first record", process)
    process.kill()
    process.communicate()
    assert len(journal(run)) < 4, "it ended while we looked: the machine is too fast for this test"
    answer = learner.json("resume", run)
    assert answer["blocks"] == 4
    measured = {sample["benchmark"] for record in journal(run) for sample in record["samples"]}
    assert "multinomialnb test" in measured and not any("single-row" in name for name in measured)
    assert answer["data"]["name"] == "synthetic-0.003"
    (note,) = answer["notes"]
    assert note == "Same work: native and this host itself gave the same 2 answers (digests, accuracy)."
    assert note in learner.run("resume", run)


def test_two_builds_of_a_python_image_at_once_give_one_whole_image(tmp_path: Path) -> None:
    if not here("unikraft"):
        pytest.skip("no unikraft kernel here: ukperf images pull unikraft")
    with world(extra={"UKPERF_DATA_DIR": str(data_dir()), "UKPERF_CACHE_DIR": str(tmp_path)}) as ours:
        words = ("images", "build", "unikraft", "--workload", "sklearn", "--scale", "0.003", "--json")
        processes = [ours.start(*words) for _ in range(2)]
        found = []
        for process in processes:
            out, err = process.communicate(timeout=600)
            assert process.returncode == 0, err
            found.append({**json.loads(out), "seconds": None})
        assert found[0] == found[1]
        assert len(list((tmp_path / "archives").iterdir())) == 1
        assert list((tmp_path / "tmp").iterdir()) == []
        archive = Path(found[0]["files"]["initrd"]["path"]).read_bytes()
        assert b"prog/python\0" in archive and b"prog/bench/bench.pyc\0" in archive  # names of newc end with a zero
        assert archive.rstrip(b"\0").endswith(b"TRAILER!!!")
