"""`images add`: files that the user has, into the kernel store."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import read_bytes
from ukperf.imaging.kernelstore import KERNEL_MAX, Check, KernelOrigin, KernelStore, StoredKernel
from ukperf.imaging.nanosdisk import check_boot_image
from ukperf.imaging.unikernels import inspect


def add_files(
    store: KernelStore,
    guest: str,
    kernel: Path,
    boot: Path | None,
    *,
    version: str | None,
    platform: str,
    replacing: bool = False,
    check: Check | None = None,
) -> StoredKernel:
    """Adds a kernel (and, for nanos, its boot image). version None: what the kernel says, or its digest.

    replacing: an entry of that version with other bytes gives way; check: as KernelStore.add. Raises UkperfError when a
    file is missing, is not what it should be, is not wanted by that guest, or the version is there with other bytes.
    """
    found = inspect(guest, kernel)
    files: dict[str, Path | bytes] = {"kernel": kernel}
    if guest == "nanos":
        if boot is None:
            raise UkperfError("nanos needs its boot image too.", hint="Add --boot boot.img (it is in the release).")
        check_boot_image(boot)
        files["boot"] = boot
    elif boot is not None:
        raise UkperfError(f"{guest} has no boot image.", hint="Omit --boot.")
    if version is None:
        version = found.version or f"local-{hashlib.sha256(read_bytes(kernel, KERNEL_MAX)).hexdigest()[:12]}"
    return store.add(
        guest,
        version,
        files,
        platform=platform,
        origin=KernelOrigin(f"file {kernel.absolute()}"),
        replacing=replacing,
        check=check,
    )
