"""A content-addressed store for everything that we build, under the user's cache folder.

An entry is a folder named by the sha256 of a description of all its inputs. It is built beside, made durable and
renamed into place, so an entry that exists is whole. One lock file a key: of two builders at once the second waits and
takes the first one's work; whoever holds the lock may clear what a dead builder left under the same key. What a process
has asked for is in use until that process ends (inuse.py), and its folder has the time of its last use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from ukperf.decode import decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import create_own, locked, open_regular, publish, read_json, reason, set_aside
from ukperf.imaging import inuse
from ukperf.imaging.digests import Digests
from ukperf.model import Image
from ukperf.paths import cache_dir
from ukperf.text import shell

IMAGE_FILE = "image.json"
FORMAT = 1  # of it
KEPT = "file"
_KEY = re.compile(r"[0-9a-f]{64}")
WAIT_S = 3600.0  # for another builder of the same entry: a whole distribution takes minutes
# Part of every image's digest since the first: the fields that images had then. What an image is, its inputs say.
_DIGESTED = (
    "argv",
    "cmdline",
    "debug_exit",
    "digest",
    "disk",
    "env",
    "guest",
    "idle_leap_us",
    "initrd",
    "kernel",
    "kernel_digest",
    "kernel_version",
    "min_memory_mib",
    "powers_off",
    "program_digest",
    "protocol",
    "qemu_args",
    "workload",
)


class Cache:
    """The store. root: its folder, made when first needed; default paths.cache_dir()."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_dir()
        self.digests = Digests(self.root / "digests")

    @staticmethod
    def key(description: Mapping[str, object]) -> str:
        """sha256 over the canonical JSON of a description: strings, numbers, lists and mappings of them."""
        text = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def entry(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """The folder of an entry; build(folder) fills a new one when there is none yet.

        kind: `programs`, `images`, `kernels`, … Whatever build raises leaves the cache as it was. Raises UkperfError
        when the cache cannot be written (no space, no permission).
        """
        path = self.root / kind / key
        name = entry_name(kind, key)
        if self.has(kind, key):
            return path
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            held = UkperfError(
                f"Another ukperf has been building {path} for more than {WAIT_S // 60:.0f} minutes.",
                hint="Wait until it has ended, or end it.",
            )
            with locked(self.root / "locks" / name, held, wait_s=WAIT_S, mode=0o600, remove=True):
                if not self.has(kind, key):  # asked again: the first time there may have been no cache to lock it in
                    self._clear_remains()
                    self._build(path, self.root / "tmp" / name, build)
        except OSError as error:
            raise UkperfError(
                f"The cache {self.root} cannot be written: {error.strerror or error}.",
                hint="Make room there, or name another folder by UKPERF_CACHE_DIR.",
            ) from error
        return path

    def has(self, kind: str, key: str) -> bool:
        """Whether there is such an entry. It is in use from now on."""
        path = self.root / kind / key
        inuse.hold(self.root, entry_name(kind, key))
        with suppress(OSError):  # somebody else's: he notes its use himself
            os.utime(path)
        return path.is_dir()

    def discard(self, kind: str, key: str) -> None:
        """Take out an entry that is damaged, so that it is built anew. Raises UkperfError where that cannot be done."""
        aside = self.root / "tmp" / f"damaged-{os.getpid()}-{entry_name(kind, key)}"
        try:
            set_aside(self.root / kind / key, aside)
        except OSError as error:
            raise UkperfError(f"{self.root / kind / key} cannot be removed: {error.strerror}.") from error
        shutil.rmtree(aside, ignore_errors=True)

    def hold(self, path: Path) -> Path:
        """`path` itself; the entry that it lies in, if it is one of the cache, is in use from now on."""
        if path.is_relative_to(self.root):
            parts = path.relative_to(self.root).parts
            depth = next((depth for depth, part in enumerate(parts) if _KEY.fullmatch(part)), 0)
            if depth:
                self.has("/".join(parts[:depth]), parts[depth])
        return path

    def keep(self, path: Path) -> tuple[Path, str]:
        """A file as it is now, under its digest, and that digest: whatever becomes of `path` changes neither.

        Files of the cache stay where they are. Raises UkperfError when it cannot be read, or is written meanwhile.
        """
        digest = self.digests.file(path)
        if path.absolute().is_relative_to(self.root):
            return self.hold(path), digest
        kept = self.entry("files", digest, lambda folder: _copy(path, folder / KEPT, digest)) / KEPT
        if self.digests.file(kept) != digest:
            raise UkperfError(f"{kept} is damaged.", hint=f"Remove it: rm -r {shell(kept.parent)}")
        return kept, digest

    def kept(self, digest: str) -> Path | None:
        """The file of that digest that was kept, if it is there still."""
        path = self.root / "files" / digest / KEPT
        return path if _KEY.fullmatch(digest) and self.has("files", digest) and path.is_file() else None

    def image(self, description: Mapping[str, object], build: Callable[[Path, str], Image]) -> Image:
        """An image by the description of its inputs; build(folder, key) makes it and its files in folder.

        Paths in the image may also lie elsewhere (a kernel in the kernel store, say) if their digests are in the
        description.
        """
        key = self.key({"inputs": description, "fields": list(_DIGESTED)})
        # Two versions of ukperf share a cache, and image.json holds the fields that Image has in each.
        layout = self.key({"fields": sorted(field.name for field in fields(Image))})[:12]

        def fill(folder: Path) -> None:
            _save(build(folder, key), folder)

        return _load(self.entry(f"images/{layout}", key, fill))

    def _build(self, path: Path, work: Path, build: Callable[[Path], None]) -> None:
        shutil.rmtree(work, ignore_errors=True)  # a dead builder's: the lock is ours
        work.mkdir(parents=True)
        try:
            build(work)
            publish(work, path)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _clear_remains(self) -> None:
        """Removes half-built entries whose builder is dead: nobody holds their lock."""
        folder = self.root / "tmp"
        for work in folder.iterdir() if folder.is_dir() else ():
            lock = self.root / "locks" / work.name
            # held: its builder is at work
            with suppress(BlockingIOError), locked(lock, BlockingIOError(), mode=0o600, remove=True):
                shutil.rmtree(work, ignore_errors=True)


def entry_name(kind: str, key: str) -> str:
    """What an entry is called where it cannot be a path: by its locks."""
    return f"{kind.replace('/', '-')}-{key}"


def _copy(path: Path, target: Path, digest: str) -> None:
    """Copy a file of that digest. Raises UkperfError for a file that has another by now."""
    total = hashlib.sha256()
    try:
        with open_regular(path) as source, create_own(target) as copy:
            while part := source.read(1 << 20):
                total.update(part)
                copy.write(part)
    except OSError as error:
        raise UkperfError(f"{path} cannot be copied into the cache: {error.strerror}.") from error
    if total.hexdigest() != digest:
        raise UkperfError(f"{path} was changed while it was read.", hint="Try again when nobody writes to it.")


def _save(image: Image, folder: Path) -> None:
    def stored(path: Path) -> Path:
        return path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()

    text = json.dumps(encode(image.with_files(stored), FORMAT), indent=2, default=str)
    (folder / IMAGE_FILE).write_text(text + "\n", encoding="utf-8")


def _load(folder: Path) -> Image:
    try:
        image = decode_stored(Image, read_json(folder / IMAGE_FILE), FORMAT)
    except (OSError, ValueError) as error:
        raise UkperfError(
            f"The image in {folder} cannot be read: {reason(error)}.", hint=f"Remove it: rm -r {shell(folder)}"
        ) from error
    return image.with_files(lambda path: folder / path)  # an absolute path stays what it is
