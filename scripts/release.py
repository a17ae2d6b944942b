"""Make a release of what is checked out: its version, its section of the change log, one commit and one tag.

    .venv/bin/python scripts/release.py prepare 0.2.0
    .venv/bin/python scripts/release.py notes 0.2.0
    .venv/bin/python scripts/release.py check v0.2.0

`prepare` publishes nothing: it commits and tags in this checkout. docs/releasing.md has the whole procedure.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "ukperf/__init__.py"  # where the version stands
CITATION = "CITATION.cff"
CHANGES = "CHANGELOG.md"
UNRELEASED = "## [Unreleased]\n"
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_CITED = re.compile(r"^version: .*\n(?:date-released: .*\n)?", re.MULTILINE)


class Refused(Exception):
    """One sentence: why there is no release."""


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"git {words[0]} says: {done.stderr.strip()}")
    return done.stdout.strip()


def current() -> str:
    said = _VERSION.search((ROOT / SOURCE).read_text())
    if said is None:
        raise Refused(f"{SOURCE} says no version.")
    return said[1]


def notes(version: str) -> str:
    """The change log's section of a version (`Unreleased`: of the next one), without its heading."""
    text = (ROOT / CHANGES).read_text()
    part = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|\Z)", text, re.MULTILINE | re.DOTALL)
    if part is None:
        raise Refused(f"{CHANGES} has no section of {version}.")
    return part[1].strip()


def check(tag: str) -> None:
    """A tag is of the version that the package says, which the citation and the change log have too."""
    version = current()
    if tag != f"v{version}":
        raise Refused(f"the tag {tag} is not of the version {version}.")
    if f"\nversion: {version}\n" not in (ROOT / CITATION).read_text():
        raise Refused(f"{CITATION} is of another version than {version}.")
    if not notes(version):
        raise Refused(f"{CHANGES} says nothing of {version}.")


def prepare(version: str, date: datetime.date) -> None:
    try:
        new, old = Version(version), Version(current())
    except InvalidVersion as error:
        raise Refused(f"{error}.") from error
    if str(new) != version or new < old:
        raise Refused(f"{version} is not a version after {old}, written as Python writes it.")
    if git("status", "--porcelain"):
        raise Refused("there are changes that are not committed.")
    if git("tag", "--list", f"v{version}"):
        raise Refused(f"the tag v{version} is there already.")
    if not re.search(r"^[*-] ", notes("Unreleased"), re.MULTILINE):
        raise Refused(f"{CHANGES} has nothing under Unreleased.")
    _rewrite(SOURCE, lambda text: _VERSION.sub(f'__version__ = "{version}"', text))
    _rewrite(CITATION, lambda text: _CITED.sub(f"version: {version}\ndate-released: {date}\n", text))
    _rewrite(CHANGES, lambda text: text.replace(UNRELEASED, f"{UNRELEASED}\n## [{version}] - {date}\n", 1))
    check(f"v{version}")
    git("commit", "--quiet", "-m", f"Release {version}", SOURCE, CITATION, CHANGES)
    # verbatim: the sections' headings begin with #, which git takes for comments
    git("tag", "-a", f"v{version}", "--cleanup=verbatim", "-m", f"ukperf {version}\n\n{notes(version)}\n")


def _rewrite(name: str, change: Callable[[str], str]) -> None:
    path = ROOT / name
    path.write_text(change(path.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("prepare", help="set the version, close the change log's section, commit and tag")
    made.add_argument("version")
    made.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.datetime.now(datetime.UTC).date())
    commands.add_parser("notes", help="print a version's section of the change log").add_argument("version")
    commands.add_parser("check", help="does a tag fit what is checked out?").add_argument("tag")
    asked = parser.parse_args()
    try:
        if asked.command == "prepare":
            prepare(asked.version, asked.date)
            tag = f"v{asked.version}"
            print(f"{tag} is committed and tagged here. To publish it: git push --atomic origin HEAD {tag}")
        elif asked.command == "notes":
            print(notes(asked.version))
        else:
            check(asked.tag)
    except Refused as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
