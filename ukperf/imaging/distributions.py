"""Installed Python distributions: which ones are wanted, by names and by requirements files, and their files.

Nothing is downloaded: what is wanted is looked up where it is installed, in ukperf's own environment or in another of
the same Python. Requirements are PEP 508's, markers are this machine's.
"""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.files import read_text, reason
from ukperf.imaging.python_env import PRUNED_SUFFIXES, TreeFile
from ukperf.text import clean, many, shell

# Left out where another package merely requires it. psutil asks for /proc, which unikernels lack; pyperf does without.
NOT_IN_GUESTS = frozenset({"psutil", "pip", "setuptools", "wheel"})
REQUIREMENTS_MAX = 1 << 20  # bytes of a requirements file
_NESTED = 8  # requirements files that name others
_ASK_TIMEOUT_S = 30
_PATH_MAX = 1_000  # folders in which an interpreter looks
# Options of a requirements file about where pip downloads from, which concerns nobody here.
_OF_DOWNLOADS = frozenset(
    {"-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--no-binary", "--only-binary"}
    | {"--prefer-binary", "--require-hashes", "--pre", "--trusted-host", "--use-feature"}
)


@dataclass(frozen=True)
class Site:
    """Where distributions are installed: the interpreter that finds them, and the folders in which it looks."""

    executable: Path
    path: tuple[str, ...]

    def installing(self, requirements: Iterable[str]) -> str:
        """The line to type for what is missing."""
        return shell(str(self.executable), "-m", "pip", "install", *requirements)


@dataclass(frozen=True)
class Wanted:
    """One requirement, and who has it: `--package`, a file's line, another package."""

    requirement: Requirement
    who: str


@dataclass(frozen=True)
class Resolved:
    """Distributions sorted by name, and sentences about what they require and what is not installed."""

    distributions: tuple[Distribution, ...]
    absent: tuple[str, ...]


def own_site() -> Site:
    """The environment that ukperf runs in."""
    return Site(Path(sys.executable), tuple(sys.path))


def site_of(interpreter: Path) -> Site:
    """The environment of another interpreter, which is run to ask it.

    Raises UkperfError where it cannot be run, or is another Python than ukperf's: guests get ukperf's own interpreter
    and standard library, and extension modules fit one version only.
    """
    code = "import json, sys; print(json.dumps([sys.implementation.cache_tag, sys.path]))"
    try:
        done = subprocess.run(
            [str(interpreter), "-I", "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_TIMEOUT_S,
            check=True,
        )
        tag, path = json.loads(done.stdout)
        folders = tuple(str(folder) for folder in path[:_PATH_MAX])
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        what = reason(error) if isinstance(error, OSError) else "it does not say where it finds packages"
        raise UkperfError(f"{interpreter} cannot be asked for its packages: {what}.") from error
    if tag != sys.implementation.cache_tag:
        raise UkperfError(
            f"{interpreter} is {clean(str(tag), 40)} and ukperf runs in {sys.implementation.cache_tag}, whose "
            "interpreter and standard library guests get.",
            hint="Install ukperf for that Python and run it there, or make an environment with ukperf's: "
            + shell(sys.executable, "-m", "venv", "FOLDER"),
        )
    return Site(interpreter, folders)


def wanted_packages(words: Iterable[str]) -> list[Wanted]:
    """`--package NAME`, also with a version: `numpy>=2`. Raises UkperfError for what is no requirement."""
    return [Wanted(_requirement(word, f"--package {word}"), f"--package {word}") for word in words]


def read_requirements(path: Path, depth: int = 0) -> list[Wanted]:
    """What a requirements file names, as far as its markers apply to this machine.

    Raises UkperfError for a file that cannot be read, and for lines that name no package.
    """
    if depth > _NESTED:
        raise UkperfError(f"{path} is a requirements file that names others without end.")
    try:
        text = read_text(path, REQUIREMENTS_MAX)
    except (OSError, ValueError) as error:
        what = reason(error) if isinstance(error, OSError) else "it is no UTF-8"
        raise UkperfError(f"The requirements file {path} cannot be read: {what}.") from error
    wanted: list[Wanted] = []
    for number, line in _lines(text):
        where = f"{path}, line {number}"
        words = _split(line, where)
        option, _, value = words[0].partition("=") if words[0].startswith("-") else ("", "", "")
        if option in ("-r", "--requirement"):
            value = value or " ".join(words[1:])
            wanted += read_requirements(path.parent / value, depth + 1)
        elif option.startswith("-r") and not option.startswith("--"):
            wanted += read_requirements(path.parent / words[0][2:], depth + 1)
        elif not option:
            requirement = _requirement(line.partition(" --")[0], where)
            if requirement.marker is None or requirement.marker.evaluate():
                wanted.append(Wanted(requirement, where))
        elif option not in _OF_DOWNLOADS:
            raise UkperfError(
                f"{where}: {clean(line, 80)} names no package.",
                hint="Only names with versions are looked up among what is installed.",
            )
    return wanted


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, joined where one ends in a backslash, without comments."""
    joined = ""
    for number, line in enumerate(text.splitlines(), 1):
        joined += line
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        whole = joined if not joined.lstrip().startswith("#") else ""
        whole = whole.partition(" #")[0].partition("\t#")[0].strip()
        joined = ""
        if whole:
            yield number, whole
    if joined.strip():
        yield len(text.splitlines()), joined.strip()


def _split(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line) or [line]
    except ValueError:
        if line.startswith("-"):
            raise UkperfError(f"{where}: {clean(line, 80)} has a quote that does not end.") from None
        return [line]


def _requirement(text: str, where: str) -> Requirement:
    try:
        return Requirement(text.strip())
    except InvalidRequirement as error:
        raise UkperfError(
            f"{where}: {clean(text, 80)} is no name of a package.", hint="Write it like numpy or numpy>=2."
        ) from error


def resolve(wanted: Sequence[Wanted], site: Site | None = None) -> Resolved:
    """The distributions that are wanted, and all that they require here, by their metadata.

    Raises UkperfError for a wanted one that is not installed, or in another version, with the line that installs all
    such. What only another one requires may be missing (it was installed so), and is said.
    """
    site = site or own_site()
    looked_up: dict[str, Distribution | None] = {}
    misfits = [misfit for item in wanted if (misfit := _misfit(item, _look_up(item.requirement, site, looked_up)))]
    if misfits:
        rest = f" (and {many(len(misfits) - 1, 'other package')})" if len(misfits) > 1 else ""
        names = [str(item.requirement).partition(";")[0].strip() for item, _ in misfits]
        raise UkperfError(f"{misfits[0][1]}{rest}.", hint=f"Nothing is downloaded; type: {site.installing(names)}")
    absent: dict[str, None] = {}
    todo = [(canonicalize_name(item.requirement.name), frozenset(item.requirement.extras)) for item in wanted]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        key, extras = todo.pop()
        dist = looked_up.get(key)
        if dist is None or (key, extras) in done:
            continue
        done.add((key, extras))
        for needed in _requirements(dist, extras):
            name = canonicalize_name(needed.name)
            if name in NOT_IN_GUESTS and name not in looked_up:
                continue
            if _look_up(needed, site, looked_up) is None:
                absent[f"{name}, which {key} requires, is not installed"] = None
            todo.append((name, frozenset(needed.extras)))
    return Resolved(tuple(dist for _, dist in sorted(looked_up.items()) if dist is not None), tuple(absent))


def is_installed(name: str, site: Site) -> bool:
    """Is there a distribution of this name, with or without a version behind it? False for what is no name."""
    try:
        requirement = Requirement(name)
    except InvalidRequirement:
        return False
    return _look_up(requirement, site, {}) is not None


def _look_up(requirement: Requirement, site: Site, looked_up: dict[str, Distribution | None]) -> Distribution | None:
    key = canonicalize_name(requirement.name)
    if key not in looked_up:
        looked_up[key] = next(iter(importlib.metadata.distributions(name=key, path=list(site.path))), None)
    return looked_up[key]


def _misfit(item: Wanted, dist: Distribution | None) -> tuple[Wanted, str] | None:
    requirement = item.requirement
    if dist is None:
        return item, f"{item.who}: {requirement.name} is not installed"
    try:
        fits = requirement.specifier.contains(dist.version, prereleases=True)
    except InvalidVersion:
        fits = True  # older than versions' rules: nobody can tell
    if fits:
        return None
    return item, f"{item.who}: {requirement.name}{requirement.specifier} is wanted and {dist.version} is installed"


def _requirements(dist: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a distribution requires on this machine. Lines that nobody understands are left out, as pip once did."""
    for text in dist.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield requirement


def distribution_files(dist: Distribution) -> Iterator[TreeFile]:
    """The files of one wheel by its RECORD, without tests, headers and sources of extensions. Raises UkperfError
    where the package was installed without a RECORD or as a link to a checkout."""
    name = dist.metadata["Name"]
    record = dist.files
    if not record or not any(p.name == "RECORD" for p in record):
        raise UkperfError(
            f"{name} has no list of its files (RECORD), so it cannot be packed.",
            hint=f"Install it from a wheel into ukperf's environment: {hints.pip('--force-reinstall', name)}",
        )
    for entry in sorted(record, key=str):
        relative = PurePosixPath(entry.as_posix())
        if ".." in relative.parts or relative.is_absolute() or _pruned_wheel(relative):
            continue
        source = Path(str(dist.locate_file(entry)))
        if relative.suffix == ".pth" and len(relative.parts) == 1:
            continue
        if source.is_file():
            yield TreeFile(source, relative)


def _pruned_wheel(relative: PurePosixPath) -> bool:
    parts = relative.parts
    if any(p in ("tests", "test", "__pycache__", "doc", "docs") for p in parts[:-1]):
        return True
    if parts[0].endswith(".dist-info"):
        return relative.name not in ("METADATA", "entry_points.txt")
    return relative.suffix in PRUNED_SUFFIXES
