"""A kernel's configuration as data: wanted options in groups, each with its reason, and what became of them.

Kconfig drops what it does not know, and what depends on something that is off, without a word; here both are said.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ukperf import hints
from ukperf.decode import decode
from ukperf.errors import UkperfError
from ukperf.files import SMALL, read_bytes, read_text, reason

_NAME = re.compile(r"[A-Z0-9_]{1,80}")
_TEXT = re.compile(r'[^"\\\x00-\x1f\x7f]{0,200}')
_DEFINED = re.compile(r"^\s*(?:menu)?config\s+(\w{1,80})\s*$", re.MULTILINE)
_SET = re.compile(r"^CONFIG_(\w{1,80})=(.*)$", re.MULTILINE)
_CONFIG_MAX = 16 << 20  # of a .config: a distribution's with everything has 0.3 MB
_ELSEWHERE = ("arch", "Documentation")  # folders whose options are of other machines, or of none


@dataclass(frozen=True)
class Group:
    """Options that are wanted for one reason. on, off: names."""

    reason: str
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> Iterator[tuple[str, str]]:
        """(name, value as .config has it; "n" for what is to be off)."""
        yield from ((name, "y") for name in self.on)
        yield from ((name, "n") for name in self.off)
        yield from ((name, str(number)) for name, number in self.numbers.items())
        yield from ((name, f'"{text}"') for name, text in self.texts.items())


@dataclass(frozen=True)
class Options:
    """What a kernel is to have. renamed: name → what newer kernels call it."""

    group: tuple[Group, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Missed:
    """An option that is not as it was wanted. vanished: this source has none of that name."""

    name: str
    wanted: str
    got: str
    vanished: bool
    reason: str

    def __str__(self) -> str:
        if self.vanished:
            return f"This source has no option {self.name}, which was wanted for this: {self.reason}."
        return f"{self.name} is {self.got}, not {self.wanted}, which was wanted for this: {self.reason}."


def read_options(path: Path) -> Options:
    """The options in a file of ours. Raises UkperfError for a file that is damaged, an option without a reason or with
    two values."""
    try:
        options = decode(Options, tomllib.loads(read_text(path)))
        _check(options)
    except (OSError, ValueError) as error:
        raise UkperfError(f"The options {path} are damaged: {reason(error)}.", hint=hints.AGAIN) from error
    return options


def _check(options: Options) -> None:
    """Raises ValueError."""
    there: set[str] = set()
    for group in options.group:
        if not group.reason.strip():
            raise ValueError(f"a group gives no reason: {', '.join(name for name, _ in group.values())}")
        for name, value in group.values():
            if not _NAME.fullmatch(name) or not _TEXT.fullmatch(value.strip('"')):
                raise ValueError(f"{name} = {value} is no option")
            if name in there:
                raise ValueError(f"{name} is there twice")
            there.add(name)


def defined(source: Path, arch: str = "x86") -> frozenset[str]:
    """The names of all options that a kernel's source has for an architecture. Raises UkperfError where it has none."""
    folders = [path for path in source.iterdir() if path.is_dir() and path.name not in _ELSEWHERE]
    files = [path for folder in (*folders, source / "arch" / arch) for path in folder.rglob("Kconfig*")]
    try:
        texts = (read_bytes(path, SMALL) for path in (*files, source / "arch" / "Kconfig") if path.is_file())
        names = {name for text in texts for name in _DEFINED.findall(text.decode("utf-8", "replace"))}
    except OSError as error:
        raise UkperfError(f"The kernel's source cannot be read: {error.filename}: {reason(error)}.") from error
    if not names:
        raise UkperfError(f"{source} is no source of a Linux kernel: it has no Kconfig files.")
    return frozenset(names)


def fragment(options: Options, known: frozenset[str]) -> str:
    """What KCONFIG_ALLCONFIG reads: the options that this source has, by the names that it has for them."""
    lines = []
    for group in options.group:
        lines.append(f"# {group.reason}")
        for name, value in group.values():
            if (here := _name_in(name, options, known)) is not None:
                lines.append(f"# CONFIG_{here} is not set" if value == "n" else f"CONFIG_{here}={value}")
    return "\n".join(lines) + "\n"


def missed(options: Options, known: frozenset[str], config: str) -> list[Missed]:
    """Options that a .config has otherwise than they were wanted. What is to be off and is not there is off."""
    got = dict(_SET.findall(config))
    answers = []
    for group in options.group:
        for name, value in group.values():
            here = _name_in(name, options, known)
            is_now = got.get(here or name, "n")
            if is_now != value:
                answers.append(Missed(here or name, value, is_now, here is None, group.reason))
    return answers


def read_config(path: Path) -> str:
    """A .config. Raises UkperfError where it cannot be read."""
    try:
        return read_text(path, _CONFIG_MAX)
    except (OSError, ValueError) as error:
        raise UkperfError(f"The configuration {path} cannot be read: {reason(error)}.") from error


def _name_in(name: str, options: Options, known: frozenset[str]) -> str | None:
    """What a source calls an option; None where it has none."""
    return next((n for n in (name, options.renamed.get(name, name)) if n in known), None)
