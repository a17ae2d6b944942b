"""floor: our own kernel, compiled here. Its programs are linked in.

`boot` does nothing, `count` counts, `density` stays, and of `syscall_cost` it has the function calls: there is no
system to call.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Guest, join_cmdline
from ukperf.imaging.compiler import FREESTANDING, compile_c, find_compiler
from ukperf.imaging.programs import compiled_from
from ukperf.model import Image, Program
from ukperf.resources import data, data_root

LINKED_IN = ("boot", "count", "density", "syscall_cost")


class Floor(Guest):
    """The lower limit of a host, and the probe of the truth check."""

    name = "floor"

    def availability(self, options: BuildOptions) -> Availability:
        if options.kernel is not None:
            return Availability(options.kernel.is_file(), f"kernel {options.kernel}")
        try:
            return Availability(True, f"built here with {find_compiler().version}")
        except UkperfError as error:
            return Availability(False, error.message, error.hint)

    def build(self, program: Program, options: BuildOptions) -> Image:
        self.check_machine(options)
        if program.workload not in LINKED_IN:
            raise UkperfError(
                f"The guest floor loads no programs, so it cannot run {program.workload}.",
                hint="Leave it out with --guest, or measure its boot time.",
            )
        kernel, digest = self.cache.keep(options.kernel or self.kernel())
        words = program.argv[1:] if program.workload == "count" else ()
        if program.workload == "density":
            words = ("gate", "hang") if "gate" in program.argv else ("hang",)
        if program.workload == "syscall_cost":
            words = ("calls=1", "instructions=1") if "units=instructions" in program.argv else ("calls=1",)
        cmdline = join_cmdline(self.recipe.cmdline, *words, options.cmdline)
        key = self.cache.key({"guest": self.name, "kernel": digest, "cmdline": cmdline, "workload": program.workload})
        return replace(
            self.by_recipe(program, key),
            program_digest="",
            kernel=kernel,
            cmdline=cmdline,
            kernel_version=self.recipe.version,
            kernel_digest=digest,
        )

    def kernel(self) -> Path:
        """The kernel's ELF file, compiled where nothing in the cache fits."""
        base = data_root()
        folder = data("images", "floor")
        sources = sorted((*folder.glob("*.c"), *folder.glob("*.S")))
        script = folder / "floor.ld"
        headers = sorted((*folder.glob("*.h"), *(base / "workloads" / "common").glob("*.h")))
        compiler = find_compiler()
        flags = (*FREESTANDING, "-Wl,-T,images/floor/floor.ld")
        description = compiled_from(self.cache, compiler, flags, [*sources, *headers, script], base, libraries=False)
        entry = self.cache.entry(
            "kernels/floor",
            self.cache.key(description),
            lambda target: compile_c(sources, target / "floor.elf", flags, base=base, compiler=compiler),
        )
        return entry / "floor.elf"
