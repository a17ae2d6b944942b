"""The guests by name. A new one is a recipe in images/, a module here, and a line in _GUESTS."""

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
    """The guest of that name. Raises UkperfError, with the name that was perhaps meant, when there is none."""
    try:
        module, kind = _GUESTS[name]
    except KeyError:
        raise UkperfError(f"There is no guest {name!r}.", hint=meant(name, names())) from None
    guest: Guest = getattr(import_module(module), kind)(cache)
    return guest
