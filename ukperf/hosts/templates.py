"""A host's templates: taken, looked at before they are used, and restored from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ukperf.errors import HostError
from ukperf.files import reason
from ukperf.hosts import saving
from ukperf.hosts.direct import CommandLine
from ukperf.hosts.domainxml import DISKS, Backing
from ukperf.hosts.network import at_port
from ukperf.hosts.noise import cpu_model
from ukperf.hosts.overlay import write_overlay
from ukperf.hosts.places import plain
from ukperf.hosts.restoring import Restoring, restoring
from ukperf.hosts.template import MEMORY, checked, disk_file, identities, load
from ukperf.model import Accelerator, BootSpec, Restorer

VERSION = 1  # of how templates are made
_ANY_PORT = 1  # stands for that of this machine, which is another one in each boot


class Templates:
    """Of one host. uri: what it is called; embedded: its QEMU is a process of ours; scratch: where sockets are; qemu:
    its version and file; command: what is executed for a boot whose memory is a file."""

    def __init__(
        self,
        uri: str,
        embedded: bool,
        scratch: Path,
        qemu: Callable[[], tuple[str, str]],
        command: Callable[[BootSpec, Backing], CommandLine],
    ) -> None:
        self._uri, self._embedded, self._scratch = uri, embedded, scratch
        self._qemu, self._command = qemu, command
        self._checked: dict[Path, object] = {}

    def inputs(self, spec: BootSpec) -> Mapping[str, object]:
        """The description of a template for a cache's key: all that is on the command line of the QEMU that would make
        it, and that QEMU itself. What is of one process or one domain alone (its name, its UUID, paths of sockets) is
        left out. Under KVM the guest has the CPU of this machine. Raises HostError."""
        self._refuse()
        spec = at_port(spec, 1)  # each boot has another one
        words: list[str] = []
        rest = iter(self._command(spec, self._saving(spec, Path("/template"))).argv)
        for word in rest:
            if word == "-uuid":
                next(rest, None)
                continue
            words.append(word.replace(str(self._scratch), "SCRATCH").replace(spec.name, "NAME"))
        return {
            "version": VERSION,
            "image": spec.image.digest,
            "qemu": list(self._qemu()),
            "command": words,
            "cpu": cpu_model() if spec.accelerator is Accelerator.KVM else "",
            "ready": spec.ready,
            "restorer": spec.restorer.value,
            "answered": spec.visitor is not None,
        }

    def take(self, spec: BootSpec, folder: Path) -> None:
        """Make one in a folder. Raises HostError."""
        self._refuse()
        spec = at_port(spec)
        backing = self._saving(spec, plain(folder, self._scratch))
        try:
            for (name, _), image in zip(backing.disks.items(), spec.image.disks, strict=True):
                write_overlay(disk_file(folder, name), image)
        except OSError as error:
            raise HostError(f"An image over that of {spec.image.guest} cannot be made: {reason(error)}.") from error
        command = self._command(spec, backing)
        saving.take(spec, command, (self._scratch / "console.sock", self._monitor), folder, self._qemu())

    def check(self, folder: Path) -> None:
        """Raises HostError for one that is damaged, or of another QEMU."""
        checked(folder, *self._qemu())
        self._checked[folder] = identities(folder)

    def backing(self, spec: BootSpec) -> Backing | None:
        """The memory of a boot that is restored, its template looked at: once, since a digest takes longer than to
        restore; and again where the system says that a file of it has changed. Raises HostError."""
        if spec.template is None:
            return None
        self._refuse()
        if self._checked.get(spec.template) != identities(spec.template):
            self.check(spec.template)
        if spec.restorer is Restorer.LIBVIRT:
            return None
        folder = plain(spec.template, self._scratch)
        disks = {name: disk_file(folder, name) for name in load(spec.template).disks}
        return Backing(folder / MEMORY, self._monitor, restores=True, disks=disks)

    def restoring(self, spec: BootSpec) -> AbstractContextManager[Restoring | None]:
        """What a boot that is restored is loaded by; nothing for one that is not."""
        mapped = spec.template is not None and spec.restorer is Restorer.TEMPLATE
        return nullcontext() if not mapped or spec.template is None else restoring(spec.template, self._monitor)

    def _saving(self, spec: BootSpec, folder: Path) -> Backing:
        disks = {name: disk_file(folder, name) for name, _ in zip(DISKS, spec.image.disks, strict=False)}
        return Backing(folder / MEMORY, self._monitor, restores=False, disks=disks)

    @property
    def _monitor(self) -> Path:
        return self._scratch / "monitor.sock"

    def _refuse(self) -> None:
        if not self._embedded:
            raise HostError(
                f"Guests are saved and restored by a QEMU that is a process of ukperf's, which that of {self._uri} is "
                "not.",
                hint="Leave out --connect, or use --path boot.",
            )
