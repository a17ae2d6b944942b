"""Reads single files out of tar archives that nobody vouches for."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from ukperf.errors import UkperfError

MEMBERS_MAX = 10_000
UNPACKED_MAX = 512 << 20  # bytes declared by all members together


def extract(data: bytes, wanted: Mapping[str, int], origin: str) -> dict[str, bytes]:
    """The wanted members' bytes (path → its greatest size) of a tar archive, plain or gzip; those that are there.

    Nothing is written to disk. Raises UkperfError for an archive that is damaged, in which any member has an absolute
    path or `..`, a wanted one is no plain file or comes twice, or sizes are declared that make no sense.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|*") as archive:
            for number, member in enumerate(archive):
                total += member.size
                if number >= MEMBERS_MAX or total > UNPACKED_MAX:
                    raise UkperfError(f"{origin} declares more files or bytes than any release has: not unpacked.")
                name = _checked(member, origin)
                if name not in wanted:
                    continue
                if not member.isreg() or name in found:
                    raise UkperfError(f"{origin} is not trusted: {name} in it is no plain file, or is there twice.")
                if member.size > wanted[name]:
                    raise UkperfError(f"{origin} declares {member.size:,} bytes for {name}: more than it can have.")
                content = archive.extractfile(member)
                assert content is not None
                found[name] = content.read()
                if len(found[name]) != member.size:
                    raise UkperfError(f"{origin} ends in the middle of {name}.")
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise UkperfError(f"{origin} is no sound tar archive: {error}.") from error
    return found


def _checked(member: tarfile.TarInfo, origin: str) -> str:
    """The member's path without `./`. Links and devices are refused wherever they are: releases have none."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UkperfError(f"{origin} is not trusted: it holds the path {member.name!r}.")
    if not (member.isreg() or member.isdir()):
        raise UkperfError(f"{origin} is not trusted: {member.name!r} in it is a link or a device.")
    return str(path)
