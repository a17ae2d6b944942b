"""The site is built without a warning, asks nobody for anything when it is read, and says what the program says."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from ukperf.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("material", "mkdocstrings")), reason="the extra docs is not installed"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class Loads(HTMLParser):
    """What a browser fetches by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "object", "embed"):
            self.places.append(said.get("src") or said.get("data") or "")
        if tag == "link" and said.get("rel") not in ("canonical", "next", "prev"):
            self.places.append(said.get("href") or "")


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for path in site.rglob("*.html"):
        yield path, path.read_text()


def test_reading_it_fetches_nothing_from_others(site: Path) -> None:
    for path, text in pages(site):
        loads = Loads()
        loads.feed(text)
        assert loads.places
        for place in filter(None, loads.places):
            assert "//" not in place, f"{path.name}: {place}"
            if path.name != "404.html":
                assert (path.parent / place.partition("?")[0]).exists(), f"{path.name}: {place}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import", path.read_text()), path.name


def test_what_is_fetched_from_others_is_noticed() -> None:
    loads = Loads()
    loads.feed(
        '<link rel="stylesheet" href="https://x/y.css"><script src="//x/z.js"></script><a href="https://x">x</a>'
    )
    assert loads.places == ["https://x/y.css", "//x/z.js"]


def test_it_can_be_searched_in_a_folder(site: Path) -> None:
    """The theme's stand-in for a worker is of another server: ours takes its place, and the index is a script."""
    text = (site / "guides" / "kernel.html").read_text()
    assert '<script src="../assets/worker.js"></script>' in text
    assert "randomized complete blocks" in (site / "search" / "search_index.js").read_text()


def test_every_command_with_every_option_is_in_the_reference(site: Path) -> None:
    text = html.unescape((site / "reference" / "commands.html").read_text())
    for name in COMMANDS:
        assert f'id="ukperf-{name}"' in text
    assert 'id="ukperf-images-pull"' in text
    for option in ("--min-memory", "--allow-untested", "--dry-run", "--sha256"):
        assert option in text


def test_the_interface_is_told_by_its_docstrings(site: Path) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", (site / "reference" / "interface.html").read_text()))
    for name in ("Workload", "Guest", "Host", "LoadedRun"):
        assert re.search(rf"\b{name}\b", text)
    assert "Has who wants this guest asked for what obtain downloads?" in text


def test_links_of_the_checkout_lead_to_pages_or_are_text(site: Path) -> None:
    start = (site / "index.html").read_text()
    assert re.search(r'href="icount.html">icount: exact figures[^<]*</a>\s+says why', start)
    assert 'href="statistics.html"' in start and 'href="contributing.html"' in start
    for path, text in pages(site):
        body = text.partition("<article")[2].partition("</article>")[0]
        for target in re.findall(r'href="([^"#?]+)[^"]*"', body):
            if not re.match(r"https?:", target):
                assert (path.parent / target).exists(), f"{path.name}: {target}"
        assert not re.search(r"\]\([\w./-]+\.md", body), path.name
