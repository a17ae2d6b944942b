"""Guests whose kernel somebody else built: pulled or added to the kernel store, or named as a file."""

from __future__ import annotations

import difflib
import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import read_bytes
from ukperf.guests.base import Availability, BuildOptions, Guest
from ukperf.imaging.cache import Cache
from ukperf.imaging.download import Client
from ukperf.imaging.kernelbuild import BuiltKernel
from ukperf.imaging.kernelfile import KernelKind, inspect, inspect_bytes
from ukperf.imaging.kernelstore import KERNEL_MAX, Check, KernelOrigin, KernelStore, StoredKernel, check_version
from ukperf.imaging.pull import PinOf, Pulled, mirror_variable, pins
from ukperf.model import DEFAULT_PLATFORM, Image, MachineKind, Platform, Program
from ukperf.text import Say


@dataclass(frozen=True)
class Files:
    """The files to boot with. boot: the boot image of a guest that needs one, None where none is at hand."""

    kernel: Path
    version: str
    digest: str
    boot: Path | None = None
    boot_digest: str = ""


@dataclass(frozen=True)
class Pull:
    """What was pulled. first_use: no recipe pinned the digest, and this machine had not seen it before. again: the
    version by which others get the same, "" where its digest alone says it."""

    entry: StoredKernel
    first_use: bool
    again: str


class StoredGuest(Guest):
    """A guest whose kernel is in the kernel store, or named by --kernel GUEST=PATH.

    kind: how its kernels are known; None: any file may be one, and says no version. A guest whose kernels can be
    pulled has `download`; one that boots from a second file says in its recipe what that is called, and has
    `check_boot`.
    """

    platform = DEFAULT_PLATFORM
    kind: KernelKind | None = None
    add_options = "--kernel FILE"

    def __init__(self, cache: Cache | None = None, store: KernelStore | None = None) -> None:
        super().__init__(cache)
        self.store = store or KernelStore()
        self._entry: StoredKernel | None = None  # what is booted, wherever its files are

    @property
    def get_one(self) -> str:
        """How a kernel is had, for who has none."""
        return f"Get one: ukperf images pull {self.name}, or: ukperf images add {self.name} {self.add_options}"

    def availability(self, options: BuildOptions) -> Availability:
        try:
            files = self.files(options)
        except UkperfError as error:
            return Availability(False, error.message, error.hint)
        return Availability(True, self.choice(options).removesuffix(".") or f"kernel {files.version or files.kernel}")

    def at(self, version: str) -> StoredGuest:
        """Raises UkperfError for what cannot be a version."""
        self.version = check_version(version)
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
                hint=self.get_one,
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
        entry = self.store.find(self.name) or self.pull().entry
        return f"The {self.name} guest's kernel is {entry.version} (sha256:{entry.sha256('kernel')})."

    def pull(
        self,
        *,
        version: str | None = None,
        mirror: str | None = None,
        platform: str = "",
        sha256: str | None = None,
        client: Client | None = None,
        check: Check | None = None,
    ) -> Pull:
        """Downloads a kernel and puts it into the store.

        version: None is the newest; mirror: an address instead of `place`; sha256: what the archive or
        manifest must have, as a recipe's pin would say; check: as KernelStore.add. Raises UkperfError when anything
        fails; the store is as it was then.
        """
        platform = platform or self.platform
        pin_of = pins(self.pins(platform), sha256)
        base = (mirror or self.place).rstrip("/")
        pulled = self.download(client or Client(), base, version, platform, pin_of)
        self.inspect_bytes(pulled.files["kernel"], pulled.source)
        first = not pulled.pinned and self.store.trusted(self.name, pulled.version, platform) is None
        origin = KernelOrigin(pulled.source, pulled.digest, pulled.pinned)
        entry = self.store.add(self.name, pulled.version, pulled.files, platform=platform, origin=origin, check=check)
        return Pull(entry, first, pulled.again)

    @property
    def place(self) -> str:
        """The address of the server that `pull` asks where no mirror is named; "" where there is nothing to pull."""
        return os.environ.get(mirror_variable(self.name)) or str(self.recipe.extra.get("mirror", ""))

    def download(self, client: Client, base: str, version: str | None, platform: str, pin_of: PinOf) -> Pulled:
        """The files of a version (None: the newest) from the server at `base`, an address without a slash at its end.

        Raises UkperfError when anything is not as it should be, above all a digest that is not the pinned one.
        """
        raise UkperfError(f"There is nothing to pull for the guest {self.name}.")

    def build_kernel(self, *, say: Say, progress: Callable[[str], None], check: Check | None) -> BuiltKernel:
        """Builds a kernel into the store, unless it is there. say: gets what is worth knowing; progress: what is going
        on; check: as KernelStore.add. Raises UkperfError when anything fails; the store is as it was then."""
        raise UkperfError(
            f"ukperf builds no kernels of {self.name}: its project does.", hint=f"Type: ukperf images pull {self.name}"
        )

    def pins(self, platform: str) -> Mapping[str, str]:
        """Version → digest, as the recipe has them, of what is downloaded for a platform."""
        known = self.recipe.extra.get("pins")
        return {str(name): str(digest) for name, digest in known.items()} if isinstance(known, dict) else {}

    def add(
        self,
        kernel: Path,
        boot: Path | None = None,
        *,
        version: str | None = None,
        platform: str = "",
        replacing: bool = False,
        check: Check | None = None,
    ) -> StoredKernel:
        """Adds a kernel, with the boot image of a guest that needs one, to the store.

        version: None is what the kernel says, or its digest; replacing: an entry of that version with other bytes
        gives way; check: as KernelStore.add. Raises UkperfError when a file is missing, is not what it should be, is
        not wanted by this guest, or the version is there with other bytes.
        """
        said = self.inspect(kernel)
        files: dict[str, Path | bytes] = {"kernel": kernel}
        if boot is not None and not self.recipe.boot_image:
            raise UkperfError(f"{self.name} has no boot image.", hint="Omit --boot.")
        if boot is not None:
            self.check_boot(boot)
            files["boot"] = boot
        elif self.recipe.boot_image:
            raise UkperfError(
                f"{self.name} needs its boot image too.",
                hint=f"Add --boot {self.recipe.boot_image} (it is in the release).",
            )
        if version is None:
            version = said or f"local-{hashlib.sha256(read_bytes(kernel, KERNEL_MAX)).hexdigest()[:12]}"
        origin = KernelOrigin(f"file {kernel.absolute()}")
        return self.store.add(
            self.name,
            version,
            files,
            platform=platform or self.platform,
            origin=origin,
            replacing=replacing,
            check=check,
        )

    def inspect(self, kernel: Path) -> str:
        """The version that a kernel's file says, or "". Raises UkperfError for what is none of this guest's."""
        return inspect(self.kind, kernel) if self.kind else ""

    def inspect_bytes(self, kernel: bytes, origin: str) -> str:
        """The same for a file's bytes; origin: where they are from, for people."""
        return inspect_bytes(self.kind, kernel, origin) if self.kind else ""

    def check_boot(self, path: Path) -> None:
        """Raises UkperfError, one sentence, for what is no boot image of this guest."""

    def platform_of(self, options: BuildOptions) -> Platform:
        """Which of a guest's kernels: those for QEMU boot on Xen too unless a guest says otherwise."""
        return self.platform

    def _named(self, kernel: Path) -> Files:
        version = self.inspect(kernel)
        boot = next((path for path in self.boot_beside(kernel) if path.is_file()), None)
        return Files(
            kernel=kernel.absolute(),
            version=version,
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
