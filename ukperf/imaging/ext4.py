"""ext4 disks for the Linux guest, by mke2fs: no root, no mount, same tree → same bytes.

mke2fs takes owners and times of change from the files it copies, and no option stops it (e2fsprogs before 1.47.1 knows
no SOURCE_DATE_EPOCH): so the inode tables are gone over afterwards. Layout: Linux' Documentation/filesystems/ext4.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ukperf.errors import UkperfError

FORMAT = 1  # raise when the same tree gives another image
BLOCK = 4096
INODE = 256
UUID = "5eed5eed-0000-4000-8000-000000000000"
EPOCH = 1_600_000_000  # seconds; any constant would do
# Read-only, so no journal; no checksums, because we write inodes ourselves; the rest is for growing and is not wanted.
FEATURES = "none,extent,filetype,sparse_super,large_file,dir_index,ext_attr"


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


def write_ext4(tree: Path, image: Path) -> None:
    """Write the tree into a new ext4 file system at image. Raises UkperfError where mke2fs is missing or refuses."""
    tool = shutil.which("mke2fs") or shutil.which("mke2fs", path="/usr/sbin:/sbin")
    if tool is None:
        raise UkperfError("mke2fs is not installed.", hint="Install it (Debian, Ubuntu: apt install e2fsprogs).")
    size = shape(tree)
    image.unlink(missing_ok=True)
    command = [tool, "-q", "-F", "-t", "ext4", "-O", FEATURES, "-b", str(BLOCK), "-I", str(INODE), "-m", "0"]
    command += ["-N", str(size.inodes), "-U", UUID, "-E", f"hash_seed={UUID},root_owner=0:0,lazy_itable_init=0"]
    command += ["-L", "", "-d", str(tree), str(image), str(size.blocks)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "E2FSPROGS_FAKE_TIME": str(EPOCH)}
    environment |= {"SOURCE_DATE_EPOCH": str(EPOCH), "MKE2FS_CONFIG": os.devnull}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UkperfError(f"mke2fs could not write {image.name}: {last}.", hint="Is the disk full?")
    forget_owners_and_times(image)


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
