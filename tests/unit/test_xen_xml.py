"""Domain XML for Xen."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ukperf.hosts import xen
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
    return ET.fromstring(xen.domain_xml(spec, ET.Element("metadata")))


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
