"""Kernel modules for an initramfs: the ones asked for and what they depend on, in the order of loading, unpacked.

Packages do not bring modules.dep (depmod makes it at installation), so dependencies are read from the modules.
"""

from __future__ import annotations

import gzip
import io
import lzma
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ukperf.errors import UkperfError

VIRTIO_DISK = ("virtio_pci", "virtio_mmio", "virtio_blk")
"""For a disk on q35 (PCI) and on microvm (MMIO)."""
XEN_DISK = ("xen_blkfront",)
"""For a disk of a PV or PVH domain on Xen."""

_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


def load_order(modules: Path, names: Iterable[str]) -> list[tuple[str, bytes]]:
    """(name, uncompressed ELF) of the modules called names and all that they need, dependencies first.

    modules: a /lib/modules/VERSION folder. What is built into the kernel is left out. Raises UkperfError when a module
    is neither there nor built in, or is damaged.
    """
    files = {_name(path): path for path in modules.glob("kernel/**/*.ko*") if path.name.endswith(_SUFFIXES)}
    builtin = _builtin(modules)
    done: dict[str, bytes] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in done or name in builtin or name in above:
            return
        path = files.get(name)
        if path is None:
            raise UkperfError(
                f"The kernel module {name} is not in {modules}.", hint="Pull the kernel again: ukperf images pull linux"
            )
        contents = _uncompressed(path)
        for needed in _depends(contents, path):
            visit(needed, (*above, name))
        done[name] = contents

    for name in names:
        visit(name.replace("-", "_"), ())
    return list(done.items())


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _builtin(modules: Path) -> set[str]:
    try:
        return {_name(Path(line)) for line in (modules / "modules.builtin").read_text().splitlines()}
    except OSError:
        return set()


def _uncompressed(path: Path) -> bytes:
    try:
        contents = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(contents)
        if path.suffix == ".gz":
            return gzip.decompress(contents)
        if path.suffix == ".zst":
            return _zstd(path)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise UkperfError(f"The kernel module {path} cannot be read: {error}.") from error
    return contents


def _zstd(path: Path) -> bytes:
    tool = shutil.which("zstd")
    if tool is None:
        raise UkperfError(f"{path.name} is compressed with zstd.", hint="Install it: sudo apt-get install zstd")
    done = subprocess.run([tool, "-dc", "--", str(path)], check=False, capture_output=True, timeout=60)
    if done.returncode != 0:
        raise UkperfError(f"The kernel module {path} is damaged: zstd cannot unpack it.")
    return done.stdout


def _depends(contents: bytes, path: Path) -> list[str]:
    try:
        section = ELFFile(io.BytesIO(contents)).get_section_by_name(".modinfo")
        facts = bytes(section.data()).split(b"\0") if section else []
    except (ELFError, ValueError) as error:
        raise UkperfError(f"{path} is no kernel module.") from error
    for fact in facts:
        if fact.startswith(b"depends="):
            return [name.replace("-", "_") for name in fact[8:].decode("ascii", "replace").split(",") if name]
    return []
