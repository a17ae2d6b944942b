"""The guests by name: entry points `ukperf.guests`, ours in pyproject.toml, and recipe files (docs/extending.md).

A name is GUEST, or GUEST:VERSION for guests whose kernels are in the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ukperf.errors import UkperfError
from ukperf.guests.recipes import of_recipes
from ukperf.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ukperf.guests.base import Guest
    from ukperf.imaging.cache import Cache

# Modules are imported when their guest is wanted: the names alone are needed for --help.
GUESTS: Registry[Callable[[Cache | None], Guest]] = Registry("ukperf.guests", "guest")


def names() -> tuple[str, ...]:
    """The names of all guests that ukperf knows, sorted: those of packages and those of the user's recipe files."""
    return tuple(sorted({*GUESTS.names(), *of_recipes()}))


def get(name: str, cache: Cache | None = None) -> Guest:
    """The guest of that name, GUEST or GUEST:VERSION: the latter chooses among its kernels in the store.

    Raises UkperfError, with the name that was perhaps meant, when there is no such guest, or it has no versions.
    """
    kind, colon, version = name.partition(":")
