"""What every guest is to the rest of ukperf: what it needs, whether that is here, and an image on request."""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import read_text, reason
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootProtocol, Image, MachineKind, Program
from ukperf.resources import data

TREE_LEAP_US = 1000


class Joins(StrEnum):
    """When a guest takes part in a run that names no guests."""

    ALWAYS = "always"  # what is missing of it is fetched, or the run does not start
    IF_THERE = "if there"  # left out with a sentence where something is missing
    IF_TIMED = "if timed"  # where all guests are timed in seconds
    IF_NAMED = "if named"


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
    place: int = 100  # among the guests of a run that names none
    loads_programs: bool = True  # False: only programs that are linked in
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildOptions:
    """What an image may depend on besides guest and program."""

    machine: MachineKind = MachineKind.Q35
    accelerator: Accelerator = Accelerator.TCG  # resolved: never AUTO
    kernel: Path | None = None  # --kernel GUEST=PATH
    cmdline: str = ""  # added to the guest's own
    remote: bool = False  # the VM runs on another machine than this


@dataclass(frozen=True)
class Availability:
    """Is there all that a guest needs? sentence says what is there or missing; hint the line to type."""

    ok: bool
    sentence: str
    hint: str | None = None


class Guest(ABC):
    """A guest. Subclasses set name, and build images through the cache."""

    name: str
    fetches = False  # True: who wants this guest has asked for what `obtain` downloads
    version = ""  # of the kernel in the store that was asked for; "": the default

    @property
    def label(self) -> str:
        """What the guest is called in a run: GUEST, or GUEST:VERSION."""
        return f"{self.name}:{self.version}" if self.version else self.name

    def at(self, version: str) -> Guest:
        """This guest with that version of its kernel. Raises UkperfError for guests that have no versions."""
        raise UkperfError(
            f"The guest {self.name} has no versions to choose from, so there is no {self.name}:{version}.",
            hint=f"Write {self.name}."
            if self.name != "linux"
            else "Write linux; --kernel linux=FILE names its kernel.",
        )

    def check_version(self) -> None:  # noqa: B027 - guests without versions have nothing to check
        """Quickly: raises UkperfError, with what there is, when the version that was asked for is not here."""

    def choice(self, options: BuildOptions) -> str:
        """A sentence where there are several kernels and none was asked for: which it boots, how to take another."""
        return ""

    def __init__(self, cache: Cache | None = None) -> None:
        self.cache = cache or Cache()

    @cached_property
    def recipe(self) -> Recipe:
        """Raises UkperfError when images/NAME/recipe.toml is missing or not understood."""
        return load_recipe(data("images", self.name, "recipe.toml"))

    @abstractmethod
    def availability(self, options: BuildOptions) -> Availability:
        """Quick, without network and without building anything; never raises for what is merely missing."""

    @abstractmethod
    def build(self, program: Program, options: BuildOptions) -> Image:
        """The image of this guest with this program, from the cache where no input has changed.

        Raises UkperfError when something is missing, or the guest cannot run this kind of program.
        """

    def obtain(self) -> str:
        """Downloads what is missing and may be downloaded; one sentence on what is there now."""
        return self.availability(BuildOptions()).sentence

    def check_machine(self, options: BuildOptions) -> None:
        """Raises UkperfError when the guest cannot boot on this kind of machine."""
        machines = self.recipe.machines
        if machines and options.machine not in machines:
            raise UkperfError(
                f"The guest {self.name} does not boot on {options.machine}.", hint=f"It boots on {', '.join(machines)}."
            )

    def check_cmdline(self, line: str) -> str:
        """`line` itself. Raises UkperfError where it is longer than the kernel takes: it would not boot, or lose words
        in silence."""
        most, size = self.recipe.extra.get("cmdline_max"), len(line.encode("utf-8", "surrogateescape"))
        if isinstance(most, int) and size > most:
            raise UkperfError(
                f"The command line of {self.name} would have {size:,} bytes, and its kernel takes {most:,}.",
                hint="Shorten what --append adds, or put long arguments in a file of the program's tree.",
            )
        return line

    def check_memory(self, mib: int, options: BuildOptions) -> None:
        """Raises UkperfError for less memory than this guest is known to boot with; a kernel of the user's own may do
        with less."""
        least = self.recipe.min_memory_mib
        if mib < least and options.kernel is None:
            raise UkperfError(
                f"{self.name} needs {least} MiB of memory, and would get {mib}.",
                hint=f"Use --memory {least} or more, or leave {self.name} out with --guest.",
            )


def load_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe. Raises UkperfError when a key is missing or of the wrong kind."""
    try:
        values = tomllib.loads(read_text(path))
        return Recipe(
            name=str(values.pop("name")),
            summary=str(values.pop("summary")),
            version=str(values.pop("version")),
            protocol=BootProtocol(values.pop("protocol")),
            memory_mib=int(values.pop("memory_mib")),
            min_memory_mib=int(values.pop("min_memory_mib")),
            cmdline=str(values.pop("cmdline")),
            powers_off=bool(values.pop("powers_off")),
            machines=tuple(MachineKind(kind) for kind in values.pop("machines")),
            joins=Joins(values.pop("joins", Joins.IF_NAMED)),
            place=int(values.pop("place", 100)),
            loads_programs=bool(values.pop("loads_programs", True)),
            extra=values,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UkperfError(f"The recipe {path} is damaged: {reason(error)}.", hint="Install ukperf again.") from error


def idle_leap_us(program: Program) -> int:
    """How far an idle guest's clock may leap under icount (docs/images.md): a timer strikes that often.

    At 2 µs emulation is three times as slow. A tree's files are all read before anything is counted, so that its
    leaps do not matter.
    """
    return TREE_LEAP_US if program.is_tree else 2


def join_cmdline(*parts: str) -> str:
    """Words of a kernel command line with one space between them."""
    return " ".join(part.strip() for part in parts if part.strip())
