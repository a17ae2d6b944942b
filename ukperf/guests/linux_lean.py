"""linux-lean: Linux with a kernel that is configured for guests alone and built here; the rest of it is linux's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ukperf.decode import decode
from ukperf.guests.base import BuildOptions, Code
from ukperf.guests.linux import Linux
from ukperf.guests.stored import StoredGuest
from ukperf.imaging import kernelbuild, kernelsource
from ukperf.imaging.apt import apt
from ukperf.imaging.kernelbuild import BuiltKernel, Making, Order
from ukperf.imaging.kernelfile import kernel_version
from ukperf.imaging.kernelstore import Check
from ukperf.model import Image, Program
from ukperf.resources import data
from ukperf.text import Say

OPTIONS = "options.toml"  # beside the recipe


class LinuxLean(StoredGuest):
    """Its kernels are in the store, made by `images build-kernel`; init, initramfs and disk are linux's."""

    name = "linux-lean"

    @property
    def get_one(self) -> str:
        return f"Build it, in some minutes: ukperf images build-kernel {self.name}"

    def inspect(self, kernel: Path) -> str:
        return kernel_version(kernel)

    def image(self, program: Program, options: BuildOptions) -> Image:
        """Raises UkperfError when the kernel is missing, or linux cannot run the program."""
        files = self.kept(options)
        linux = Linux(self.cache)
        linux.name, linux.recipe = self.name, self.recipe
        image = linux.build(program, replace(options, kernel=files.kernel))
        return replace(image, kernel_version=files.version)

    def code(self, image: Image) -> Code:
        return Linux(self.cache).code(image)

    def build_kernel(self, *, say: Say, progress: Callable[[str], None], check: Check | None) -> BuiltKernel:
        """Builds the kernel from the distribution's source, unless it is in the store. Raises UkperfError as
        `kernelbuild.build`."""
        order = decode(Order, self.recipe.extra["build"])
        options = data("images", self.name, OPTIONS)
        with apt(self.cache, "a kernel's source") as ours:
            source = kernelsource.newest(ours, order.source, order.leave_out)
            making = Making(self.name, options, order, self.cache, say, progress)
            return kernelbuild.build(making, source, self.store, check)
