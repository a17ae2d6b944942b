"""The guests by name. A new one is a recipe in images/, a module here, and a line in _GUESTS.

A name is GUEST, or GUEST:VERSION for guests whose kernels are in the store.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ukperf.errors import UkperfError
from ukperf.text import meant

if TYPE_CHECKING:
    from ukperf.guests.base import Guest
    from ukperf.imaging.cache import Cache

# Modules are imported when their guest is wanted: the names alone are needed for --help.
_GUESTS = {
    "floor": ("ukperf.guests.floor", "Floor"),
    "linux": ("ukperf.guests.linux", "Linux"),
    "nanos": ("ukperf.guests.nanos", "Nanos"),
    "native": ("ukperf.guests.native", "Native"),
    "unikraft": ("ukperf.guests.unikraft", "Unikraft"),
}


def names() -> tuple[str, ...]:
    """The names of all guests that ukperf knows, sorted."""
    return tuple(sorted(_GUESTS))


def get(name: str, cache: Cache | None = None) -> Guest:
    """The guest of that name, GUEST or GUEST:VERSION: the latter chooses among its kernels in the store.

    Raises UkperfError, with the name that was perhaps meant, when there is no such guest, or it has no versions.
    """
    kind, colon, version = name.partition(":")
    try:
        module, constructor = _GUESTS[kind]
    except KeyError:
        raise UkperfError(f"There is no guest {name!r}.", hint=meant(kind, names())) from None
    if colon and not version:
        raise UkperfError(f"There is no guest {name!r}.", hint=f"Write {kind}, or {kind}:VERSION.")
    guest: Guest = getattr(import_module(module), constructor)(cache)
    return guest.at(version) if colon else guest
