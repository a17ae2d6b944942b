"""Domain XML for QEMU guests: a pure function of the trial (https://libvirt.org/formatdomain.html).

Guests get a vCPU, memory, a serial console, their disk if they have one, a network device where that was asked for,
and nothing else: no USB, balloon, graphics or input. What libvirt's schema lacks goes through its QEMU namespace.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from ukperf.errors import HostError
from ukperf.hosts.network import network_words
from ukperf.model import Accelerator, BootProtocol, BootSpec, MachineKind, Trait

QEMU_NS = "http://libvirt.org/schemas/domain/qemu/1.0"
UKPERF_NS = "https://ukperf.example/ns/1"
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2

# Under icount one guest instruction is one virtual nanosecond, and everything that could differ from boot to boot is
# tied to the instruction count (docs/icount.md says how each was found):
#   shift=0         2^0 ns per instruction
#   sleep=off       an idle guest's clock jumps to the next timer instead of waiting for the host's clock
#   align=off       the host's clock never holds the guest back
#   -seed           rdrand and the boot-time seed come from a fixed generator; KASLR and hash seeds follow from them
#   -rtc clock=vm   the wall clock starts at a fixed second and follows the virtual clock (XML: timer rtc track guest)
#   -uuid           libvirt draws one for each domain, firmware hands it on, and Linux feeds it to its random numbers;
#                   QEMU obeys the last one, so libvirt's own, which must be unique, stays in the XML
_ICOUNT = ("-icount", "shift=0,align=off,sleep=off", "-seed", "1", "-uuid", "75b4bed0-0000-4000-8000-000000000001")
# What images' traits are on QEMU's command line, in this order.
_TRAITS = {
    Trait.ONE_IOAPIC: ("-machine", "ioapic2=off"),
    Trait.MODERN_MMIO: ("-global", "virtio-mmio.force-legacy=false"),
}
# How far the clock may leap each time that a guest idles, waiting for its disk: a timer strikes that often. At 2 µs
# emulation is three times as slow (docs/images.md).
_LEAP_US, _COARSE_LEAP_US = 2, 1000
DISKS = ("root", "system")  # QEMU's names of an image's disks
_ICOUNT_START = "1767225600"  # 2026-01-01 00:00:00 UTC
_IO_URING_SETUP = 425  # x86-64's number; glibc has no function for it
_IO_URING_PARAMS = 120  # bytes of struct io_uring_params


@dataclass(frozen=True)
class Console:
    """The serial device: a unix socket that we listen on, or a pty that libvirt streams to us.

    log_path: a file on the host that keeps all that goes through the pty.
    """

    socket_path: str | None
    log_path: str | None = None


@dataclass(frozen=True)
class Backing:
    """A guest's memory in a file, and a monitor of our own on a unix socket that we listen on.

    restores: the guest goes on from the file, which it maps privately; else the file gets all that the guest writes.
    disks: name of a disk → a file over its image, with what the guest had written to it; else it gets what is written.
    """

    memory: Path
    monitor: Path
    restores: bool
    disks: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Owner:
    """Who a domain belongs to, kept in its metadata so that strays of dead runs can be told from other people's."""

    run_id: str
    hostname: str
    boot_id: str
    pid: int
    start: int


def domain_xml(
    spec: BootSpec,
    console: Console,
    owner: Owner,
    emulator: str | None = None,
    cpus: Sequence[int] = (),
    backing: Backing | None = None,
) -> str:
    """The XML of one trial's domain. emulator: None lets the host choose. cpus: of the host, for all threads of a guest
    that is not pinned; empty: all."""
    ET.register_namespace("qemu", QEMU_NS)
    ET.register_namespace("ukperf", UKPERF_NS)
    domain = ET.Element("domain", type="kvm" if spec.accelerator is Accelerator.KVM else "qemu")
    ET.SubElement(domain, "name").text = spec.name
    domain.append(metadata(owner))
    ET.SubElement(domain, "memory", unit="MiB").text = str(spec.machine.memory_mib)
    vcpu = ET.SubElement(domain, "vcpu", placement="static")
    vcpu.text = str(spec.machine.vcpus)
    if spec.machine.pin:
        _pin(domain, spec.machine.pin, spec.machine.vcpus)
    elif cpus:
        vcpu.set("cpuset", ",".join(map(str, cpus)))
    _os(domain, spec, restores=backing is not None and backing.restores)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    _cpu(domain, spec)
    _clock(domain, spec)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        ET.SubElement(domain, event).text = "destroy"
    _devices(domain, spec, console, emulator)
    _command_line(domain, spec, console, backing)
    return ET.tostring(domain, encoding="unicode")


def sayable(xml: str, guest: str) -> str:
    """The XML itself.

    Raises HostError where it has what no XML can have: control characters, or bytes that are no UTF-8.
    """
    if _NOT_IN_XML.search(xml):
        raise HostError(
            f"libvirt cannot be told of {guest}: its command line, or a file's path, has control characters "
            "or bytes that are no UTF-8.",
            hint="Look at --append, --kernel and UKPERF_CACHE_DIR.",
        )
    return xml


def owner_of(xml: str) -> Owner | None:
    """The owner written in a domain's XML, None if it is not ukperf's."""
    try:
        element = ET.fromstring(xml).find(f"metadata/{{{UKPERF_NS}}}run")
    except ET.ParseError:
        return None
    if element is None:
        return None
    try:
        return Owner(
            element.attrib["id"],
            element.attrib["host"],
            element.attrib["boot"],
            int(element.attrib["pid"]),
            int(element.attrib["start"]),
        )
    except (KeyError, ValueError):
        return None


def metadata(owner: Owner) -> ET.Element:
    """The domain's <metadata>, which owner_of reads."""
    ET.register_namespace("ukperf", UKPERF_NS)
    element = ET.Element("metadata")
    ET.SubElement(
        element,
        f"{{{UKPERF_NS}}}run",
        id=owner.run_id,
        host=owner.hostname,
        boot=owner.boot_id,
        pid=str(owner.pid),
        start=str(owner.start),
    )
    return element


def _pin(domain: ET.Element, pin: tuple[int, ...], vcpus: int) -> None:
    """vCPU i on host CPU pin[i mod n]; the VMM's other threads on all of them."""
    tune = ET.SubElement(domain, "cputune")
    for index in range(vcpus):
        ET.SubElement(tune, "vcpupin", vcpu=str(index), cpuset=str(pin[index % len(pin)]))
    ET.SubElement(tune, "emulatorpin", cpuset=",".join(map(str, pin)))


def _os(domain: ET.Element, spec: BootSpec, *, restores: bool) -> None:
    """restores: the guest has unpacked its initrd already, and to read a large one takes longer than all the rest."""
    image = spec.image
    element = ET.SubElement(domain, "os")
    ET.SubElement(element, "type", arch="x86_64", machine=spec.machine.kind.value).text = "hvm"
    if image.protocol is BootProtocol.KERNEL:
        ET.SubElement(element, "kernel").text = str(image.kernel)
        if image.initrd is not None and not restores:
            ET.SubElement(element, "initrd").text = str(image.initrd)
        if image.cmdline:
            ET.SubElement(element, "cmdline").text = image.cmdline
    else:
        ET.SubElement(element, "boot", dev="hd")


def _cpu(domain: ET.Element, spec: BootSpec) -> None:
    # `maximum` is QEMU's `-cpu max`: everything that the accelerator can do. Under KVM that is the host's own CPU.
    kvm = spec.accelerator is Accelerator.KVM
    cpu = ET.SubElement(domain, "cpu", mode="host-passthrough" if kvm else "maximum")
    if spec.accelerator in (Accelerator.TCG, Accelerator.ICOUNT):
        # QEMU 7.2's gather instructions fault in guests (NumPy's sort dies of it), and emulated AVX2 is slow besides.
        ET.SubElement(cpu, "feature", policy="disable", name="avx2")


def _clock(domain: ET.Element, spec: BootSpec) -> None:
    if spec.accelerator is not Accelerator.ICOUNT:
        ET.SubElement(domain, "clock", offset="utc")
        return
    clock = ET.SubElement(domain, "clock", offset="absolute", start=_ICOUNT_START)
    ET.SubElement(clock, "timer", name="rtc", track="guest")


def _devices(domain: ET.Element, spec: BootSpec, console: Console, emulator: str | None) -> None:
    devices = ET.SubElement(domain, "devices")
    if emulator is not None:
        ET.SubElement(devices, "emulator").text = emulator
    if console.socket_path is None:
        for number, path in enumerate(spec.image.disks):
            _transient_disk(devices, spec, number, path)
    # On microvm too: libvirt would add one, and then find no PCI bus for it.
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")
    if console.socket_path is None:
        serial = ET.SubElement(devices, "serial", type="pty")
        if console.log_path is not None:
            ET.SubElement(serial, "log", file=console.log_path, append="off")
    else:
        serial = ET.SubElement(devices, "serial", type="unix")
        ET.SubElement(serial, "source", mode="connect", path=console.socket_path)


def _transient_disk(devices: ET.Element, spec: BootSpec, number: int, path: Path) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type="raw")
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=f"vd{'ab'[number]}", bus="virtio")
    ET.SubElement(disk, "transient")
    if spec.machine.kind is MachineKind.MICROVM:
        ET.SubElement(disk, "address", type="virtio-mmio")


def _snapshot_disks(spec: BootSpec, backing: Backing | None) -> list[str]:
    """Images are shared by every boot and never changed: QEMU keeps writes in an unlinked temporary file.

    libvirt's own word for it, <transient/>, leaves a file beside the image when its process is killed.
    """
    mmio, counted = spec.machine.kind is MachineKind.MICROVM, spec.accelerator is Accelerator.ICOUNT
    ring = ",aio=io_uring" if counted and io_uring_works() else ""
    disks = []
    for number, (name, path) in enumerate(zip(DISKS, spec.image.disks, strict=False), 1):
        over = None if backing is None else backing.disks.get(name)
        file = str(over or path).replace(",", ",,")
        kept = backing is not None and over is not None and not backing.restores
        kind, snapshot = "raw" if over is None else "qcow2", "off" if kept else "on"
        disks += ["-drive", f"file={file},format={kind},if=none,id={name},snapshot={snapshot},cache=unsafe{ring}"]
        driver = "virtio-blk-device" if mmio else "virtio-blk-pci"
        disks += ["-device", f"{driver},drive={name},bootindex={number}"]
    if not counted:
        return disks
    # A guest that waits for its disk would see its clock leap to the next timer, as far as the host is slow (docs/
    # images.md, "Disks under icount"): requests are carried out within the instruction that makes them, and a virtual
    # timer every few us bounds the leap of those that the host could not do at once.
    at_once = ["-global", f"virtio-{'mmio' if mmio else 'pci'}.ioeventfd=off"]
    leap = _COARSE_LEAP_US if Trait.COARSE_IDLE in spec.image.traits else _LEAP_US
    beat = f"filter-buffer,id=heart,netdev=tick,interval={leap}"
    heart = ["-netdev", "hubport,id=tick,hubid=0", "-object", beat]
    return [*disks, *at_once, *heart]


def _command_line(domain: ET.Element, spec: BootSpec, console: Console, backing: Backing | None) -> None:
    arguments = [word for trait, words in _TRAITS.items() if trait in spec.image.traits for word in words]
    if spec.accelerator is Accelerator.ICOUNT:
        arguments += _ICOUNT
    if Trait.EXIT_PORT in spec.image.traits:
        device = {"driver": "isa-debug-exit", "iobase": 0x501, "iosize": 4}
        arguments += ["-device", json.dumps(device, separators=(",", ":"))]
    if spec.image.disks and console.socket_path is not None:
        arguments += _snapshot_disks(spec, backing)
    if spec.network is not None:
        arguments += network_words(spec.network, spec.machine.kind)
    if backing is not None:
        arguments += _backed(spec, backing)
    if spec.counting is not None:
        counting = spec.counting
        plugin, file, flow = (str(p).replace(",", ",,") for p in (counting.plugin, counting.file, counting.flow))
        arguments += ["-plugin", f"{plugin},counts={file},flow={flow}{',stacks=on' if counting.stacks else ''}"]
    if arguments:
        element = ET.SubElement(domain, f"{{{QEMU_NS}}}commandline")
        for argument in arguments:
            ET.SubElement(element, f"{{{QEMU_NS}}}arg", value=argument)


def _backed(spec: BootSpec, backing: Backing) -> list[str]:
    """The file takes the place of libvirt's own memory, of which no page is ever touched then. What migrates, with the
    capability x-ignore-shared, is the devices alone."""
    file = str(backing.memory).replace(",", ",,")
    share = "off" if backing.restores else "on"
    memory = f"memory-backend-file,id=template,size={spec.machine.memory_mib}M,mem-path={file},share={share}"
    monitor = f"socket,id=templatemon,path={str(backing.monitor).replace(',', ',,')}"
    words = ["-object", memory, "-machine", "memory-backend=template"]
    words += ["-chardev", monitor, "-mon", "chardev=templatemon,mode=control"]
    return [*words, "-incoming", "defer"] if backing.restores else words


@functools.cache
def io_uring_works() -> bool:
    """May QEMU use io_uring here? Containers and careful administrators forbid it.

    The kernel is asked for a ring with one entry, which is given back.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(_IO_URING_PARAMS))
    if ring < 0:
        return False
    os.close(ring)
    return True
