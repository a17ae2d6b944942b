"""The Linux guest's kernel: the distribution's own cloud kernel, taken apart in our cache, never installed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ukperf.errors import UkperfError
from ukperf.imaging.apt import Apt, apt
from ukperf.imaging.archives import members
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelfile import kernel_version

# What stands for "the kernel for virtual machines": Debian's, then Ubuntu's.
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-kvm")
PULL_HINT = "Get one with: ukperf images pull linux (or name one: --kernel linux=PATH)"
_KIND = "kernels/linux"
_WANTED = re.compile(
    r"boot/(vmlinuz|config)-[^/]+"
    r"|(usr/)?lib/modules/[^/]+/(vmlinuz|config)"
    r"|(usr/)?lib/modules/[^/]+/modules\.builtin"
    r"|(usr/)?lib/modules/[^/]+/kernel/drivers/(virtio/.*|block/(virtio_blk|xen-blkfront)\..*)"
    r"|(usr/)?lib/modules/[^/]+/kernel/(net/core/failover|drivers/net/(virtio_net|net_failover))\..*"
    r"|(usr/)?lib/modules/[^/]+/kernel/(net/9p|fs/(9p|netfs|fscache))/.*"
)
# Of a kernel whose package holds none of them: Ubuntu's modules; in Debian 14, the kernel too.
_PARTS = re.compile(r"linux-(base|binary|modules)-\d")
_LAYOUT = 2  # of what is taken out of packages: 1 had no modules of network cards
_INSTEAD = "Or name a kernel: --kernel linux=PATH (a bzImage with ext4, 8250 and virtio)."
PACKAGE_MAX, FILES_MAX = 4 << 30, 100_000  # an unpacked package's; Ubuntu's with all modules have a quarter of it


@dataclass(frozen=True)
class LinuxKernel:
    """A bootable Linux kernel. modules: its /lib/modules/VERSION folder, None where there is none."""

    vmlinuz: Path
    version: str
    modules: Path | None
    origin: str  # the package, or the path that the user gave


def find_kernel(cache: Cache, override: Path | None = None) -> LinuxKernel | None:
    """The kernel to boot, without downloading: the user's own, the newest in the cache, or /boot's cloud kernel.

    None when there is none. Raises UkperfError when the user's own is not there or is no kernel.
    """
    if override is not None:
        version = kernel_version(override)
        modules = Path("/lib/modules", version)
        return LinuxKernel(override.absolute(), version, modules if modules.is_dir() else None, str(override))
    pulled = (cache.root / _KIND).glob("*/boot/vmlinuz-*")
    candidates = [(path, path.parent.parent / "lib", "package") for path in pulled]
    if not candidates:
        candidates = [(path, Path("/lib"), str(path)) for path in Path("/boot").glob("vmlinuz-*cloud*")]
    for path, library, origin in sorted(candidates, key=_newest, reverse=True):
        try:
            version = kernel_version(cache.hold(path))
        except UkperfError:
            continue  # Ubuntu's /boot is for root only
        modules = library / "modules" / version
        return LinuxKernel(path, version, modules if modules.is_dir() else None, origin)
    return None


def pull_kernel(cache: Cache) -> LinuxKernel:
    """Downloads the distribution's cloud kernel into the cache, if it is not there yet, and takes it apart.

    Raises UkperfError where there is no apt, no such package, or no network.
    """
    with apt(cache, "a Linux kernel", _INSTEAD) as ours:
        packages = _kernel_packages(ours)
        description = {"packages": [str(ours.package(name)) for name in packages], "layout": _LAYOUT}
        cache.entry(_KIND, Cache.key(description), lambda target: _unpack(ours, packages, target))
    kernel = find_kernel(cache)
    if kernel is None:
        raise UkperfError(f"The packages {', '.join(packages)} hold no kernel.", hint="Use --kernel linux=PATH.")
    return kernel


def _kernel_packages(apt: Apt) -> list[str]:
    """The packages that hold the kernel and its modules, by what the metapackage depends on."""
    for attempt in range(2):
        for meta in META_PACKAGES:
            depends = apt.depends(meta)
            image = next((name for name in depends if re.match(r"linux-image-(unsigned-)?\d", name)), None)
            if image is not None:
                return [image, *filter(_PARTS.match, apt.depends(image))]
        if attempt == 0:
            apt.own_lists()
    raise UkperfError(
        f"apt knows none of {', '.join(META_PACKAGES)}.",
        hint=f"Check the network and run: sudo apt-get update. {_INSTEAD}",
    )


def _unpack(apt: Apt, packages: Sequence[str], target: Path) -> None:
    """Downloads packages and puts their kernel and the modules that we may need under target."""
    for file in apt.download(packages):
        _extract(file, target)
    if not list((target / "boot").glob("vmlinuz-*")):
        raise UkperfError(f"The package {packages[0]} holds no kernel.", hint="Use --kernel linux=PATH.")


def _extract(package: Path, target: Path) -> None:
    """The regular files that we want from a Debian package; nothing else of it touches the disk."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package.absolute())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as unpacker:
        assert unpacker.stdout is not None
        try:
            for member, content in members(unpacker.stdout.read, f"The package {package.name}", PACKAGE_MAX, FILES_MAX):
                name = PurePosixPath(member.name)
                if not member.isfile() or ".." in name.parts or not _WANTED.fullmatch(str(name).lstrip("./")):
                    continue
                path = target / _place(str(name).lstrip("./").removeprefix("usr/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    while part := content(1 << 20):
                        out.write(part)
                    if out.tell() != member.size:
                        raise UkperfError(f"The package {package.name} ends in the middle of {name}.")
        finally:
            unpacker.stdout.close()


def _place(name: str) -> str:
    """Where a file of a package is kept: a kernel beside its modules as if it lay in /boot."""
    kernel = re.fullmatch(r"lib/modules/([^/]+)/(vmlinuz|config)", name)
    return f"boot/{kernel[2]}-{kernel[1]}" if kernel else name


def _newest(candidate: tuple[Path, Path, str]) -> tuple[list[tuple[int, str]], float]:
    """Sort key by version, and of one version by when it was taken apart."""
    path, library, _ = candidate
    return _natural(path.name), library.stat().st_mtime if library.is_dir() else 0.0


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key under which 6.1.0-9 comes before 6.1.0-56."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
