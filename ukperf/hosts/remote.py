"""The files of a trial as its host sees them: in place where the paths are the same on both sides, else uploaded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from ukperf import files
from ukperf.errors import HostError
from ukperf.hosts.storage import Pool
from ukperf.model import BootSpec, Image


class RemoteFiles:
    """Use `placed` around each boot.

    in_place: the host reads the image's files under their own paths. clone_disks: a disk is copied for each boot, for
    hosts whose domains write to the very file that they are given (QEMU keeps writes apart by itself).
    log_folder: where a host of our own user may log consoles; others log into the pool, which libvirt lets us read.
    """

    def __init__(
        self, connection: Any, uri: str, *, in_place: bool, clone_disks: bool, log_folder: Path | None = None
    ) -> None:
        self._connection, self._uri = connection, uri
        self._in_place, self._clone_disks, self._log_folder = in_place, clone_disks, log_folder
        self._pool: Pool | None = None

    @property
    def pool(self) -> Pool:
        """Opened when it is first needed."""
        if self._pool is None:
            self._pool = Pool(self._connection, self._uri)
        return self._pool

    def describe(self) -> str:
        """Where the host gets its files from, for people."""
        return "used in place, under the same paths" if self._in_place else self.pool.describe()

    @contextmanager
    def placed(self, spec: BootSpec) -> Iterator[BootSpec]:
        """The trial with its files where the host finds them; copies that only it needs are gone afterwards.

        Raises HostError when they cannot be brought there.
        """
        image = spec.image if self._in_place else self.pool.put_image(spec.image)
        with ExitStack() as stack:
            if image.disk is not None and self._clone_disks:
                copy = _copy(image.disk) if self._in_place else self.pool.clone(image.disk, spec.name)
                image = replace(image, disk=stack.enter_context(copy))
            yield replace(spec, image=image)

    def put(self, image: Image) -> None:
        """Bring an image's files to the host ahead of the first boot, so that no trial waits for it."""
        if not self._in_place:
            self.pool.put_image(image)

    def log_path(self, name: str) -> str:
        """Where the host shall log a domain's console."""
        return f"{self._log_folder or self.pool.folder}/log-{name}"

    def log(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a console's log; empty where it cannot be read."""
        if self._log_folder is None:
            return self.pool.read(f"log-{name}", limit)
        with suppress(OSError), files.open_regular(self._log_folder / f"log-{name}") as file:
            return file.read(limit)
        return b""

    def remove_log(self, name: str) -> None:
        """Delete a console's log; one that is not there, or cannot be reached any more, is none of our trouble."""
        if self._log_folder is None:
            self.pool.remove_clone(name)
        else:
            (self._log_folder / f"log-{name}").unlink(missing_ok=True)

    def remove_clone(self, name: str) -> None:
        """Delete what a dead run's boot of that domain name left in the pool."""
        if not self._in_place:
            self.pool.remove_clone(name)

    def clean(self) -> int:
        """Delete all that was uploaded; bytes freed. Raises HostError where nothing ever is."""
        if self._in_place:
            raise HostError(
                f"Nothing is uploaded to {self._uri}: it sees our files where they are.",
                hint="Built images are in ukperf's cache folder, which may be deleted when no run goes on.",
            )
        return self.pool.remove_all()


@contextmanager
def _copy(path: Path) -> Iterator[Path]:
    """A copy beside the original, so that the host sees it too."""
    copy = path.with_name(f"boot-{os.getpid()}-{time.monotonic_ns()}")
    for old in path.parent.glob("boot-*-*"):
        if not Path("/proc", old.name.split("-")[1]).exists():  # a killed ukperf's
            old.unlink(missing_ok=True)
    try:
        try:
            files.copy(path, copy)
        except OSError as error:
            raise HostError(f"A disk could not be copied for a boot: {files.reason(error)}.") from error
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def remote_cpu(capabilities: str, cpus: int) -> dict[str, str]:
    """The CPU of another host by its capabilities (libvirt's XML), under libvirt's name for the model; and how many."""
    facts = {"cpus": str(cpus)}
    with suppress(ET.ParseError):
        cpu = ET.fromstring(capabilities).find("host/cpu")
        names = [text for tag in ("vendor", "model") if cpu is not None and (text := cpu.findtext(tag))]
        if names:
            facts["cpu"] = " ".join(names)
    return facts
