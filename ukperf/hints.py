"""How to get what is missing: every hint that names a package is worded here, so that it is true wherever ukperf is.

An installed ukperf has no scripts and no checkout; `ukperf setup` is there in both.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ukperf.text import shell

AGAIN = "Install ukperf again."  # its own files are missing or damaged


def packages(*names: str) -> str:
    """The line that gets packages of the distribution."""
    return f"Debian, Ubuntu: {apt(names)}"


def setup(*names: str) -> str:
    """For packages without which ukperf itself does not work: `ukperf setup` knows them."""
    return f"`ukperf setup` installs what is missing; or, {packages(*names)}"


def apt(names: Iterable[str], *, without_recommended: bool = False) -> str:
    """The command, for a person to type."""
    return " ".join(["sudo apt-get install", *["--no-install-recommends"] * without_recommended, *names])


def extra(name: str) -> str:
    """The line that adds an extra of ukperf's to the environment in which it runs. pipx does not add extras to what it
    has installed: it is given their packages."""
    if _by_pipx():
        return shell("pipx", "inject", Path(sys.prefix).name, *(_packages_of(name) or [f"ukperf[{name}]"]))
    return pip(f"ukperf[{name}]")


def distributions(names: Sequence[str]) -> str:
    """The line that adds Python packages to the environment in which ukperf runs."""
    return shell("pipx", "inject", Path(sys.prefix).name, *names) if _by_pipx() else pip(*names)


def pip(*words: str) -> str:
    """`pip install` with these words, as it is typed for the environment in which ukperf runs."""
    if _by_pipx():
        return shell("pipx", "runpip", Path(sys.prefix).name, "install", *words)
    if importlib.util.find_spec("pip") is None:  # uv makes environments without it
        return shell("uv", "pip", "install", "--python", sys.executable, *words)
    return shell(sys.executable, "-m", "pip", "install", *words)


def _by_pipx() -> bool:
    return (Path(sys.prefix) / "pipx_metadata.json").is_file()


def _packages_of(name: str) -> list[str]:
    """What an extra stands for."""
    try:
        wanted = importlib.metadata.requires("ukperf") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    of_it = re.compile(rf"""([^;]+);.*extra == ["']{re.escape(name)}["']""")
    return [match[1].strip() for line in wanted if (match := of_it.fullmatch(line.strip()))]
