"""Where guest kernels live: files that the user added or pulled, each entry with its digests and where it came from.

An entry is a folder GUEST-VERSION-PLATFORM under the user's data folder (what was added by hand cannot be made again,
so it is no cache) with `entry.json` and the kernel's files. It is put together beside and renamed into place, so an
entry that exists is whole. `trust.json` remembers the digest that each name was added with while its folder is
there: the same name with other bytes is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from ukperf.decode import SHA256, Fitting, NewerError, decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import locked, open_regular, publish, read_bytes, read_json, reason, write_atomically
from ukperf.model import DEFAULT_PLATFORM
from ukperf.paths import data_dir, make_dir

ENTRY_FILE = "entry.json"
TRUST_FILE = "trust.json"
FORMAT = 1  # of both
KERNEL_MAX = 64 << 20  # bytes of one file of a kernel; real ones have one or two MiB
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:@-]{0,99}")
_WORK = ".new-"
WAIT_S = 600.0  # for another writer, who may boot the kernel that it adds


@dataclass(frozen=True)
class StoredFile:
    """One file of an entry. role: `kernel`, or `boot` (nanos's boot image)."""

    role: str
    name: Annotated[str, Fitting("[^/]*[^/.][^/]*", "name in its folder")]
    sha256: Annotated[str, SHA256]
    size: int


@dataclass(frozen=True)
class StoredKernel:
    """A guest kernel in the store. digest: over roles and files, what the name is trusted by."""

    guest: str
    version: str
    platform: str  # a Platform
    digest: str
    files: tuple[StoredFile, ...]
    source: str  # "file PATH", or the address
    source_digest: str  # of what was downloaded; "" for files
    added_at: str  # ISO 8601, UTC
    pinned: bool  # the digest was in a recipe before the download
    folder: Path
    probed: bool = False  # it was booted, and has all that ukperf needs

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def path(self, role: str) -> Path:
        """The file of that role. Raises UkperfError when the entry has none."""
        for file in self.files:
            if file.role == role:
                return self.folder / file.name
        raise UkperfError(f"{self.guest} {self.version} in the kernel store has no {role} file.")

    def sha256(self, role: str) -> str:
        return next(file.sha256 for file in self.files if file.role == role)


@dataclass(frozen=True)
class _Trust:
    """trust.json: the digest that each name was added with."""

    digests: Mapping[str, str]


@dataclass(frozen=True)
class KernelOrigin:
    """Where files came from: source_digest is that of what was downloaded; pinned when a recipe had it before."""

    source: str = ""
    source_digest: str = ""
    pinned: bool = False


@dataclass(frozen=True)
class Checked:
    """What verify() found: problem is None for an entry that is as it was added."""

    name: str
    problem: str | None


# Is a new entry what it should be? Its files lie in its `folder`. Returns whether that could be found out, and raises
# UkperfError for one that is not to be stored.
Check = Callable[[StoredKernel], bool]


class KernelStore:
    """The store. root: its folder, made when first written; default `kernels` in the user's data folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or data_dir() / "kernels"

    def entries(self) -> list[StoredKernel]:
        """All entries that can be read, by guest, then from the oldest to the newest; damaged ones are verify()'s."""
        entries = [entry for folder in self._folders() if (entry := _loaded(folder))]
        return sorted(entries, key=lambda entry: (entry.guest, entry.added_at, entry.version))

    def find(self, guest: str, version: str | None = None, platform: str = DEFAULT_PLATFORM) -> StoredKernel | None:
        """The newest entry of a guest, or the one of that version."""
        fits = [
            entry
            for entry in self.entries()
            if entry.guest == guest and entry.platform == platform and version in (None, entry.version)
        ]
        return fits[-1] if fits else None

    def default(self, entry: StoredKernel) -> bool:
        """Is it the one that boots where no version is named: the newest of its guest and platform?"""
        newest = self.find(entry.guest, platform=entry.platform)
        return newest is not None and newest.folder == entry.folder

    def add(
        self,
        guest: str,
        version: str,
        files: Mapping[str, Path | bytes],
        *,
        platform: str = DEFAULT_PLATFORM,
        origin: KernelOrigin = KernelOrigin(),
        replacing: bool = False,
        check: Check | None = None,
    ) -> StoredKernel:
        """Copies files (role → file or bytes) into the store; an entry with the same bytes is returned as it is.

        replacing: an entry of this name with other bytes gives way. check: asked about the files that are about to be
        stored. Raises UkperfError when there are other bytes otherwise, a file cannot be read or is absurdly big, the
        check refuses, or the store cannot be written; it is left as it was then.
        """
        folder = self.root / entry_name(guest, version, platform)
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        entry = StoredKernel(
            guest, version, platform, "", (), origin.source, origin.source_digest, now, origin.pinned, folder=folder
        )
        make_dir(self.root)
        try:
            with self._lock():
                self._clear_remains()
                return self._add(entry, files, replacing, check)
        except OSError as error:
            raise UkperfError(
                f"The kernel store {self.root} cannot be written: {error.strerror or error}.",
                hint="Make room there, or name another folder by UKPERF_DATA_DIR.",
            ) from error

    def trusted(self, guest: str, version: str, platform: str = DEFAULT_PLATFORM) -> str | None:
        """The digest under which this name was added, or None where it is not here."""
        return self._trust().get(entry_name(guest, version, platform))

    def verify(self) -> list[Checked]:
        """Reads every file of every entry and compares."""
        return [Checked(folder.name, _problem(folder)) for folder in self._folders()]

    def remove(self, entries: Iterable[StoredKernel]) -> int:
        """Removes entries, what they were trusted by, and what dead writers left; the bytes freed."""
        freed = 0
        if not self.root.is_dir():
            return freed
        with self._lock():
            self._clear_remains()
            for entry in entries:
                shutil.rmtree(entry.folder)
                freed += entry.size
            if (self.root / TRUST_FILE).exists():
                with contextlib.suppress(UkperfError):  # damaged: the next add says so
                    self._write_trust(self._trust())
        return freed

    def older(self, keep: int = 1) -> list[StoredKernel]:
        """Entries but for the `keep` newest of each guest and platform."""
        entries = self.entries()
        groups = {(entry.guest, entry.platform) for entry in entries}
        kept: set[Path] = set()
        for group in groups:
            same = [entry for entry in entries if (entry.guest, entry.platform) == group]
            kept |= {entry.folder for entry in same[max(len(same) - keep, 0) :]}
        return [entry for entry in entries if entry.folder not in kept]

    def _add(
        self, entry: StoredKernel, files: Mapping[str, Path | bytes], replacing: bool, check: Check | None
    ) -> StoredKernel:
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=self.root))
        try:
            stored = tuple(_take(role, content, work) for role, content in sorted(files.items()))
            entry = replace(entry, digest=_total(stored), files=stored)
            trust = self._trust()
            there = _loaded(entry.folder)
            known = there.digest if there else trust.get(entry.folder.name, entry.digest)
            if known != entry.digest and not replacing:
                raise _other_bytes(entry, there)
            if there and known == entry.digest and _problem(entry.folder) is None:
                if there.probed or check is None:
                    return there
                entry = replace(entry, added_at=there.added_at)
            if check is not None:
                entry = replace(entry, probed=check(replace(entry, folder=work)))
            text = json.dumps({**encode(entry, FORMAT), "folder": None}, indent=2)
            (work / ENTRY_FILE).write_text(text + "\n", encoding="utf-8")
            self._write_trust({**trust, entry.folder.name: entry.digest})
            # One that is there is damaged, or to be replaced; nobody sees half of it go.
            publish(work, entry.folder, aside=work.with_name(f"{work.name}-old"))
            return entry
        finally:
            self._clear_remains()

    def _trust(self) -> dict[str, str]:
        """Name → digest. A name whose folder is gone, by prune or by hand, is forgotten."""
        path = self.root / TRUST_FILE
        here = {folder.name for folder in self._folders()}
        try:
            data = read_json(path)
            if isinstance(data, dict) and "format" not in data:  # ukperf 0.1's: the digests alone
                data = {"digests": data}
            trust = decode_stored(_Trust, data, FORMAT)
            return {name: digest for name, digest in trust.digests.items() if name in here}
        except FileNotFoundError:
            return {}
        except NewerError as error:
            raise UkperfError(f"{path} cannot be read: {error}.", hint="Use that version.") from error
        except (OSError, ValueError) as error:
            raise UkperfError(
                f"{path}, which remembers the digests of kernels, is damaged.", hint="Remove it to trust anew."
            ) from error

    def _write_trust(self, trust: Mapping[str, str]) -> None:
        stored = encode(_Trust(dict(sorted(trust.items()))), FORMAT)
        write_atomically(self.root / TRUST_FILE, json.dumps(stored, indent=2) + "\n")

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        minutes = WAIT_S // 60
        held = UkperfError(
            f"Another ukperf has been writing to the kernel store {self.root} for more than {minutes:.0f} minutes.",
            hint="Wait until it has ended, or end it.",
        )
        return locked(self.root / ".lock", held, wait_s=WAIT_S, mode=0o600)

    def _clear_remains(self) -> None:
        for path in self.root.glob(f"{_WORK}*"):  # their writers are dead: the lock is ours
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def entry_name(guest: str, version: str, platform: str) -> str:
    """The entry's folder name. Raises UkperfError for a version that cannot be part of one."""
    return f"{guest}-{check_version(version)}-{platform}"


def check_version(version: str) -> str:
    """`version` itself. Raises UkperfError for what can be no part of a file's name or of an address."""
    if not _NAME.fullmatch(version):
        raise UkperfError(
            f"{version!r} is no version that a kernel can be stored under.",
            hint="Letters, digits, and . _ + ~ : @ -, at most 100.",
        )
    return version


def _other_bytes(given: StoredKernel, stored: StoredKernel | None) -> UkperfError:
    """Why an entry is refused: which of its files differ from those that are stored under its name."""
    there = {file.role: file.sha256 for file in stored.files} if stored else {}
    differing = [
        f"its {file.role} file has sha256:{there[file.role]} here and sha256:{file.sha256} as given"
        for file in given.files
        if there.get(file.role, file.sha256) != file.sha256
    ]
    what = "; ".join(differing) or f"what {given.folder} was added with is not what was given, and its entry is damaged"
    prune = f"ukperf images prune {given.guest} --version {given.version}"
    hint = (
        f"Somebody changed it. If that is right, remove yours and pull again: {prune}"
        if given.source_digest
        else "If the new one is right, use --replace; to keep both, name this one by --version."
    )
    return UkperfError(f"There is another {given.guest} {given.version} ({given.platform}) here: {what}.", hint=hint)


class _DamagedError(Exception):
    pass


def _load(folder: Path) -> StoredKernel:
    try:
        data = read_json(folder / ENTRY_FILE)
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        return decode_stored(StoredKernel, {**data, "folder": str(folder)}, FORMAT)
    except (OSError, ValueError) as error:
        raise _DamagedError(f"{ENTRY_FILE} cannot be read: {reason(error)}") from error


def _loaded(folder: Path) -> StoredKernel | None:
    try:
        return _load(folder)
    except _DamagedError:
        return None


def _problem(folder: Path) -> str | None:
    try:
        entry = _load(folder)
        for file in entry.files:
            with open_regular(folder / file.name) as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            if digest != file.sha256:
                return f"{file.name} has the digest sha256:{digest}, not sha256:{file.sha256}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except _DamagedError as error:
        return str(error)
    if entry.digest != _total(entry.files):
        return f"{ENTRY_FILE} contradicts itself"
    return None


def _take(role: str, content: Path | bytes, work: Path) -> StoredFile:
    """Copies one file into the new entry and reads it once: what is hashed is what is kept.

    Its name has part of the digest: a run that goes on with what was replaced misses its file, and takes no other.
    """
    if isinstance(content, Path):
        try:
            data = read_bytes(content, KERNEL_MAX)
        except OSError as error:
            raise UkperfError(f"The {role} file {content} cannot be read: {error.strerror}.") from error
    else:
        data = content
    digest = hashlib.sha256(data).hexdigest()
    name = f"{role}-{digest[:12]}.img"
    (work / name).write_bytes(data)
    return StoredFile(role, name, digest, len(data))


def _total(files: Iterable[StoredFile]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.role}\0{file.sha256}\n".encode())
    return total.hexdigest()
