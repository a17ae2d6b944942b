"""Is this file a kernel, and which: Linux's bzImage header and ELF, as far as needed to refuse what is neither; and
kernels of which their guest says how they are known."""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_bytes
from ukperf.imaging.kernelstore import KERNEL_MAX

_HINT = "A Linux guest wants a bzImage (/boot/vmlinuz-…) or an uncompressed vmlinux for x86-64."
_BANNER = b"Linux version "
_MAX_VERSION = 64
_SETUP_HEADER = 0x264  # bytes that hold the part of the boot protocol's header which is read here


def kernel_version(path: Path) -> str:
    """The version of a Linux kernel file, like "6.1.0-56-cloud-amd64".

    Source: Documentation/arch/x86/boot.rst (bzImage), linux_banner (vmlinux). Raises UkperfError when the file cannot
    be read or is no x86-64 Linux kernel.
    """
    try:
        with open_regular(path) as source:
            head = source.read(_SETUP_HEADER)
            if head[:4] == b"\x7fELF":
                return _elf_version(path)
            if head[0x1FE:0x200] != b"\x55\xaa" or head[0x202:0x206] != b"HdrS":
                raise _no_kernel(path)
            offset = int.from_bytes(head[0x20E:0x210], "little")
            loaded_high, xload = head[0x211] & 1, int.from_bytes(head[0x236:0x238], "little")
            if not loaded_high or not xload & 1:  # XLF_KERNEL_64: it has a 64-bit entry point
                raise UkperfError(f"{path} is a Linux kernel, but not one for x86-64.", hint=_HINT)
            source.seek(offset + 0x200)
            text = source.read(_MAX_VERSION) if offset else b""
    except OSError as error:
        raise UkperfError(f"The kernel {path} cannot be read: {error.strerror}.", hint=_HINT) from error
    return _first_word(text) or "unknown"


def _elf_version(path: Path) -> str:
    try:
        with open_regular(path) as source:
            elf = ELFFile(source)
            if elf.elfclass != 64 or elf["e_machine"] != "EM_X86_64":
                raise UkperfError(f"{path} is an ELF file, but not for x86-64.", hint=_HINT)
            with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as contents:
                at = contents.find(_BANNER)
                text = contents[at + len(_BANNER) : at + len(_BANNER) + _MAX_VERSION] if at >= 0 else b""
    except (ELFError, ValueError) as error:
        raise _no_kernel(path) from error
    version = _first_word(text)
    if not version:
        raise _no_kernel(path)
    return version


def _first_word(text: bytes) -> str:
    word = text.split(b"\0")[0].split(b" ")[0].decode("ascii", errors="replace")
    return word if word.isprintable() else ""


def _no_kernel(path: Path) -> UkperfError:
    return UkperfError(f"{path} is no Linux kernel.", hint=_HINT)


@dataclass(frozen=True)
class KernelKind:
    """How the kernels of one guest are told from other files.

    what: whose they are, for sentences; mark: bytes that are in each of them; hint: which file it is, for who named
    another; version: what a kernel's bytes say of it, "" where they say nothing; machines: ELF's names of them.
    """

    what: str
    mark: bytes
    hint: str
    version: Callable[[bytes], str]
    machines: tuple[str, ...] = ("EM_X86_64",)


def inspect(kind: KernelKind, path: Path) -> str:
    """The version that a kernel says. Raises UkperfError, one sentence, when the file cannot be read or is no x86-64
    kernel of that kind."""
    try:
        data = read_bytes(path, KERNEL_MAX)
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {error.strerror}.") from error
    return inspect_bytes(kind, data, str(path))


def inspect_bytes(kind: KernelKind, data: bytes, origin: str) -> str:
    """The same for a file's bytes; origin: where they are from, for people."""
    if len(data) > KERNEL_MAX:
        raise UkperfError(f"{origin} has more than {KERNEL_MAX >> 20} MiB: that is no {kind.what} kernel.")
    try:
        machine = ELFFile(io.BytesIO(data))["e_machine"]
    except (ELFError, ValueError) as error:
        raise UkperfError(f"{origin} is no {kind.what} kernel: it is not an ELF file.", hint=kind.hint) from error
    if machine not in kind.machines:
        raise UkperfError(f"{origin} is an ELF file, but not for x86-64.", hint=kind.hint)
    if kind.mark not in data:
        raise UkperfError(f"{origin} is no {kind.what} kernel: nothing in it says {kind.what}.", hint=kind.hint)
    return kind.version(data)
