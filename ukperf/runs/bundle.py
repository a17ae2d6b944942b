"""Writes runs as a bundle: one archive for whoever is to check them, or to find out what went wrong in them.

The same runs give the same bytes, by the same versions of ukperf and zlib: members are sorted, and have neither times
nor owners. `unpack` says what a bundle is, and reads one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ukperf
from ukperf.decode import encode
from ukperf.engine.journal import JOURNAL
from ukperf.engine.plan import PLAN, SEAL
from ukperf.errors import UkperfError
from ukperf.files import read_bytes, reason, size_text, write_atomically
from ukperf.model import Portable
from ukperf.runs.loaded import LoadedRun, load
from ukperf.runs.reproduce import reproduce
from ukperf.runs.scrub import Scrub, secrets_of
from ukperf.runs.unpack import (
    FORMAT,
    INDEX,
    MOST_BYTES,
    MOST_MEMBERS,
    RUNS,
    SUFFIX,
    TOP,
    Index,
    Member,
    is_bundle,
    member_name,
)
from ukperf.text import shell

AGAIN, PAGE = "REPRODUCE.txt", "report.html"
_LEVEL = 9
_ODD = re.compile(r"[^A-Za-z0-9._+@~=,-]+")

Draw = Callable[[Path], str]  # a run's folder → its page, HTML
Ship = Callable[[LoadedRun], Portable]  # a run → what other machines need of it, and what they do not


@dataclass(frozen=True)
class Written:
    """runs: their names in the bundle; files: of all of them; size: of the archive, bytes; left_out: what is in a run's
    folder and not in the bundle, by its path there; replaced: what of that stands in other files of the bundle."""

    runs: tuple[str, ...]
    files: int
    size: int
    sha256: str
    left_out: tuple[str, ...]
    replaced: tuple[str, ...] = ()


def _as_it_is(run: LoadedRun) -> Portable:
    return Portable()


def bundle(
    folders: Sequence[Path],
    target: Path,
    draw: Draw,
    *,
    with_names: bool = False,
    ship: Ship = _as_it_is,
    whole: bool = False,
) -> Written:
    """Write runs to `target`, whole or not at all. with_names: leave paths, user names and host names in; whole: leave
    nothing out that stands in other files too.

    Raises UkperfError for what is no run's folder, for names that cannot be taken out without breaking what was
    measured, for more than a bundle may hold, and if the target cannot be written.
    """
    if not target.name.endswith(SUFFIX):
        raise UkperfError(f"{target} does not end in {SUFFIX}.", hint=f"Write: -o {shell(f'{target}{SUFFIX}')}")
    runs = [_opened(folder) for folder in dict.fromkeys(Path(os.path.realpath(path)) for path in folders)]
    scrub = None if with_names else Scrub(secrets_of(runs))
    named = _named(runs, scrub)
    try:
        with tempfile.TemporaryDirectory(prefix="ukperf-bundle-") as work:
            top = Path(work)
            left_out: list[str] = []
            replaced: list[str] = []
            for name, run in named.items():
                more = ship(run)
                spared = () if whole else more.instead_of
                left_out += _copied(run, top / RUNS / name, scrub, spared)
                replaced += [one for one in spared if (run.path / one).exists()]
                for added, text in more.files.items():
                    data = text.encode() if scrub is None else scrub.file(added, text.encode())
                    write_atomically(top / RUNS / name / added, data, durable=False)
                copy = _checked(run, top / RUNS / name)
                if copy.records:  # of a run that was broken off before its first boot there is nothing to draw
                    write_atomically(top / RUNS / name / PAGE, draw(copy.path), durable=False)
            copies = {name: load(top / RUNS / name) for name in named}
            write_atomically(top / AGAIN, reproduce(copies, with_names=with_names), durable=False)
            members = sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
            data = _packed(top, members, tuple(named), with_names)
            write_atomically(target, data)
    except OSError as error:
        raise UkperfError(f"{target} cannot be written: {reason(error)}.") from error
    digest = hashlib.sha256(data).hexdigest()
    others = tuple(sorted(left_out)), tuple(sorted(set(replaced)))
    return Written(tuple(named), len(members), len(data), digest, *others)


def _opened(folder: Path) -> LoadedRun:
    if not folder.is_dir():
        what = "a bundle already" if is_bundle(folder) else "no run's folder"
        raise UkperfError(f"{folder} is {what}.", hint="Give folders of runs.")
    return load(folder)


def _named(runs: Sequence[LoadedRun], scrub: Scrub | None) -> dict[str, LoadedRun]:
    """The runs by names of their own, in the order of these: how they were typed decides nothing."""
    named: dict[str, LoadedRun] = {}
    for run in sorted(runs, key=lambda run: (run.path.name, str(run.path))):
        said = run.path.name if scrub is None else scrub.text(run.path.name)
        plain = _ODD.sub("-", said).lstrip("._+@~=,-")[:60] or "run"
        name, number = plain, 1
        while name in named:
            number += 1
            name = f"{plain}-{number}"
        named[name] = run
    return named


def _copied(run: LoadedRun, target: Path, scrub: Scrub | None, spared: Sequence[str]) -> list[str]:
    """The files of a run but the spared ones, without names; those that were left out are returned. Links are never
    followed."""
    left_out = []
    room = MOST_BYTES
    with _reading(run.path):
        files = [(path, name) for path, name in _files(run.path) if not _lies_in(name, spared)]
    for path, name in files:
        if path is None and name in (PLAN, JOURNAL):
            raise UkperfError(
                f"{run.path / name} is a link, and links are not followed.", hint="Put the file itself there."
            )
        said = name if scrub is None else "/".join(map(scrub.text, name.split("/")))
        if path is None or not member_name(f"{RUNS}/{target.name}/{said}"):
            left_out.append(name)
            continue
        with _reading(path):
            data = read_bytes(path, room)
        data = _unsealed(data) if name == PLAN else data
        data = data if scrub is None else scrub.file(path.name, data)
        room -= len(data)
        if room < 0:
            raise UkperfError(f"{run.path} has more than a bundle may hold, which is {size_text(MOST_BYTES)}.")
        (target / said).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target / said, data, durable=False)
    return left_out


def _lies_in(name: str, folders: Sequence[str]) -> bool:
    """Is it one of these files, or in one of these folders?"""
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Faults of a file that is read name it, and not the bundle."""
    try:
        yield
    except OSError as error:
        raise UkperfError(f"{error.filename or path} cannot be read: {reason(error)}.") from error


def _files(folder: Path, below: str = "") -> Iterator[tuple[Path | None, str]]:
    """Each file of a run's folder with its path there; None in place of what is none, and of another bundle. Locks and
    drafts, which are hidden, and the page, which is made anew, are none of a run's."""
    for path in sorted(folder.iterdir()):
        name = f"{below}{path.name}"
        if path.name.startswith(".") or name == PAGE:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, f"{name}/")
        else:
            plain = path.is_file() and not path.is_symlink() and not path.name.endswith(SUFFIX)
            yield (path if plain else None), name


def _unsealed(data: bytes) -> bytes:
    """A plan without its seal: that says who wrote it and may go on with it, and a bundle is only read."""
    plan = json.loads(data)
    plan.pop(SEAL, None)
    return (json.dumps(plan, indent=1) + "\n").encode()


def _checked(run: LoadedRun, folder: Path) -> LoadedRun:
    """The copy. Raises UkperfError if it is not the run that was measured: where a name that was taken out is a word of
    ukperf's."""
    hint = "Give --with-names, if they may be seen."
    try:
        copy = load(folder)
    except UkperfError as error:
        why = f"Names cannot be taken out of {run.path} without breaking it: {error.message}"
        raise UkperfError(why, hint=hint) from error
    if _figures(copy) != _figures(run):
        if _figures(load(run.path)) != _figures(run):
            raise UkperfError(f"{run.path} is being written.", hint="Wait for its end, or try again.")
        raise UkperfError(f"Names cannot be taken out of {run.path} without changing what was measured.", hint=hint)
    return copy


def _figures(run: LoadedRun) -> list[object]:
    boots = [(r.trial, r.outcome, dict(r.phases), [(s.benchmark, s.values) for s in r.samples]) for r in run.records]
    return [boots, run.guests, run.damaged]


def _packed(top: Path, members: Sequence[str], runs: tuple[str, ...], with_names: bool) -> bytes:
    contents = {name: read_bytes(top / name, MOST_BYTES) for name in members}
    if len(contents) > MOST_MEMBERS or sum(map(len, contents.values())) > MOST_BYTES:
        raise UkperfError(
            f"These runs have more than {MOST_MEMBERS:,} files, or more than {size_text(MOST_BYTES)}.",
            hint="Put them into several bundles.",
        )
    index = Index(
        ukperf.__version__,
        runs,
        with_names,
        {name: Member(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()},
    )
    said = (json.dumps(encode(index, FORMAT), indent=1) + "\n").encode()
    out = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, data in {INDEX: said, **contents}.items():
            info = tarfile.TarInfo(f"{TOP}/{name}")  # its time, owner and group are 0
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
