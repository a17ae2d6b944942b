"""Builds guest programs and the floor kernel with the C compiler of the machine, reproducibly.

The same sources, compiler and libc give the same bytes wherever the checkout is: paths are mapped away and there is no
build id.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ukperf import hints
from ukperf.errors import UkperfError

_HINT = hints.setup("gcc", "libc6-dev")
_TIMEOUT_S = 120
_ROOM = "Make room there, and in the folder for temporary files (TMPDIR, else /tmp)."
_MEMORY = "The machine has not enough memory for the compiler: end what else runs."
# What compilers say → what helps. The first that fits counts: a full disk makes them say other things too.
_CAUSES = {
    "No space left on device": _ROOM,
    "Disk quota exceeded": _ROOM,
    "Read-only file system": "Set TMPDIR and UKPERF_CACHE_DIR to folders that can be written.",
    "Permission denied": "Set TMPDIR and UKPERF_CACHE_DIR to folders that can be written.",
    "Cannot create temporary file": "Set TMPDIR to a folder that can be written.",
    "Killed signal": _MEMORY,
    "virtual memory exhausted": _MEMORY,
    "out of memory": _MEMORY,
    "Cannot allocate memory": _MEMORY,
    "cannot find -l": _HINT,
    "cannot find 'ld'": _HINT,
    "cannot find rcrt1.o": _HINT,
    "No such file or directory": _HINT,  # a header of the C library
    "cannot execute": _HINT,  # cc1 is a package of its own
}
_COMMON = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-s")

STATIC_PIE = (*_COMMON, "-D_GNU_SOURCE", "-fPIE", "-static-pie", "-fcf-protection=none")
"""Hosted guest programs: position independent (Unikraft loads nothing else), and no dynamic linker. Ubuntu's gcc
would begin each function with an endbr64, so that a call took an instruction more than with Debian's."""

PRELOADED = (
    *_COMMON,
    "-D_GNU_SOURCE",
    "-ffreestanding",
    "-nostdlib",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-fno-tree-loop-distribute-patterns",  # as below
    # Two segments, and nothing to protect afterwards: the loader makes six system calls fewer.
    "-Wl,--hash-style=gnu,-z,norelro,-z,noseparate-code,-z,now",
)
"""The library that is loaded into other people's programs: it brings no other, and loads in little time."""

FREESTANDING = (
    *_COMMON,
    "-ffreestanding",
    "-nostdlib",
    "-static",
    "-fno-pic",
    "-no-pie",
    "-mno-red-zone",
    "-mgeneral-regs-only",  # floor never enables SSE
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-fno-tree-loop-distribute-patterns",  # or gcc makes memset of a loop, and there is no libc
    "-Wl,-z,max-page-size=4096",
)
"""The floor kernel: no libc, no vector registers."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler: its path and its first line of `--version`, which goes into every cache key."""

    path: str
    version: str

    def libraries(self) -> tuple[Path, ...]:
        """The files of the C library that end up in a static program."""
        names = ("libc.a", "rcrt1.o")
        paths = (Path(_output([self.path, f"-print-file-name={name}"])) for name in names)
        return tuple(path.resolve() for path in paths if path.is_absolute())


def _output(command: Sequence[str]) -> str:
    done = _run(command)
    if done.returncode != 0:
        raise _does_not_run(command[0], done.stderr.strip() or f"status {done.returncode}")
    return done.stdout.strip()


def _run(command: Sequence[str], base: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A compiler's answer, whatever its status, in a fixed language and time. Raises UkperfError where it has none."""
    environment = {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=environment,
            cwd=base,
        )
    except subprocess.TimeoutExpired as error:
        raise UkperfError(
            f"The C compiler {command[0]} did not end within {_TIMEOUT_S} s.", hint="Is the machine busy?"
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise _does_not_run(command[0], str(error)) from error


@lru_cache(maxsize=8)
def _compiler(path: str) -> Compiler:
    return Compiler(path, _output([path, "--version"]).partition("\n")[0])


def find_compiler() -> Compiler:
    """The compiler named by CC, or gcc, or cc.

    Raises UkperfError when there is none.
    """
    wanted = os.environ.get("CC")
    for name in [wanted] if wanted else ["gcc", "cc"]:
        path = shutil.which(name)
        if path:
            return _compiler(path)
    raise UkperfError(
        f"There is no C compiler ({wanted or 'gcc'}), which the guests' programs are built with.", hint=_HINT
    )


def compile_c(
    sources: Sequence[Path],
    output: Path,
    flags: Sequence[str],
    *,
    base: Path,
    compiler: Compiler | None = None,
) -> None:
    """Compiles and links sources into one ELF file.

    base is the directory that is mapped away from the paths inside. Raises UkperfError with the compiler's first
    error when it fails.
    """
    compiler = compiler or find_compiler()
    command = [compiler.path, *flags, f"-ffile-prefix-map={base}=.", "-o", str(output), *map(str, sources)]
    done = _run(command, base)
    if done.returncode != 0:
        why, hint = why_failed(done.stderr, done.returncode)
        raise UkperfError(f"{compiler.path} could not build {sources[0].name}: {why}.", hint=hint)


def why_failed(output: str, status: int) -> tuple[str, str | None]:
    """The line of a build's output that says why it failed, without its full stop; and what helps, where that is
    known."""
    return _reason(output, status), _MEMORY if status < 0 else _hint(output)


def _does_not_run(path: str, said: str) -> UkperfError:
    return UkperfError(f"The C compiler {path} does not run: {said.rstrip('.')[:300]}.", hint=_hint(said) or _HINT)


def _reason(stderr: str, status: int) -> str:
    """The line of a failed compiler's output that says why."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or [
        f"status {status}" if status >= 0 else f"it was killed by signal {-status}"
    ]
    causes = [line for line in lines if _cause(line) is not None]
    errors = [line for line in lines if "error" in line or "cannot find" in line]
    return [*causes, *errors, lines[-1]][0][:300].rstrip(".")


def _hint(stderr: str) -> str | None:
    """What helps, where the compiler's words tell; None for an error in the source, which no package mends."""
    cause = _cause(stderr)
    return None if cause is None else _CAUSES[cause]


def _cause(text: str) -> str | None:
    return next((words for words in _CAUSES if words in text), None)
