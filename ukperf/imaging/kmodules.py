"""Kernel modules for an initramfs: the ones asked for and what they depend on, in the order of loading, unpacked.

Packages do not bring modules.dep (depmod makes it at installation), so dependencies are read from the modules.
"""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.files import read_bytes, read_text, reason, size_text

MODULE_MAX = 128 << 20  # bytes, unpacked: the largest of a distribution have 20 MB, with what debuggers want
_MEMORY_MAX = 256 << 20  # of what unpacks: kernels' modules are packed with windows of 1 to 8 MiB
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


def has(modules: Path, names: Iterable[str]) -> bool:
    """Are the modules of these names there, or built in? What they depend on is not looked at."""
    there = {_name(path) for path in modules.glob("kernel/**/*.ko*")} | _builtin(modules)
    return {name.replace("-", "_") for name in names} <= there


def _name(path: Path) -> str:
    return path.name.partition(".")[0].replace("-", "_")


def _builtin(modules: Path) -> set[str]:
    try:
        return {_name(Path(line)) for line in read_text(modules / "modules.builtin").splitlines()}
    except (OSError, ValueError):
        return set()


def _uncompressed(path: Path) -> bytes:
    try:
        contents = read_bytes(path, MODULE_MAX)
        if path.suffix == ".xz":
            contents = _unpacked(lzma.LZMADecompressor(memlimit=_MEMORY_MAX), contents)
        elif path.suffix == ".gz":
            contents = _unpacked(zlib.decompressobj(wbits=31), contents)
        elif path.suffix == ".zst":
            contents = _zstd(path.name, contents)
        if len(contents) > MODULE_MAX:
            raise ValueError(f"it unpacks to more than {size_text(MODULE_MAX)}")
    except (OSError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise UkperfError(f"The kernel module {path} cannot be read: {reason(error)}.") from error
    return contents


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _unpacked(unpacker: _Unpacker, packed: bytes) -> bytes:
    """What is in it, and no more than a byte past the limit. Raises ValueError where it is cut off."""
    contents = unpacker.decompress(packed, MODULE_MAX + 1)
    if len(contents) <= MODULE_MAX and not unpacker.eof:
        raise ValueError("it is cut off")
    return contents


def _zstd(name: str, packed: bytes) -> bytes:
    tool = shutil.which("zstd")
    if tool is None:
        raise UkperfError(f"{name} is compressed with zstd.", hint=hints.packages("zstd"))
    with tempfile.TemporaryFile() as source:
        source.write(packed)
        source.seek(0)
        command = [tool, "-dcq", f"--memory={_MEMORY_MAX >> 20}MB"]
        with subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacker:
            assert unpacker.stdout is not None
            contents: bytes = unpacker.stdout.read(MODULE_MAX + 1)
            if len(contents) > MODULE_MAX:
                unpacker.kill()
    if unpacker.returncode > 0:
        raise ValueError("zstd cannot unpack it")
    return contents


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
