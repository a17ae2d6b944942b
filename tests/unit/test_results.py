"""The figures of README and docs/findings.md are those of the runs in docs/results, which anybody can read."""

from __future__ import annotations

import importlib.util
import re
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
RUNS = sorted((RESULTS / "runs").iterdir())
MOST_BYTES = 300_000  # of a bundle: they stay in the repository for ever


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_make", RESULTS / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_every_table_is_what_its_runs_say(make: ModuleType) -> None:
    for page in make.PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(make.MARK.findall(text)) == text.count("<!-- results: ") > 0
        assert make.filled(text) == text, f"{page}: python docs/results/make.py"


def test_a_figure_that_was_changed_by_hand_is_noticed(make: ModuleType) -> None:
    page = make.PAGES[0].read_text(encoding="utf-8")
    (changed, times) = re.subn(r"\d×", "7×", page, count=1)
    assert times == 1 and changed != page and make.filled(changed) == page


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_bundle_is_small_and_names_no_home_folder(run: Path) -> None:
    assert run.stat().st_size < MOST_BYTES
    with tarfile.open(run) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None and not re.search(rb"/(?:root|home)/\w", content.read()), member.name


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_is_told_with_the_command_that_makes_it_again(run: Path) -> None:
    name = run.name.removesuffix(".tar.gz")
    assert f"`{name}`" in (RESULTS / "README.md").read_text(encoding="utf-8")
