"""Guests as data: our recipes, and recipe files of the user's own.

Of ours, images/NAME/recipe.toml says all that is not code. A user's file names a builder and gives it another kernel,
command line or memory:

    name = "lean"
    builder = "linux"
    kernel = "/home/me/bzImage"
    append = "mitigations=off"

or a command line that boots it (`[command]`, commandtable.py). Those in images/commands come with ukperf.

A file NAME.toml in the folder `guests` of the user's configuration is a guest of that name; --guest-file names others.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from ukperf import hints
from ukperf.decode import Within, decode
from ukperf.errors import UkperfError
from ukperf.files import read_text, reason
from ukperf.guests.commandtable import CommandTable, check_booted, table_of
from ukperf.model import BootProtocol, LastWords, MachineKind
from ukperf.paths import absolute, config_dir
from ukperf.patterns import PatternError, compiled
from ukperf.resources import data
from ukperf.text import clean, meant

FOLDER = "guests"
COMMANDS = "commands"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")  # it becomes part of files' and domains' names
MAX_BYTES = 64 << 10
_MIB = Within(1, 1 << 20, "number of MiB")
_named: dict[str, Path] = {}  # by --guest-file, in this process


class Joins(StrEnum):
    """When a guest takes part in a run that names no guests."""

    ALWAYS = "always"  # what is missing of it is fetched, or the run does not start
    IF_THERE = "if there"  # left out with a sentence where something is missing
    IF_TIMED = "if timed"  # where all guests are timed in seconds
    IF_NAMED = "if named"


class Kernels(StrEnum):
    """Where a guest's kernels come from."""

    OWN = "own"  # made here, or there is none
    PULLED = "pulled"  # `images pull` gets the one that there is; who wants the guest has asked for that
    STORED = "stored"  # `images pull` and `images add` put them into the kernel store
    BUILT = "built"  # `images build-kernel` and `images add` do


class Role(StrEnum):
    """What a guest is to the rest of ukperf besides its name. Each role is one guest's, of ours: what all ratios are
    divided by is not to change with a package that is installed."""

    BASELINE = "baseline"  # the others are divided by it where no other is named
    PROBE = "probe"  # booted to find out what a host does: the least that a machine can run
    CONTROL = "control"  # the same program on this machine itself


@dataclass(frozen=True)
class Recipe:
    """images/NAME/recipe.toml: a guest as data. Guests read what is theirs alone from `extra`."""

    name: str
    summary: str
    version: str  # of the recipe: part of every cache key
    protocol: BootProtocol
    memory_mib: int  # default
    min_memory_mib: int  # below it, the guest is not tried
    cmdline: str
    powers_off: bool
    machines: tuple[MachineKind, ...]  # empty: it needs no machine
    joins: Joins = Joins.IF_NAMED
    slow_s: float = 0.0  # how much longer than others it may take to come up, and to go down
    place: int = 100  # among the guests of a run that names none
    role: Role | None = None
    kernels: Kernels = Kernels.OWN
    vsyscall: bool = False  # its kernel may have __kernel_vsyscall: system calls as function calls
    boot_image: str = ""  # what the file is called that it boots from besides its kernel; "": it needs none
    loads_programs: bool = True  # False: only programs that are linked in
    tells_end: bool = False  # also of a program that takes no library of ours: its end, and how it ended
    tree_memory: float = 0.0  # bytes of memory that each byte of a program's files takes from the start
    network: bool = False  # its programs can be reached by a network device (native: on this machine's own)
    last_words: tuple[LastWords, ...] = ()  # those that tell most stand first
    extra: Mapping[str, object] = field(default_factory=dict)

    def listed(self, key: str) -> tuple[str, ...]:
        """A list of words of `extra`; none where there is no such key. Raises UkperfError where it is none."""
        words = self.extra.get(key, [])
        if not isinstance(words, list):
            raise UkperfError(f"{key} of the recipe of {self.name} is no list.")
        return tuple(map(str, words))


@dataclass(frozen=True)
class GuestFile:
    """What a recipe file says. None: as the builder has it. kernel: absolute; append: added to the command line."""

    path: Path
    name: str
    builder: str = ""  # "": a command boots what the file names
    summary: str | None = None
    kernel: Path | None = None
    append: str = ""
    cmdline: str | None = None
    memory_mib: Annotated[int, _MIB] | None = None
    min_memory_mib: Annotated[int, _MIB] | None = None
    command: CommandTable | None = None
    last_words: tuple[LastWords, ...] = ()  # besides the builder's


def load_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe. `like` names the guest whose recipe says what this one does not; roles are no part of
    that. Raises UkperfError when a key is missing or of the wrong kind."""
    try:
        values = tomllib.loads(read_text(path))
        if "like" in values:
            other = tomllib.loads(read_text(path.parent.parent / str(values.pop("like")) / path.name))
            values = {**{name: value for name, value in other.items() if name != "role"}, **values}
        own = {item.name for item in fields(Recipe)} - {"extra"}
        recipe = decode(Recipe, {name: value for name, value in values.items() if name in own})
        return replace(recipe, extra={name: value for name, value in values.items() if name not in own})
    except (OSError, ValueError) as error:
        raise UkperfError(f"The recipe {path} is damaged: {reason(error)}.", hint=hints.AGAIN) from error


def files() -> dict[str, Path]:
    """Name → recipe file: those that come with ukperf, those of the user's folder, and those that --guest-file named;
    the latter go before the former. Nothing is read."""
    try:
        there = sorted((config_dir() / FOLDER).glob("*.toml"))
    except (OSError, UkperfError):
        there = []
    return {**commands(), **{path.stem: path for path in there if NAME.fullmatch(path.stem)}, **_named}


@cache
def commands() -> dict[str, Path]:
    """Name → recipe file: the guests that are command lines and come with ukperf."""
    return {path.stem: path for path in sorted(data("images", COMMANDS).glob("*.toml"))}


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
    known = [item.name for item in fields(GuestFile) if item.name != "path"]
    for key in values:
        if key not in known:
            raise UkperfError(f"The guest file {path} has an unknown key {clean(key, 60)!r}.", hint=meant(key, known))
    if "builder" not in values and "command" not in values:
        raise UkperfError(
            f"The guest file {path} names no builder.", hint='Add the guest that it is built like: builder = "linux"'
        )
    try:
        table = table_of(values.pop("command")) if "command" in values else None
        said = replace(decode(GuestFile, {"name": path.stem, **values, "path": str(path)}), command=table)
        for words in said.last_words:
            check_words(words)
        if table is not None:
            check_booted(table, said.builder)
    except ValueError as error:
        raise UkperfError(f"In the guest file {path}, {str(error).removeprefix('GuestFile.')}.") from error
    if not NAME.fullmatch(said.name):
        raise UkperfError(
            f"The guest file {path} names a guest {clean(said.name, 60)!r}: letters, digits and ._+- only."
        )
    return replace(said, kernel=said.kernel and absolute(path.parent / said.kernel.expanduser()))


def check_words(words: LastWords) -> None:
    """Raises ValueError for a pattern that is none."""
    try:
        compiled(words.pattern)
    except PatternError as error:
        raise ValueError(f"last_words.pattern {clean(words.pattern, 80)!r} is no pattern: {error}") from error


def recipe_of(file: GuestFile, base: Recipe) -> Recipe:
    """The builder's recipe with what the file says."""
    words = ("summary", "cmdline", "memory_mib", "min_memory_mib")
    changes: dict[str, Any] = {name: value for name in words if (value := getattr(file, name)) is not None}
    return replace(base, last_words=(*file.last_words, *base.last_words), **changes)
