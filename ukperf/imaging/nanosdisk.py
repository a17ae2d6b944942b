"""A disk that nanos boots from: boot image, a small file system with the kernel, and the root file system.

The same layout as nanos's mkfs and `ops` make: the boot image (MBR, stage 2) first, 4 KiB for the kernel's log of a
crash, 12 MiB of TFS that holds /kernel, then TFS with the program's tree. The MBR's partition table names both.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import read_bytes
from ukperf.imaging import tfs, tree
from ukperf.imaging.tfs import SECTOR
from ukperf.imaging.tfsvalues import Value
from ukperf.imaging.tree import Entry

CRASH_LOG_BYTES = 4 << 10
BOOT_FS_BYTES = 12 << 20
FREE_BYTES = 8 << 20  # for the guest's own writing; a hole until then
_BOOT_IMAGE_MAX = 1 << 20
_PARTITIONS = 0x1BE  # offset of the MBR's four entries of 16 bytes
_REGION = struct.Struct("<QQI")  # base, length, type: nanos's record in front of the partition entries
_REGION_FILESYSTEM = 12
_LINUX_PARTITION = 0x83


def write_disk(
    path: Path,
    *,
    boot: Path,
    kernel: Path,
    entries: Iterable[Entry],
    root: Mapping[str, Value],
    label: str = "",
    free: int = FREE_BYTES,
) -> None:
    """Writes the disk to `path`, which must not exist.

    boot, kernel: the release's boot.img and kernel.img; entries: the program's tree, in image order; root: the root
    tuple's keys besides `children`: program, arguments, environment, options. Raises UkperfError for files that are
    no boot image or kernel, a kernel that does not fit, and a full disk; what was written is removed then.
    """
    sector, boot_bytes = _boot_image(boot)
    kernel_size = _kernel_size(kernel)
    boot_start = len(boot_bytes) + CRASH_LOG_BYTES
    root_start = boot_start + BOOT_FS_BYTES
    boot_fs = tfs.plan(tree.files({"/kernel": kernel}), {}, start=boot_start)
    if boot_fs.used > BOOT_FS_BYTES:
        raise UkperfError(
            f"The kernel {kernel} has {kernel_size:,} bytes: more than nanos's boot partition of 12 MiB holds."
        )
    root_fs = tfs.plan(entries, root, start=root_start, label=label, free=free)
    total = -(-(root_start + root_fs.used) // tfs.EXTENSION_BYTES) * tfs.EXTENSION_BYTES
    table = _partition(0, boot_start, BOOT_FS_BYTES) + _partition(1, root_start, total - root_start)
    sector[_PARTITIONS : _PARTITIONS + 32] = table
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(out, total)
        os.pwrite(out, bytes(sector) + boot_bytes[SECTOR:], 0)
        tfs.write(out, boot_fs, boot_start)
        tfs.write(out, root_fs, root_start)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UkperfError(f"Cannot write the disk image {path}: {error.strerror}.") from error
        raise
    finally:
        os.close(out)


def check_boot_image(path: Path) -> None:
    """Raises UkperfError, one sentence, when `path` is no nanos boot image."""
    _boot_image(path)


def _boot_image(path: Path) -> tuple[bytearray, bytes]:
    """(the first sector, all bytes)."""
    data = _read(path, _BOOT_IMAGE_MAX, "boot image")
    bad = UkperfError(f"{path} is not a nanos boot image.", hint="It is the release's boot.img.")
    if len(data) < 2 * SECTOR or len(data) % SECTOR or data[SECTOR - 2 : SECTOR] != b"\x55\xaa":
        raise bad
    _, length, kind = _REGION.unpack_from(data, _PARTITIONS - _REGION.size)
    # The boot sector loads `length` bytes of stage 2 and the kernel looks for its partitions behind them.
    if kind != _REGION_FILESYSTEM or SECTOR + length != len(data):
        raise bad
    return bytearray(data[:SECTOR]), data


def _kernel_size(path: Path) -> int:
    head = _read(path, BOOT_FS_BYTES, "kernel")
    if head[:4] != b"\x7fELF":
        raise UkperfError(f"{path} is not an ELF kernel.", hint="nanos's kernel is the release's kernel.img.")
    return len(head)


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        return read_bytes(path, limit)
    except OSError as error:
        raise UkperfError(f"The {what} {path} cannot be read: {error.strerror}.") from error


def _partition(index: int, start: int, length: int) -> bytes:
    first, count = start // SECTOR, length // SECTOR
    if first + count > 0xFFFFFFFF:
        raise UkperfError(f"Partition {index} of the disk would end past 2 TiB, which an MBR cannot say.")
    ends = _chs(first), _chs(first + count - 1)
    return struct.pack("<B3sB3sII", 0x80, ends[0], _LINUX_PARTITION, ends[1], first, count)


def _chs(sector: int) -> bytes:
    """Cylinder, head, sector as an MBR packs them, at 255 heads and 63 sectors; the last address where it is past."""
    cylinder, rest = divmod(sector, 255 * 63)
    head, place = divmod(rest, 63)
    if cylinder > 1023:
        cylinder, head, place = 1023, 254, 62
    return bytes((head, (cylinder >> 2 & 0xC0) | (place + 1), cylinder & 0xFF))
