"""What every host offers: boot one image, tell what was seen. All drivers are behind this, ours and a stranger's.

What is used of a host is a member of `Host`. `HostDefaults` has an answer for most of them, so a driver says `uri`,
`accelerators` and `boot`, and what else differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ukperf.errors import HostError
from ukperf.model import Accelerator, BootSpec, Frame, Machine, MachineKind, Observation

OnFrame = Callable[[Frame], None]
# Facts of a host that are versions of what runs its guests, in the order of tables. `vmm`: for drivers that are not
# ours, like "Firecracker 1.7".
VMM_FACTS = ("qemu", "xen", "vmm", "libvirt")
# Facts of a host that go into the record of each boot.
BOOT_FACTS = ("qemu", "qemu_file", "xen", "vmm", "libvirt", "cpu", "host_kernel", "hostname")


class Host(Protocol):
    """A place where images boot: a libvirt connection, the machine itself, or a fake."""

    @property
    def uri(self) -> str:
        """What --connect names it by."""
        ...

    @property
    def accelerators(self) -> Sequence[Accelerator]:
        """What can execute guests here, at least one; `auto` takes the first that passes (KVM: the truth check)."""
        ...

    @property
    def here(self) -> bool:
        """Are guests processes of this machine, which sees their files as we do and whose load is ours to read?"""
        ...

    @property
    def ours(self) -> bool:
        """Are guests processes of this user, with the CPUs, the control group and the permissions of this process?"""
        ...

    def describe(self) -> str:
        """What runs guests here, for `doctor`: "libvirt 9.0.0, QEMU 7.2.0"."""
        ...

    def describe_files(self) -> str:
        """How images reach this host, to follow "Images are". Raises HostError when they cannot."""
        ...

    def fit(self, machine: Machine, kinds: Sequence[MachineKind]) -> Machine:
        """The machine that a guest gets here; kinds: what it boots on, the preferred first, none: no machine.

        Raises HostError where host, guest and machine do not go together.
        """
        ...

    def check_network(self) -> None:
        """Raises HostError where guests here cannot be given a network with a way in from this machine."""
        ...

    def check_counting(self, accelerator: Accelerator) -> None:
        """Raises HostError where what guests execute cannot be counted here, or not by that accelerator."""
        ...

    def boot(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        """Boot once and watch until the end, at most spec.timeout_s seconds; nothing of the guest is left afterwards.

        Raises HostError only if no trial is possible on this host at all; a guest that fails is an Observation.
        """
        ...

    def template_inputs(self, spec: BootSpec) -> Mapping[str, object]:
        """What a template of this boot depends on, for the key under which it is kept.

        Raises HostError, in a sentence, where guests cannot be saved and restored here.
        """
        ...

    def take_template(self, spec: BootSpec, folder: Path) -> None:
        """Boot once up to where the spec says that the guest is ready (its pattern; without one, the program's `ready`
        frame, behind which it waits at its gate), and save it in `folder`. Nothing of the guest runs afterwards.

        Raises HostError for a guest that does not get ready, or that could not be restored as it was.
        """
        ...

    def check_template(self, folder: Path) -> None:
        """Raises HostError for a template that is damaged, or that was made by another QEMU. Boots do so themselves,
        once for each."""
        ...

    def check_fleet(self) -> None:
        """Raises HostError, in a sentence, where the memory of many guests at once cannot be told here."""
        ...

    def boot_fleet(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        """Boot as many guests as spec.fleet says, each suspended when it is ready, and see what they take together;
        nothing of them is left afterwards.

        Raises HostError as `check_fleet` and `boot` do; a fleet with a guest that fails is an Observation.
        """
        ...

    def facts(self) -> Mapping[str, str]:
        """Name → value: versions, CPU model, kernel … for the run; records get those of BOOT_FACTS.

        `left_out`: what records of this host lack, because it cannot be known from here.
        """
        ...

    def machine_facts(self, kinds: Mapping[str, MachineKind]) -> Mapping[str, str]:
        """`firmware` and `console` of a run's guests. kinds: guest → machine type, without programs of this machine."""
        ...

    def conditions(self) -> Mapping[str, str]:
        """Name → value: what may change from boot to boot, like the governor. Asked at every boot, so it is cheap."""
        ...

    def changed(self) -> str:
        """A sentence if what runs the guests is no longer what it was when this host was opened; else nothing."""
        ...

    def clean(self) -> int:
        """Delete what was uploaded here; bytes freed. Raises HostError where nothing is, or guests run."""
        ...

    def close(self) -> None: ...


class HostDefaults:
    """A host that is this machine, of which nothing special is known. Subclasses have uri, accelerators and boot."""

    uri = ""
    here = True
    ours = False

    def describe(self) -> str:
        return (
            ", ".join(text for name in VMM_FACTS if (text := self.facts().get(name))) or "a driver of somebody else's"
        )

    def describe_files(self) -> str:
        return "used in place"

    def fit(self, machine: Machine, kinds: Sequence[MachineKind]) -> Machine:
        return machine

    def template_inputs(self, spec: BootSpec) -> Mapping[str, object]:
        raise HostError(
            f"{spec.image.guest} cannot be saved and restored: {self.uri} has no QEMU that ukperf starts itself.",
            hint="Use --path boot.",
        )

    def take_template(self, spec: BootSpec, folder: Path) -> None:
        self.template_inputs(spec)  # raises

    def check_template(self, folder: Path) -> None:
        raise HostError(f"{self.uri} restores no guests.", hint="Use --path boot.")

    def check_network(self) -> None:
        raise HostError(f"{self.uri} gives its guests no network that this machine can reach them by.")

    def check_counting(self, accelerator: Accelerator) -> None:
        raise not_counted(self.uri)

    def check_fleet(self) -> None:
        raise no_fleet(self.uri)

    def boot_fleet(self, spec: BootSpec, on_frame: OnFrame | None = None) -> Observation:
        raise no_fleet(self.uri)

    def facts(self) -> Mapping[str, str]:
        return {"connection": self.uri}

    def machine_facts(self, kinds: Mapping[str, MachineKind]) -> Mapping[str, str]:
        return {"firmware": "unknown", "console": "unknown"}

    def conditions(self) -> Mapping[str, str]:
        return {}

    def changed(self) -> str:
        return ""

    def clean(self) -> int:
        raise HostError(f"Nothing is uploaded to {self.uri}.")

    def close(self) -> None:
        """Nothing is held between trials."""


def not_counted(uri: str) -> HostError:
    """Of a host where no plugin of ours can be loaded."""
    return HostError(
        f"What guests execute cannot be counted on {uri}: no QEMU runs there that ukperf starts itself.",
        hint="Leave out --connect.",
    )


def no_fleet(uri: str) -> HostError:
    """Of a host where the memory of guests cannot be told."""
    return HostError(
        f"The memory of many guests at once cannot be told on {uri}: they are no processes that ukperf starts itself.",
        hint="Leave out --connect.",
    )
