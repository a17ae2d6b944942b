"""Which file a program's name means, and what a kernel would execute for it: an ELF file, or a script's interpreter.

As a shell looks programs up (POSIX 2.9.1.4) and as Linux executes scripts (execve(2)), with every refusal in one
sentence. Unikernels know no scripts, so the interpreter's command line is made here and is the same in every guest.
"""

from __future__ import annotations

import os
import shlex
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import open_regular, reason
from ukperf.imaging.elf import MAGIC, ElfInfo, read_elf

_HEAD = 256  # bytes in which Linux looks for a script's first line
_SCRIPTS = 4  # scripts that are interpreters of scripts: Linux's own bound
_LINKS = 40
_TYPES = {1: "an object file, not a linked program", 4: "a core dump"}
_MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 183: "64-bit ARM (aarch64)", 243: "RISC-V", 21: "PowerPC", 22: "S/390"}


@dataclass(frozen=True)
class Located:
    """A file on this machine that is part of how a program starts.

    path: the name by which it was asked for, absolute and without `.` and `..`; links: (name, where it points) of the
    symbolic links on the way from there to `file`, which is none.
    """

    path: Path
    file: Path
    links: tuple[tuple[Path, Path], ...] = ()


@dataclass(frozen=True)
class Executable:
    """What is executed for a program's name.

    program: the ELF file. words: what comes behind it on the command line, before the program's own arguments: of a
    script the interpreter's argument, if there is one, and the script. env: what `#!/usr/bin/env` sets.
    """

    program: Located
    elf: ElfInfo
    words: tuple[str | Located, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    @property
    def static(self) -> bool:
        """No loader brings anything into it."""
        return not self.elf.interpreter


def find_executable(name: str, path: str, *, base: Path | None = None) -> Executable:
    """What `name` stands for with the search path `path` (PATH) in the folder `base` (default: the current one).

    Raises UkperfError for what cannot be executed in a guest, and says why.
    """
    return _resolve(look_up(name, path, base or Path.cwd()), path, 0)


def _resolve(located: Located, path: str, depth: int) -> Executable:
    head = _head(located.path)
    if head[:4] == MAGIC:
        return Executable(located, _program(located.path, head))
    if head[:2] != b"#!":
        raise UkperfError(
            f"{located.path} is neither an ELF program nor a script that names its interpreter in its first line.",
            hint="A script begins with a line like #!/bin/sh.",
        )
    if depth >= _SCRIPTS:
        raise UkperfError(f"{located.path} is a script whose interpreter is a script, and so on without end.")
    interpreter, argument = _first_line(located.path, head)
    before: tuple[str, ...] = (argument,) if argument else ()
    env: tuple[tuple[str, str], ...] = ()
    if Path(interpreter).name == "env":
        interpreter, before, env = _env(located.path, argument)
    try:
        inner = _resolve(look_up(interpreter, path, located.path.parent), path, depth + 1)
    except UkperfError as error:
        raise UkperfError(f"The script {located.path} cannot run: {error.message}", hint=error.hint) from error
    return Executable(inner.program, inner.elf, (*inner.words, *before, located), (*inner.env, *env))


def _first_line(script: Path, head: bytes) -> tuple[str, str]:
    """(interpreter, its one argument) of `#!interpreter argument`."""
    line, newline, _ = head[2:].partition(b"\n")
    if not newline and len(head) == _HEAD:
        raise UkperfError(f"The first line of {script} is longer than the {_HEAD} bytes that Linux reads.")
    words = os.fsdecode(line).strip(" \t").split(maxsplit=1)
    if not words:
        raise UkperfError(f"The first line of {script} names no interpreter.", hint="It should be like #!/bin/sh.")
    if line.endswith(b"\r"):
        raise UkperfError(
            f"The first line of {script} ends with a carriage return, which Linux takes for part of the interpreter.",
            hint=f"Convert its line ends: sed -i 's/\\r$//' {shlex.quote(str(script))}",
        )
    return words[0], words[1].strip() if len(words) > 1 else ""


def _env(script: Path, argument: str) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """`#!/usr/bin/env [-S] [NAME=VALUE…] PROGRAM [ARG…]`: guests have no exec, so what env would do is done here."""
    split = argument.startswith("-S")
    try:
        words = shlex.split(argument[2:]) if split else [argument]
    except ValueError as error:
        raise UkperfError(f"The first line of {script} has a quote that does not end.") from error
    env = []
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        env.append((name, value))
    if not words or not words[0] or words[0].startswith("-"):
        raise UkperfError(
            f"{script} begins with an env whose words ukperf does not do: {argument or 'none'}.",
            hint="Name the interpreter itself in its first line.",
        )
    return words[0], tuple(words[1:]), tuple(env)


def look_up(name: str, path: str, base: Path) -> Located:
    """The file that a shell would execute for `name`. Raises UkperfError where there is none."""
    if not name or "\0" in name:
        raise UkperfError("The program has no name." if not name else f"{name!r} is no name of a program.")
    if "/" in name:
        candidate = absolute(base / name)
        _check_executable(candidate)
        return follow(candidate)
    not_executable: Path | None = None
    for folder in path.split(os.pathsep):
        candidate = absolute(base / folder / name)
        if candidate.is_file():
            if os.access(candidate, os.X_OK):
                return follow(candidate)
            not_executable = not_executable or candidate
    if not_executable is not None:
        _check_executable(not_executable)
    hint = f"Write its path, like ./{name}." if (base / name).is_file() else "Is it installed? Or write its path."
    raise UkperfError(f"There is no program {name} in the folders of PATH.", hint=hint)


def absolute(path: Path) -> Path:
    """Without `.` and `..`; links are not followed."""
    return Path(os.path.normpath(path.absolute()))


def follow(path: Path) -> Located:
    """The file behind a name, and the links on the way. Raises UkperfError for links that lead nowhere."""
    links: list[tuple[Path, Path]] = []
    at = path
    while at.is_symlink():
        # What comes after a link in a folder that is itself a link is beside the real folder.
        target = absolute(Path(os.path.realpath(at.parent), at.readlink()))
        links.append((at, target))
        if len(links) > _LINKS:
            raise UkperfError(f"{path} is a link that leads back to itself.")
        at = target
    return Located(path, at, tuple(links))


def _check_executable(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        what = "is a link to a file that is not there" if path.is_symlink() else "is not there"
        raise UkperfError(f"The program {path} {what}.") from error
    except OSError as error:
        raise UkperfError(f"The program {path} cannot be executed: {reason(error)}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise UkperfError(f"{path} is a directory, not a program.", hint=f"Name the program in it, like {path}/NAME.")
    if not stat.S_ISREG(status.st_mode):
        raise UkperfError(f"{path} is no file that can be executed.")
    if not status.st_mode & 0o111:
        raise UkperfError(
            f"{path} is not executable.", hint=f"chmod +x {shlex.quote(str(path))}, or put its interpreter before it."
        )


def _head(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UkperfError(f"The program {path} cannot be read: {reason(error)}.") from error


def _program(path: Path, head: bytes) -> ElfInfo:
    """The facts of an ELF program for x86-64. Raises UkperfError for other ELF files, by what they are."""
    if len(head) >= 20:
        kind, machine = struct.unpack_from("<HH" if head[5] == 1 else ">HH", head, 16)
        if machine != 62 or head[4] != 2:
            name = "x32 (32-bit pointers)" if machine == 62 else _MACHINES.get(machine, f"machine {machine}")
            raise UkperfError(
                f"{path} is a program for {name}, and guests run those for 64-bit x86.",
                hint="Build it for x86-64, or install the package of that architecture.",
            )
        if kind in _TYPES:
            raise UkperfError(f"{path} is {_TYPES[kind]}.")
    info = read_elf(path)
    if not info.interpreter and not info.fixed_address and not info.pie:
        raise UkperfError(f"{path} is a library, not a program.")
    return info
