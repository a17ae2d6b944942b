"""Guests on a libvirt connection: one trial is one transient domain: created paused, resumed, watched, ended."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ukperf import hints
from ukperf.errors import HostError
from ukperf.files import file_identity
from ukperf.hosts import managed, pagecache, remains
from ukperf.hosts.base import OnFrame, no_fleet, not_counted
from ukperf.hosts.connection import connect, first_line, is_embedded, is_local, load_libvirt, runs_as_us
from ukperf.hosts.cores import all_usable, usable_cpus
from ukperf.hosts.counting import check_plugins
from ukperf.hosts.direct import (
    CommandLine,
    boot_direct,
    member_direct,
    sayable_environment,
    strip_for_direct,
    with_variables,
)
from ukperf.hosts.domainboots import DomainBoots, Embedded
from ukperf.hosts.domainevents import DomainEvents
from ukperf.hosts.domains import own, remove_strays, running
from ukperf.hosts.domainxml import Backing, Console, domain_xml, metadata, sayable
from ukperf.hosts.fleet import FleetMember, make_fleet, meter_of
from ukperf.hosts.machines import fit_machine, machine_facts
from ukperf.hosts.network import retried
from ukperf.hosts.noise import conditions, cpu_model, noise_between, reading
from ukperf.hosts.ownership import scratch
from ukperf.hosts.places import check_temporary, plainly_named
from ukperf.hosts.remote import RemoteFiles, remote_cpu
from ukperf.hosts.templates import Templates
from ukperf.hosts.xen import xen_xml
from ukperf.model import Accelerator, BootSpec, Launch, Machine, MachineKind, Observation, Platform, Restorer

EMULATOR = "qemu-system-x86_64"


class LibvirtHost:
    """A QEMU or Xen host behind a libvirt connection; use `open_host`."""

    def __init__(self, uri: str, connection: Any, scratch: Path, run_id: str, shared_path: bool = False) -> None:
        self._uri, self._connection, self._scratch = uri, connection, scratch
        self._libvirt = load_libvirt()
        self._commands: dict[str, CommandLine] = {}
        self._owner = own(run_id)
        self.is_xen: bool = connection.getType() == "Xen"
        local_qemu = is_local(uri) and not self.is_xen
        self._emulator = emulator_path() if local_qemu else ""
        self._opened_with = file_identity(self._emulator)
        self._templates = Templates(uri, self.embedded, scratch, self._qemu, self._command)
        self._files = RemoteFiles(
            connection,
            uri,
            in_place=shared_path or runs_as_us(uri) or (is_local(uri) and self.is_xen),
            clone_disks=self.is_xen,
            log_folder=scratch if uri.endswith("///session") else None,
        )
        if self.embedded:
            connection.getCapabilities()  # asks QEMU what it can do, now rather than in the first trial
        else:  # a private root has no domains but ours
            for name in remove_strays(connection):
                self._files.remove_clone(name)
        self._events = DomainEvents(uri, connection)
        embedded = Embedded(scratch, self._console_path()) if self.embedded else None
        self._domains = DomainBoots(uri, connection, self._events, self._files, embedded, has_log=not self.is_xen)

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def here(self) -> bool:
        return is_local(self._uri)

    @property
    def embedded(self) -> bool:
        return is_embedded(self._uri)

    @property
    def ours(self) -> bool:
        return runs_as_us(self._uri)

    @property
    def accelerators(self) -> Sequence[Accelerator]:
        return (Accelerator.XEN,) if self.is_xen else (Accelerator.KVM, Accelerator.ICOUNT, Accelerator.TCG)

    def _qemu(self) -> tuple[str, str]:
        """Of this machine: version and file."""
        return self.facts().get("qemu", "?"), str(self._opened_with)

    def describe(self) -> str:
        facts = self.facts()
        vmm = f"Xen {facts.get('xen', '?')}" if self.is_xen else f"QEMU {facts.get('qemu', '?')}"
        return f"libvirt {facts.get('libvirt', '?')}, {vmm}" + (f" ({self._emulator})" if self._emulator else "")

    def fit(self, machine: Machine, kinds: Sequence[MachineKind]) -> Machine:
        """The machine that a guest gets here; kinds: what it boots on, the preferred first.

        Raises HostError where host, guest and machine do not go together.
        """
        return fit_machine(self._uri, self.is_xen, machine, kinds)

    def check_network(self) -> None:
        if self.is_xen or not self.here:
            where = "of Xen's" if self.is_xen else "on another machine"
            raise HostError(
                f"Guests on {self._uri} are {where}, and only QEMU on this machine gives them a network that is "
                "reached without root.",
                hint="Leave out --connect.",
            )

    def facts(self) -> Mapping[str, str]:
        facts = {"connection": self._uri}
        try:
            facts["libvirt"] = _version(self._connection.getLibVersion())
            facts["xen" if self.is_xen else "qemu"] = _version(self._connection.getVersion())
            facts["hostname"] = self._connection.getHostname()
            if not is_local(self._uri):
                facts |= remote_cpu(self._connection.getCapabilities(), self._connection.getInfo()[2])
        except self._libvirt.libvirtError as error:
            facts["libvirt_error"] = first_line(error)
        if is_local(self._uri):
            facts["host_kernel"] = platform.release()
            facts["cpu"] = cpu_model()
            facts["cpus"] = str(os.cpu_count())
        if self._emulator:
            facts["qemu_file"] = str(self._opened_with)
        left_out = self.left_out() if "cpu" in facts else (*self.left_out(), "the CPU's model")
        if left_out:
            facts["left_out"] = ", ".join(left_out)
        return facts

    def machine_facts(self, kinds: Mapping[str, MachineKind]) -> Mapping[str, str]:
        return machine_facts(self._uri, kinds)

    def conditions(self) -> Mapping[str, str]:
        return conditions() if is_local(self._uri) else {}

    def changed(self) -> str:
        if not self._emulator or file_identity(self._emulator) == self._opened_with:
            return ""
        return f"{self._emulator} was replaced while the run went on: boots before and after it are not alike."

    def describe_files(self) -> str:
        """How images reach this host. Raises HostError when they cannot."""
        return self._files.describe()

    def left_out(self) -> tuple[str, ...]:
        """What the records of this host do not have, because it cannot be known from here."""
        missing = [] if is_local(self._uri) else ["the host's load and steal"]
        if not self.embedded:
            missing.append("the VMM's peak memory")
        if self.is_xen:
            missing += ["pinning of the emulator", "a log of the console beside its stream"]
        return tuple(missing)

    def clean(self) -> int:
        """Delete what ukperf uploaded here, and copies that broken-off boots left; bytes freed.

        Raises HostError if a run of ukperf goes on here or that cannot be told, or the host sees our files in place.
        """
        try:
            busy = running(self._connection)
        except self._libvirt.libvirtError as error:
            raise HostError(
                f"{self._uri} does not say whether ukperf is at work on it: {first_line(error)}."
            ) from error
        if busy:
            raise HostError(
                f"ukperf is at work on {self._uri}: {', '.join(busy[:3])}.", hint="Wait for its run to end."
            )
        return self._files.clean()

    def close(self) -> None:
        self._events.close()

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        if self._events.gone:
            raise HostError(f"{self._uri} went away.", hint="`ukperf resume` goes on when it is back.")
        backing = self._templates.backing(spec)
        cold = self._cold(spec)
        before = reading()
        observation = retried(spec, lambda again: self._boot(again, backing, on_frame))
        if not is_local(self._uri):
            return observation
        return replace(observation, noise={**noise_between(before, reading(), spec.machine), **cold})

    def _cold(self, spec: BootSpec) -> Mapping[str, float]:
        """Drop what the boot reads from the page cache, where that is wanted; MiB that are there still."""
        if not spec.cold or not self.here:
            return {}
        template = () if spec.template is None else tuple(spec.template.iterdir())
        return {"still_cached_mib": pagecache.drop((*spec.image.files.values(), *template)) / (1 << 20)}

    def _boot(self, spec: BootSpec, backing: Backing | None, on_frame: OnFrame | None) -> Observation:
        if spec.launch is Launch.DIRECT:
            command = self._command(spec, backing)
            with self._templates.restoring(spec) as going_on:
                return boot_direct(spec, command, self._console_path(), on_frame, going_on)
        with self._files.placed(spec) as placed:
            saved = placed.template is not None and placed.restorer is Restorer.LIBVIRT
            return self._boot_domain(managed.named(placed) if saved else placed, backing, on_frame)

    def template_inputs(self, spec: BootSpec) -> Mapping[str, object]:
        return self._templates.inputs(spec)

    def take_template(self, spec: BootSpec, folder: Path) -> None:
        if spec.restorer is Restorer.TEMPLATE:
            self._templates.take(spec, folder)
            return
        self._templates.inputs(spec)  # raises where nothing is saved
        saving = managed.Saving(spec, folder, self._qemu())
        seen = retried(spec, lambda again: self._boot_domain(managed.named(again), None, None, saving))
        if not saving.done:
            raise HostError(f"{spec.image.guest} did not get ready, or libvirt did not save it: {seen.reason or '?'}.")

    def check_template(self, folder: Path) -> None:
        self._templates.check(folder)

    def check_counting(self, accelerator: Accelerator) -> None:
        if not self.embedded:
            raise not_counted(self._uri)
        check_plugins(self._emulator, accelerator)

    def check_fleet(self) -> None:
        if not self.embedded:
            raise no_fleet(self._uri)

    def boot_fleet(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        self.check_fleet()
        assert spec.fleet is not None
        before = reading()
        direct = spec.launch is Launch.DIRECT
        making = self._member_direct if direct else self._member_domain
        seen = make_fleet(spec, spec.fleet, lambda one: making(one, on_frame), meter_of(spec, spec.fleet))
        return replace(seen, noise=noise_between(before, reading(), spec.machine))

    def _member_direct(self, spec: BootSpec, on_frame: OnFrame | None) -> AbstractContextManager[FleetMember]:
        backing = self._templates.backing(spec)
        command, going_on = self._command(spec, backing), self._templates.restoring(spec)
        return member_direct(spec, command, self._console_path(), on_frame, going_on)

    def _member_domain(self, spec: BootSpec, on_frame: OnFrame | None) -> AbstractContextManager[FleetMember]:
        xml = self.xml(spec, self._templates.backing(spec))
        return self._domains.member(spec, xml, self._templates.restoring(spec), on_frame)

    def xml(self, spec: BootSpec, backing: Backing | None = None) -> str:
        """The domain XML of a trial on this host; the image's paths are the host's.

        Raises HostError for what the host does not run, and for what XML cannot say.
        """
        if runs_as_us(self._uri) or (is_local(self._uri) and self.is_xen):
            spec = replace(spec, image=plainly_named(spec.image, self._scratch))
        text = self._xml(spec, backing)
        return sayable(managed.with_uuid(text, spec) if spec.restorer is Restorer.LIBVIRT else text, spec.image.guest)

    def _xml(self, spec: BootSpec, backing: Backing | None) -> str:
        if self.is_xen:
            if spec.accelerator is not Accelerator.XEN or spec.machine.kind.platform is not Platform.XEN:
                raise HostError(
                    f"{self._uri} is a Xen host: it runs Xen's domains, not {spec.machine.kind} by {spec.accelerator}.",
                    hint="Leave out --accel and --machine.",
                )
            return xen_xml(spec, metadata(self._owner))
        console = (
            Console(str(self._console_path())) if self.embedded else Console(None, self._files.log_path(spec.name))
        )
        # libvirt gives its guests all CPUs of the host unless it is told what this process may use.
        cpus = () if all_usable() or not runs_as_us(self._uri) else usable_cpus()
        emulator = emulator_path() if is_local(self._uri) else None
        return domain_xml(spec, console, self._owner, emulator, cpus, backing)

    def command_line(self, spec: BootSpec) -> CommandLine:
        """What `--launch direct` executes for this trial.

        Raises HostError where libvirt cannot write it, or for a host that is not this machine.
        """
        return self._command(spec, self._templates.backing(spec))

    def _console_path(self) -> Path:
        return self._scratch / "console.sock"

    def _command(self, spec: BootSpec, backing: Backing | None = None) -> CommandLine:
        if not self.embedded:
            raise HostError(
                f"--launch direct runs QEMU on this machine, not on {self._uri}.", hint="Leave out --connect."
            )
        xml = self.xml(spec, backing)
        if xml not in self._commands:
            try:
                with sayable_environment() as values:
                    native = self._connection.domainXMLToNative("qemu-argv", xml)
            except self._libvirt.libvirtError as error:
                raise HostError(
                    f"libvirt cannot write a command line for {spec.image.guest}: {first_line(error)}."
                ) from (error)
            self._commands = {
                **dict(list(self._commands.items())[-63:]),
                xml: with_variables(strip_for_direct(native), values),
            }
        return self._commands[xml]

    def _boot_domain(
        self,
        spec: BootSpec,
        backing: Backing | None,
        on_frame: OnFrame | None,
        saving: managed.Saving | None = None,
    ) -> Observation:
        return self._domains.boot(spec, self.xml(spec, backing), self._templates.restoring(spec), on_frame, saving)


def emulator_path() -> str:
    """QEMU's path on this machine.

    Raises HostError if it is not installed.
    """
    path = shutil.which(EMULATOR)
    if path is None:
        raise HostError(f"{EMULATOR} is not installed.", hint=hints.setup("qemu-system-x86"))
    return path


@contextmanager
def open_host(uri: str, run_id: str = "", *, shared_path: bool = False) -> Iterator[LibvirtHost]:
    """A host for the length of a with block. Strays of dead runs are removed first.

    shared_path: the host sees our files under the same paths, so nothing is uploaded.

    Raises HostError if the connection cannot be opened, or QEMU is missing where it is to run on this machine.
    """
    if is_local(uri) and uri.startswith("qemu"):
        emulator_path()
    if runs_as_us(uri):
        check_temporary()
    remains.clear()
    with ExitStack() as stack:
        connection = stack.enter_context(connect(uri))
        root = getattr(connection, "ukperf_root", None)
        folder = root if root is not None else stack.enter_context(scratch())
        host = LibvirtHost(uri, connection, folder, run_id, shared_path)
        stack.callback(host.close)
        yield host


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def driver(uri: str, run_id: str, shared_path: bool) -> AbstractContextManager[LibvirtHost]:
    """The entry points `qemu` and `xen`."""
    return open_host(uri, run_id, shared_path=shared_path)
