"""`ukperf history`: which runs belong together, what changed at which of them, and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import run_of, save_run
from test_compare import cli

from ukperf.engine.plan import load as load_plan
from ukperf.engine.plan import save as save_plan
from ukperf.model import BootRecord, Unit
from ukperf.stats.changes import MOST_RUNS
from ukperf.stats.history import Way

FACTS = {
    "workload": "boot",
    "program": "aa" * 32,
    "accelerator": "tcg",
    "machine": "q35, 1 vCPU, 256 MiB",
    "qemu": "7.2.0",
    "cpu": "a CPU",
    "hostname": "here",
}


def night(
    folder: Path,
    day: int,
    guests: Mapping[str, float],
    *,
    sigma: float = 0.01,
    unit: Unit = Unit.SECONDS,
    kernels: Mapping[str, str] | None = None,
    boots: int = 6,
    **facts: str,
) -> Path:
    """A run of one night, kernels by guest."""
    records = run_of(guests, boots, sigma=sigma, seed=day, unit=unit)
    accelerator = {"accelerator": "icount"} if unit is Unit.INSTRUCTIONS else {}

    def told(record: BootRecord) -> BootRecord:
        kernel = (kernels or {}).get(record.trial.guest, "6.1")
        own = {"kernel": kernel, "kernel_sha256": f"{kernel:0>64}"[:64]}
        return replace(record, facts={**FACTS, **accelerator, **own, **facts})

    save_run(folder, [told(record) for record in records])
    save_plan(replace(load_plan(folder), created_at=f"2026-01-{day:02d}T03:00:00+00:00"), folder)
    return folder


def nights(top: Path, count: int, slower_from: int, by: float = 1.1, mood: float = 0.0) -> Path:
    """Linux gets slower at one night, nanos never; all guests of a night share its mood."""
    generator = np.random.default_rng(3)
    for i in range(count):
        level = float(np.exp(generator.normal(0, mood)))
        size = level * (by if i >= slower_from else 1.0)
        kernel = "6.2" if i >= slower_from else "6.1"
        night(top / f"night-{i + 1:02d}", i + 1, {"linux": size, "nanos": 0.5 * level}, kernels={"linux": kernel})
    return top


def counts(top: Path, sizes: list[float]) -> Path:
    for i, size in enumerate(sizes):
        night(top / f"build-{i:02d}", i + 1, {"linux": size}, sigma=0, unit=Unit.INSTRUCTIONS, boots=2)
    return top


def told(*words: object) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(cli("history", *words, "--json"))
    return said


def refused(*words: object) -> str:
    return cli(*words, status=2)


def line(said: Mapping[str, Any], guest: str, benchmark: str = "total", history: int = 0) -> dict[str, Any]:
    lines: list[dict[str, Any]] = said["histories"][history]["lines"]
    return next(one for one in lines if (one["guest"], one["benchmark"]) == (guest, benchmark))


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nights(tmp_path_factory.mktemp("history") / "nights", 14, 8)


def test_the_night_that_made_a_guest_slower_is_named_with_its_size_and_kernel(slower: Path) -> None:
    said = told(slower, "-b", "total")
    (change,) = line(said, "linux")["changes"]
    assert (change["label"], change["word"]) == ("night-09", "slower")
    assert change["low"] < 1.1 < change["high"] and 1.05 < change["ratio"] < 1.15
    assert change["differs"] == ["the kernel of linux differs: 6.1 against 6.2"]
    assert line(said, "nanos")["changes"] == [] and line(said, "nanos")["seen"] > 0
    printed = cli("history", slower, "-b", "total")
    assert "since night-09" in printed and "at most 5 % of cases" in printed


def test_a_control_divides_out_what_hits_all_guests_of_a_night(tmp_path: Path) -> None:
    moody = nights(tmp_path / "moody", 14, 7, 1.1, mood=0.15)
    assert line(told(moody, "-b", "total"), "linux")["changes"] == []
    assert "--control nanos divides out" in cli("history", moody, "-b", "total")
    freed = line(told(moody, "-b", "total", "--control", "nanos"), "linux")
    (change,) = freed["changes"]
    assert freed["control"] == ["nanos"] and freed["unit"] is None
    assert change["label"] == "night-08" and change["low"] < 1.1 < change["high"]


def test_a_control_whose_kernel_changes_is_refused(slower: Path) -> None:
    assert "not the same in all runs" in refused("history", slower, "--control", "linux")
    assert "'linx' is no guest here" in refused("history", slower, "--control", "linx")


def test_counts_that_repeat_name_the_first_run_that_differs_by_one_instruction(tmp_path: Path) -> None:
    said = told(counts(tmp_path / "builds", [1e9, 1e9, 1e9 + 1, 1e9 + 1]), "-b", "total")
    total = line(said, "linux")
    (change,) = total["changes"]
    assert total["way"] == Way.EXACT and change["label"] == "build-02"
    assert change["low"] == change["ratio"] == change["high"] > 1
    assert (change["before"], change["after"]) == (1e9, 1e9 + 1)
    assert "1,000,000,001 instr" in cli("history", tmp_path / "builds", "-b", "total")


def test_counts_that_nearly_repeat_change_where_no_boot_comes_near_those_before(tmp_path: Path) -> None:
    for i, size in enumerate((1e9, 1e9 * (1 + 4e-5), 1e9 * (1 + 4e-4), 1e9 * (1 + 4e-4))):
        folder = tmp_path / f"{i}"
        night(folder, i + 1, {"nanos": size}, sigma=1e-6, unit=Unit.INSTRUCTIONS)
    total = line(told(tmp_path, "-b", "total"), "nanos")
    (change,) = total["changes"]
    assert (total["way"], change["label"]) == (Way.NEARLY, "2")
    assert change["low"] < 1 + 3.8e-4 < change["high"]


def test_other_machines_programs_and_qemus_are_never_mixed(slower: Path, tmp_path: Path) -> None:
    night(tmp_path / "other-cpu", 20, {"linux": 3.0}, cpu="another CPU")
    night(tmp_path / "other-program-1", 21, {"linux": 9.0}, program="bb" * 32)
    night(tmp_path / "other-program-2", 22, {"linux": 9.0}, program="bb" * 32)
    said = told(slower, tmp_path, "-b", "total")
    assert [len(history["runs"]) for history in said["histories"]] == [14, 2]
    assert said["histories"][1]["apart"] == [f"the program differs, {'b' * 12} against {'a' * 12}"]
    (left,) = said["left_out"]
    assert "other-cpu is left out: the CPU differs, another CPU against a CPU" in left
    assert len(told(slower, tmp_path, "-b", "total", "--any-program")["histories"][0]["runs"]) == 16


def test_under_icount_another_cpu_is_no_other_machine_and_another_qemu_is(tmp_path: Path) -> None:
    for day, facts in ((1, {}), (2, {"cpu": "another CPU", "hostname": "there"}), (3, {"qemu": "8.2.0"})):
        folder = tmp_path / f"{day}"
        night(folder, day, {"linux": 1e9}, sigma=0, unit=Unit.INSTRUCTIONS, boots=2, **facts)  # type: ignore[arg-type]
    said = told(tmp_path, "-b", "total")
    assert [run["label"] for run in said["histories"][0]["runs"]] == ["1", "2"]
    assert "the QEMU version differs" in said["left_out"][0]


def test_runs_are_in_the_order_of_time_or_as_they_were_named(slower: Path) -> None:
    words = [slower / f"night-{i:02d}" for i in (3, 1, 2)]
    assert [run["label"] for run in told(*words)["histories"][0]["runs"]] == ["night-01", "night-02", "night-03"]
    given = told(*words, "--order", "given", "--axis", "time")["histories"][0]["runs"]
    assert [run["label"] for run in given] == ["2026-01-03 03:00", "2026-01-01 03:00", "2026-01-02 03:00"]


def test_runs_are_called_by_kernel_or_by_a_label(slower: Path) -> None:
    runs = told(slower, "--axis", "kernel", "--label", "night-02=v6.1 rc")["histories"][0]["runs"]
    assert [run["label"] for run in runs[:3]] == ["6.1", "v6.1 rc", "6.1 (2)"]
    assert runs[8]["label"] == "6.2"


def test_bundles_are_read_with_all_their_runs(slower: Path, tmp_path: Path) -> None:
    words = [slower / f"night-{i:02d}" for i in (1, 2, 3)]
    cli("bundle", *words, "-o", tmp_path / "three.tar.gz")
    for where in (tmp_path / "three.tar.gz", tmp_path):
        assert len(told(where)["histories"][0]["runs"]) == 3


def test_a_run_that_is_there_twice_counts_once(slower: Path, tmp_path: Path) -> None:
    one = slower / "night-01"
    cli("bundle", one, "-o", tmp_path / "copy.tar.gz")
    said = told(slower, one, slower / ".." / "nights" / "night-02", tmp_path / "copy.tar.gz")
    assert len(said["histories"][0]["runs"]) == 14
    assert said["left_out"] == [f"{tmp_path}/copy.tar.gz is left out: it is the same run as {one}."]


def test_what_a_folder_holds_and_is_no_whole_run_is_said(slower: Path, tmp_path: Path) -> None:
    for i in (1, 2):
        night(tmp_path / f"{i}", i, {"linux": 1.0})
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "plan.json").write_text("{")
    (tmp_path / "notes.txt").write_text("no run")
    (tmp_path / "torn.tar.gz").write_bytes(b"\x1f\x8b torn")
    (tmp_path / "again").symlink_to(tmp_path)
    said = told(tmp_path)
    assert len(said["histories"][0]["runs"]) == 2 and "broken is left out" in said["left_out"][0]
    assert "torn.tar.gz is left out" in said["left_out"][1]
    assert "too few to test" in cli("history", tmp_path)
    refused("history", broken, tmp_path / "1")  # what is named itself must be whole


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--guest", "linx"), "No run has a guest 'linx'"),
        (("--benchmark", "totl"), "There is no benchmark 'totl'"),
        (("--label", "nigt-01=a"), "--label names a run that is not among these"),
        (("--label", "night-01"), "names no run"),
    ],
)
def test_names_that_fit_nothing_are_refused(slower: Path, words: tuple[str, ...], says: str) -> None:
    assert says in refused("history", slower, *words)


def test_one_run_an_empty_folder_and_too_many_are_refused(slower: Path, tmp_path: Path) -> None:
    assert "two runs or more" in refused("history", slower / "night-01")
    assert "no run is in it" in refused("history", tmp_path)
    many = tmp_path / "many"
    for i in range(MOST_RUNS + 1):
        (many / f"{i}").mkdir(parents=True)
        (many / f"{i}" / "plan.json").write_text("{}")
    assert f"at most {MOST_RUNS}" in refused("history", many)


def test_the_page_has_a_picture_of_every_line_and_of_every_change(slower: Path, tmp_path: Path) -> None:
    page = tmp_path / "history.html"
    cli("history", slower, "--html", page, "--control", "nanos")
    text = page.read_text()
    assert "From run to run, relative to the control" in text and "From run to run, time" in text
    assert text.count('class="middle"') == len(
        [change for one in told(slower, "--control", "nanos")["histories"][0]["lines"] for change in one["changes"]]
    )
