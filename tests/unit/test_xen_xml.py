"""Domain XML for Xen."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ukperf.errors import HostError
from ukperf.hosts import xen
from ukperf.hosts.machines import fit_machine
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine, MachineKind

LINUX = Image(
    guest="linux",
    workload="boot",
    digest="0" * 64,
    program_digest="1" * 64,
    protocol=BootProtocol.KERNEL,
    kernel=Path("/k"),
    initrd=Path("/i"),
    cmdline="console=hvc0 a<b",
)
NANOS = Image(
    guest="nanos",
    workload="boot",
    digest="0" * 64,
    program_digest="1" * 64,
    protocol=BootProtocol.DISK,
    disk=Path("/d"),
)


def xml(image: Image, kind: MachineKind, pin: tuple[int, ...] = (), vcpus: int = 1) -> ET.Element:
    spec = BootSpec(image, Machine(kind, vcpus=vcpus, pin=pin), Accelerator.XEN, name="ukperf-1-0")
    return ET.fromstring(xen.xen_xml(spec, ET.Element("metadata")))


@pytest.mark.parametrize(
    ("kind", "machine", "text"), [(MachineKind.XENPV, "xenpv", "linux"), (MachineKind.XENPVH, "xenpvh", "xenpvh")]
)
def test_a_kernel_boots_with_its_command_line_and_speaks_on_the_pv_console(
    kind: MachineKind, machine: str, text: str
) -> None:
    domain = xml(LINUX, kind)
    assert domain.get("type") == "xen"
    assert domain.find("os/type").attrib["machine"] == machine
    assert domain.findtext("os/type") == text
    assert domain.findtext("os/kernel") == "/k"
    assert domain.findtext("os/initrd") == "/i"
    assert domain.findtext("os/cmdline") == "console=hvc0 a<b"
    assert domain.find("devices/console/target").attrib["type"] == "xen"
    assert domain.find("devices/serial") is None
    assert (domain.find("features/acpi") is None) == (kind is MachineKind.XENPV)


def test_a_disk_boots_by_its_boot_sector_and_speaks_on_the_serial_port() -> None:
    domain = xml(NANOS, MachineKind.XENHVM)
    assert domain.find("os/kernel") is None
    assert domain.find("os/boot").attrib["dev"] == "hd"
    assert domain.find("devices/disk/source").attrib["file"] == "/d"
    assert domain.find("devices/disk/target").attrib["bus"] == "scsi"
    assert domain.find("devices/serial").attrib["type"] == "pty"


def test_no_event_restarts_a_domain_and_the_counter_is_the_hosts_own() -> None:
    domain = xml(LINUX, MachineKind.XENPVH)
    assert {domain.findtext(name) for name in ("on_poweroff", "on_reboot", "on_crash")} == {"destroy"}
    assert domain.find("clock/timer").attrib == {"name": "tsc", "mode": "native"}


def test_vcpus_are_pinned_in_turn_and_the_emulator_not_at_all() -> None:
    tune = xml(LINUX, MachineKind.XENPV, (4, 6), vcpus=3).find("cputune")
    assert [(pin.get("vcpu"), pin.get("cpuset")) for pin in tune] == [("0", "4"), ("1", "6"), ("2", "4")]


PVH_OR_PV = (MachineKind.Q35, MachineKind.XENPVH, MachineKind.XENPV)


@pytest.mark.parametrize(
    ("asked", "is_xen", "got"),
    [
        (MachineKind.Q35, False, MachineKind.Q35),
        (MachineKind.Q35, True, MachineKind.XENPVH),
        (MachineKind.XENPV, True, MachineKind.XENPV),
    ],
)
def test_the_default_machine_becomes_the_first_kind_that_the_guest_boots_on_there(
    asked: MachineKind, is_xen: bool, got: MachineKind
) -> None:
    assert fit_machine("u", is_xen, Machine(asked, memory_mib=7), PVH_OR_PV) == Machine(got, memory_mib=7)


@pytest.mark.parametrize(
    ("asked", "is_xen"), [(MachineKind.XENPV, False), (MachineKind.MICROVM, True), (MachineKind.XENHVM, True)]
)
def test_a_machine_that_host_or_guest_cannot_be_is_refused_with_what_they_can(asked: MachineKind, is_xen: bool) -> None:
    with pytest.raises(HostError, match=f"cannot be {asked} on u") as caught:
        fit_machine("u", is_xen, Machine(asked), PVH_OR_PV)
    assert caught.value.hint == ("Here it can be: xenpvh, xenpv." if is_xen else "Here it can be: q35.")


def test_a_guest_without_a_kernel_for_xen_is_refused_there() -> None:
    with pytest.raises(HostError, match="It boots on q35 and microvm only, which u has not"):
        fit_machine("u", True, Machine(), (MachineKind.Q35, MachineKind.MICROVM))
