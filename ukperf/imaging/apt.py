"""Packages of the distribution, fetched by apt as a normal user and never installed.

apt checks what it downloads against the distribution's signed lists; neither root nor the package system's own folders
are needed, because apt is given folders of ours where its own lists are empty.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.paths import TMP, is_plain

_TIMEOUT_S = 600


@dataclass(frozen=True)
class DebPackage:
    """What would be downloaded, by the lists: sha256 is what apt checks the file against."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}={self.version}={self.sha256}"


class Apt:
    """apt-get and apt-cache, writing only to `folder`. instead: what else a person may do, for hints."""

    def __init__(self, folder: Path, instead: str = "") -> None:
        self.folder = folder
        self.instead = instead
        # Without this, apt run by root warns that its own user cannot enter our folder.
        self.options = ["-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0"]

    def package(self, name: str) -> DebPackage:
        """The newest of that name. Raises UkperfError where apt knows none."""
        text = self._run("apt-cache", "show", "--no-all-versions", name)
        facts = dict(re.findall(r"^(Version|SHA256): (\S+)$", text, flags=re.MULTILINE))
        return DebPackage(name, facts.get("Version", "?"), facts.get("SHA256", "?"))

    def depends(self, package: str) -> list[str]:
        """What a package depends on; nothing where apt does not know it."""
        done = self._start("apt-cache", "depends", "--important", package)
        return re.findall(r"^\s*\|?Depends: ([^<\s]\S*)$", done.stdout, flags=re.MULTILINE)

    def download(self, packages: Sequence[str]) -> list[Path]:
        """The files of packages, checked by apt. Raises UkperfError."""
        self._run("apt-get", "download", *packages)
        return [next(self.folder.glob(f"{package}_*.deb")) for package in packages]

    def own_lists(self) -> None:
        """Where the system's package lists are empty (a fresh container): lists of our own, thrown away afterwards."""
        for name in ("lists/partial", "archives/partial"):
            (self.folder / name).mkdir(parents=True)
        self.options += ["-o", f"Dir::State::Lists={self.folder}/lists", "-o", f"Dir::Cache={self.folder}"]
        self._run("apt-get", "update", "-q")

    def _run(self, tool: str, *arguments: str) -> str:
        done = self._start(tool, *arguments)
        if done.returncode != 0:
            reasons = [line[3:] for line in done.stderr.splitlines() if line.startswith("E: ")]
            raise UkperfError(
                f"{tool} {arguments[0]} failed: {(reasons or ['status ' + str(done.returncode)])[0][:300]}",
                hint=f"Check the network, and run: sudo apt-get update.{self.instead and f' {self.instead}'}",
            )
        return done.stdout

    def _start(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [tool, *self.options, *arguments],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as error:
            raise UkperfError(
                f"{tool} {arguments[0]} took longer than {_TIMEOUT_S} seconds.", hint="Check the network."
            ) from error


@contextmanager
def apt(cache: Cache, what: str, instead: str = "") -> Iterator[Apt]:
    """apt with a folder in the cache that is gone when the block ends. what: that is wanted of it, for people.

    Raises UkperfError where there is no apt.
    """
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UkperfError(f"There is no {tool} to get {what} with.", hint=instead or None)
    cache.root.mkdir(parents=True, exist_ok=True)
    # apt's parts tell each other paths line by line: after a line feed it would write elsewhere.
    with tempfile.TemporaryDirectory(dir=cache.root if is_plain(cache.root) else TMP, prefix="apt-") as folder:
        yield Apt(Path(folder), instead)
