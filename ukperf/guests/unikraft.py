"""unikraft: the binary-compatible kernel (elfloader) and the program in a cpio archive that it unpacks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import read_bytes
from ukperf.guests.base import BuildOptions, join_cmdline
from ukperf.guests.stored import Files, StoredGuest
from ukperf.imaging import cpio, tree
from ukperf.imaging.download import Client
from ukperf.imaging.elf import is_position_independent
from ukperf.imaging.kernelfile import KernelKind
from ukperf.imaging.kernelstore import KERNEL_MAX
from ukperf.imaging.oci import OciRegistry
from ukperf.imaging.pull import PinOf, Pulled
from ukperf.imaging.tree import Entry, Kind
from ukperf.model import Image, MachineKind, Network, Platform, Program

LINKED_IN = ("boot",)  # what a kernel with its program linked in may stand for
# Official kernels have mounted a ramfs on / by then, those of app-elfloader's own configurations nothing: 2 means "if
# nothing else is mounted" (lib/vfscore/automount.c).
_BANNER = re.compile(rb"Unikraft \w{1,40} \((\d{1,3}\.\d{1,3}\.\d{1,3}[\w.~+-]{0,60})\)")
_ROOT = 'vfs.fstab=[ "initrd0:/:extract::ramfs=2:" ]'
_LWIP = b"liblwip"  # the name by which its library is known to the kernel's messages
_ADDRESS = f"netdev.ip={Network.ADDRESS}/{Network.PREFIX}:{Network.GATEWAY}"


def _version(kernel: bytes) -> str:
    banner = _BANNER.search(kernel)
    return banner.group(1).decode() if banner else ""


class Unikraft(StoredGuest):
    """Loads position-independent ELF programs, one a boot, and stays when the program is gone: the host ends it."""

    name = "unikraft"

    kind = KernelKind(
        "Unikraft",
        b"nikraft",
        "It is a binary-compatible (elfloader) kernel, like build/elfloader_qemu-x86_64.",
        _version,
        ("EM_X86_64", "EM_386"),  # those for QEMU call themselves 32-bit: its multiboot loader takes no others
    )

    def pins(self, platform: str) -> Mapping[str, str]:
        return super().pins(platform) if platform == self.platform else {}  # of manifests for qemu

    def download(self, client: Client, base: str, version: str | None, platform: str, pin_of: PinOf) -> Pulled:
        """The kernel in an image of an OCI registry; the tag is the version."""
        registry = OciRegistry(client, base, str(self.recipe.extra["repository"]))
        pulled = registry.pull(version or str(self.recipe.extra["latest"]), platform, pin_of)
        if version is not None:
            return pulled
        # `latest` moves by design; what it is today has a version of its own, and that one must not change.
        said = self.inspect_bytes(pulled.files["kernel"], pulled.source)
        return replace(pulled, version=said or pulled.version, again="")

    def platform_of(self, options: BuildOptions) -> Platform:
        return options.machine.platform

    def image(self, program: Program, options: BuildOptions) -> Image:
        """Raises UkperfError when the kernel is missing, the program is not position independent, or its arguments
        and environment are more than the kernel takes."""
        self.check_machine(options)
        files = self.kept(options)
        if options.machine.platform in self.recipe.listed("linked_in_on"):
            return self._linked_in(program, files, options)
        path = program.path / program.argv[0].lstrip("/") if program.is_tree else program.path
        check_loadable(path, program.argv[0] if program.is_tree else "")
        address = _ADDRESS if options.network else ""
        cmdline = self.cmdline(program, join_cmdline(address, options.cmdline))
        description = {
            "guest": self.name,
            "recipe": self.recipe.version,
            "kernel": str(files.kernel),
            "kernel_digest": files.digest,
            "kernel_version": files.version,
            "program": program.digest,
            "is_tree": program.is_tree,
            "workload": program.workload,
            "cmdline": cmdline,
        }

        # Beside the image, and not in it: looked for each time, since its folder may have gone or moved.
        archive = self.archive(program) if program.is_tree else None

        def build(folder: Path, key: str) -> Image:
            initrd = archive or folder / "initrd.cpio"
            if archive is None:
                cpio.write(initrd, _entries(program))
            return replace(
                self.by_recipe(program, key),
                kernel=files.kernel,
                initrd=initrd,
                cmdline=cmdline,
                kernel_version=files.version,
                kernel_digest=files.digest,
            )

        image = self.cache.image(description, build)
        return image if archive is None else replace(image, initrd=archive)

    def check_network(self, options: BuildOptions) -> None:
        super().check_network(options)
        if options.machine is MachineKind.MICROVM:
            raise UkperfError("Unikraft finds no network card on microvm.", hint="Use q35: leave out --machine.")
        files = self.kept(options)
        if _LWIP not in read_bytes(files.kernel, KERNEL_MAX):
            raise UkperfError(
                f"The Unikraft kernel {files.version or files.kernel} has no network: there is no lwip in it.",
                hint="Build one with lwip and netdev.ip (docs/serving.md), and add it: "
                f"ukperf images add {self.name} --kernel FILE. Or leave {self.label} out.",
            )

    def archive(self, program: Program) -> Path:
        """The program's tree as a cpio archive: one for all command lines that run programs in it."""
        key = self.cache.key({"format": "cpio 1", "tree": program.digest})
        entry = self.cache.entry("archives", key, lambda folder: _write(folder / "initrd.cpio", program))
        return entry / "initrd.cpio"

    def _linked_in(self, program: Program, files: Files, options: BuildOptions) -> Image:
        """A kernel for Xen loads no programs: what it does is what was linked into it."""
        if program.workload not in LINKED_IN:
            raise UkperfError(
                f"Unikraft's kernels for Xen run the one program that is linked into them, and not {program.workload}.",
                hint="Leave unikraft out with --guest, or measure its boot time.",
            )
        key = {"guest": self.name, "recipe": self.recipe.version, "kernel_digest": files.digest}
        cmdline = self.check_cmdline(join_cmdline(self.recipe.cmdline, options.cmdline))
        return replace(
            self.by_recipe(program, self.cache.key({**key, "machine": options.machine.value, "cmdline": cmdline})),
            program_digest="",
            kernel=files.kernel,
            cmdline=cmdline,
            kernel_version=f"{files.version} with its program linked in".strip(),
            kernel_digest=files.digest,
        )

    def cmdline(self, program: Program, more: str = "") -> str:
        """Parameters, `--`, the program and its arguments, within what the kernel takes."""
        variables = [quote(f"{name}={value}") for name, value in program.env]
        env = f"env.vars=[ {' '.join(variables)} ]" if variables else ""
        line = join_cmdline(self.recipe.cmdline, more, env, _ROOT, "--", *map(quote, program.argv))
        parameters = len(join_cmdline(self.recipe.cmdline, more, _ROOT).split()) + (len(variables) + 2 if env else 0)
        words = 1 + parameters + 1 + len(program.argv)  # QEMU puts the kernel's name in front; `--`
        words_max = int(str(self.recipe.extra["words_max"]))
        if words > words_max:
            raise UkperfError(
                f"Unikraft takes {words_max - (words - len(program.argv) - len(variables))} arguments and variables in "
                f"all, and {program.workload} has {len(program.argv)} and {len(variables)}.",
                hint="The kernel would drop the last ones without a word.",
            )
        return self.check_cmdline(line)


def check_loadable(program: Path, name: str = "") -> None:
    """Raises UkperfError when a program is not position independent: the kernel would say Exec format error (-8).

    name: what the program is called in messages, if not by its path.
    """
    name = name or str(program)
    try:
        loadable = is_position_independent(program)
    except OSError as error:
        raise UkperfError(f"{name} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UkperfError(f"{name} is no ELF program, which is all that Unikraft runs.") from error
    if not loadable:
        raise UkperfError(
            f"{name} is not position independent, and Unikraft loads no other programs.",
            hint="Build it with -static-pie or -pie; for Python, use an interpreter that was built so.",
        )


def quote(word: str) -> str:
    """One word for Unikraft's argument parser, which knows quotes and backslashes as a shell does.

    Raises UkperfError for line feeds and NULs, which no command line can hold.
    """
    if any(ord(letter) < 32 for letter in word):
        raise UkperfError(f"Unikraft takes no control characters in arguments and variables, and one is in {word!r}.")
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(path: Path, program: Program) -> None:
    cpio.write(path, _entries(program))


def _entries(program: Program) -> list[Entry]:
    if not program.is_tree:
        return tree.files({program.argv[0]: program.path}, executable=[program.argv[0]])
    return tree.merge([Entry(b"tmp", Kind.DIRECTORY, 0o755)], tree.scan(program.path))
