"""Domain XML for Xen guests: a pure function of the trial (https://libvirt.org/drvxen.html, formatdomain.html).

Which kind of Xen domain an image can be is said by the image itself (model.XenBoot). PV and PVH domains are started
from their kernel; an HVM domain reads the boot sector of its disk, with Xen's own firmware and device model. Console is
the PV console's ring, or COM1 for HVM; both reach us as a libvirt stream.
"""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from ukperf.errors import HostError
from ukperf.model import BootSpec, Image, Machine, MachineKind

# What <type machine=…> of libvirt's Xen driver is called, and its text.
_TYPES = {MachineKind.XENPV: "linux", MachineKind.XENPVH: "xenpvh", MachineKind.XENHVM: "hvm"}
_MACHINES = {MachineKind.XENPV: "xenpv", MachineKind.XENPVH: "xenpvh", MachineKind.XENHVM: "xenfv"}


def refusal(image: Image, machine: Machine) -> str | None:
    """Why this image is not booted on Xen with that machine, in one sentence; None if it is."""
    if image.xen is None:
        return f"{image.guest} has no kernel for Xen here"
    if machine.kind in _TYPES and machine.kind not in image.xen.kinds:
        kinds = " or ".join(kind.value for kind in image.xen.kinds)
        return f"{image.guest} boots on Xen as {kinds}, not as {machine.kind.value}"
    return None


def fit(spec: BootSpec) -> BootSpec:
    """The trial as a Xen host can run it: a machine kind of Xen's, the image's command line for Xen.

    A machine that is no Xen kind (the default) becomes the image's preferred one.

    Raises:
        HostError: the image does not boot on Xen, or not as that kind.
    """
    why = refusal(spec.image, spec.machine)
    if why is not None or spec.image.xen is None:
        raise HostError(f"{why}.", hint="Leave --machine out, or name other guests.")
    boot = spec.image.xen
    kind = spec.machine.kind if spec.machine.kind in _TYPES else boot.kinds[0]
    image = spec.image if boot.cmdline is None else replace(spec.image, cmdline=boot.cmdline)
    return replace(spec, image=image, machine=replace(spec.machine, kind=kind))


def domain_xml(spec: BootSpec, metadata: ET.Element) -> str:
    """The XML of one trial's domain; paths in spec.image are the host's own, spec comes from `fit`.

    metadata: the domain's <metadata> element, ukperf's mark.
    """
    kind = spec.machine.kind
    domain = ET.Element("domain", type="xen")
    ET.SubElement(domain, "name").text = spec.name
    domain.append(metadata)
    ET.SubElement(domain, "memory", unit="MiB").text = str(spec.machine.memory_mib)
    ET.SubElement(domain, "vcpu", placement="static").text = str(spec.machine.vcpus)
    _pin(domain, spec.machine)
    _os(domain, spec.image, kind)
    if kind is not MachineKind.XENPV:
        features = ET.SubElement(domain, "features")
        ET.SubElement(features, "acpi")
        ET.SubElement(features, "apic")
    # The guest's counter is the host's: emulated, each rdtsc would trap into Xen, and be measured with the guest.
    ET.SubElement(ET.SubElement(domain, "clock", offset="utc"), "timer", name="tsc", mode="native")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        ET.SubElement(domain, event).text = "destroy"
    _devices(domain, spec.image, kind)
    return ET.tostring(domain, encoding="unicode")


def _pin(domain: ET.Element, machine: Machine) -> None:
    """vCPU i on host CPU pin[i mod n]. There is no emulator thread to pin: that is dom0's, and left out."""
    if not machine.pin:
        return
    tune = ET.SubElement(domain, "cputune")
    for index in range(machine.vcpus):
        ET.SubElement(tune, "vcpupin", vcpu=str(index), cpuset=str(machine.pin[index % len(machine.pin)]))


def _os(domain: ET.Element, image: Image, kind: MachineKind) -> None:
    element = ET.SubElement(domain, "os")
    ET.SubElement(element, "type", arch="x86_64", machine=_MACHINES[kind]).text = _TYPES[kind]
    if kind is MachineKind.XENHVM:
        ET.SubElement(element, "boot", dev="hd")
        return
    ET.SubElement(element, "kernel").text = str(image.kernel)
    if image.initrd is not None:
        ET.SubElement(element, "initrd").text = str(image.initrd)
    if image.cmdline:
        ET.SubElement(element, "cmdline").text = image.cmdline


def _devices(domain: ET.Element, image: Image, kind: MachineKind) -> None:
    devices = ET.SubElement(domain, "devices")
    if image.disk is not None:
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        # phy: a loop device in dom0, no device model, but PVH disks need QEMU's backend; so does HVM's firmware.
        driver = "phy" if kind is MachineKind.XENPV else "qemu"
        ET.SubElement(disk, "driver", name=driver, type="raw")
        ET.SubElement(disk, "source", file=str(image.disk))
        if kind is MachineKind.XENHVM:
            ET.SubElement(disk, "target", dev="hda", bus="ide")
        else:
            ET.SubElement(disk, "target", dev="xvda", bus="xen")
    if kind is MachineKind.XENHVM:
        ET.SubElement(devices, "serial", type="pty")
    else:
        console = ET.SubElement(devices, "console", type="pty")
        ET.SubElement(console, "target", type="xen", port="0")
