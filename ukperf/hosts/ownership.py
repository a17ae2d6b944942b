"""What is ours on this machine, and what dead ukperf processes left behind.

A scratch folder is named after its owner: pid and the process's start time, which together are unique until reboot,
and a number where a process has several. A VMM belongs to a scratch folder when its command line names that folder;
nothing else is ever killed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.hosts.places import is_private, scratch_parent, scratch_parents
from ukperf.hosts.procfiles import text_of
from ukperf.signals import last_act

_NAME = re.compile(r"(\d+)-(\d+)(?:-\d+)?")


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (proc(5), field 22 of stat), or None if it is gone."""
    stat = text_of(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_alive(pid: int, start: int) -> bool:
    return process_start(pid) == start


def identity() -> tuple[int, int]:
    """(pid, start) of this process."""
    pid = os.getpid()
    return pid, process_start(pid) or 0


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder with a plain, short name, for sockets and libvirt's embedded root; gone afterwards.

    Raises UkperfError where it cannot be made.
    """
    pid, start = identity()
    parent = scratch_parent(f"{pid}-{start}-99")
    for number in itertools.count():
        path = parent / (f"{pid}-{start}-{number}" if number else f"{pid}-{start}")
        try:
            path.mkdir(mode=0o700)
            break
        except FileExistsError:
            continue  # this process has one already
        except OSError as error:
            raise UkperfError(f"The folder {path} cannot be made: {error.strerror}.") from error
    try:
        with last_act(partial(_clear, path)):
            yield path
    finally:
        _clear(path)


def remove_strays() -> int:
    """End the VMMs and remove the folders of ukperf processes that died without cleaning; returns how many folders."""
    removed = 0
    for folder in _scratch_folders():
        match = _NAME.fullmatch(folder.name)
        if match is None or is_alive(int(match[1]), int(match[2])):
            continue
        _clear(folder)
        removed += 1
    return removed


def _scratch_folders() -> Iterator[Path]:
    cache, *shared = scratch_parents()
    for parent in (cache, *filter(is_private, shared)):
        with contextlib.suppress(OSError):
            yield from list(parent.iterdir())


def _clear(folder: Path) -> None:
    """Processes first: once the folder is gone, nobody could tell any more whose they were."""
    for pid in processes_naming(folder):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def processes_naming(folder: Path) -> list[int]:
    """Pids of this user's QEMU processes whose command line names a file inside `folder`."""
    needle = os.fsencode(str(folder)) + b"/"
    naming = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            owner = entry.stat().st_uid
        except OSError:
            continue
        program = command.split(b"\0", 1)[0].rsplit(b"/", 1)[-1]
        if owner == os.geteuid() and program.startswith(b"qemu-system") and needle in command:
            naming.append(int(entry.name))
    return naming
