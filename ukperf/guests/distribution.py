"""debian, ubuntu: a whole distribution as it is deployed, with systemd, and the program as one of its units.

Two disks. The first is the program's own, the same bytes as in the guest linux; the second the distribution's root file
system, built once from its packages and the same for every program. What is to be run is in the initramfs, which our
step of it hands on to the unit (images/debian).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import create_own, open_regular, read_text
from ukperf.guests.base import Availability, BuildOptions, Code, Guest, join_cmdline
from ukperf.guests.linux import for_accelerator, init_conf, own_part, tree_disk
from ukperf.imaging import bootstrap, cpio, ext4, tree
from ukperf.imaging.bootstrap import Built, SystemWanted
from ukperf.imaging.compiler import find_compiler
from ukperf.model import Image, Network, Program, Trait
from ukperf.resources import data
from ukperf.templates import filled

_PARTS = "debian"  # the folder of images/ that has the parts of all distributions
_KIND = "systems"  # of the cache
_UNIT = "usr/lib/ukperf/unit"
_IN_INITRAMFS = "etc/initramfs-tools/scripts/init-bottom/ukperf"
_MACHINE_ID = "5eed5eed000040008000000000000001"
_ALIGNED = 512  # where an archive may begin behind another: any multiple of 4


class Distribution(Guest):
    """Subclasses set name; images/NAME/recipe.toml says what is built."""

    def code(self, image: Image) -> Code:
        return Code(image.kernel, linux=True)

    def availability(self, options: BuildOptions) -> Availability:
        try:
            find_compiler()
            built = self._built()
        except UkperfError as error:
            return Availability(False, error.message, error.hint)
        if options.kernel is not None:
            return Availability(False, f"{self.name} boots its own kernel only.", f"Leave out --kernel {self.name}=.")
        if built is None:
            return Availability(
                False,
                f"{self.name} is not built yet.",
                f"Build it, which takes some minutes: ukperf images pull {self.name}",
            )
        return Availability(True, self._says(built))

    def obtain(self) -> str:
        """Builds the root file system from the distribution's packages, unless it is there. Raises UkperfError."""
        folder = self._system()
        return f"{self.name} is {self._says(bootstrap.read_built(folder))} ({folder})."

    def one_kernel(self) -> UkperfError:
        return UkperfError(
            f"The packages of {self.name} are those that its archive has on the day that it is built.",
            hint=f"Another archive is named by {self._mirror_variable}.",
        )

    def build(self, program: Program, options: BuildOptions) -> Image:
        """Raises UkperfError where the root file system cannot be built, and as other guests."""
        self.check_machine(options)
        if options.kernel is not None:
            raise UkperfError(f"{self.name} boots its own kernel only.", hint=f"Leave out --kernel {self.name}=.")
        system = self._system()
        built = bootstrap.read_built(system)
        kernel = system / bootstrap.KERNEL
        special = str(self.recipe.extra.get(f"{options.machine}_cmdline", ""))
        network = _address(str(self.recipe.extra["network_cmdline"])) if options.network else ""
        cmdline = self.check_cmdline(
            join_cmdline(self.recipe.cmdline, special, network, for_accelerator(self, options), options.cmdline)
        )
        conf = init_conf(program, disk=ext4.UUID)
        first = own_part(self.cache, data("images", _PARTS, "first.c"))
        kernel_digest = self.cache.digests.file(kernel)
        description = {
            "guest": self.name,
            "recipe": self.recipe.version,
            "system": built.system_digest,
            "initrd": self.cache.digests.file(system / bootstrap.INITRD),
            "kernel_digest": kernel_digest,
            "first": self.cache.digests.file(first),
            "program": program.digest,
            "workload": program.workload,
            "conf": conf.decode("utf-8", "surrogateescape"),
            "cmdline": cmdline,
        }
        disk = self._disk(program)

        def make(folder: Path, key: str) -> Image:
            _write_initrd(folder, system / bootstrap.INITRD, {"/ukperf-first": first, "/ukperf.conf": conf})
            return replace(
                self.by_recipe(program, key),
                kernel=kernel,
                initrd=folder / "initrd",
                disk=disk,
                system=system / bootstrap.SYSTEM,
                cmdline=cmdline,
                kernel_version=f"{built.kernel_version}, {built.says}",
                kernel_digest=kernel_digest,
                # It reads its disk all the way up: at the finer leap a boot takes three times as long.
                traits=(Trait.COARSE_IDLE,),
            )

        # Beside the image, and not in it: looked for each time, since its folder may have gone or moved.
        return replace(
            self.cache.image(description, make),
            kernel=kernel,
            disk=disk,
            system=system / bootstrap.SYSTEM,
            min_memory_mib=self.recipe.min_memory_mib,
            slow_s=self.recipe.slow_s,
        )

    @property
    def _mirror_variable(self) -> str:
        return f"UKPERF_{self.name.upper()}_MIRROR"

    def _says(self, built: Built) -> str:
        return f"kernel {built.kernel_version}, {built.says}"

    def _disk(self, program: Program) -> Path:
        """The disk that the program is on, and nothing else."""
        if program.is_tree:
            return tree_disk(self.cache, program)
        key = self.cache.key({"format": ext4.FORMAT, "file": program.digest, "path": program.argv[0]})

        def make(folder: Path) -> None:
            files = folder / "files"
            files.mkdir()
            tree.unpack(tree.files({program.argv[0]: program.path}, executable=[program.argv[0]]), files)
            ext4.write_ext4(files, folder / "root.ext4")
            shutil.rmtree(files)

        return self.cache.entry("disks", key, make) / "root.ext4"

    def _system(self) -> Path:
        """The folder with the root file system, built where it is not there. Raises UkperfError."""
        suite = self._suite()

        def make(folder: Path) -> None:
            bootstrap.find_tool()  # the least is asked for first
            bootstrap.build(self._wanted(suite), folder, f"{self.name} ({suite})")

        return self.cache.entry(_KIND, self._key(suite), make)

    def _built(self) -> Built | None:
        folder = self.cache.root / _KIND / self._key(self._suite())
        return bootstrap.read_built(folder) if folder.is_dir() else None

    def _key(self, suite: str) -> str:
        """By what ukperf puts in; the packages, which are the archive's, are in what is built."""
        parts = ("unit.c", "ukperf.service", "initramfs-bottom.sh")
        wanted = ("variant", "packages", "leave_out", "spare_mib")
        return self.cache.key(
            {
                "name": self.name,
                "format": bootstrap.FORMAT,
                "suite": suite,
                "mirror": os.environ.get(self._mirror_variable, ""),
                "parts": [self.cache.digests.file(data("images", _PARTS, part)) for part in parts],
                **{key: self.recipe.extra[key] for key in wanted},
            }
        )

    def _suite(self) -> str:
        """This machine's own release where it runs the same distribution: then linux has the same kernel."""
        here: dict[str, str] = {}
        try:
            for line in read_text(Path("/etc/os-release")).splitlines():
                name, _, value = line.partition("=")
                here[name] = value.strip("\"'")
        except (OSError, ValueError):
            pass
        known, extra = here.get("VERSION_CODENAME", ""), self.recipe.extra
        return known if known.isalnum() and here.get("ID") == extra["os_id"] else str(extra["suite"])

    def _wanted(self, suite: str) -> SystemWanted:
        extra = self.recipe.extra
        variable = os.environ.get(self._mirror_variable, "")
        return SystemWanted(
            suite=suite,
            variant=str(extra["variant"]),
            packages=self.recipe.listed("packages"),
            mirror=variable,
            leave_out=self.recipe.listed("leave_out"),
            early={_IN_INITRAMFS: read_text(data("images", _PARTS, "initramfs-bottom.sh"))},
            files={
                _UNIT: own_part(self.cache, data("images", _PARTS, "unit.c")),
                "etc/systemd/system/ukperf.service": read_text(data("images", _PARTS, "ukperf.service")),
                # A system that was set up: no first boot, and nothing of the machine that built it.
                "etc/machine-id": f"{_MACHINE_ID}\n",
                "etc/hostname": f"{self.name}\n",
                "etc/hosts": f"127.0.0.1 localhost {self.name}\n",
                "etc/resolv.conf": "",
                "etc/fstab": f"UUID={bootstrap.UUID} / ext4 defaults 0 1\n",
                "etc/.updated": "",
                "var/.updated": "",
            },
            links={
                "etc/systemd/system/multi-user.target.wants/ukperf.service": "../ukperf.service",
                # The serial line is the program's.
                "etc/systemd/system/serial-getty@ttyS0.service": "/dev/null",
            },
            spare_mib=int(str(extra["spare_mib"])),
        )


class Debian(Distribution):
    """What the paper calls the traditional deployment, by Debian."""

    name = "debian"


class Ubuntu(Distribution):
    """The same by Ubuntu, which the paper had."""

    name = "ubuntu"


def _address(words: str) -> str:
    """The recipe's words of the network, with its address."""
    return filled(words, {"address": Network.ADDRESS, "mask": Network.MASK, "gateway": Network.GATEWAY})


def _write_initrd(folder: Path, base: Path, contents: dict[str, Path | bytes]) -> None:
    """The distribution's initramfs, and an archive of ours behind it: the kernel unpacks one after the other."""
    ours = folder / "ours.cpio"
    cpio.write(ours, tree.files(contents, executable=["/ukperf-first"]))
    with create_own(folder / "initrd") as whole:
        for part in (base, ours):
            whole.write(bytes(-whole.tell() % _ALIGNED))
            with open_regular(part) as source:
                shutil.copyfileobj(source, whole, 1 << 20)
    ours.unlink()
