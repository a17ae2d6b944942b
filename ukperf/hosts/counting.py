"""Counting what guests execute: which QEMU can, and by which accelerator. The plugin is workloads/profile/plugin.c."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from ukperf.errors import HostError
from ukperf.hints import setup
from ukperf.model import Accelerator

_COUNTED = (Accelerator.ICOUNT, Accelerator.TCG)  # QEMU translates the guest's code, and can add to it
_TIMEOUT_S = 30
_FIRMWARE = (
    (Path("/usr/share/seabios"), "*.bin"),
    (Path("/usr/share/qemu"), "*.bin"),
    (Path("/usr/share/qemu"), "*.rom"),
)


def check_plugins(emulator: str, accelerator: Accelerator) -> None:
    """Raises HostError for a QEMU that was built without plugins, and as `check_accelerator`."""
    check_accelerator(accelerator)
    if not _has_plugins(emulator):
        raise HostError(
            f"{emulator} was built without plugins, so it does not count what guests execute.",
            hint=f"Distributions' QEMU has them. {setup('qemu-system-x86')}",
        )


def check_accelerator(accelerator: Accelerator) -> None:
    """Raises HostError for guests that the CPU executes itself."""
    if accelerator not in _COUNTED:
        raise HostError(
            f"What guests execute by {accelerator} cannot be counted: the CPU executes them itself, unseen by QEMU.",
            hint="Use --accel icount, which is exact, or --accel tcg.",
        )


def firmware_files() -> tuple[Path, ...]:
    """What QEMU's machines execute before a kernel, as far as it is where distributions put it."""
    return tuple(path for folder, pattern in _FIRMWARE for path in sorted(folder.glob(pattern)) if path.is_file())


@cache
def _has_plugins(emulator: str) -> bool:
    """Its help has the option only where it was built in. Raises HostError where QEMU does not run."""
    try:
        said = subprocess.run(
            [emulator, "-help"], capture_output=True, timeout=_TIMEOUT_S, check=True, text=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"{emulator} does not run: {error}.") from error
    return any(line.startswith("-plugin ") for line in said.stdout.splitlines())
