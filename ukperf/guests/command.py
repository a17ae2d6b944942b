"""A guest that is a command line (docs/extending.md): what is booted, by a builder or a file, and what boots it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests import recipes
from ukperf.guests.base import Availability, BuildOptions, Guest, join_cmdline
from ukperf.guests.commandtable import CommandTable
from ukperf.guests.derived import Derived
from ukperf.guests.recipes import GuestFile, Joins, Kernels, Recipe, read
from ukperf.imaging import binaries
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, BootProtocol, Command, Image, Program

UNTRIED = "not tried"  # how the key `tried` of such a recipe begins
WITHOUT_PROGRAMS = "boot"  # the workload of guests that load no programs: what is measured is their own boot
ALWAYS = frozenset({"memory_mib", "vcpus", "name", "console", "folder"})  # placeholders that each boot has


class CommandGuest(Guest):
    """base: builds what is booted; None: the file's kernel, which has its program in it, is all there is."""

    def __init__(self, file: GuestFile, table: CommandTable, base: Guest | None, cache: Cache | None = None) -> None:
        super().__init__(base.cache if base is not None else cache)
        self.name, self._file, self._table, self._base = file.name, file, table, base
        built = base.recipe if base is not None else _alone(file)
        self.recipe = replace(
            built,
            name=file.name,
            protocol=BootProtocol.COMMAND,
            machines=(),
            powers_off=built.powers_off if table.powers_off is None else table.powers_off,
            joins=Joins.IF_NAMED,
            role=None,
            kernels=Kernels.OWN,
            loads_programs=base is not None and table.frames and built.loads_programs,
        )

    def executed_by(self, accelerator: Accelerator) -> Accelerator:
        return accelerator if self._table.accelerators else Accelerator.NATIVE

    @property
    def binary(self) -> Path | None:
        """The program that boots it; None where it is not on this machine."""
        return binaries.which(self._table.binary, self._file.path.parent)

    def availability(self, options: BuildOptions) -> Availability:
        path = self.binary
        if path is None:
            return Availability(
                False,
                f"{self._table.binary} is not on this machine.",
                f"Install it, or put its folder into PATH: {self._file.path} runs it.",
            )
        if missing := self._missing():
            return Availability(False, f"{missing} is not there, or not for you.", f"{self._file.path} needs it.")
        vmm = self._vmm(path)
        if self._base is not None:
            built = self._base.availability(self._options(options))
            return Availability(built.ok, f"{vmm}; {built.sentence}" if built.ok else built.sentence, built.hint)
        kernel = options.kernel or self._file.kernel
        if kernel is None:
            return Availability(False, f"{self.name} has no kernel of its own.", f"Name it: --kernel {self.name}=FILE")
        if not kernel.is_file():
            return Availability(False, f"The kernel of {self.name} is missing ({kernel}).", f"{self._file.path}")
        return Availability(True, f"{vmm}; kernel {kernel.name}")

    def build(self, program: Program, options: BuildOptions) -> Image:
        """Raises UkperfError as the builder does, for what is missing, and for a program that it cannot run."""
        there = self.availability(options)
        path = self.binary
        if not there.ok or path is None:
            raise UkperfError(there.sentence, hint=there.hint)
        accelerator = self._accelerator(options)
        if not self.recipe.loads_programs and program.workload != WITHOUT_PROGRAMS:
            raise UkperfError(
                f"The guest {self.name} loads no programs, so it cannot run {program.workload}.",
                hint="Leave it out with --guest, or measure its boot time.",
            )
        built = self._built(program, options)
        command = Command(
            accelerator=accelerator,
            json=self._table.json,
            console=self._table.console,
            chatter=self._table.chatter,
            frames=self._table.frames,
            ready=self._table.ready,
            status=self._table.status,
            good_status=self._table.good_status,
            copies_disk=self._table.copies_disk,
            vmm=self._vmm(path),
            vmm_sha256=self.cache.digests.file(path),
            files=tuple(self._needed_files()),
        )
        if built.protocol is BootProtocol.EXEC:
            command = self._with_program(command, built)
            built = replace(built, env=(), kernel_version="" if self._table.own_kernel else built.kernel_version)
        argv = (str(path), *self._template(built, command, accelerator))
        description = {
            "guest": self.name,
            "built": built.digest,
            "argv": list(argv[1:]),
            "environment": dict(self._table.environment),
            "command": {k: v for k, v in asdict(replace(command, files=(), program=None)).items() if "vmm" not in k},
        }
        return replace(
            built,
            guest=self.name,
            digest=self.cache.key(description),
            protocol=BootProtocol.COMMAND,
            argv=argv,
            env=(*built.env, *self._table.environment.items()),
            powers_off=self.recipe.powers_off,
            command=command,
        )

    def choice(self, options: BuildOptions) -> str:
        """A word of warning before a recipe of ours that nobody has tried, and what the builder says."""
        untried = self._table.tried if self._file.path in recipes.commands().values() else ""
        mine = f"The recipe of {self.name} is {untried}." if untried.startswith(UNTRIED) else ""
        built = self._base.choice(self._options(options)) if self._base is not None else ""
        return " ".join(filter(None, (mine, built)))

    def obtain(self) -> str:
        return super().obtain() if self._base is None else self._base.obtain()

    def _with_program(self, command: Command, built: Image) -> Command:
        """The command with the program of a process of this machine. Its variables are handed to it by env(1), not to
        the command: a library that is loaded before the program would be loaded into that, and speak for it. It
        gets no others, as on this machine itself: LANG alone makes `echo` take four times as long.

        Raises UkperfError where they cannot be handed on.
        """
        program, words = Path(built.argv[0]), built.argv[1:]
        if not built.env:
            return replace(command, program=program, words=words)
        flat = [word for group in self._table.groups for word in group]
        env = binaries.which("env", program.parent)
        if env is None or ("{program}", "{arguments}") not in pairwise(flat) or "=" in str(program):
            raise UkperfError(
                f"{self.name} cannot hand on the variables that {program.name} is started with.",
                hint="In its recipe {arguments} must follow {program}, and no path may have an equals sign.",
            )
        variables = (f"{name}={value}" for name, value in built.env)
        return replace(
            command, program=env, words=("-i", *variables, str(program), *words), files=(*command.files, program)
        )

    def _accelerator(self, options: BuildOptions) -> Accelerator:
        executed, able = self.executed_by(options.accelerator), self._table.accelerators
        if able and executed not in able:
            raise UkperfError(
                f"{self.name} runs its guest by {' or '.join(able)}, and this run is by {executed}.",
                hint=f"Use --accel {next(iter(able))}, or leave {self.name} out.",
            )
        return executed

    def _built(self, program: Program, options: BuildOptions) -> Image:
        """What is booted, as its builder would have it booted."""
        if self._base is not None:
            if self._base.recipe.protocol is BootProtocol.EXEC and (options.kernel or options.cmdline):
                raise UkperfError(f"{self.name} has no kernel and no command line of its own.")
            return guests.build(self._base, program, self._options(options))
        named = options.kernel or self._file.kernel
        assert named is not None  # `availability` has looked
        kernel, digest = self.cache.keep(named)
        cmdline = join_cmdline(self._file.cmdline or "", self._file.append, options.cmdline)
        key = self.cache.key({"kernel": digest, "cmdline": cmdline})
        image = replace(self.by_recipe(program, key), program_digest="", kernel=kernel, cmdline=cmdline)
        return replace(image, kernel_version=named.name, kernel_digest=digest)

    def _template(self, built: Image, command: Command, accelerator: Accelerator) -> tuple[str, ...]:
        values = {
            "kernel": built.kernel,
            "initrd": built.initrd,
            "disk": built.disk,
            "cmdline": built.cmdline,
            "program": command.program,
            "json": command.json,
        }
        there = ALWAYS | {name for name, value in values.items() if value}
        try:
            return self._table.template(there, accelerator)[1:]
        except KeyError as error:
            raise UkperfError(
                f"The command of {self.name} has {{{error.args[0]}}}, and there is none for this program.",
                hint=f"Put the words around it into a list of their own in {self._file.path}, if they may be left out.",
            ) from error

    def _options(self, options: BuildOptions) -> BuildOptions:
        return replace(options, machine=self._table.machine)

    def _vmm(self, path: Path) -> str:
        return binaries.version_of(path, self._table.version) or f"{path.name} (it does not say which version)"

    def _missing(self) -> str:
        """The first of what it needs that is not there."""
        for word in self._table.needs:
            if "/" not in word:
                if binaries.which(word, self._file.path.parent) is None:
                    return word
            elif not os.access(self._at(word), os.R_OK | (0 if self._at(word).is_file() else os.W_OK)):
                return word
        return ""

    def _needed_files(self) -> list[Path]:
        """Those whose change would be another guest."""
        return [self._at(word) for word in self._table.needs if "/" in word and self._at(word).is_file()]

    def _at(self, word: str) -> Path:
        return self._file.path.parent / Path(word).expanduser()


def _alone(file: GuestFile) -> Recipe:
    """The recipe of a guest without a builder."""
    return Recipe(
        name=file.name,
        summary=file.summary or f"a guest of the recipe {file.path.name}",
        version="1",
        protocol=BootProtocol.COMMAND,
        memory_mib=file.memory_mib or 256,
        min_memory_mib=file.min_memory_mib or 1,
        cmdline=file.cmdline or "",
        powers_off=True,
        machines=(),
        last_words=file.last_words,
    )


def guest_of(path: Path, builders: Callable[[str, Cache | None], Guest], control: str, cache: Cache | None) -> Guest:
    """The guest of a recipe file. builders: makes a guest by its name. control: the one that is a process of this
    machine, which builds `{program}` where nobody else is named.

    Raises UkperfError as `read`, and for a builder that there is not.
    """
    file = read(path)
    table = file.command
    name = file.builder or (control if table is not None and "program" in table.used else "")
    try:
        base = Derived(file, builders(name, cache)) if name else None
    except UkperfError as error:
        raise UkperfError(f"The guest file {path}: {error.message}", hint=error.hint) from error
    return base if table is None and base is not None else CommandGuest(file, table or CommandTable(()), base, cache)
