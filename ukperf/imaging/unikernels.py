"""Is this file a nanos or Unikraft kernel, which version, and will Unikraft load this program."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_bytes
from ukperf.imaging.kernelstore import KERNEL_MAX

_GIT_HASH = re.compile(rb"\0([0-9a-f]{40})\0")  # nanos: the commit, a C string of its own
_UNIKRAFT_VERSION = re.compile(rb"Unikraft \w{1,40} \((\d{1,3}\.\d{1,3}\.\d{1,3}[\w.~+-]{0,60})\)")  # its banner


@dataclass(frozen=True)
class KernelFile:
    """What a kernel file says of itself. version: "" where it says none."""

    version: str


def inspect(guest: str, path: Path) -> KernelFile:
    """Raises UkperfError, one sentence, when the file cannot be read or is no x86-64 kernel of that guest."""
    try:
        data = read_bytes(path, KERNEL_MAX)
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {error.strerror}.") from error
    return inspect_bytes(guest, data, str(path))


def inspect_bytes(guest: str, data: bytes, origin: str) -> KernelFile:
    """The same for a file's bytes; origin: where they are from, for people."""
    what = {"nanos": "nanos", "unikraft": "Unikraft"}[guest]
    if len(data) > KERNEL_MAX:
        raise UkperfError(f"{origin} has more than {KERNEL_MAX >> 20} MiB: that is no {what} kernel.")
    try:
        machine = ELFFile(io.BytesIO(data))["e_machine"]
    except (ELFError, ValueError) as error:
        raise UkperfError(f"{origin} is no {what} kernel: it is not an ELF file.", hint=_HINTS[guest]) from error
    # Unikraft's kernels for QEMU call themselves 32-bit: QEMU's multiboot loader takes no others.
    if machine != "EM_X86_64" and not (guest == "unikraft" and machine == "EM_386"):
        raise UkperfError(f"{origin} is an ELF file, but not for x86-64.", hint=_HINTS[guest])
    if _MARKS[guest] not in data:
        raise UkperfError(f"{origin} is no {what} kernel: nothing in it says {what}.", hint=_HINTS[guest])
    return KernelFile(_version(guest, data))


_HINTS = {
    "nanos": "It is the release's kernel.img, or output/platform/pc/bin/kernel.img of a build.",
    "unikraft": "It is a binary-compatible (elfloader) kernel, like build/elfloader_qemu-x86_64.",
}
_MARKS = {"nanos": b"NVMTFS", "unikraft": b"nikraft"}  # the magic of its file system; its name


def _version(guest: str, data: bytes) -> str:
    if guest == "nanos":
        found = _GIT_HASH.search(data)
        return f"git-{found.group(1)[:12].decode()}" if found else ""
    found = _UNIKRAFT_VERSION.search(data)
    return found.group(1).decode() if found else ""


def check_loadable(program: Path) -> None:
    """Raises UkperfError when a program is not position independent: the kernel would say Exec format error (-8)."""
    try:
        with open_regular(program) as source:
            kind = ELFFile(source)["e_type"]
    except OSError as error:
        raise UkperfError(f"{program} cannot be read: {error.strerror}.") from error
    except ELFError as error:
        raise UkperfError(f"{program} is no ELF program, which is all that Unikraft runs.") from error
    if kind != "ET_DYN":
        raise UkperfError(
            f"{program} is not position independent, and Unikraft loads no other programs.",
            hint="Build it with -static-pie or -pie; for Python, use an interpreter that was built so.",
        )
