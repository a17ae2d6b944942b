"""What every guest is to the rest of ukperf: what it needs, whether that is here, and an image on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.guests.recipes import Kernels, Recipe, load_recipe
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootProtocol, Image, MachineKind, Program, Trait
from ukperf.resources import data


@dataclass(frozen=True)
class BuildOptions:
    """What an image may depend on besides guest and program."""

    machine: MachineKind = MachineKind.Q35
    accelerator: Accelerator = Accelerator.TCG  # resolved: never AUTO
    kernel: Path | None = None  # --kernel GUEST=PATH
    cmdline: str = ""  # added to the guest's own
    remote: bool = False  # the VM runs on another machine than this
    network: bool = False  # the guest has a network device, and sets its address
    fixed: bool = False  # kernel and programs are to lie at the same addresses in every boot


@dataclass(frozen=True)
class Availability:
    """Is there all that a guest needs? sentence says what is there or missing; hint the line to type."""

    ok: bool
    sentence: str
    hint: str | None = None


@dataclass(frozen=True)
class Code:
    """Files of what a guest executes besides its program. kernel: an ELF file, or what unpacks itself; loaders: what
    brings it into memory; programs: of ours, that start the program. linux: its kernel knows the names of its code."""

    kernel: Path | None = None
    loaders: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()
    linux: bool = False


class Guest(ABC):
    """A guest. Subclasses set name, and build images through the cache."""

    name: str
    version = ""  # of the kernel in the store that was asked for; "": the default

    @property
    def fetches(self) -> bool:
        """Has who wants this guest asked for what `obtain` downloads?"""
        return self.recipe.kernels is Kernels.PULLED

    def executed_by(self, accelerator: Accelerator) -> Accelerator:
        """What executes this guest in a run by `accelerator`: a program of this machine is executed by its CPU."""
        return Accelerator.NATIVE if self.recipe.protocol is BootProtocol.EXEC else accelerator

    @property
    def label(self) -> str:
        """What the guest is called in a run: GUEST, or GUEST:VERSION."""
        return f"{self.name}:{self.version}" if self.version else self.name

    @property
    def without_versions(self) -> str:
        """How this guest is asked for, for who named a version and it has none."""
        return f"Write {self.name}."

    def at(self, version: str) -> Guest:
        """This guest with that version of its kernel. Raises UkperfError for guests that have no versions."""
        raise UkperfError(
            f"The guest {self.name} has no versions to choose from, so there is no {self.name}:{version}.",
            hint=self.without_versions,
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

    def code(self, image: Image) -> Code:
        """What an image of this guest executes, as far as that is known. Raises UkperfError where a file of ours cannot
        be made."""
        return Code(kernel=image.kernel)

    def by_recipe(self, program: Program, digest: str) -> Image:
        """What a guest's image is by its recipe, under the digest of all that is in it; files and command line are left
        to `build`."""
        return Image(
            guest=self.name,
            workload=program.workload,
            digest=digest,
            program_digest=program.digest,
            protocol=self.recipe.protocol,
            powers_off=self.recipe.powers_off,
            min_memory_mib=self.recipe.min_memory_mib,
            slow_s=self.recipe.slow_s,
        )

    def obtain(self) -> str:
        """Downloads what is missing and may be downloaded; one sentence on what is there now."""
        return self.availability(BuildOptions()).sentence

    def one_kernel(self) -> UkperfError:
        """For who wants to say which kernel `obtain` downloads, where there is but one."""
        return UkperfError(f"There is one kernel of {self.name} to pull.", hint="Leave out what chooses another.")

    def check_machine(self, options: BuildOptions) -> None:
        """Raises UkperfError when the guest cannot boot on this kind of machine."""
        machines = self.recipe.machines
        if machines and options.machine not in machines:
            raise UkperfError(
                f"The guest {self.name} does not boot on {options.machine}.", hint=f"It boots on {', '.join(machines)}."
            )

    def check_network(self, options: BuildOptions) -> None:
        """Raises UkperfError where this guest's programs cannot be reached over a network."""
        if not self.recipe.network:
            raise UkperfError(
                f"{self.label} has no network that ukperf can reach its programs by.", hint=f"Leave {self.label} out."
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


def idle_traits(program: Program) -> tuple[Trait, ...]:
    """A tree's files are all read before anything is counted, so that its clock's leaps do not matter."""
    return (Trait.COARSE_IDLE,) if program.is_tree else ()


def idle_inputs(program: Program) -> dict[str, object]:
    """The part of an image's description that idle_traits stands for, as digests of images have always had it."""
    return {"idle_leap_us": 1000 if program.is_tree else 2}


def join_cmdline(*parts: str) -> str:
    """Words of a kernel command line with one space between them."""
    return " ".join(part.strip() for part in parts if part.strip())
