"""scripts/release.py, tried on a repository of its own: what docs/releasing.md says it does, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import ukperf

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGES = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n* a thing\n\n## [0.1.0] - 2026-01-01\n\n* the first\n"


class Checkout:
    """A small repository with the real script in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        (folder / "scripts").mkdir(parents=True)
        (folder / "ukperf").mkdir()
        shutil.copy(ROOT / "scripts" / "release.py", folder / "scripts")
        self.write("ukperf/__init__.py", '"""x"""\n\n__version__ = "0.1.0"\n')
        self.write("CITATION.cff", "cff-version: 1.2.0\nversion: 0.1.0\nlicense: Apache-2.0\n")
        self.write("CHANGELOG.md", CHANGES)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "x")
        self.git("config", "user.email", "x@example.org")
        self.git("config", "commit.gpgsign", "false")
        self.git("config", "tag.gpgsign", "false")
        self.commit()

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def git(self, *words: str) -> str:
        command = ["git", *words]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "as it was")

    def release(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.root / "scripts" / "release.py"), *words]
        return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def test_a_release_is_one_commit_and_one_tag_with_the_change_log_in_it(checkout: Checkout) -> None:
    done = checkout.release("prepare", "0.2.0", "--date", "2026-03-04")
    assert done.returncode == 0, done.stderr
    assert "git push --atomic origin HEAD v0.2.0" in done.stdout
    assert checkout.git("log", "--format=%s") == "Release 0.2.0\nas it was"
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("cat-file", "-t", "v0.2.0") == "tag"
    assert "### Added\n\n* a thing" in checkout.git("for-each-ref", "--format=%(contents)", "refs/tags/v0.2.0")
    assert '__version__ = "0.2.0"' in checkout.read("ukperf/__init__.py")
    assert "version: 0.2.0\ndate-released: 2026-03-04\nlicense" in checkout.read("CITATION.cff")
    heads = [line for line in checkout.read("CHANGELOG.md").splitlines() if line.startswith("## ")]
    assert heads == ["## [Unreleased]", "## [0.2.0] - 2026-03-04", "## [0.1.0] - 2026-01-01"]
    assert checkout.release("check", "v0.2.0").returncode == 0
    assert checkout.release("notes", "0.2.0").stdout == "### Added\n\n* a thing\n"


def test_the_next_release_replaces_the_date_of_the_last(checkout: Checkout) -> None:
    assert checkout.release("prepare", "0.2.0", "--date", "2026-03-04").returncode == 0
    changed = checkout.read("CHANGELOG.md").replace("[Unreleased]\n", "[Unreleased]\n\n* more\n")
    checkout.write("CHANGELOG.md", changed)
    checkout.commit()
    assert checkout.release("prepare", "0.3.0rc1", "--date", "2026-04-05").returncode == 0
    assert checkout.read("CITATION.cff").count("date-released") == 1
    assert checkout.release("notes", "0.3.0rc1").stdout == "* more\n"


def dirty(checkout: Checkout) -> None:
    checkout.write("new", "")


def tagged(checkout: Checkout) -> None:
    checkout.git("tag", "v0.2.0")


def silent(checkout: Checkout) -> None:
    checkout.write("CHANGELOG.md", CHANGES.replace("* a thing\n", ""))
    checkout.commit()


@pytest.mark.parametrize(
    ("before", "version", "sentence"),
    [
        (dirty, "0.2.0", "not committed"),
        (tagged, "0.2.0", "is there already"),
        (silent, "0.2.0", "nothing under Unreleased"),
        (None, "0.0.9", "not a version after 0.1.0"),
        (None, "0.02.0", "written as Python writes it"),
        (None, "soon", "Invalid version"),
    ],
)
def test_what_is_no_release_is_refused_and_nothing_changes(
    checkout: Checkout, before: object, version: str, sentence: str
) -> None:
    if callable(before):
        before(checkout)
    was = checkout.git("rev-parse", "HEAD"), checkout.git("tag"), checkout.read("CHANGELOG.md")
    done = checkout.release("prepare", version)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert was == (checkout.git("rev-parse", "HEAD"), checkout.git("tag"), checkout.read("CHANGELOG.md"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("CITATION.cff", "version: 0.1.0", "version: 0.1.1"),
        ("CHANGELOG.md", "## [0.1.0]", "## [0.1.1]"),
        ("ukperf/__init__.py", "0.1.0", "0.1.1"),
    ],
)
def test_a_tag_whose_files_do_not_agree_is_not_published(checkout: Checkout, name: str, old: str, new: str) -> None:
    assert checkout.release("check", "v0.1.0").returncode == 0
    checkout.write(name, checkout.read(name).replace(old, new))
    assert checkout.release("check", "v0.1.0").returncode == 2


def test_the_version_stands_once_and_the_citation_agrees() -> None:
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == ukperf.__version__ == metadata.version("ukperf")
    assert cited["license"] == PROJECT["license"]
    assert cited["title"] == PROJECT["name"]
    assert [one["name"] for one in cited["authors"]] == [one["name"] for one in PROJECT["authors"]]


def test_metadata_says_which_pythons() -> None:
    said = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert {"3.11", "3.12", "3.13", "3.14"} == said
    assert PROJECT["requires-python"] == ">=3.11"
    assert all((ROOT / name).is_file() for name in [*PROJECT["license-files"], PROJECT["readme"]])
