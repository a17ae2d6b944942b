"""sha256 of files and trees, remembered on disk, so that an unchanged 300 MB tree costs a walk and no reading.

A remembered digest is believed while path, size, inode, mtime and ctime are what they were, and only when the file had
been left alone for two seconds: a change within the clock's granularity would not show (git's "racy" files).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ukperf.decode import SHA256, decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_json, write_atomically
from ukperf.imaging.tree import Entry, Kind, scan

_SETTLED_NS = 2_000_000_000
FORMAT = 1  # of the memory
_MEMORY_MAX = 256 << 20  # a tree may have a million files

_Known = Mapping[str, tuple[tuple[int, ...], str]]  # path → what stat said, digest


@dataclass(frozen=True)
class _Files:
    files: _Known


@dataclass(frozen=True)
class _Tree:
    fingerprint: str
    digest: Annotated[str, SHA256]


class Digests:
    """Digests with a memory in `folder`: one small file for each path or tree that was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, path: Path) -> str:
        """sha256 of a file's bytes, hex. Raises UkperfError when it cannot be read."""
        known = self._recall(path)
        fresh: dict[str, tuple[tuple[int, ...], str]] = {}
        digest = _digest(str(path), known, fresh)
        if fresh != known:
            self._remember(path, fresh)
        return digest

    def tree(self, root: Path) -> str:
        """sha256 over everything below root: names, kinds, permission to execute, links' targets and contents.

        Two trees have the same digest exactly when the image writers make the same image of them. Raises UkperfError
        for what cannot be read or has no place in an image.
        """
        before, settled = _fingerprint(root)
        memory = self._memory(root).with_suffix(".tree")
        try:
            known = decode_stored(_Tree, read_json(memory), FORMAT)
            if known.fingerprint == before:
                return known.digest
        except (OSError, ValueError):
            pass
        digest = self.entries(scan(root), root)
        if settled and _fingerprint(root)[0] == before:
            self._write(memory, _Tree(before, digest))
        return digest

    def entries(self, entries: Iterable[Entry], memory: Path) -> str:
        """The same for an entry list; memory names the file that remembers (any path that is stable)."""
        known = self._recall(memory)
        fresh: dict[str, tuple[tuple[int, ...], str]] = {}
        total = hashlib.sha256()
        for entry in entries:
            if entry.kind is Kind.FILE:
                content = (
                    _digest(entry.source, known, fresh) if entry.source else hashlib.sha256(entry.data).hexdigest()
                ).encode()
            else:
                content = entry.target
            for part in (entry.path, entry.kind.encode(), b"%o" % entry.mode, content):
                total.update(b"%d:" % len(part) + part)
        if fresh != known:
            self._remember(memory, fresh)
        return total.hexdigest()

    def _memory(self, path: Path) -> Path:
        return self.folder / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()

    def _recall(self, path: Path) -> _Known:
        try:
            data = read_json(self._memory(path), _MEMORY_MAX)
            if isinstance(data, dict) and "format" not in data:  # ukperf 0.1's: the files alone
                data = {"files": data}
            return decode_stored(_Files, data, FORMAT).files
        except (OSError, ValueError):
            return {}  # nothing is lost but time

    def _remember(self, path: Path, known: _Known) -> None:
        self._write(self._memory(path), _Files(known))

    def _write(self, memory: Path, known: _Files | _Tree) -> None:
        """Atomic, so two writers do not mix; the last one stays. A full disk only costs the memory."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(memory, json.dumps(encode(known, FORMAT)), durable=False)


def _fingerprint(root: Path) -> tuple[str, bool]:
    """What stat says of everything below root, in one number, and whether all of it has been left alone for a while.

    In the order of the directories themselves: another order of the same files only costs the reading.
    """
    total = hashlib.blake2b(digest_size=16)
    newest = 0
    folders = [os.fspath(root)]
    try:
        while folders:
            folder = folders.pop()
            status = Path(folder).stat()
            total.update(f"{folder}\0{status.st_mtime_ns}".encode(errors="surrogateescape"))
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
            with os.scandir(folder) as items:
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        folders.append(item.path)
                    status = item.stat(follow_symlinks=False)
                    facts = status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
                    total.update(f"{item.name}\0{facts}".encode(errors="surrogateescape"))
                    newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise UkperfError(f"{error.filename or root} cannot be read: {error.strerror}.") from error
    return total.hexdigest(), newest < time.time_ns() - _SETTLED_NS


def _digest(path: str, known: _Known, fresh: dict[str, tuple[tuple[int, ...], str]]) -> str:
    try:
        status = Path(path).stat()
        facts = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        before = known.get(path)
        if before is not None and before[0] == facts:
            digest = before[1]
        else:
            with open_regular(Path(path)) as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise UkperfError(f"{path} cannot be read: {error.strerror}.") from error
    if max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - _SETTLED_NS:
        fresh[path] = (facts, digest)
    return digest
