"""Makes a template: boots a guest with its memory in a file, stops it when it is ready, saves its devices beside."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ukperf.errors import HostError
from ukperf.files import create_own, reason
from ukperf.hosts import children
from ukperf.hosts.direct import CommandLine, ProcessStop, tail
from ukperf.hosts.domainxml import DISKS
from ukperf.hosts.gate import open_gate
from ukperf.hosts.intake import SocketConsole
from ukperf.hosts.qmp import Monitor
from ukperf.hosts.restoring import move
from ukperf.hosts.sockets import accept, listening, pidfd
from ukperf.hosts.template import (
    MEMORY,
    SPARE_BYTES,
    STATE,
    Template,
    disk_file,
    file_digest,
    memory_digest,
    save,
    state_digest,
)
from ukperf.hosts.watch import Watch
from ukperf.model import BootSpec, Event
from ukperf.text import clean

STOP_S = 30.0  # for QEMU to end


def take(spec: BootSpec, command: CommandLine, sockets: tuple[Path, Path], folder: Path, qemu: tuple[str, str]) -> None:
    """Boot a guest with its memory in `folder`, stop it where its spec says that it is ready, and save it there.

    command: of a QEMU with a Backing there, its disks among it; sockets: its console's and its monitor's; qemu: its
    version and file.
    Raises HostError, in a sentence, for a guest that does not get ready, or that cannot be saved as it is then.
    """
    _make_memory(folder, spec.machine.memory_mib)
    with ExitStack() as stack:
        console, monitor = (stack.enter_context(listening(path)) for path in sockets)
        log = stack.enter_context(tempfile.TemporaryFile(dir=sockets[0].parent))
        children.prepare()
        try:
            vmm = children.spawned(command.argv, dict(command.env), subprocess.DEVNULL, log.fileno(), spec.machine.pin)
            process = stack.enter_context(vmm)
        except children.NotExecutedError as error:
            raise HostError(f"{error}.") from error
        ended = stack.enter_context(pidfd(process.pid))
        took_s = _until_ready(spec, process, console, ended, log.fileno(), stack)
        answering = Monitor(_accepted(monitor, ended, log.fileno(), stack))
        answering.greet()
        answering.execute("stop")
        disks = _written_disks(answering)
        move(answering, folder / STATE, loads=False)
        answering.execute("quit")
        if not select.select([ended], [], [], STOP_S)[0]:
            raise HostError("QEMU did not end after it had saved the guest.")
    for name in set(DISKS) - set(disks):  # not before: QEMU opens them again when it saves
        disk_file(folder, name).unlink(missing_ok=True)
    gate = None if spec.ready or spec.visitor is not None else open_gate(folder / MEMORY)
    template = Template(
        image=spec.image.digest,
        memory_mib=spec.machine.memory_mib,
        memory_sha256=memory_digest(folder / MEMORY),
        state_sha256=state_digest(folder / STATE),
        qemu=qemu[0],
        qemu_file=qemu[1],
        at=point_of(spec),
        gate=gate,
        disks={name: file_digest(disk_file(folder, name)) for name in disks},
        took_s=round(took_s, 6),
    )
    save(folder, template)


def _until_ready(
    spec: BootSpec, process: children.Child, server: socket.socket, ended: int, log: int, stack: ExitStack
) -> float:
    """Boot the guest up to the point where it is ready; seconds since create. Raises HostError where it never is."""
    events = {Event.START: process.started_ns}
    console = SocketConsole(_accepted(server, ended, log, stack))
    events[Event.CREATED] = events[Event.RESUMED] = time.monotonic_ns()
    watch = Watch(replace(spec, until_ready=True), console, ProcessStop(ended), events)
    watch.run()
    seen = watch.observe(extra=tail(log))
    at = watch.ready_at()
    if at is None:
        raise HostError(
            f"{spec.image.guest} did not get ready, so there is nothing to restore it from: "
            f"{seen.reason.rstrip('.') or 'it ended'}; {_lacking(spec)}.",
            hint="With --path boot it takes part without being restored.",
        )
    return (at - events[Event.START]) / 1e9


def _lacking(spec: BootSpec) -> str:
    if spec.visitor is not None:
        return "it gave no answer on its port"
    return f"no line matched {clean(spec.ready, 100)!r}" if spec.ready else "its program did not say `ready`"


def point_of(spec: BootSpec) -> str:
    """Where a template was taken, as a phrase."""
    if spec.visitor is not None:
        return "its first answer"
    return f"the first line that {clean(spec.ready, 100)!r} matches" if spec.ready else "its frame `ready`, at its gate"


def _written_disks(monitor: Monitor) -> list[str]:
    """The disks that the guest wrote to. Some do while they boot: nanos, to the log of its file system."""
    return written_of(monitor.execute("query-blockstats"))


def written_of(told: object) -> list[str]:
    """The disks of ours that query-blockstats says were written to."""
    written = {_written(device) for device in (told if isinstance(told, list) else [])}
    return [name for name in DISKS if name in written]


def _written(device: object) -> str:
    """The name of a disk that was written to; nothing for another."""
    stats = device.get("stats") if isinstance(device, dict) else None
    count = stats.get("wr_operations") if isinstance(stats, dict) else None
    return str(device.get("device", "")) if isinstance(device, dict) and isinstance(count, int) and count else ""


def _make_memory(folder: Path, memory_mib: int) -> None:
    """The file of a guest's memory, all hole. Raises HostError where there would be no room for all of it."""
    size = memory_mib << 20
    try:
        free = shutil.disk_usage(folder).free
        if free < size + SPARE_BYTES:
            raise HostError(
                f"A template of a guest with {memory_mib} MiB may take {(size + SPARE_BYTES) >> 20:,} MiB, and "
                f"{folder} has {free >> 20:,} MiB left.",
                hint="Make room there, name another folder by UKPERF_CACHE_DIR, or give guests less --memory.",
            )
        with create_own(folder / MEMORY) as file:
            file.truncate(size)
    except OSError as error:
        raise HostError(f"{folder / MEMORY} cannot be made: {reason(error)}.") from error


def _accepted(server: socket.socket, ended: int, log: int, stack: ExitStack) -> socket.socket:
    connection = accept(server, ended)
    if connection is None:
        raise HostError(f"The VMM did not start; it said: {tail(log) or 'nothing'}.")
    return stack.enter_context(connection)
