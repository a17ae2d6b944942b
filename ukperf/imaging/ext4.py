"""ext4 disks for the Linux guest, by mke2fs: no root, no mount, same tree → same bytes.

mke2fs takes owners and times of change from the files it copies, and no option stops it (e2fsprogs before 1.47.1 knows
no SOURCE_DATE_EPOCH): so the inode tables are gone over afterwards. Layout: Linux' Documentation/filesystems/ext4.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError

FORMAT = 1  # raise when the same tree gives another image
BLOCK = 4096
INODE = 256
UUID = "5eed5eed-0000-4000-8000-000000000000"
_INODES_OF_A_MIB = 64  # of free room
EPOCH = 1_600_000_000  # seconds; any constant would do
# Read-only, so no journal; no checksums, because we write inodes ourselves; the rest is for growing and is not wanted.
FEATURES = "none,extent,filetype,sparse_super,large_file,dir_index,ext_attr"


@dataclass(frozen=True)
class Ext4Layout:
    """What a file system is besides its files. owners: path in it → (uid, gid); all else is root's."""

    uuid: str = UUID
    features: str = FEATURES
    spare_mib: int = 0  # free room, for what the guest writes
    owners: Mapping[str, tuple[int, int]] = field(default_factory=dict)


PROGRAM = Ext4Layout()
"""A disk that holds a program, which hardly writes to it."""


@dataclass(frozen=True)
class Shape:
    blocks: int
    inodes: int


def shape(tree: Path) -> Shape:
    """The size of a file system that just holds the tree. Raises UkperfError where tree is no directory."""
    if not tree.is_dir():
        raise UkperfError(f"{tree} is not a directory.", hint="An image's tree is a directory on this machine.")
    blocks = 0
    inodes = 16  # the reserved ones, lost+found
    for folder, folders, files in os.walk(tree):
        names = sum(len(os.fsencode(f)) + 12 for f in (*folders, *files))
        blocks += 1 + names * 2 // BLOCK
        inodes += 1 + len(files)
        for name in files:
            status = (Path(folder) / name).lstat()
            blocks += -(-status.st_size // BLOCK)
    inodes += inodes // 20
    tables = -(-inodes * INODE // BLOCK)
    groups = blocks // (8 * BLOCK) + 2
    return Shape(blocks + tables + groups * 4 + blocks // 50 + 512, inodes)


def write_ext4(tree: Path, image: Path, layout: Ext4Layout = PROGRAM) -> None:
    """Write the tree into a new ext4 file system at image. Raises UkperfError where mke2fs is missing or refuses."""
    tool = tool_path("mke2fs")
    size, uuid = shape(tree), layout.uuid
    blocks = size.blocks + (layout.spare_mib << 20) // BLOCK
    inodes = size.inodes + layout.spare_mib * _INODES_OF_A_MIB
    image.unlink(missing_ok=True)
    command = [tool, "-q", "-F", "-t", "ext4", "-O", layout.features, "-b", str(BLOCK), "-I", str(INODE), "-m", "0"]
    command += ["-N", str(inodes), "-U", uuid, "-E", f"hash_seed={uuid},root_owner=0:0,lazy_itable_init=0"]
    command += ["-L", "", "-d", str(tree), str(image), str(blocks)]
    _run(command, image)
    forget_owners_and_times(image)
    if layout.owners:
        _set_owners(image, layout.owners)


def tool_path(name: str) -> str:
    """One of e2fsprogs' tools, which are not in every user's PATH. Raises UkperfError where it is missing."""
    tool = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if tool is None:
        raise UkperfError(f"{name} is not installed.", hint=hints.setup("e2fsprogs"))
    return tool


def _run(command: list[str], image: Path, words: str = "") -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "E2FSPROGS_FAKE_TIME": str(EPOCH)}
    environment |= {"SOURCE_DATE_EPOCH": str(EPOCH), "MKE2FS_CONFIG": os.devnull}
    done = subprocess.run(
        command, input=words, capture_output=True, text=True, errors="replace", env=environment, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        name = Path(command[0]).name
        raise UkperfError(f"{name} could not write {image.name}: {last}.", hint="Is the disk full?")


def _set_owners(image: Path, owners: Mapping[str, tuple[int, int]]) -> None:
    """Owners other than root: without root, none can be given to files for mke2fs to copy. Raises UkperfError for a
    path that debugfs cannot be told."""
    lines = []
    for path, numbers in owners.items():
        if not path.isprintable() or set(path) & set('"\\'):
            raise UkperfError(f"The owner of {path!r} cannot be set in an image.")
        lines += [
            f'sif "/{path}" {name} {number}\n' for name, number in zip(("uid", "gid"), numbers, strict=True) if number
        ]
    _run([tool_path("debugfs"), "-w", "-f", "-", str(image)], image, "".join(lines))


def forget_owners_and_times(image: Path) -> None:
    """Set owner 0:0 and one fixed time in every inode of a file system that write_ext4's mke2fs made."""
    with image.open("r+b") as f:
        f.seek(1024)
        superblock = f.read(1024)
        (inodes,) = struct.unpack_from("<I", superblock, 0)
        (per_group,) = struct.unpack_from("<I", superblock, 40)
        if struct.unpack_from("<H", superblock, 56)[0] != 0xEF53:
            raise UkperfError(f"{image} holds no ext4 file system.")
        groups = -(-inodes // per_group)
        f.seek(BLOCK)
        descriptors = f.read(groups * 32)
        for group in range(groups):
            (table,) = struct.unpack_from("<I", descriptors, group * 32 + 8)
            f.seek(table * BLOCK)
            old = f.read(per_group * INODE)
            new = _fixed(old)
            if new != old:
                f.seek(table * BLOCK)
                f.write(new)


def _fixed(table: bytes) -> bytes:
    out = bytearray(table)
    for at in range(0, len(out), INODE):
        if not any(out[at : at + 2]):  # i_mode 0: not in use
            continue
        struct.pack_into("<H", out, at + 2, 0)  # i_uid
        struct.pack_into("<3I", out, at + 8, EPOCH, EPOCH, EPOCH)  # i_atime, i_ctime, i_mtime
        struct.pack_into("<H", out, at + 24, 0)  # i_gid
        struct.pack_into("<I", out, at + 120, 0)  # l_i_uid_high, l_i_gid_high
        (extra,) = struct.unpack_from("<H", out, at + 128)
        if extra >= 24:  # i_ctime_extra, i_mtime_extra, i_atime_extra, i_crtime, i_crtime_extra
            struct.pack_into("<5I", out, at + 132, 0, 0, 0, EPOCH, 0)
    return bytes(out)
