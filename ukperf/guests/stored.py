"""What nanos and unikraft have in common: a kernel that somebody else built, out of the kernel store or a file."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.guests.base import Availability, BuildOptions, Guest
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelstore import KernelStore, StoredKernel, entry_name
from ukperf.imaging.pull import pull
from ukperf.imaging.unikernels import inspect
from ukperf.model import Image, MachineKind, Program


@dataclass(frozen=True)
class Files:
    """The files to boot with. boot: nanos's boot image, None where none is at hand."""

    kernel: Path
    version: str
    digest: str
    boot: Path | None = None
    boot_digest: str = ""


class StoredGuest(Guest):
    """A guest whose kernel is in the kernel store, or named by --kernel GUEST=PATH."""

    platform = "qemu"

    def __init__(self, cache: Cache | None = None, store: KernelStore | None = None) -> None:
        super().__init__(cache)
        self.store = store or KernelStore()
        self._entry: StoredKernel | None = None  # what is booted, wherever its files are

    def availability(self, options: BuildOptions) -> Availability:
        try:
            files = self.files(options)
        except UkperfError as error:
            return Availability(False, error.message, error.hint)
        return Availability(True, self.choice(options).removesuffix(".") or f"kernel {files.version or files.kernel}")

    def at(self, version: str) -> StoredGuest:
        """Raises UkperfError for what cannot be a version."""
        entry_name(self.name, version, self.platform)
        self.version = version
        return self

    def using(self, entry: StoredKernel) -> StoredGuest:
        """This guest with an entry that the store need not have yet."""
        self._entry = entry
        return self

    def check_version(self) -> None:
        there = {entry.version: None for entry in self.store.entries() if entry.guest == self.name}
        if not self.version or self.version in there:
            return
        near = difflib.get_close_matches(self.version, there, n=1)
        pull = f"Get it: ukperf images pull {self.name} --version {self.version}"
        if near:
            hint = f"Did you mean {self.name}:{near[0]}?"
        else:
            hint = f"There are: {', '.join(f'{self.name}:{version}' for version in there)}." if there else pull
        raise UkperfError(f"There is no {self.name} kernel {self.version} here.", hint=hint)

    def choice(self, options: BuildOptions) -> str:
        platform = self.platform_of(options)
        here = [e.version for e in self.store.entries() if (e.guest, e.platform) == (self.name, platform)]
        if self.version or options.kernel is not None or len(here) < 2:
            return ""
        others = ", ".join(f"-g {self.name}:{version}" for version in reversed(here[:-1]))
        return f"{self.name} boots {here[-1]}, the newest of {len(here)} kernels here; the others: {others}."

    def build(self, program: Program, options: BuildOptions) -> Image:
        """The image of this program, under the name by which the guest was asked for.

        Raises UkperfError when the kernel is missing or not what it should be, or does not take the program.
        """
        return replace(self.image(program, options), guest=self.label)

    @abstractmethod
    def image(self, program: Program, options: BuildOptions) -> Image:
        """The image of this program, whichever way its kernel was chosen. Raises as `build`."""

    def files(self, options: BuildOptions) -> Files:
        """The kernel to boot. Raises UkperfError, with the line to type, when there is none."""
        if options.kernel is not None:
            return self._named(options.kernel)
        if self._entry is not None:
            return _files_of(self._entry)
        self.check_version()
        platform = self.platform_of(options)
        entry = self.store.find(self.name, self.version or None, platform)
        if entry is None and platform != self.platform:
            raise UkperfError(
                f"There is no {self.label} kernel for {platform} here.",
                hint=f"Add one: ukperf images add {self.name} --platform {platform} {self.add_options}",
            )
        if entry is None and self.version:
            raise UkperfError(f"The {self.name} kernel {self.version} here is not for {platform}.")
        if entry is None:
            raise UkperfError(
                f"There is no {self.name} kernel yet.",
                hint=f"Get one: ukperf images pull {self.name}, or: ukperf images add {self.name} {self.add_options}",
            )
        return _files_of(entry)

    def kept(self, options: BuildOptions) -> Files:
        """The kernel to boot, as copies that nobody replaces. Raises UkperfError as `files`, and for other bytes than
        those that were added."""
        files = self.files(options)
        kernel, digest = self.cache.keep(files.kernel)
        boot, boot_digest = self.cache.keep(files.boot) if files.boot else (None, "")
        for path, was, now in ((files.kernel, files.digest, digest), (files.boot, files.boot_digest, boot_digest)):
            if was != now:
                raise UkperfError(
                    f"{path} has the digest sha256:{now}, not sha256:{was}.",
                    hint="Somebody changed it: ukperf images verify",
                )
        return replace(files, kernel=kernel, boot=boot)

    def obtain(self) -> str:
        """Pulls the newest kernel, unless one is there. Raises UkperfError."""
        entry = self.store.find(self.name) or pull(self.name, self.recipe.extra, self.store).entry
        return f"The {self.name} guest's kernel is {entry.version} (sha256:{entry.sha256('kernel')})."

    add_options = "--kernel FILE"

    def platform_of(self, options: BuildOptions) -> str:
        """Which of a guest's kernels: those for QEMU boot on Xen too unless a guest says otherwise."""
        return self.platform

    def _named(self, kernel: Path) -> Files:
        found = inspect(self.name, kernel)
        boot = next((path for path in self.boot_beside(kernel) if path.is_file()), None)
        return Files(
            kernel=kernel.absolute(),
            version=found.version,
            digest=self.cache.digests.file(kernel),
            boot=boot.absolute() if boot else None,
            boot_digest=self.cache.digests.file(boot) if boot else "",
        )

    def boot_beside(self, kernel: Path) -> tuple[Path, ...]:
        """Where the boot image of a kernel named by path may be."""
        return ()

    def rebadged(self, image: Image, machine: MachineKind) -> str:
        """The digest of an image whose files are the same on another machine, booted another way."""
        return self.cache.key({"image": image.digest, "machine": machine.value})


def _files_of(entry: StoredKernel) -> Files:
    boot = next((entry.path(file.role) for file in entry.files if file.role == "boot"), None)
    return Files(
        kernel=entry.path("kernel"),
        version=entry.version,
        digest=entry.sha256("kernel"),
        boot=boot,
        boot_digest=entry.sha256("boot") if boot else "",
    )
