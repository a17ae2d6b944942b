"""The distribution's source of its Linux kernel, by apt: which one there is, and its files in a folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from ukperf.errors import UkperfError
from ukperf.imaging import longrun
from ukperf.imaging.apt import Apt, DebPackage
from ukperf.imaging.archives import members
from ukperf.imaging.distro import FILES_MAX, PACKAGE_MAX

_NAMED = re.compile(r"linux-source-\d[\w.+-]{0,60}")
_ARCHIVE = re.compile(r"\.?/?usr/src/(?:linux-source-[^/]+/)?linux-source-[^/]+\.tar\.(xz|bz2|gz|zst)")
_UNPACKS = {"xz": "--xz", "bz2": "--bzip2", "gz": "--gzip", "zst": "--zstd"}
_TIMEOUT_S = 1800.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A kernel's source: the package that holds it, and what writes its files into a folder.

    unpack(folder) raises UkperfError where the source cannot be fetched or unpacked.
    """

    package: DebPackage
    unpack: Callable[[Path], None]


def newest(apt: Apt, meta: str, leave_out: Sequence[str]) -> Source:
    """The source that a package of the distribution (`linux-source`) stands for.

    leave_out: patterns of files that no build for a guest reads. Raises UkperfError where apt knows none.
    """
    for attempt in range(2):
        name = next((n for n in apt.depends(meta) if _NAMED.fullmatch(n)), None)
        if name is not None:
            return Source(apt.package(name), partial(_unpack, apt, name, leave_out))
        if attempt == 0:
            apt.own_lists()
    raise UkperfError(
        f"apt knows no package {meta}, which has the kernel's source.",
        hint="Check the network and run: sudo apt-get update. Or add a kernel that you built: ukperf images add",
    )


def _unpack(apt: Apt, name: str, leave_out: Sequence[str], folder: Path) -> None:
    deb = apt.download([name])[0]
    command = ["dpkg-deb", "--fsys-tarfile", str(deb.absolute())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as package:
        assert package.stdout is not None
        try:
            _unpack_archive(package.stdout.read, deb.name, folder, leave_out)
        finally:
            package.stdout.close()
    deb.unlink()


def _unpack_archive(read: Callable[[int], bytes], origin: str, folder: Path, leave_out: Sequence[str]) -> None:
    for member, content in members(read, f"The package {origin}", PACKAGE_MAX, FILES_MAX):
        kind = _ARCHIVE.fullmatch(str(PurePosixPath(member.name)))
        if kind is None or not member.isfile():
            continue
        # tar refuses absolute paths and `..` itself, and writes through no link that it made.
        left_out = [f"--exclude={pattern}" for pattern in leave_out]
        options = ["--no-same-owner", "--no-same-permissions", "--strip-components=1", "--wildcards", *left_out]
        command = [_tar(), "-x", _UNPACKS[kind[1]], "-f", "-", "-C", str(folder), *options]
        with longrun.fed(command, timeout_s=_TIMEOUT_S) as tar:
            count = 0
            while part := content(_CHUNK):
                tar.write(part)
                count += len(part)
            if count != member.size:
                raise UkperfError(f"The package {origin} ends in the middle of {member.name}.")
        return
    raise UkperfError(f"The package {origin} holds no source of a kernel.")


def _tar() -> str:
    return shutil.which("tar") or "tar"
