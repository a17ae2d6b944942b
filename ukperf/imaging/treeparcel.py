"""A tree of files as one stream of bytes, on its way to a machine that has it not, and how it is written there.

For each entry of `tree.scan` a line of JSON, then a file's bytes. No archive of a library's: nothing in it but names,
kinds and bytes has a meaning here, and a name can lie nowhere but in the folder that is being filled.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

from ukperf.decode import Within, decode
from ukperf.errors import UkperfError
from ukperf.files import create_own, open_regular, reason
from ukperf.imaging.tree import NAME_MAX, Entry, Kind, scan

MOST_ENTRIES = 500_000
_MOST_LINE = 32 << 10
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Line:
    """path, target: base64 of bytes."""

    path: str
    kind: Kind
    mode: Annotated[int, Within(0, 0o777, "permission")]
    size: Annotated[int, Within(0, 1 << 40, "size of a file")] = 0
    target: str = ""


class TreeParcel:
    """What is sent of the tree below `root`. Raises UkperfError as `tree.scan`, and for a file that became shorter."""

    def __init__(self, root: Path) -> None:
        entries = list(scan(root))
        self.size = sum(len(_line(entry)) + entry.size for entry in entries)
        self._bytes = _stream(entries)
        self._left = b""

    def read(self, count: int) -> bytes:
        """The next so many bytes; fewer at the end."""
        parts, missing = [self._left], count - len(self._left)
        while missing > 0 and (part := next(self._bytes, b"")):
            parts.append(part)
            missing -= len(part)
        whole = b"".join(parts)
        self._left = whole[count:]
        return whole[:count]


def _line(entry: Entry) -> bytes:
    told = {"path": _text(entry.path), "kind": entry.kind.value, "mode": entry.mode}
    more = {"size": entry.size} if entry.kind is Kind.FILE else {"target": _text(entry.target)} if entry.target else {}
    return json.dumps({**told, **more}, separators=(",", ":")).encode() + b"\n"


def _stream(entries: list[Entry]) -> Iterator[bytes]:
    """No part of it is empty."""
    for entry in entries:
        yield _line(entry)
        if entry.source is None or not entry.size:
            continue
        left = entry.size
        try:
            with open_regular(Path(entry.source)) as file:
                while left and (part := file.read(min(_CHUNK, left))):
                    left -= len(part)
                    yield part
        except OSError as error:
            raise UkperfError(f"{entry.source} cannot be read: {reason(error)}.") from error
        if left:
            raise UkperfError(f"{entry.source} became shorter while it was sent.")


def write(parcel: Path, root: Path) -> None:
    """What a parcel holds into `root`, a new folder. What it is worth its digest says, which the caller looks at.

    Raises UkperfError for what is no parcel, OSError of the target.
    """
    root.mkdir()
    known: dict[bytes, Kind] = {}
    with open_regular(parcel) as source:
        while text := source.readline(_MOST_LINE):
            _put(_entry(text), known, root, source)
            if len(known) > MOST_ENTRIES:
                raise UkperfError(f"It sends a tree of more than {MOST_ENTRIES:,} files.")


def _put(entry: Entry, known: dict[bytes, Kind], root: Path, source: BinaryIO) -> None:
    """One entry, where only folders of this parcel lie above it: no link leads out."""
    parent, below, name = entry.path.rpartition(b"/")
    inside = not below or known.get(parent) is Kind.DIRECTORY
    if not inside or name in (b"", b".", b"..") or b"\0" in name or len(name) > NAME_MAX:
        raise UkperfError("It sends a tree with a name that none can have.")
    if entry.path in known:
        raise UkperfError("It sends a tree with one name twice.")
    known[entry.path] = entry.kind
    path = root / os.fsdecode(entry.path)
    if entry.kind is Kind.DIRECTORY:
        path.mkdir()
    elif entry.kind is Kind.LINK:
        path.symlink_to(os.fsdecode(entry.target))
    else:
        with create_own(path) as file:
            _copy(source, file, entry.size)
        path.chmod(0o755 if entry.mode & 0o100 else 0o644)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        part = source.read(min(_CHUNK, size))
        if not part:
            raise UkperfError("It sends a tree whose last file is cut off.")
        target.write(part)
        size -= len(part)


def _entry(text: bytes) -> Entry:
    try:
        told = decode(_Line, json.loads(text))
        path, target = _bytes(told.path), _bytes(told.target)
        if not text.endswith(b"\n") or (told.kind is Kind.LINK) != bool(target) or b"\0" in target:
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise UkperfError("It sends what is no tree.") from error
    return Entry(path, told.kind, told.mode, told.size, target=target)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
