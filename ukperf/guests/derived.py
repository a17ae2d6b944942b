"""A guest made from another by a recipe file: its builder does the work, under the name that the file gives."""

from __future__ import annotations

from dataclasses import replace

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Guest, join_cmdline
from ukperf.guests.recipes import GuestFile, Joins, Kernels, recipe_of
from ukperf.model import Image, Program


class Derived(Guest):
    """The builder with another kernel, command line or memory."""

    def __init__(self, file: GuestFile, base: Guest) -> None:
        super().__init__(base.cache)
        self.name, self._file, self._base = file.name, file, base
        own = recipe_of(file, base.recipe)
        base.recipe = own  # the builder looks there
        self.recipe = replace(own, name=file.name, joins=Joins.IF_NAMED, role=None, kernels=Kernels.OWN)

    def availability(self, options: BuildOptions) -> Availability:
        chosen = self._options(options)
        if chosen.kernel is not None and not chosen.kernel.is_file():
            return Availability(False, f"The kernel of {self.name} is missing ({chosen.kernel}).", f"{self._file.path}")
        return self._base.availability(chosen)

    def build(self, program: Program, options: BuildOptions) -> Image:
        """Raises UkperfError as the builder does."""
        chosen = self._options(options)
        if chosen.kernel is not None and not chosen.kernel.is_file():
            raise UkperfError(
                f"The kernel of {self.name} is missing ({chosen.kernel}).", hint=f"{self._file.path} names it."
            )
        return replace(guests.build(self._base, program, chosen), guest=self.name)

    def obtain(self) -> str:
        return self._base.obtain()

    def _options(self, options: BuildOptions) -> BuildOptions:
        return replace(
            options,
            kernel=options.kernel or self._file.kernel,
            cmdline=join_cmdline(self._file.append, options.cmdline),
        )
