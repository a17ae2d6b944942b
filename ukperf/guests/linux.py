"""linux: the distribution's cloud kernel, our init, and one program. No systemd."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Code, Guest, idle_inputs, idle_traits, join_cmdline
from ukperf.imaging import cpio, distro, ext4, kmodules, tree
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import STATIC_PIE, compile_c, find_compiler
from ukperf.imaging.distro import LinuxKernel
from ukperf.imaging.hosttsc import tsc_khz
from ukperf.imaging.programs import compiled_from
from ukperf.model import Accelerator, Image, MachineKind, Network, Program
from ukperf.resources import data, data_root

_ENTRIES_MAX = 256  # of each kind, init.c
_CONF_MAX = 65535
_FIRST_DISK = "/dev/vda"  # the disk that descriptions of images do not name


class Linux(Guest):
    """The baseline."""

    name = "linux"

    @property
    def without_versions(self) -> str:
        return f"Write {self.name}; --kernel {self.name}=FILE names its kernel."

    def availability(self, options: BuildOptions) -> Availability:
        try:
            find_compiler()
            kernel = distro.find_kernel(self.cache, options.kernel)
        except UkperfError as error:
            return Availability(False, error.message, error.hint)
        if kernel is None:
            return Availability(False, "There is no Linux kernel for guests yet.", distro.PULL_HINT)
        return Availability(True, f"kernel {kernel.version}")

    def obtain(self) -> str:
        """Downloads the distribution's cloud kernel into the cache, unless one is there. Raises UkperfError."""
        kernel = distro.find_kernel(self.cache)
        if kernel is None or not self._complete(kernel):
            kernel = distro.pull_kernel(self.cache)
        return f"The Linux guest's kernel is {kernel.version} ({kernel.vmlinuz})."

    def _complete(self, kernel: LinuxKernel) -> bool:
        """Has a kernel in the cache all modules that guests may need? Those that older versions of ukperf took out of
        their packages have none of network cards."""
        if kernel.modules is None or not kernel.vmlinuz.is_relative_to(self.cache.root):
            return True
        return kmodules.has(kernel.modules, self.recipe.listed("network_modules"))

    def one_kernel(self) -> UkperfError:
        return UkperfError(
            "apt decides which Linux kernel this is.", hint=f"Or use your own: --kernel {self.name}=FILE"
        )

    def build(self, program: Program, options: BuildOptions) -> Image:
        self.check_machine(options)
        kernel_files = self.kernel(options)
        vmlinuz, kernel_digest = self.cache.keep(kernel_files.vmlinuz)
        kernel = replace(kernel_files, vmlinuz=vmlinuz)
        init = self.init()
        extra, disk_there = self.recipe.extra, self.disk_on(options.machine)
        card = self.recipe.listed("network_modules") if options.network else None
        modules = (*(disk_there.modules if program.is_tree else ()), *(card or ()))
        common = str(extra.get(f"{options.machine.platform}_cmdline", self.recipe.cmdline))
        special = str(extra.get(f"{options.machine}_cmdline", ""))
        cmdline = self.check_cmdline(join_cmdline(common, special, for_accelerator(self, options), options.cmdline))
        conf = init_conf(program, settled=program.settled, network=options.network)
        description = {
            "guest": self.name,
            "recipe": self.recipe.version,
            "kernel": str(kernel.vmlinuz),
            "kernel_digest": kernel_digest,
            "init": self.cache.digests.file(init),
            "program": program.digest,
            **idle_inputs(program),
            "workload": program.workload,
            "conf": conf.decode("utf-8", "surrogateescape"),
            "cmdline": cmdline,
            # Left out where it was always so: images that are there keep their digests.
            **({"disk": disk_there.device} if program.is_tree and disk_there.device != _FIRST_DISK else {}),
            **self._modules(kernel, modules),
            **({"network": True} if options.network else {}),
        }

        # Beside the image, and not in it: looked for each time, since its folder may have gone or moved.
        disk = tree_disk(self.cache, program) if program.is_tree else None

        def build(folder: Path, key: str) -> Image:
            if program.is_tree:
                disk_initramfs(kernel, init, program, folder / "initrd.cpio", disk_there, card)
            else:
                own_initramfs(kernel, init, program, folder / "initrd.cpio", card)
            return replace(
                self.by_recipe(program, key),
                kernel=kernel.vmlinuz,
                initrd=folder / "initrd.cpio",
                disk=disk,
                cmdline=cmdline,
                kernel_version=kernel.version,
                kernel_digest=kernel_digest,
                traits=idle_traits(program),
            )

        # The cache may hold an image that an older recipe described: what is no part of its bytes is said anew.
        return replace(self.cache.image(description, build), disk=disk, min_memory_mib=self.recipe.min_memory_mib)

    def _modules(self, kernel: LinuxKernel, names: Sequence[str]) -> dict[str, str]:
        """What tells apart the modules of a kernel that are not in the cache, where nobody replaces them."""
        if not names or kernel.modules is None or kernel.modules.is_relative_to(self.cache.root):
            return {}
        total = hashlib.sha256()
        for name, content in kmodules.load_order(kernel.modules, names):
            total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        return {"modules": total.hexdigest()}

    def code(self, image: Image) -> Code:
        return Code(image.kernel, programs=(self.init(),), linux=True)

    def disk_on(self, machine: MachineKind) -> Disk:
        """The disk of a machine of that kind. Raises UkperfError where the recipe has none."""
        disks = self.recipe.extra.get("disk")
        there = disks.get(machine.platform) if isinstance(disks, dict) else None
        if not isinstance(there, dict):
            raise UkperfError(f"The recipe of {self.name} does not say how its kernel gets at a disk on {machine}.")
        return Disk(str(there["device"]), tuple(map(str, there["modules"])))

    def kernel(self, options: BuildOptions) -> LinuxKernel:
        """The kernel to boot. Raises UkperfError when there is none."""
        kernel = distro.find_kernel(self.cache, options.kernel)
        if kernel is None:
            raise UkperfError("There is no Linux kernel for guests yet.", hint=distro.PULL_HINT)
        return kernel

    def init(self) -> Path:
        """Our static init, compiled where nothing in the cache fits."""
        return own_part(self.cache, data("images", "linux", "init.c"))


def for_accelerator(guest: Guest, options: BuildOptions) -> str:
    """What emulation wants on a Linux kernel's command line, and who wants to know where everything lies."""
    fixed = str(guest.recipe.extra.get("fixed_cmdline", "")) if options.fixed else ""
    return join_cmdline(_for_emulation(guest, options), fixed)


def _for_emulation(guest: Guest, options: BuildOptions) -> str:
    # The kernel's place in memory is random by default, and with it the number of instructions that it executes.
    if options.accelerator is Accelerator.ICOUNT:
        return str(guest.recipe.extra["icount_cmdline"])
    # On a machine with no clock to measure its counter by, a busy host makes Linux hang without it (hosttsc.py).
    if options.accelerator is Accelerator.TCG and options.machine is MachineKind.MICROVM and not options.remote:
        return f"tsc_early_khz={tsc_khz(guest.cache)}"
    return ""


def own_part(cache: Cache, source: Path) -> Path:
    """A static program of ours that a guest is made of, compiled from its C file where nothing in the cache fits."""
    base, compiler, name = data_root(), find_compiler(), source.stem
    headers = sorted((base / "workloads" / "common").glob("*.h"))
    description = compiled_from(cache, compiler, STATIC_PIE, [source, *headers], base, libraries=True)
    entry = cache.entry(
        "programs",
        cache.key(description),
        lambda folder: compile_c([source], folder / name, STATIC_PIE, base=base, compiler=compiler),
    )
    return entry / name


def tree_disk(cache: Cache, program: Program) -> Path:
    """The program's tree as an ext4 disk: one for all command lines that run programs in it."""
    key = cache.key({"format": ext4.FORMAT, "tree": program.digest})
    entry = cache.entry("disks", key, lambda folder: ext4.write_ext4(program.path, folder / "root.ext4"))
    return entry / "root.ext4"


def init_conf(
    program: Program,
    *,
    disk: str | None = None,
    modules: Sequence[str] = (),
    settled: bool = False,
    network: bool = False,
) -> bytes:
    """/ukperf.conf, which tells our init what to do (images/linux/init.c).

    disk: what tells the ext4 file system that the program is in: the device, which these modules reach (paths in the
    initramfs, in the order of loading), or as the guest takes it. settled: the program starts when nothing else wants
    the CPU. network: there is a card. Raises UkperfError for what the file cannot hold.
    """
    lines = [f"module {path}" for path in modules]
    lines += [f"net {Network.ADDRESS}/{Network.PREFIX} {Network.GATEWAY}"] if network else []
    lines += [f"root {disk}"] if disk else []
    lines += ["wait settled"] if settled else []
    lines += [f"arg {word}" for word in program.argv]
    lines += [f"env {name}={value}" for name, value in program.env]
    text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    if any("\n" in line or "\0" in line for line in lines):
        raise UkperfError("Linux guests take no arguments or environment with line feeds or NULs in them.")
    if max(len(program.argv), len(program.env)) > _ENTRIES_MAX or len(text) > _CONF_MAX:
        raise UkperfError(
            f"Linux guests take at most {_ENTRIES_MAX} arguments, {_ENTRIES_MAX} variables and 64 KiB of both."
        )
    return text


@dataclass(frozen=True)
class Disk:
    """How the guest gets at its disk: the device's name, and the modules that bring it about."""

    device: str
    modules: tuple[str, ...]


def disk_initramfs(
    kernel: LinuxKernel, init: Path, program: Program, target: Path, disk: Disk, card: Sequence[str] | None = None
) -> None:
    """Writes the initramfs of a guest whose program is in the ext4 file system of a disk. card: the modules of its
    network card, None: it has none.

    Raises UkperfError when the kernel came without modules that it needs.
    """
    contents, paths = _modules_for(kernel, (*disk.modules, *(card or ())), "a disk")
    conf = init_conf(program, disk=disk.device, modules=paths, settled=program.settled, network=card is not None)
    cpio.write(
        target, tree.files({**contents, "/init": init, "/ukperf.conf": conf}, executable=["/init"]), [cpio.CONSOLE]
    )


def own_initramfs(
    kernel: LinuxKernel, init: Path, program: Program, target: Path, card: Sequence[str] | None = None
) -> None:
    """The same with the program in it."""
    contents, paths = _modules_for(kernel, card or (), "a network")
    conf = init_conf(program, modules=paths, settled=program.settled, network=card is not None)
    contents |= {"/init": init, program.argv[0]: program.path, "/ukperf.conf": conf}
    cpio.write(target, tree.files(contents, executable=["/init", program.argv[0]]), cpio.BASIC_DEVICES)


def _modules_for(kernel: LinuxKernel, names: Sequence[str], what: str) -> tuple[dict[str, Path | bytes], list[str]]:
    """The modules that `what` needs, by their paths in the initramfs; these paths in the order of loading."""
    if names and kernel.modules is None:
        raise UkperfError(f"The kernel {kernel.vmlinuz} has no modules, which {what} needs.", hint=distro.PULL_HINT)
    modules = kmodules.load_order(kernel.modules, names) if kernel.modules and names else []
    return {f"/{name}.ko": data for name, data in modules}, [f"/{name}.ko" for name, _ in modules]
