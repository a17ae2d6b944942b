"""Reads a bundle of runs (docs/results.md), which may come from anybody.

A bundle is a POSIX tar (ustar) in gzip, of regular files alone. The first one, bundle.json, names all others with their
sizes and digests; what is not named, has another size or digest, or lies elsewhere is refused. Python's tarfile would
read headers without end, follow extensions and make links: so the archive is read here, block by block, within limits.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError, loads
from pathlib import Path
from types import TracebackType

from ukperf.decode import NewerError, decode_stored
from ukperf.errors import UkperfError
from ukperf.files import open_regular, reason, size_text
from ukperf.text import clean, meant

SUFFIX = ".tar.gz"
TOP, RUNS = "ukperf-bundle", "runs"
INDEX = "bundle.json"
FORMAT = 1
MOST_MEMBERS = 100_000  # a long run has a console for each boot
MOST_INDEX = 32 << 20  # bytes
MOST_BYTES = 2 << 30  # of all members, unpacked
# Consoles pack to a twentieth; gzip's own bound is 1,032.
MOST_RATIO, ALWAYS_BYTES = 200, 32 << 20
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@~=,-]{0,99}")
_MOST_PARTS, _MOST_NAME = 8, 200
_BLOCK, _CHUNK = tarfile.BLOCKSIZE, 1 << 20


@dataclass(frozen=True)
class Member:
    """size: bytes; sha256: in hexadecimal digits."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """What bundle.json says. ukperf: the version that wrote it; runs: their names; with_names: paths, host names and
    user names were left in; members: path below TOP → member, bundle.json itself left out."""

    ukperf: str
    runs: tuple[str, ...]
    with_names: bool
    members: Mapping[str, Member]


class Unpacked:
    """The runs of a bundle in a temporary folder, which is removed with this object, at the end of a `with` block, or
    of the process.

    Raises UkperfError for what is no bundle, is damaged, or is larger than a bundle may be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="ukperf-bundle-"))
        except OSError as error:
            raise UkperfError(f"{path} cannot be unpacked: {reason(error)}.", hint="Set TMPDIR.") from error
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self.index = _unpacked(path, self.folder)
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Unpacked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def run(self, name: str = "") -> Path:
        """The folder of a run; name: "" where there is but one. Raises UkperfError where it is not there."""
        there = self.index.runs
        if not name and len(there) > 1:
            ways = ", ".join(f"{self.path}/{one}" for one in there[:5]) + (", …" if len(there) > 5 else "")
            raise UkperfError(f"{self.path} holds {len(there)} runs, and one is wanted.", hint=f"Give one: {ways}")
        if name and name not in there:
            raise UkperfError(f"{self.path} holds no run {clean(name, 80)!r}.", hint=meant(name, there, "It holds"))
        return self.folder / RUNS / (name or there[0])


def is_bundle(path: Path) -> bool:
    """Does a file look like a bundle, whole or not: by its name, or as a tar in gzip?"""
    if path.name.endswith(SUFFIX):
        return path.is_file()
    try:
        with open_regular(path) as file:
            start = file.read(4096)
            if not start.startswith(b"\x1f\x8b"):
                return False
            block = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, _BLOCK)
    except (OSError, zlib.error):
        return False
    return block[257:262] == b"ustar"


def bundle_in(path: Path) -> tuple[Path, str] | None:
    """FILE or FILE/RUN as the bundle and the run's name in it, "" where none is named; None for everything else."""
    if path.is_file():
        return (path, "") if is_bundle(path) else None
    for parent in path.parents:
        if parent.is_file():
            return (parent, str(path.relative_to(parent))) if is_bundle(parent) else None
        if parent.exists():
            return None
    return None


def holds(path: Path) -> bool:
    """Is FILE/RUN a run in a bundle, by its own word? What is wrong with a bundle is said when it is read."""
    bundled = bundle_in(path)
    if bundled is None:
        return False
    try:
        with open_regular(bundled[0]) as file, gzip.GzipFile(fileobj=file) as packed:
            return bundled[1] in _index(_Reader(packed, 2 * MOST_INDEX)).runs
    except (_Refused, NewerError, OSError, EOFError, zlib.error, tarfile.TarError, ValueError, RecursionError):
        return ":" not in bundled[1]


def member_name(name: str) -> bool:
    """May a member be called so? Relative, plain characters, nothing hidden, neither long nor deep."""
    parts = name.split("/")
    return len(name) <= _MOST_NAME and len(parts) <= _MOST_PARTS and all(map(_PART.fullmatch, parts))


class _Refused(Exception):
    """Why this is no bundle to be read, as the end of a sentence."""


def _unpacked(path: Path, folder: Path) -> Index:
    try:
        with open_regular(path) as file, gzip.GzipFile(fileobj=file) as packed:
            size = os.fstat(file.fileno()).st_size
            reader = _Reader(packed, min(MOST_BYTES, max(ALWAYS_BYTES, MOST_RATIO * size)))
            index = _index(reader)
            _unpack(reader, index, folder)
            return index
    except NewerError as error:
        raise UkperfError(f"{path} was written by a newer version of ukperf.", hint="Use that version.") from error
    except (_Refused, EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, _Refused) else "it is cut off or damaged"
        raise UkperfError(f"{path} is no bundle that can be read: {why}.", hint="Get or make it again.") from error
    except OSError as error:
        raise UkperfError(f"{path} cannot be unpacked: {reason(error)}.") from error


class _Reader:
    """What is unpacked, no more than so many bytes of it."""

    def __init__(self, packed: gzip.GzipFile, limit: int) -> None:
        self._packed, self._left, self._limit = packed, limit, limit

    def some(self, count: int) -> bytes:
        """At most so many bytes; none at the end."""
        data = self._packed.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise _Refused(f"it unpacks to more than {size_text(self._limit)}, which no bundle of its size does")
        return data

    def exactly(self, count: int) -> bytes:
        """Raises EOFError where there are fewer."""
        parts = io.BytesIO()
        while (missing := count - parts.tell()) > 0:
            if not (data := self.some(min(missing, _CHUNK))):
                raise EOFError
            parts.write(data)
        return parts.getvalue()

    def header(self) -> tuple[str, int] | None:
        """Name and bytes of the next member, None at the end. Raises as `tarfile`, and _Refused for what is no file."""
        block = self.exactly(_BLOCK)
        if not any(block):
            return None
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        name = info.name.removeprefix(f"{TOP}/")
        if info.type != tarfile.REGTYPE or block[257:262] != b"ustar" or info.size < 0:
            raise _Refused(f"{clean(info.name, 80)!r} in it is no regular file")
        if name == info.name or not member_name(name):
            raise _Refused(f"{clean(info.name, 80)!r} in it is a name that no bundle has")
        return name, info.size

    def skip_padding(self, size: int) -> None:
        self.exactly(-size % _BLOCK)

    def end(self) -> None:
        """Raises _Refused where anything but the padding of a tar is behind its end."""
        rest = self.some(4 * tarfile.RECORDSIZE)
        if any(rest) or self.some(1):
            raise _Refused("something is behind its end")


def _index(reader: _Reader) -> Index:
    """Raises _Refused, and ValueError for what is no index."""
    first = reader.header()
    if first is None or first[0] != INDEX or first[1] > MOST_INDEX:
        raise _Refused(f"it does not begin with {INDEX}")
    data = reader.exactly(first[1])
    reader.skip_padding(first[1])
    try:
        index = decode_stored(Index, loads(data), FORMAT)
    except NewerError:
        raise
    except (JSONDecodeError, ValueError) as error:
        raise _Refused(f"its {INDEX} is damaged") from error
    if not 0 < len(index.members) <= MOST_MEMBERS or sum(member.size for member in index.members.values()) > MOST_BYTES:
        raise _Refused("it holds more than a bundle may, or nothing")
    bad = [name for name, member in index.members.items() if not member_name(name) or member.size < 0]
    if bad:
        raise _Refused(f"{clean(bad[0], 80)!r} in it is a name that no bundle has")
    lost = [run for run in index.runs if "/" in run or f"{RUNS}/{run}/plan.json" not in index.members]
    if lost or not index.runs or len(set(index.runs)) < len(index.runs):
        raise _Refused("a run in it has no plan, or no run is in it")
    return index


def _unpack(reader: _Reader, index: Index, folder: Path) -> None:
    """Every member, in a folder that was empty."""
    missing = dict(index.members)
    while (header := reader.header()) is not None:
        name, size = header
        member = missing.pop(name, None)
        if member is None or member.size != size:
            raise _Refused(f"{name} in it is not as its {INDEX} says")
        digest, left = hashlib.sha256(), size
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while left:
                data = reader.exactly(min(left, _CHUNK))
                digest.update(data)
                file.write(data)
                left -= len(data)
        if digest.hexdigest() != member.sha256:
            raise _Refused(f"{name} in it is not as its {INDEX} says")
        reader.skip_padding(size)
    if missing:
        raise _Refused(f"{min(missing)} is missing in it")
    reader.end()
