"""nanos: a disk as `ops` makes it, with the program's tree in its root file system."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions, Code, idle_inputs, idle_traits
from ukperf.guests.stored import Files, StoredGuest
from ukperf.imaging import tree
from ukperf.imaging.archives import extract
from ukperf.imaging.download import Client
from ukperf.imaging.kernelfile import KernelKind
from ukperf.imaging.kernelstore import check_version
from ukperf.imaging.nanosdisk import check_boot_image, write_disk
from ukperf.imaging.pull import PinOf, Pulled, wrong_digest
from ukperf.imaging.tfsvalues import Value
from ukperf.imaging.tree import Entry, Kind
from ukperf.model import Accelerator, BootProtocol, Image, MachineKind, Network, Program, Trait

_ARCHIVE_MAX = 256 << 20
_IN_RELEASE = {"boot.img": 1 << 20, "kernel.img": 12 << 20}  # bytes at most: what fits into a disk
_ROLES = {"boot.img": "boot", "kernel.img": "kernel"}
_COMMIT = re.compile(rb"\0([0-9a-f]{40})\0")  # a C string of its own


def _version(kernel: bytes) -> str:
    commit = _COMMIT.search(kernel)
    return f"git-{commit.group(1)[:12].decode()}" if commit else ""


class Nanos(StoredGuest):
    """Boots from the disk's boot sector; on microvm, which has no firmware for that, by direct kernel boot."""

    name = "nanos"
    add_options = "--kernel kernel.img --boot boot.img"

    kind = KernelKind(
        "nanos",
        b"NVMTFS",  # the magic of its file system
        "It is the release's kernel.img, or output/platform/pc/bin/kernel.img of a build.",
        _version,
    )

    def download(self, client: Client, base: str, version: str | None, platform: str, pin_of: PinOf) -> Pulled:
        """A release: one tarball that holds boot.img and kernel.img, for all platforms."""
        archive, latest = (str(self.recipe.extra[key]) for key in ("archive", "latest"))
        if version is None:
            text = client.get(f"{base}/{latest}", 200).body
            version = text.decode("ascii", errors="replace").strip()
        source = f"{base}/{archive.format(version=check_version(version))}"
        answer = client.get(source, _ARCHIVE_MAX)
        pin = pin_of(version)
        if pin is not None and pin != answer.sha256:
            raise wrong_digest(source, answer.sha256, pin)
        members = extract(answer.body, _IN_RELEASE, source)
        if missing := " and ".join(sorted(set(_IN_RELEASE) - set(members))):
            raise UkperfError(f"{source} has no {missing} in it.", hint="Is it a nanos release for x86-64?")
        files = {_ROLES[name]: data for name, data in members.items()}
        return Pulled(version, files, source, answer.sha256, pin is not None, again=version)

    def code(self, image: Image) -> Code:
        """The kernel is in the disk; so is the boot image, if it was not named."""
        kernel = image.kernel or self.cache.kept(image.kernel_digest)
        files = self.files(BuildOptions()) if self.availability(BuildOptions()).ok else None
        known = files is not None and files.boot is not None and files.digest == image.kernel_digest
        return Code(kernel, loaders=(files.boot,) if known and files and files.boot else ())

    def check_boot(self, path: Path) -> None:
        check_boot_image(path)

    def boot_beside(self, kernel: Path) -> tuple[Path, ...]:
        # A release has both in one folder, a build tree in bin/ and boot/.
        return kernel.parent / "boot.img", kernel.parent.parent / "boot" / "boot.img"

    def image(self, program: Program, options: BuildOptions) -> Image:
        """The disk of this program. Raises UkperfError when a file is missing or is not what it should be.

        options.cmdline: words `name` or `name=value` become options in the root tuple (nanos has no command line).
        """
        self.check_machine(options)
        if options.machine is MachineKind.MICROVM and options.accelerator is Accelerator.ICOUNT:
            # It measures its counter against the PIT and gives up after 10,000 readings; at one instruction a
            # nanosecond these are over before the PIT has moved. On q35 it has the HPET.
            raise UkperfError("nanos finds no clock on microvm under icount.", hint="Use q35 there, or tcg or kvm.")
        files = self.kept(options)
        if files.boot is None:
            raise UkperfError(
                f"The nanos kernel {self.files(options).kernel} has no boot.img beside it.",
                hint=f"Put the release's boot.img there, or: ukperf images add nanos {self.add_options}",
            )
        root = root_tuple(program, options, exit_port=options.machine in self.recipe.listed("exit_port_on"))
        image = self._image(program, files, files.boot, root)
        if options.machine is MachineKind.MICROVM:
            return replace(
                image,
                digest=self.rebadged(image, options.machine),
                protocol=BootProtocol.KERNEL,
                kernel=files.kernel,
                traits=(*image.traits, *map(Trait, self.recipe.listed(f"{options.machine}_traits"))),
            )
        return image

    def _image(self, program: Program, files: Files, boot: Path, root: dict[str, Value]) -> Image:
        description = {
            "guest": self.name,
            "recipe": self.recipe.version,
            "kernel_digest": files.digest,
            "kernel_version": files.version,
            "boot_digest": files.boot_digest,
            "program": program.digest,
            **idle_inputs(program),
            "is_tree": program.is_tree,
            "workload": program.workload,
            "root": root,
        }

        def build(folder: Path, key: str) -> Image:
            disk = folder / "disk.img"
            write_disk(disk, boot=boot, kernel=files.kernel, entries=_entries(program), root=root)
            return replace(
                self.by_recipe(program, key),
                disk=disk,
                kernel_version=files.version,
                kernel_digest=files.digest,
                traits=((Trait.EXIT_PORT,) if "debug_exit" in root else ()) + idle_traits(program),
            )

        return self.cache.image(description, build)


def root_tuple(program: Program, options: BuildOptions, *, exit_port: bool) -> dict[str, Value]:
    """What nanos reads of its root tuple besides the files.

    exit_port: the machine has a device (debug_exit) by which nanos ends it with the program's status, instead of
    powering off.
    """
    root: dict[str, Value] = {
        "program": program.argv[0],
        "arguments": list(program.argv),
        "environment": dict(program.env),
    }
    if options.network:  # of its first card; where nothing is said it asks by DHCP, which takes time that others save
        root["en1"] = {"ipaddr": Network.ADDRESS, "netmask": Network.MASK, "gateway": Network.GATEWAY}
    if exit_port:
        root["debug_exit"] = "t"
    for word in options.cmdline.split():
        name, _, value = word.partition("=")
        root[name] = value or "t"
    return root


def _entries(program: Program) -> list[Entry]:
    if not program.is_tree:
        return tree.files({program.argv[0]: program.path}, executable=[program.argv[0]])
    # Programs expect /tmp; nanos keeps it on the root file system.
    return tree.merge([Entry(b"tmp", Kind.DIRECTORY, 0o755)], tree.scan(program.path))
