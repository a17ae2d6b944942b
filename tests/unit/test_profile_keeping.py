"""Profiles in bundles: read back as they were, on machines that have nothing of what was counted."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import guest
from records import run_of, save_run
from test_cli import Shell

from ukperf.engine.plan import load, save
from ukperf.engine.profiles import profiles_of
from ukperf.model import COUNTS, Unit, counts_file
from ukperf.profile.counts import Counts, write_counts
from ukperf.profile.keeping import kept, kept_text
from ukperf.profile.model import WHOLE, CodePart, Function, Profile, Profiled
from ukperf.runs.bundle import bundle
from ukperf.workloads.profiling import KALLSYMS, KEPT

LISTED = "ffffffff81000000 T _text\nffffffff81000000 T startup_64\nffffffff81000100 T start_kernel\n"


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, capsys, monkeypatch)


# ---- as text ----

NAMES = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), max_size=8)
COUNT = st.integers(0, 1 << 62)


@st.composite
def profiled(draw: st.DrawFn) -> Profiled:
    functions = draw(st.lists(st.builds(Function, st.sampled_from(CodePart), NAMES, NAMES, st.booleans()), unique=True))
    usual = ("start", *draw(st.lists(NAMES.filter(lambda name: name not in ("", "start")), unique=True, max_size=3)))

    def boot() -> Profile:
        windows = usual if draw(st.booleans()) else ("start",)
        row = st.tuples(*[COUNT] * len(windows))
        rows = {f: counts for f in functions if draw(st.booleans()) and any(counts := draw(row))}
        counter = draw(st.dictionaries(st.sampled_from([WHOLE, *windows]), COUNT))
        return Profile(windows, rows, draw(row), draw(row), counter)

    boots = [boot() for _ in range(draw(st.integers(1, 3)))]
    return Profiled(draw(NAMES), (*boots, boots[0]), tuple(draw(st.lists(NAMES, max_size=2))))


@given(st.lists(profiled(), min_size=1, max_size=3))
@settings(max_examples=40)
def test_profiles_are_read_back_as_they_were(sides: list[Profiled]) -> None:
    assert kept(json.loads(kept_text(sides))) == tuple(sides)


def test_a_boot_that_did_what_the_first_did_takes_no_room() -> None:
    one, many = (len(kept_text([guest("linux", boots=boots)])) for boots in (1, 50))
    assert many < one + 50 * 200


def damaged(change: Callable[[dict[str, object]], object]) -> object:
    data = json.loads(kept_text([guest("linux", boots=2)]))
    change(data["guests"][0])
    return data


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(boots=[]),
        lambda one: one["boots"].pop(0),
        lambda one: one["boots"][1]["rows"].append([10**6, 1, 1]),
        lambda one: one["boots"][1]["rows"].extend([[0, 1, 1], [0, 1, 1]]),
        lambda one: one["boots"][0]["rows"].append(one["boots"][0]["rows"][0]),
        lambda one: one["boots"][0]["rows"][0].pop(),
        lambda one: one["boots"][0]["rows"][0].__setitem__(1, -1),
        lambda one: one["boots"][0]["rows"].append([]),
        lambda one: one["boots"][0]["total"].append(1),
        lambda one: one["boots"][0].update(windows=["a", "a"]),
        lambda one: one["boots"][0].update(windows=["start", "\x1b[2J"]),
        lambda one: one["boots"][1].update(windows=["start", "other"]),
        lambda one: one["functions"].append(one["functions"][0]),
        lambda one: one["functions"][0].__setitem__(0, "nowhere"),
    ],
)
def test_what_is_damaged_is_refused(change: Callable[[dict[str, object]], object]) -> None:
    with pytest.raises(ValueError):
        kept(damaged(change))


# ---- in a bundle ----


def counted(folder: Path, scale: int = 1, guests: tuple[str, ...] = ("linux",)) -> Path:
    """A run of two boots of a kernel that this machine has not, with its kallsyms."""
    records = run_of(dict.fromkeys(guests, 5e8), 2, sigma=0.0, unit=Unit.INSTRUCTIONS)
    save_run(folder, records)
    save(replace(load(folder), workload="profile", counted=True), folder)
    (folder / KALLSYMS.format("linux")).write_text(LISTED)
    (folder / "profiled.json").write_text('{"format": 1, "programs": {}}\n')
    (folder / COUNTS).mkdir()
    executed = np.array([[7, 3], [0, 5 * scale]], np.uint64)
    counts = Counts(
        address=np.array([0xFFFFFFFF81000000, 0xFFFFFFFF81000120], np.uint64),
        instructions=np.array([2, 10], np.uint32),
        size=np.array([4, 20], np.uint32),
        code=np.zeros((2, 16), np.uint8),
        windows=("", "main → exit"),
        executed=executed,
        lost=0,
        rest=np.zeros(2, np.uint64),
        total=np.array([44, 50 * scale], np.uint64),
    )
    for record in records:
        write_counts(counts, counts_file(folder, record.trial.index))
    return folder


def test_what_the_others_are_divided_by_is_shown_first(tmp_path: Path) -> None:
    folder = counted(tmp_path / "one", guests=("floor", "linux"))
    assert load(folder).baseline == "linux"
    assert [side.label for side in profiles_of(folder).sides] == ["linux", "floor"]


def test_a_profile_s_bundle_says_by_function_what_its_run_does_and_has_no_counts(tmp_path: Path, shell: Shell) -> None:
    folder, target = counted(tmp_path / "one"), tmp_path / "one.tar.gz"
    status, out, err = shell("bundle", str(folder), "-o", str(target))
    assert (status, err) == (0, "") and "--whole" in out and "counts" in out
    with tarfile.open(target) as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert KEPT in names and not {"00000.gz", KALLSYMS.format("linux")} & names
    for words in (("--json",), ("--window", "main → exit"), ("--format", "folded", "-o", str(tmp_path / "f"))):
        status, told, err = shell("profile", str(folder), *words)
        assert (status, err) == (0, "")
        assert shell("profile", str(target), *words) == (0, told.replace(str(folder), str(target)), "")
    assert "start_kernel" in (tmp_path / "f").read_text()


def test_the_report_of_a_profile_says_where_most_goes_also_from_its_bundle(tmp_path: Path, shell: Shell) -> None:
    folder, target = counted(tmp_path / "one"), tmp_path / "one.tar.gz"
    assert shell("bundle", str(folder), "-o", str(target))[0] == 0
    _, told, _ = shell("report", str(folder))
    assert "most in start_kernel 85.1 %" in " ".join(told.split())
    assert "nokaslr" in told  # the workload's own facts, as the profile's page has them
    assert shell("report", str(target))[1] == told
    page = tmp_path / "page.html"
    assert shell("report", str(target), "--html", "-o", str(page))[0] == 0
    assert "start_kernel" in page.read_text()


def test_two_profiles_in_bundles_are_compared_and_a_whole_bundle_has_the_counts(tmp_path: Path, shell: Shell) -> None:
    old, new = counted(tmp_path / "old"), counted(tmp_path / "new", 3)
    for folder in (old, new):
        assert shell("bundle", str(folder), "-o", f"{folder}.tar.gz", "--whole")[0] == 0
    status, out, _ = shell("profile", f"{new}.tar.gz", "--against", f"{old}.tar.gz", "--json")
    assert status == 0 and json.loads(out)["total"]["difference"] == 100
    with tarfile.open(f"{new}.tar.gz") as archive:
        assert f"ukperf-bundle/runs/new/{COUNTS}/00001.gz" in archive.getnames()


def test_a_damaged_profile_in_a_bundle_is_a_sentence(tmp_path: Path, shell: Shell) -> None:
    folder, target = counted(tmp_path / "one"), tmp_path / "one.tar.gz"
    bundle([folder], target, lambda _: "")
    (folder / KEPT).write_text("{}")
    assert KEPT in shell.refusal("profile", str(folder))
    status, out, _ = shell("report", str(folder))
    assert status == 0 and KEPT in out
