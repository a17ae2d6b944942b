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

from ukperf.errors import UkperfError

_HINT = "Install one with: sudo apt-get install gcc libc6-dev"
_TIMEOUT_S = 120
_COMMON = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-s")

STATIC_PIE = (*_COMMON, "-D_GNU_SOURCE", "-fPIE", "-static-pie")
"""Hosted guest programs: position independent (Unikraft loads nothing else), and no dynamic linker."""

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
        found = (Path(_output([self.path, f"-print-file-name={name}"])) for name in names)
        return tuple(path.resolve() for path in found if path.is_absolute())


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=_environment(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UkperfError(f"The C compiler {command[0]} does not run: {error}.", hint=_HINT) from error
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}


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
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=_environment(),
            cwd=base,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UkperfError(f"The C compiler {compiler.path} does not run: {error}.", hint=_HINT) from error
    if done.returncode != 0:
        lines = done.stderr.splitlines() or [f"status {done.returncode}"]
        reason = next((line for line in lines if "error" in line or "cannot find" in line), lines[-1])
        raise UkperfError(f"{compiler.path} could not build {sources[0].name}: {reason.strip()[:300]}.", hint=_HINT)
