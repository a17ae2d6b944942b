"""Domain XML for Xen, and which image boots there as what."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ukperf.errors import HostError
from ukperf.hosts import xen
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine, MachineKind, XenBoot

LINUX = Image(
    guest="linux",
    workload="boot",
    digest="0" * 64,
    program_digest="1" * 64,
    protocol=BootProtocol.KERNEL,
    kernel=Path("/k"),
    initrd=Path("/i"),
    cmdline="console=ttyS0",
    xen=XenBoot((MachineKind.XENPVH, MachineKind.XENPV), "console=hvc0 a<b"),
)
NANOS = Image(
    guest="nanos",
    workload="boot",
    digest="0" * 64,
    program_digest="1" * 64,
    protocol=BootProtocol.DISK,
    disk=Path("/d"),
    xen=XenBoot((MachineKind.XENHVM,)),
)
UNIKRAFT = Image("unikraft", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL, kernel=Path("/u"))


def spec(image: Image, machine: Machine | None = None) -> BootSpec:
    return BootSpec(image, machine or Machine(), Accelerator.XEN, name="ukperf-1-0")


def xml(image: Image, machine: Machine | None = None) -> ET.Element:
    return ET.fromstring(xen.domain_xml(xen.fit(spec(image, machine)), ET.Element("metadata")))


def test_the_default_machine_becomes_the_kind_that_the_image_prefers() -> None:
    assert xen.fit(spec(LINUX)).machine.kind is MachineKind.XENPVH
    assert xen.fit(spec(NANOS)).machine.kind is MachineKind.XENHVM


def test_a_kind_that_was_asked_for_is_kept() -> None:
    assert xen.fit(spec(LINUX, Machine(MachineKind.XENPV))).machine.kind is MachineKind.XENPV


@pytest.mark.parametrize(
    ("image", "kind", "sentence"),
    [
        (UNIKRAFT, MachineKind.Q35, "unikraft has no kernel for Xen here"),
        (NANOS, MachineKind.XENPV, "nanos boots on Xen as xenhvm, not as xenpv"),
    ],
)
def test_an_image_that_cannot_boot_so_is_refused_in_a_sentence(image: Image, kind: MachineKind, sentence: str) -> None:
    assert xen.refusal(image, Machine(kind)) == sentence
    with pytest.raises(HostError, match=sentence):
        xen.fit(spec(image, Machine(kind)))


@pytest.mark.parametrize(
    ("kind", "machine", "text"), [(MachineKind.XENPV, "xenpv", "linux"), (MachineKind.XENPVH, "xenpvh", "xenpvh")]
)
def test_a_kernel_boots_with_its_command_line_for_xen_and_speaks_on_the_pv_console(
    kind: MachineKind, machine: str, text: str
) -> None:
    domain = xml(LINUX, Machine(kind))
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
    domain = xml(NANOS)
    assert domain.find("os/kernel") is None
    assert domain.find("os/boot").attrib["dev"] == "hd"
    assert domain.find("devices/disk/source").attrib["file"] == "/d"
    assert domain.find("devices/serial").attrib["type"] == "pty"


def test_no_event_restarts_a_domain_and_the_counter_is_the_hosts_own() -> None:
    domain = xml(LINUX)
    assert {domain.findtext(name) for name in ("on_poweroff", "on_reboot", "on_crash")} == {"destroy"}
    assert domain.find("clock/timer").attrib == {"name": "tsc", "mode": "native"}


def test_vcpus_are_pinned_in_turn_and_the_emulator_not_at_all() -> None:
    tune = xml(LINUX, Machine(MachineKind.XENPV, vcpus=3, pin=(4, 6))).find("cputune")
    assert [(pin.get("vcpu"), pin.get("cpuset")) for pin in tune] == [("0", "4"), ("1", "6"), ("2", "4")]
