"""The files that guests boot from, sent to workers' machines that have them not: once a machine, in pieces, by digest.

A file is looked for under its path first, then in the worker's cache under its sha256. What is lacking comes from the
asker, is held against its digest when it is whole, and stays in the cache for other runs (`ukperf images clean`).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from ukperf.engine.bootfiles import files_of
from ukperf.engine.errand import About, Piece, packed, unpacked
from ukperf.errors import UkperfError
from ukperf.files import extend_own, open_regular, reason
from ukperf.imaging.cache import KEPT, Cache
from ukperf.model import BootProtocol, Image, Plan
from ukperf.paths import make_dir
from ukperf.text import clean, shell

PART = 4 << 20  # bytes that go in one question
MOST_FILE, MOST_FILES = 4 << 30, 16 << 30  # bytes of one file, and of all that one machine is sent
SPARE = 256 << 20  # bytes that a worker's disk must have besides
KINDS = "files"  # of the cache
PARTS = "fleet-parts"  # of the cache: files that are under way
STALE_S = 86_400.0


def size_said(count: int) -> str:
    """`12 MB`: sizes of parcels, to be read in passing."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 10 * factor else f"{count / factor:.0f} {unit}"
    return f"{count} bytes"


# ---- the asker's side ----


@dataclass
class _Sending:
    about: About
    waiting: list[tuple[str, Path, int]]  # digest, path, size
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
        ours = _sent_files(self.plan)
        waiting = []
        for digest in dict.fromkeys(lacks):
            if digest not in ours:
                return f"it lacks a file that no guest boots from ({clean(digest, 12)})"
            path = ours[digest]
            if not path.is_file() or Cache().digests.file(path) != digest:
                raise UkperfError(f"{path} was changed or removed since this run was planned.")
            waiting.append((digest, path, path.stat().st_size))
        largest, total = max(size for _, _, size in waiting), sum(size for _, _, size in waiting)
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
        digest, path, size = sending.waiting[0]
        try:
            with open_regular(path) as file:
                file.seek(sending.offset)
                data = file.read(min(PART, size - sending.offset))
        except OSError as error:
            raise UkperfError(f"{path} cannot be read: {reason(error)}.") from error
        piece = Piece(digest, size, sending.offset, packed(data))
        sending.offset += len(data)
        if sending.offset >= size or not data:
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


def planned_of(plan: Plan, image: Image, path: Path) -> str:
    """The digest that a file had when the run was planned; "" where it is not known."""
    return plan.files.get(str(path), image.kernel_digest if path == image.kernel else "")


def _is_sent(image: Image, path: Path) -> bool:
    """Machines' files and programs are; what boots them is installed, and trees of files are shared."""
    if path in image.files.values():
        return True
    if image.command is not None:
        return path == image.command.program
    return image.protocol is BootProtocol.EXEC and image.tree is None


# ---- the worker's side ----


def located(plan: Plan, cache: Cache) -> tuple[Plan, tuple[str, ...]]:
    """The plan with its files where they are on this machine, and the digests of those that have to be sent.

    Raises UkperfError for a file that is lacking, or has other bytes, and cannot be sent.
    """
    images, files, lacks = {}, dict(plan.files), dict[str, None]()
    for guest, image in plan.images.items():
        put = {}
        for path in files_of(image):
            planned = planned_of(plan, image, path)
            place = _place(image, path, planned, cache)
            if place is None:
                lacks[planned] = None
            else:
                put[path] = place
                files[str(place)] = planned
        images[guest] = _with_places(image, put)
    return replace(plan, images=images, files={path: digest for path, digest in files.items() if digest}), tuple(lacks)


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


def _with_places(image: Image, put: dict[Path, Path]) -> Image:
    placed = image.with_files(lambda path: put.get(path, path))
    command = image.command
    if command is not None and command.program is not None:
        placed = replace(placed, command=replace(command, program=put.get(command.program, command.program)))
    if image.protocol is BootProtocol.EXEC and image.argv:
        first = Path(image.argv[0])
        placed = replace(placed, argv=(str(put.get(first, first)), *image.argv[1:]))
    return placed


def receive(piece: Piece, owner: str, cache: Cache) -> None:
    """One piece of a file; the last one puts it into the cache, if it has the digest that it was announced by.

    owner: who this worker is, among others that share the cache. Raises UkperfError for pieces that do not fit, and for
    a disk that has no room.
    """
    data = unpacked(piece.data)
    if not piece.offset <= piece.offset + len(data) <= piece.size <= MOST_FILE:
        raise UkperfError("It sends a file that is larger than it says, or than may be sent.")
    folder = make_dir(cache.root / PARTS)
    draft = folder / f"{piece.digest}.{owner}"
    try:
        if not piece.offset:
            _refuse_without_room(folder, piece.size)
        if not extend_own(draft, piece.offset, data):
            raise UkperfError("It sends the pieces of a file out of order.")
        if piece.offset + len(data) == piece.size:
            _keep(draft, piece.digest, cache)
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
