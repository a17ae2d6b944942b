"""Templates: a guest that was stopped when it was ready, as files from which any number of guests go on.

A folder with the guest's memory (with holes where it is zero), the state of its devices, what it wrote to its disks,
and JSON that says what they are of. Guests that are restored map the memory privately, so nothing of theirs comes back.

Digests are of what a guest sees, whatever holes the file system keeps: zero blocks are left out, and holes not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ukperf.decode import SHA256, Within, decode_stored, encode
from ukperf.errors import HostError
from ukperf.files import (
    FileIdentity,
    descriptor_of,
    file_identity,
    open_regular,
    read_bytes,
    read_json,
    reason,
    write_atomically,
)
from ukperf.model import Restorer
from ukperf.text import clean, shell

ABOUT, MEMORY, STATE = "template.json", "memory", "state"
FORMAT = 1  # of ABOUT
MAX_ABOUT = 64 << 10
MAX_STATE = 256 << 20  # bytes; of our machines some hundred thousand
MAX_MEMORY_MIB = 1 << 20
MAX_DISKS = 8
SPARE_BYTES = 64 << 20  # that must be free beside the memory, for the state and the file system itself
BLOCK = 64 << 10
PAGE = 4096
_ZERO = bytes(BLOCK)
_DISK = re.compile(r"[a-z][a-z0-9]{0,19}")


@dataclass(frozen=True)
class Template:
    """What a template's JSON says. memory_sha256: by `memory_digest`. qemu, qemu_file: of the QEMU that made it.

    at: the point at which it was taken, as a phrase. gate: where in the memory the word is that lets the program go on,
    None where there is no gate. disks: name of a disk that it had written to → sha256 of the file with what it wrote.
    restorer: whose; what libvirt saved has one file, with the memory among it. took_s: from create to that point.
    """

    image: Annotated[str, SHA256]
    memory_mib: Annotated[int, Within(1, MAX_MEMORY_MIB, "MiB")]
    memory_sha256: Annotated[str, SHA256]
    state_sha256: Annotated[str, SHA256]
    qemu: str
    qemu_file: str
    at: str
    gate: Annotated[int, Within(0, MAX_MEMORY_MIB << 20, "offset")] | None = None
    disks: Mapping[str, Annotated[str, SHA256]] = field(default_factory=dict)
    restorer: Restorer = Restorer.TEMPLATE
    took_s: Annotated[float, Within(0, 86_400 * 31, "seconds")] = 0.0


def save(folder: Path, template: Template) -> None:
    """Write a template's JSON beside its files. Raises OSError."""
    write_atomically(folder / ABOUT, json.dumps(encode(template, FORMAT), indent=1) + "\n")


def load(folder: Path) -> Template:
    """What a template's JSON says; its files are not looked at. Raises HostError."""
    try:
        return decode_stored(Template, read_json(folder / ABOUT, MAX_ABOUT), FORMAT)
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{ABOUT} cannot be read: {clean(reason(error), 200)}") from error


def checked(folder: Path, qemu: str, qemu_file: str) -> Template:
    """A template whose files are as they were written, by the QEMU that is here.

    Raises HostError, in a sentence, for what is truncated, has a flipped bit, or is of another QEMU.
    """
    template = load(folder)
    if (template.qemu, template.qemu_file) != (qemu, qemu_file):
        raise HostError(
            f"The template in {folder} was made by QEMU {clean(template.qemu, 40)} "
            f"({clean(template.qemu_file, 80)}), and here is QEMU {qemu} ({qemu_file}).",
            hint="What one QEMU saved another may read wrongly: make a new run, which makes a new template.",
        )
    try:
        if template.restorer is Restorer.LIBVIRT:
            if file_digest(folder / STATE) != template.state_sha256:
                raise _damaged(folder, "what libvirt saved is not what is there")
            return template
        size = (folder / MEMORY).stat().st_size
        if size != template.memory_mib << 20:
            raise _damaged(folder, f"its memory has {size:,} bytes instead of {template.memory_mib << 20:,}")
        if state_digest(folder / STATE) != template.state_sha256:
            raise _damaged(folder, "the state of its devices is not what was saved")
        if memory_digest(folder / MEMORY) != template.memory_sha256:
            raise _damaged(folder, "its memory is not what was saved")
        for name, digest in template.disks.items():
            if file_digest(disk_file(folder, name)) != digest:
                raise _damaged(folder, f"what it wrote to its disk {clean(name, 40)!r} is not what was saved")
    except OSError as error:
        raise _damaged(folder, f"{error.filename or folder} cannot be read: {reason(error)}") from error
    return template


def identities(folder: Path) -> tuple[FileIdentity, ...]:
    """What the system says of a template's files: while it stays the same, they need not be looked at again."""
    disks = sorted(path.name for path in folder.glob("disk-*"))[:MAX_DISKS]
    return tuple(file_identity(str(folder / name)) for name in (ABOUT, MEMORY, STATE, *disks))


class DamagedError(HostError):
    """A template that is not as it was written: one of ours is made anew."""


def _damaged(folder: Path, why: str) -> DamagedError:
    return DamagedError(f"The template in {folder} is damaged: {why}.", hint=f"Remove it: rm -r {shell(folder)}")


def state_digest(path: Path) -> str:
    """sha256 of a file of devices' state. Raises OSError, also where it is too long."""
    return hashlib.sha256(read_bytes(path, MAX_STATE)).hexdigest()


def disk_file(folder: Path, name: str) -> Path:
    """The file with what a guest wrote to one of its disks before it was saved. Raises HostError for a name of none."""
    if not _DISK.fullmatch(name):
        raise _damaged(folder, f"{clean(name, 40)!r} is no name of a disk")
    return folder / f"disk-{name}"


def file_digest(path: Path) -> str:
    """sha256 of a file. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def memory_digest(path: Path) -> str:
    """sha256 over offset and content of each block that is not zero, and over the length. Raises OSError."""
    total = hashlib.sha256()
    descriptor = descriptor_of(path)
    try:
        total.update(f"{os.fstat(descriptor).st_size}\n".encode())
        for offset, block in blocks(descriptor):
            total.update(f"{offset}\n".encode())
            total.update(block)
    finally:
        os.close(descriptor)
    return total.hexdigest()


def blocks(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """(offset, content) of the blocks of an open file that are not zero; holes are skipped without being read."""
    for start, end in extents(descriptor):
        for offset in range(start, end, BLOCK):
            block = os.pread(descriptor, min(BLOCK, end - offset), offset)
            if block != _ZERO[: len(block)]:
                yield offset, block


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what is no hole in an open file, in whole blocks (lseek(2), SEEK_DATA); of a file system that
    knows no holes all of it."""
    size, at = os.fstat(descriptor).st_size, 0
    while at < size:
        try:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left
            return
        start = max(at, data - data % BLOCK)
        hole = os.lseek(descriptor, data, os.SEEK_HOLE)
        end = min(size, hole + -hole % BLOCK)
        yield start, end
        at = end
