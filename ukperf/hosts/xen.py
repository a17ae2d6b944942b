"""Domain XML for Xen guests: a pure function of the trial (https://libvirt.org/drvxen.html, formatdomain.html).

Which kinds of Xen domain a guest can be is said by its recipe. PV and PVH domains are started from their kernel; an HVM
domain reads the boot sector of its disk, with Xen's own firmware and device model. Console is the PV console's ring, or
COM1 for HVM; both reach us as a libvirt stream.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ukperf.model import BootSpec, Image, Machine, MachineKind

# What <type machine=…> of libvirt's Xen driver is called, and its text.
_TYPES = {MachineKind.XENPV: "linux", MachineKind.XENPVH: "xenpvh", MachineKind.XENHVM: "hvm"}
_MACHINES = {MachineKind.XENPV: "xenpv", MachineKind.XENPVH: "xenpvh", MachineKind.XENHVM: "xenfv"}


def xen_xml(spec: BootSpec, metadata: ET.Element) -> str:
    """The XML of one trial's domain, spec.machine.kind being one of Xen's; paths in spec.image are the host's own.

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
        # phy: a loop device in dom0, no device model; but PVH disks need QEMU's backend, and so does HVM's firmware.
        driver = "phy" if kind is MachineKind.XENPV else "qemu"
        ET.SubElement(disk, "driver", name=driver, type="raw")
        ET.SubElement(disk, "source", file=str(image.disk))
        if kind is MachineKind.XENHVM:
            # SeaBIOS reads SCSI by DMA and IDE word by word, each an exit: nanos boots three times as fast from SCSI.
            ET.SubElement(disk, "target", dev="sda", bus="scsi")
        else:
            ET.SubElement(disk, "target", dev="xvda", bus="xen")
    if kind is MachineKind.XENHVM:
        ET.SubElement(devices, "serial", type="pty")
    else:
        console = ET.SubElement(devices, "console", type="pty")
        ET.SubElement(console, "target", type="xen", port="0")
