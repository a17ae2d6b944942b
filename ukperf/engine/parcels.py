"""The files that guests boot from, sent to workers' machines that have them not: once a machine, in pieces, by digest.

A file is looked for under its path first, then in the worker's cache under its sha256, and so is a packed tree, which
is sent as one stream. What is lacking comes from the asker, is held against its digest when it is whole, and stays in
the cache for other runs (`ukperf images clean`). Where it then lies elsewhere, words that name it are changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from ukperf.engine.bootfiles import files_of
from ukperf.engine.errand import About, Piece, packed, unpacked
from ukperf.errors import UkperfError
from ukperf.files import extend_own, open_regular, reason
from ukperf.imaging import treeparcel
from ukperf.imaging.cache import KEPT, Cache
from ukperf.imaging.tree import scan
from ukperf.model import BootProtocol, Image, Plan
from ukperf.paths import make_dir
from ukperf.text import clean, shell

PART = 4 << 20  # bytes that go in one question
MOST_FILE, MOST_FILES = 4 << 30, 16 << 30  # bytes of one file, and of all that one machine is sent
SPARE = 256 << 20  # bytes that a worker's disk must have besides
KINDS = "files"  # of the cache
TREES, ROOT = "trees", "root"  # of the cache: as those that are packed here, an entry's name the digest of its tree
PARTS = "fleet-parts"  # of the cache: files that are under way
STALE_S = 86_400.0


def size_said(count: int) -> str:
    """`12 MB`: sizes of parcels, to be read in passing."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 10 * factor else f"{count / factor:.0f} {unit}"
    return f"{count} bytes"


# ---- the asker's side ----


class _Parcel(Protocol):
    """size: bytes."""

    size: int

    def read(self, count: int) -> bytes:
        """The next so many bytes. Raises UkperfError for what cannot be read any more."""


class _File:
    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self._path, self._offset = path, 0

    def read(self, count: int) -> bytes:
        try:
            with open_regular(self._path) as file:
                file.seek(self._offset)
                data = file.read(min(count, self.size - self._offset))
        except OSError as error:
            raise UkperfError(f"{self._path} cannot be read: {reason(error)}.") from error
        self._offset += len(data)
        return data


@dataclass
class _Sending:
    about: About
    waiting: list[tuple[str, _Parcel]]  # by digest
    files: int
    total: int
    offset: int = 0


@dataclass
class Parcels:
    """What is under way to whom. Workers are known by their addresses."""

    plan: Plan
    _under_way: dict[str, _Sending] = field(default_factory=dict)
    _sent: dict[str, set[str]] = field(default_factory=dict)

    def begin(self, worker: str, about: About) -> str:
        """What a worker lacks is to be sent to it; why that cannot be, as a phrase, or "".

        Raises UkperfError for a file of this machine that was changed since it was planned.
        """
        had, lacks = self._sent.setdefault(worker, set()), about.lacks
        if had & set(lacks):
            return "it lacks a file that it was sent"
        files, trees = _sent_files(self.plan), trees_of(self.plan)
        waiting: list[tuple[str, _Parcel]] = []
        for digest in dict.fromkeys(lacks):
            if digest not in files and digest not in trees:
                return f"it lacks a file that no guest boots from ({clean(digest, 12)})"
            path = files[digest] if digest in files else trees[digest]
            there = path.is_file() if digest in files else path.is_dir()
            digests = Cache().digests
            if not there or (digests.file(path) if digest in files else digests.tree(path)) != digest:
                raise UkperfError(f"{path} was changed or removed since this run was planned.")
            waiting.append((digest, _File(path) if digest in files else treeparcel.TreeParcel(path)))
        largest, total = max(parcel.size for _, parcel in waiting), sum(parcel.size for _, parcel in waiting)
        if largest > MOST_FILE or total > MOST_FILES:
            return (
                f"it lacks {size_said(total)} of files, and no more than {size_said(MOST_FILES)} are sent, "
                f"{size_said(MOST_FILE)} in one"
            )
        had.update(lacks)
        self._under_way[worker] = _Sending(about, waiting, len(waiting), total)
        return ""

    def piece(self, worker: str) -> Piece | None:
        """The next piece; None where all are sent. Raises UkperfError for a file that cannot be read any more."""
        sending = self._under_way[worker]
        if not sending.waiting:
            return None
        digest, parcel = sending.waiting[0]
        data = parcel.read(PART)
        piece = Piece(digest, parcel.size, sending.offset, packed(data))
        sending.offset += len(data)
        if sending.offset >= parcel.size or not data:
            sending.waiting.pop(0)
            sending.offset = 0
        return piece

    def end(self, worker: str) -> str:
        """All is sent; a sentence that says so."""
        sending = self._under_way.pop(worker)
        files = f", {sending.files} files" if sending.files > 1 else ""
        return f"Sent {size_said(sending.total)} to {sending.about.hostname}{files}."

    def drop(self, worker: str) -> None:
        """A worker that is gone, or takes no part."""
        self._under_way.pop(worker, None)
        self._sent.pop(worker, None)

    def under_way_to(self, kernel: str) -> bool:
        """Is a worker of the machine with this boot id sent files?"""
        return any(sending.about.kernel == kernel != "" for sending in self._under_way.values())


def _sent_files(plan: Plan) -> dict[str, Path]:
    """Digest → path of what can be sent."""
    return {
        digest: path
        for image in plan.images.values()
        for path in files_of(image)
        if _is_sent(image, path) and (digest := planned_of(plan, image, path))
    }


def trees_of(plan: Plan) -> dict[str, Path]:
    """Digest → packed tree that can be sent."""
    trees = [image.tree for image in plan.images.values() if image.tree is not None]
    return {digest: tree for tree in trees if (digest := plan.files.get(str(tree), ""))}


def planned_of(plan: Plan, image: Image, path: Path) -> str:
    """The digest that a file had when the run was planned; "" where it is not known."""
    return plan.files.get(str(path), image.kernel_digest if path == image.kernel else "")


def _is_sent(image: Image, path: Path) -> bool:
    """Machines' files and programs are, and what a command line names; what boots them is installed."""
    if path in image.files.values():
        return True
    if image.command is not None:
        return path == image.command.program or (path in image.command.files and _named(image, path))
    return image.protocol is BootProtocol.EXEC


def _named(image: Image, path: Path) -> bool:
    """Does a word of a command line name a file? What its command looks for by itself must lie where that looks."""
    assert image.command is not None
    words = (*image.argv[1:], *(value for _, value in image.env), *image.command.words, image.command.json)
    return any(_naming(path).search(word) for word in words)


@lru_cache(maxsize=256)
def _naming(path: Path) -> re.Pattern[str]:
    """The path in a word, and no longer one that it is the beginning or the end of."""
    return re.compile(rf"(?<![\w./-]){re.escape(str(path))}(?![\w./-])")


# ---- the worker's side ----


def located(plan: Plan, cache: Cache) -> tuple[Plan, tuple[str, ...]]:
    """The plan with its files where they are on this machine, and the digests of those that have to be sent.

    Raises UkperfError for a file that is lacking, or has other bytes, and cannot be sent.
    """
    images, files, lacks = {}, dict(plan.files), dict[str, None]()
    for guest, image in plan.images.items():
        tree = _tree_place(plan, image, cache)
        if image.tree is not None and tree is None:
            lacks[plan.files[str(image.tree)]] = None
        put = {}
        for path in files_of(image):
            planned = planned_of(plan, image, path)
            if image.tree is not None and path.is_relative_to(image.tree):  # the tree's digest says what it is
                place = tree and tree / path.relative_to(image.tree)
            elif (place := _place(image, path, planned, cache)) is None:
                lacks[planned] = None
            if place is not None:
                put[path] = place
                files[str(place)] = planned
        images[guest] = _with_places(image, put, tree)
    return replace(plan, images=images, files={path: digest for path, digest in files.items() if digest}), tuple(lacks)


def _tree_place(plan: Plan, image: Image, cache: Cache) -> Path | None:
    """Where a packed tree is; None for none, and where it has to be sent. Raises UkperfError where it cannot be."""
    if image.tree is None:
        return None
    planned, kept = plan.files.get(str(image.tree), ""), cache.root / TREES
    if not planned:  # planned by an older ukperf, which sent none
        raise UkperfError(f"The files of {image.guest}'s program were not planned to be sent.", hint="Start a new run.")
    if image.tree.is_dir() and cache.digests.tree(image.tree) == planned:
        return cache.hold(image.tree)
    if not cache.has(TREES, planned):
        return None
    root = kept / planned / ROOT
    if {":", ";"} & set(str(root)):
        raise UkperfError(f"Programs do not run from {root}: it has ':' or ';'.", hint="Set UKPERF_CACHE_DIR there.")
    if root.is_dir() and cache.digests.tree(root) == planned:
        return root
    cache.discard(TREES, planned)
    return None


def _place(image: Image, path: Path, planned: str, cache: Cache) -> Path | None:
    there = path.is_file()
    if there and (not planned or cache.digests.file(path) == planned):
        return path
    if planned and _is_sent(image, path):
        if not cache.has(KINDS, planned):
            return None
        kept = cache.root / KINDS / planned / KEPT
        if kept.is_file() and cache.digests.file(kept) == planned:
            if path not in image.files.values():  # it is executed
                kept.chmod(0o755)
            return kept
        cache.discard(KINDS, planned)
        return None
    if there:
        raise UkperfError(f"{path}, which {image.guest} boots from, has other bytes there than were planned.")
    raise UkperfError(
        f"{path}, which {image.guest} boots from, is not there.",
        hint=f"It is not sent: install it, or share {shell(path.parent)} with the workers.",
    )


def _with_places(image: Image, put: Mapping[Path, Path], tree: Path | None) -> Image:
    moved = {path: place for path, place in put.items() if place != path}

    def word_of(word: str) -> str:
        if tree is not None and tree != image.tree:
            word = word.replace(str(image.tree), str(tree))
        for path, place in moved.items():
            word = _naming(path).sub(lambda _, place=place: str(place), word)  # type: ignore[misc]
        return word

    placed = image.with_files(lambda path: put.get(path, path)).with_words(word_of)
    if image.protocol is BootProtocol.EXEC and image.argv:  # however its path is written
        first = Path(image.argv[0])
        placed = replace(placed, argv=(str(put.get(first, first)), *placed.argv[1:]))
    return replace(placed, tree=tree or image.tree)


def receive(piece: Piece, owner: str, cache: Cache, trees: Collection[str] = ()) -> None:
    """One piece of a file; the last one puts it into the cache, if it has the digest that it was announced by.

    owner: who this worker is, among others that share the cache. trees: digests of what is a tree. Raises UkperfError
    for pieces that do not fit, and for a disk that has no room.
    """
    is_tree = piece.digest in trees
    data = unpacked(piece.data)
    if not piece.offset <= piece.offset + len(data) <= piece.size <= MOST_FILE:
        raise UkperfError("It sends a file that is larger than it says, or than may be sent.")
    folder = make_dir(cache.root / PARTS)
    draft = folder / f"{piece.digest}.{owner}"
    try:
        if not piece.offset:
            _refuse_without_room(folder, piece.size * (2 if is_tree else 1))
        if not extend_own(draft, piece.offset, data):
            raise UkperfError("It sends the pieces of a file out of order.")
        if piece.offset + len(data) == piece.size:
            (_keep_tree if is_tree else _keep)(draft, piece.digest, cache)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UkperfError(f"A file that it was sent cannot be kept in {cache.root}: {reason(error)}.") from error
        raise


def _keep(draft: Path, digest: str, cache: Cache) -> None:
    with open_regular(draft) as file:
        theirs = hashlib.file_digest(file, "sha256").hexdigest()
    if theirs != digest:
        raise UkperfError("A file that it was sent has another digest than it was announced by.")

    def fill(folder: Path) -> None:
        shutil.move(draft, folder / KEPT)

    cache.entry(KINDS, digest, fill)
    draft.unlink(missing_ok=True)  # another worker of this machine had it


def _keep_tree(draft: Path, digest: str, cache: Cache) -> None:
    def fill(folder: Path) -> None:
        treeparcel.write(draft, folder / ROOT)
        if cache.digests.entries(scan(folder / ROOT), folder / ROOT) != digest:
            raise UkperfError("A tree that it was sent has another digest than it was announced by.")

    cache.entry(TREES, digest, fill)
    draft.unlink(missing_ok=True)


def _refuse_without_room(folder: Path, size: int) -> None:
    """Raises UkperfError; what dead workers left of other files makes room first."""
    for old in folder.iterdir():
        with contextlib.suppress(OSError):
            if old.stat().st_mtime < time.time() - STALE_S:  # its machine's clock wrote both
                old.unlink()
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise UkperfError(
            f"It has no room for a file of {size_said(size)}: {size_said(free)} are free in {folder.parent}.",
            hint="Make room, or set UKPERF_CACHE_DIR there.",
        )
