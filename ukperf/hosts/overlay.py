"""An empty disk image over another one, in QEMU's format qcow2: it gets what a guest writes (docs/interop/qcow2.txt of
QEMU's sources).

Written here, since `qemu-img` is a package of its own. QEMU's drive-backup could save the same of a disk with
`snapshot=on`; but it opens the images below with the flags of the temporary file, and so deletes them (seen in 7.2).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ukperf.files import create_own

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_SECTOR = 512
_BACKING_FORMAT, _END = 0xE2792ACA, 0  # header extensions
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_TABLE, _BLOCK, _L1 = _CLUSTER, 2 * _CLUSTER, 3 * _CLUSTER  # where the tables are
_PER_L1 = _CLUSTER * (_CLUSTER // 8)  # bytes of the disk for one entry
_LONGEST_NAME = 1023


def write_overlay(path: Path, base: Path) -> None:
    """A new image over the raw image `base`. Raises OSError, also where that is too large or has too long a name."""
    size = -(-base.stat().st_size // _SECTOR) * _SECTOR
    entries = -(-size // _PER_L1)
    name = os.fsencode(base.absolute())
    if len(name) > _LONGEST_NAME or entries * 8 > _CLUSTER:
        raise OSError(f"{base} cannot have an image over it: its name is too long, or it is too large")
    extensions = struct.pack(">II8s", _BACKING_FORMAT, 3, b"raw") + struct.pack(">II", _END, 0)
    offset = _HEADER.size + len(extensions)
    clusters = 4  # the header, the table of reference counts, their one block, the table L1
    header = _HEADER.pack(
        b"QFI\xfb",
        3,
        offset,
        len(name),
        _CLUSTER_BITS,
        size,
        0,
        entries,
        _L1,
        _TABLE,
        1,
        0,
        0,
        0,
        0,
        0,
        4,
        _HEADER.size,
    )
    with create_own(path) as file:
        file.write(header + extensions + name)
        file.seek(_TABLE)
        file.write(struct.pack(">Q", _BLOCK))
        file.seek(_BLOCK)
        file.write(struct.pack(">H", 1) * clusters)
        file.truncate(clusters * _CLUSTER)
