"""The Linux guest's kernel: the distribution's own cloud kernel, taken apart in our cache, never installed.

apt checks what it downloads against the distribution's signed lists; neither root nor the package system's own folders
are needed, because apt is given folders of ours where its own lists are empty.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ukperf.errors import UkperfError
from ukperf.imaging.archives import members
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelfile import kernel_version
from ukperf.paths import TMP, is_plain

# What stands for "the kernel for virtual machines": Debian's, then Ubuntu's.
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-kvm")
PULL_HINT = "Get one with: ukperf images pull linux (or name one: --kernel linux=PATH)"
_KIND = "kernels/linux"
_WANTED = re.compile(
    r"boot/(vmlinuz|config)-[^/]+"
    r"|(usr/)?lib/modules/[^/]+/modules\.builtin"
    r"|(usr/)?lib/modules/[^/]+/kernel/drivers/(virtio/.*|block/(virtio_blk|xen-blkfront)\..*)"
    r"|(usr/)?lib/modules/[^/]+/kernel/(net/9p|fs/(9p|netfs|fscache))/.*"
)
_TIMEOUT_S = 600
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
    for path, library, origin in sorted(candidates, key=lambda candidate: _natural(candidate[0].name), reverse=True):
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
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UkperfError(
                f"There is no {tool} to get a Linux kernel with.",
                hint="Name a kernel yourself: --kernel linux=PATH (a bzImage with ext4, 8250 and virtio).",
            )
    cache.root.mkdir(parents=True, exist_ok=True)
    # apt's parts tell each other paths line by line: after a line feed it would write elsewhere.
    with tempfile.TemporaryDirectory(dir=cache.root if is_plain(cache.root) else TMP, prefix="apt-") as folder:
        apt = _Apt(Path(folder))
        packages = apt.kernel_packages()
        description = {"packages": apt.versions(packages), "layout": 1}
        cache.entry(_KIND, Cache.key(description), lambda target: apt.unpack(packages, target))
    kernel = find_kernel(cache)
    if kernel is None:
        raise UkperfError(f"The packages {', '.join(packages)} hold no kernel.", hint="Use --kernel linux=PATH.")
    return kernel


class _Apt:
    """apt-get and apt-cache, writing only to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Without this, apt run by root warns that its own user cannot enter our folder.
        self.options = ["-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0"]

    def kernel_packages(self) -> list[str]:
        """The packages that hold the kernel and its modules, by what the metapackage depends on."""
        for attempt in range(2):
            for meta in META_PACKAGES:
                depends = self._depends(meta)
                image = next((name for name in depends if re.match(r"linux-image-(unsigned-)?\d", name)), None)
                if image is not None:
                    return [image, *(name for name in self._depends(image) if re.match(r"linux-modules-\d", name))]
            if attempt == 0:
                self._own_lists()
        raise UkperfError(
            f"apt knows none of {', '.join(META_PACKAGES)}.",
            hint="Check the network and run: sudo apt-get update. Or name a kernel: --kernel linux=PATH",
        )

    def versions(self, packages: Sequence[str]) -> list[str]:
        """name=version=sha256 of what would be downloaded: the key in the cache."""
        lines = []
        for package in packages:
            text = self._run("apt-cache", "show", "--no-all-versions", package)
            facts = dict(re.findall(r"^(Version|SHA256): (\S+)$", text, flags=re.MULTILINE))
            lines.append(f"{package}={facts.get('Version', '?')}={facts.get('SHA256', '?')}")
        return lines

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Downloads packages and puts their kernel and the modules that we may need under target."""
        self._run("apt-get", "download", *packages)
        for package in packages:
            _extract(next(self.folder.glob(f"{package}_*.deb")), target)
        if not list((target / "boot").glob("vmlinuz-*")):
            raise UkperfError(f"The package {packages[0]} holds no kernel.", hint="Use --kernel linux=PATH.")

    def _own_lists(self) -> None:
        """Where the system's package lists are empty (a fresh container): lists of our own, thrown away afterwards."""
        for name in ("lists/partial", "archives/partial"):
            (self.folder / name).mkdir(parents=True)
        self.options += ["-o", f"Dir::State::Lists={self.folder}/lists", "-o", f"Dir::Cache={self.folder}"]
        self._run("apt-get", "update", "-q")

    def _depends(self, package: str) -> list[str]:
        done = self._start("apt-cache", "depends", "--important", package)
        return re.findall(r"^\s*\|?Depends: ([^<\s]\S*)$", done.stdout, flags=re.MULTILINE)

    def _run(self, tool: str, *arguments: str) -> str:
        done = self._start(tool, *arguments)
        if done.returncode != 0:
            reasons = [line[3:] for line in done.stderr.splitlines() if line.startswith("E: ")]
            raise UkperfError(
                f"{tool} {arguments[0]} failed: {(reasons or ['status ' + str(done.returncode)])[0][:300]}",
                hint="Check the network, and run: sudo apt-get update. Or name a kernel: --kernel linux=PATH",
            )
        return done.stdout

    def _start(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [tool, *self.options, *arguments],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired as error:
            raise UkperfError(
                f"{tool} {arguments[0]} took longer than {_TIMEOUT_S} seconds.", hint="Check the network."
            ) from error


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
                path = target / str(name).lstrip("./").removeprefix("usr/")
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    while part := content(1 << 20):
                        out.write(part)
                    if out.tell() != member.size:
                        raise UkperfError(f"The package {package.name} ends in the middle of {name}.")
        finally:
            unpacker.stdout.close()


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key under which 6.1.0-9 comes before 6.1.0-56."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
