"""How to get what is missing: every hint that names a package is worded here, so that it is true wherever ukperf is.

An installed ukperf has no scripts and no checkout; `ukperf setup` is there in both.
"""

from __future__ import annotations

from collections.abc import Iterable

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
