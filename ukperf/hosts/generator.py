"""Load on a guest's port, made by a process of its own (workloads/serve/load.c): Python would be too slow, and late."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ukperf.files import size_text
from ukperf.hosts import children
from ukperf.hosts.sockets import pidfd
from ukperf.model import Door
from ukperf.text import clean

MAX_BYTES = 1 << 30  # of what it writes
SPARE_S = 20.0  # after the time that it was given; it ends itself
END_S = 5.0  # after it was told to end
SAID_MAX = 300


class LoadError(Exception):
    """Why there was no load, or it ended too soon: a phrase."""


def generated(program: Path, words: Sequence[str], door: Door, within_s: float, pin: Sequence[int] = ()) -> bytes:
    """What the generator writes, at its end. within_s: how long it should take at most; pin: its CPUs.

    Raises LoadError, also where the guest ended meanwhile.
    """
    argv = (str(program), *words, f"address={door.address}", f"port={door.port}")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        try:
            with children.spawned(argv, {}, out.fileno(), said.fileno(), pin) as process, pidfd(process.pid) as ended:
                why = _waited(process.pid, ended, door.ending, within_s + SPARE_S)
                status = process.wait() if not why else -1
        except children.NotExecutedError as error:
            raise LoadError(f"the load generator cannot be executed: {error}") from error
        if why:
            raise LoadError(why)
        if status != 0:
            said.seek(0)
            words_of_it = clean(said.read(SAID_MAX).decode("utf-8", "replace"), SAID_MAX)
            raise LoadError(f"the load generator ended with status {status}: {words_of_it.strip()}")
        size = os.fstat(out.fileno()).st_size
        if size > MAX_BYTES:
            raise LoadError(f"the load generator wrote more than {size_text(MAX_BYTES)}")
        out.seek(0)
        return out.read()


def _waited(pid: int, ended: int, ending: int, seconds: float) -> str:
    """Until the generator has ended: nothing. Where the guest has, or the time is up, why, the generator being told."""
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(ending, select.POLLIN)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
        if ended in ready:
            return ""
        if ending in ready:
            break
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    poll.unregister(ending)
    poll.poll(END_S * 1000)
    return "its program ended under load" if left > 0 else f"the load was not over within {seconds:g} s"
