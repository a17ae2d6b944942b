"""The guests by name: entry points `ukperf.guests`, ours in pyproject.toml, and recipe files (docs/extending.md).

A name is GUEST, or GUEST:VERSION for guests whose kernels are in the store.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache as once
from typing import TYPE_CHECKING

from ukperf.errors import UkperfError
from ukperf.guests import recipes
from ukperf.guests.recipes import Joins, Recipe, Role
from ukperf.model import BootProtocol
from ukperf.registry import OURS, Registry
from ukperf.resources import data
from ukperf.text import clean, meant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ukperf.guests.base import Availability, BuildOptions, Guest
    from ukperf.guests.stored import StoredGuest
    from ukperf.imaging.cache import Cache
    from ukperf.model import Image, Program

# Modules are imported when their guest is wanted: the names alone are needed for --help.
GUESTS: Registry[Callable[[Cache | None], Guest]] = Registry("ukperf.guests", "guest")


def names() -> tuple[str, ...]:
    """The names of all guests that ukperf knows, sorted: those of packages and those of recipe files. A command line
    that comes with ukperf is among them where its program is on this machine."""
    ours, files = recipes.commands(), recipes.files()
    there = (name for name, path in files.items() if ours.get(name) != path or _is_here(path))
    return tuple(sorted({*GUESTS.names(), *there}))


@once
def _is_here(path: Path) -> bool:
    """Is the program of a recipe that comes with ukperf on this machine?"""
    from ukperf.imaging import binaries

    table = recipes.read(path).command
    return table is not None and binaries.which(table.binary, path.parent) is not None


def get(name: str, cache: Cache | None = None) -> Guest:
    """The guest of that name, GUEST or GUEST:VERSION: the latter chooses among its kernels in the store.

    Raises UkperfError, with the name that was perhaps meant, when there is no such guest, or it has no versions.
    """
    kind, colon, version = name.partition(":")
    if kind not in GUESTS.names() and kind in (files := recipes.files()):
        from ukperf.guests.command import guest_of

        guest = guest_of(files[kind], _made, _holder(Role.CONTROL), cache)
    else:
        if kind not in GUESTS.names():
            raise UkperfError(f"There is no guest {name!r}.", hint=meant(kind, names()))
        guest = _made(kind, cache)
    if colon and not version:
        raise UkperfError(f"There is no guest {name!r}.", hint=f"Write {kind}, or {kind}:VERSION.")
    return guest.at(version) if colon else guest


def _made(name: str, cache: Cache | None = None) -> Guest:
    from ukperf.guests.base import Guest

    guest: Guest = GUESTS.call(name, cache, kind=Guest)
    return guest


def availability(guest: Guest, options: BuildOptions) -> Availability:
    """Is there all that the guest needs? Raises UkperfError where another package's guest cannot say."""
    from ukperf.guests.base import Availability

    name = guest.name
    try:
        there = guest.availability(options)
    except UkperfError:
        raise
    except Exception as error:
        if name not in GUESTS.names() or GUESTS.origin(name) == OURS:
            raise
        raise GUESTS.fault(name, f"failed: {type(error).__name__}: {clean(str(error), 200)}") from error
    return there if name not in GUESTS.names() else GUESTS.expect(name, there, Availability)


def build(guest: Guest, program: Program, options: BuildOptions) -> Image:
    """The guest's image with this program. Raises UkperfError as the guest itself, and where another package's guest
    gives something else."""
    from ukperf.model import Image

    image = guest.build(program, options)
    return image if guest.name not in GUESTS.names() else GUESTS.expect(guest.name, image, Image)


def in_role(role: Role, cache: Cache | None = None) -> Guest:
    """The guest that has this role."""
    return get(_holder(role), cache)


def baseline(named: Sequence[str] = ()) -> str:
    """The name of the guest that the others are divided by where no other is named. Programs of this machine alone need
    no virtual machine beside them: of these it is the first.

    Raises UkperfError for a guest that there is not.
    """
    programs = bool(named) and all(get(name).recipe.protocol is BootProtocol.EXEC for name in named)
    return named[0] if programs else _holder(Role.BASELINE)


def _holder(role: Role) -> str:
    return next(recipe.name for recipe in our_recipes() if recipe.role is role)


@once
def our_recipes() -> tuple[Recipe, ...]:
    """Those of ukperf's own guests, by name: what `--help` says of them, with no guest's module imported."""
    ours = (name for name in GUESTS.names() if GUESTS.origin(name) == OURS)
    return tuple(recipes.load_recipe(data("images", name, "recipe.toml")) for name in ours)


def of_store(name: str) -> StoredGuest:
    """The guest of that name, whose kernels are in the kernel store.

    Raises UkperfError where there is none, with the name that was perhaps meant, or it cannot be loaded.
    """
    from ukperf.guests.stored import StoredGuest

    if name in GUESTS.names() and isinstance(guest := _made(name), StoredGuest):
        return guest
    known = []
    for other in GUESTS.names():
        with suppress(UkperfError):
            if isinstance(_made(other), StoredGuest):
                known.append(other)
    raise UkperfError(f"There is no guest {name!r} whose kernels are added or pulled.", hint=meant(name, known))


def by_default() -> tuple[Guest, ...]:
    """The guests of a run that names none, in the order in which their recipes ask to stand.

    One that cannot be loaded takes no part: who asks for it by name is told why.
    """
    joining = []
    for name in GUESTS.names():
        with suppress(UkperfError):
            guest = _made(name)
            if guest.recipe.joins is not Joins.IF_NAMED:
                joining.append(guest)
    return tuple(sorted(joining, key=lambda guest: (guest.recipe.place, guest.name)))


def loading_programs() -> tuple[Guest, ...]:
    """`by_default` without those whose programs are linked in: what any program can run in."""
    return tuple(guest for guest in by_default() if guest.recipe.loads_programs)
