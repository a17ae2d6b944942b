"""The figures of README and docs/findings.md are those of the runs in docs/results, which anybody can read."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
RUNS = sorted((RESULTS / "runs").iterdir())
MOST_BYTES = 300_000  # of a bundle: they stay in the repository for ever


SVG = "{http://www.w3.org/2000/svg}"


def script(name: str) -> ModuleType:
    """A script of docs/results, as the others there import it."""
    spec = importlib.util.spec_from_file_location(name, RESULTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make() -> ModuleType:
    script("profile_tables")
    return script("make")


@pytest.fixture(scope="module")
def recording(make: ModuleType) -> ModuleType:
    return script("recording")


@pytest.fixture(scope="module")
def film() -> ET.Element:
    return ET.parse(RESULTS / "terminal.svg").getroot()


def rows(element: ET.Element) -> list[str]:
    """The texts of a picture as rows of a terminal, from top to bottom, without what is blank at their ends."""
    there: dict[float, list[tuple[float, str]]] = {}
    for text in element.iter(f"{SVG}text"):
        there.setdefault(float(text.attrib["y"]), []).append((float(text.attrib["x"]), text.text or ""))
    lines = []
    for _, words in sorted(there.items()):
        line = ""
        for x, word in sorted(words):
            line = line.ljust(round((x - 14) / 8.4)) + word
        lines.append(line)
    return lines


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
            assert content is not None and not re.search(rb"(?<![\w.~-])/(?:root|home)/\w", content.read()), member.name


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_is_told_with_the_command_that_makes_it_again(run: Path) -> None:
    name = run.name.removesuffix(".tar.gz")
    assert f"`{name}`" in (RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_recording_is_what_the_run_says(recording: ModuleType) -> None:
    made = recording.drawn(recording.record("boot-icount"))
    assert made == recording.drawn(recording.record("boot-icount"))
    assert (RESULTS / "terminal.svg").read_text(encoding="utf-8") == made, "python docs/results/recording.py"


def test_the_recordings_last_screen_is_the_runs_table(make: ModuleType, film: ET.Element) -> None:
    (answer,) = film.iterfind(".//*[@id='a']")
    command = (*make.UKPERF, "compare", "--brief", str(make.bundle("boot-icount")))
    env = {**os.environ, "COLUMNS": "110"}
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    table = [line.split() for line in said.splitlines() if line.startswith(("linux", "  "))]
    # a terminal wraps sentences, and draws intervals behind a table's last column; a pipe does neither
    shown = [re.sub(r"[│●─├┤ ]+$", "", line).split() for line in rows(answer)]
    assert [line for line in table if not any(other[: len(line)] == line for other in shown)] == []
    assert " ".join(" ".join(rows(answer)).split()).startswith(" ".join(said.splitlines()[0].split()))


def test_the_recording_shows_the_boots_in_the_order_in_which_they_were_made(film: ET.Element) -> None:
    from ukperf.runs.loaded import load

    (strip,) = film.iterfind(".//*[@id='p']")
    seen = []
    for line in rows(strip):
        match = re.fullmatch(r". block (\d)/6  ([\w-]+): (?:boot|run|stop), \d+ s(?:  .* left)?", line)
        assert match is not None or "building and checking" in line, line
        if match is not None and (int(match[1]) - 1, match[2]) not in seen:
            seen.append((int(match[1]) - 1, match[2]))
    boots = [(boot.trial.block, boot.trial.guest) for boot in load(RESULTS / "runs" / "boot-icount.tar.gz").records]
    assert len(seen) > len(boots) / 2 and seen == [boot for boot in boots if boot in seen]


def test_the_recording_is_small_moves_without_scripts_and_stands_still_for_who_asks(film: ET.Element) -> None:
    text = (RESULTS / "terminal.svg").read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert {element.tag.removeprefix(SVG) for element in film.iter()} == {
        "svg",
        "title",
        "style",
        "rect",
        "path",
        "text",
        "g",
    }
    assert not re.search(r"url\(|href|https?://(?!www\.w3\.org/2000/svg)", text)
    (style,) = film.iterfind(f"{SVG}style")
    still = re.search(r"@media\(prefers-reduced-motion:reduce\)\{(.*?)\{animation:none\}\}", style.text or "")
    moved = set(re.findall(r"([#.][a-z]\d?)(?=[^{}]*\{animation-)", style.text or ""))
    assert still is not None and {re.sub(r"#([kc])\d", r".\1", name) for name in moved} == set(still[1].split(","))
