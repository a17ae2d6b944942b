"""Debian's packages without installing them: apt resolves and fetches, dpkg-deb unpacks into a folder.

Needs no root and changes nothing of the system: apt works on an empty package status and folders of our own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class CannotBuild(Exception):
    """A tool or the package mirror is missing here: str() is the reason for a skip. Anything else is a failure."""


@dataclass(frozen=True)
class Deb:
    url: str
    name: str
    digest: str


def run(argv: Iterable[str | Path], stdin: IO[bytes] | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], stdin=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{done.args[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _apt(work: Path, packages: Iterable[str], *arguments: str) -> str:
    """apt-get on an empty status: it resolves the whole closure, and installs nothing.

    Raises:
        CannotBuild: apt's lists do not have the packages, or their mirror does not answer.
    """
    archives = work / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    own_lists = work / "lists"
    options = (
        *([f"Dir::State::lists={own_lists}"] if own_lists.is_dir() else []),
        f"Dir::State::status={work / 'status'}",
        f"Dir::Cache::archives={archives}",
        "APT::Install-Recommends=false",
        "APT::Sandbox::User=root",
        "Debug::NoLocking=1",
    )
    what = arguments if "update" in arguments else (*arguments, "install", *packages)
    try:
        return run(["apt-get", "-q", "-y", *(f"-o{option}" for option in options), *what])
    except RuntimeError as error:
        raise CannotBuild(str(error)) from error


def need(*tools: str) -> None:
    missing = [
        tool for tool in tools if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None
    ]
    if missing:
        raise CannotBuild(f"not installed: {', '.join(missing)}")


def closure(work: Path, packages: Iterable[str]) -> list[Deb]:
    """Every package that these need, themselves among them, with its digest, as apt's signed lists give it.

    Raises:
        CannotBuild: apt is not there, or its lists do not have the packages.
    """
    try:
        out = _apt(work, packages, "--print-uris")
    except CannotBuild:  # this machine has no lists of packages, or old ones: get some of our own
        (work / "lists" / "partial").mkdir(parents=True)
        _apt(work, (), "update")
        out = _apt(work, packages, "--print-uris")
    debs = [Deb(*match.groups()) for match in re.finditer(r"^'([^']+)' (\S+\.deb) \d+ (\S+)$", out, flags=re.MULTILINE)]
    if not debs:
        raise CannotBuild("apt found no packages")
    return sorted(debs, key=lambda deb: deb.name)


def download(work: Path, packages: Iterable[str]) -> list[Path]:
    """The files of the packages' whole closure, in `work`, which `closure` was given before."""
    _apt(work, packages, "--download-only")
    return sorted((work / "archives").glob("*.deb"))


def extract(debs: Iterable[Path], root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")

    def unpack(deb: Path) -> None:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as tar:
            run(["tar", "-xf", "-", "--keep-directory-symlink", "--no-same-owner", "-C", root], stdin=tar.stdout)
        if tar.returncode:
            raise RuntimeError(f"dpkg-deb could not unpack {deb.name}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(unpack, debs))


def sbin(tool: str) -> str:
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or tool
