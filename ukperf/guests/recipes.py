"""Guests of the user's own, as recipe files: a known builder with another kernel, command line or memory.

    name = "lean"
    builder = "linux"
    kernel = "/home/me/bzImage"
    append = "mitigations=off"

A file NAME.toml in the folder `guests` of the user's configuration is a guest of that name; --guest-file names others.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ukperf.errors import UkperfError
from ukperf.files import read_text, reason
from ukperf.paths import absolute, config_dir
from ukperf.text import clean, meant

if TYPE_CHECKING:
    from ukperf.guests.base import Recipe

FOLDER = "guests"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")  # it becomes part of files' and domains' names
MAX_BYTES = 64 << 10
_TEXTS = ("name", "builder", "summary", "kernel", "append", "cmdline")
_NUMBERS = ("memory_mib", "min_memory_mib")
_named: dict[str, Path] = {}  # by --guest-file, in this process


@dataclass(frozen=True)
class GuestFile:
    """What a recipe file says. None: as the builder has it. kernel: absolute; append: added to the command line."""

    path: Path
    name: str
    builder: str
    summary: str | None = None
    kernel: Path | None = None
    append: str = ""
    cmdline: str | None = None
    memory_mib: int | None = None
    min_memory_mib: int | None = None


def files() -> dict[str, Path]:
    """Name → recipe file: those that --guest-file named, and those of the user's folder. Nothing is read."""
    try:
        there = sorted((config_dir() / FOLDER).glob("*.toml"))
    except (OSError, UkperfError):
        there = []
    return {**{path.stem: path for path in there if NAME.fullmatch(path.stem)}, **_named}


def use(path: Path) -> str:
    """Take a recipe file's guest into this process; its name. Raises UkperfError as `read`."""
    recipe = read(absolute(path))
    _named[recipe.name] = recipe.path
    return recipe.name


def read(path: Path) -> GuestFile:
    """Raises UkperfError where the file cannot be read or is no recipe, with what is wrong."""
    try:
        values = tomllib.loads(read_text(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        raise UkperfError(
            f"The guest file {path} cannot be read: {clean(reason(error), 200)}.",
            hint="docs/extending.md shows one.",
        ) from error
    said = _checked(path, values)
    name = said.setdefault("name", path.stem)
    if not NAME.fullmatch(name):
        raise UkperfError(f"The guest file {path} names a guest {clean(name, 60)!r}: letters, digits and ._+- only.")
    kernel = said.pop("kernel", None)
    return GuestFile(path, kernel=None if kernel is None else absolute(path.parent / kernel), **said)


def _checked(path: Path, values: Mapping[str, object]) -> dict[str, Any]:
    known = (*_TEXTS, *_NUMBERS)
    for key, value in values.items():
        if key not in known:
            raise UkperfError(f"The guest file {path} has an unknown key {clean(key, 60)!r}.", hint=meant(key, known))
        kind: type = str if key in _TEXTS else int
        if type(value) is not kind or (kind is int and not 0 < int(str(value)) <= 1 << 20):
            raise UkperfError(f"In the guest file {path}, {key} is no {'text' if kind is str else 'number of MiB'}.")
    if "builder" not in values:
        raise UkperfError(
            f"The guest file {path} names no builder.", hint='Add the guest that it is built like: builder = "linux"'
        )
    return dict(values)


def recipe_of(found: GuestFile, base: Recipe) -> Recipe:
    """The builder's recipe with what the file says."""
    changes: dict[str, Any] = {
        key: value for key in ("summary", "cmdline", *_NUMBERS) if (value := getattr(found, key)) is not None
    }
    return replace(base, **changes)
