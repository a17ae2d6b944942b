"""Domain XML for QEMU, and the command line that stands alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import HostError
from ukperf.hosts.direct import strip_for_direct
from ukperf.hosts.domainxml import QEMU_NS, Backing, Console, Owner, domain_xml, owner_of
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine, MachineKind, Platform, Trait

OWNER = Owner("0123456789abcdef", "here", "boot", 42, 4242)
LOCAL, REMOTE = Console("/tmp/console.sock"), Console(None)
LINUX = Image(
    "linux", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL, Path("/k"), Path("/i"), cmdline='quiet a<b & "c"'
)
NANOS = Image("nanos", "boot", "0" * 64, "1" * 64, BootProtocol.DISK, disk=Path("/images/a,b.img"))
FLOOR = Image("floor", "boot", "0" * 64, "", BootProtocol.KERNEL, Path("/k"), traits=(Trait.EXIT_PORT,))


def xml_of(
    image: Image = LINUX,
    accelerator: Accelerator = Accelerator.TCG,
    console: Console = LOCAL,
    machine: Machine | None = None,
) -> str:
    spec = BootSpec(image, machine or Machine(), accelerator, name="ukperf-01234567-linux")
    return domain_xml(spec, console, OWNER, "/usr/bin/qemu-system-x86_64")


def arguments(xml: str) -> list[str]:
    """What goes to QEMU past libvirt's schema."""
    return [item.attrib["value"] for item in ET.fromstring(xml).iter(f"{{{QEMU_NS}}}arg")]


SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
KINDS = [kind for kind in MachineKind if kind.platform is Platform.QEMU]
ACCELERATORS = (Accelerator.KVM, Accelerator.TCG, Accelerator.ICOUNT)


@pytest.mark.skipif(shutil.which("xmllint") is None or not SCHEMA.exists(), reason="xmllint or libvirt's schema")
def test_libvirts_own_schema_accepts_every_domain(tmp_path: Path) -> None:
    paths = []
    for image, kind, accelerator, console in product((LINUX, NANOS, FLOOR), KINDS, ACCELERATORS, (LOCAL, REMOTE)):
        paths.append(tmp_path / f"{len(paths)}.xml")
        paths[-1].write_text(xml_of(image, accelerator, console, Machine(kind, vcpus=2, pin=(0, 1))))
    done = subprocess.run(
        ["xmllint", "--noout", "--relaxng", str(SCHEMA), *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("image", "kind"), list(product([LINUX, NANOS, FLOOR], KINDS)))
def test_a_guest_gets_nothing_that_it_does_not_need(image: Image, kind: MachineKind) -> None:
    domain = ET.fromstring(xml_of(image, machine=Machine(kind)))
    devices = domain.find("devices")
    assert devices is not None
    allowed = {"emulator", "serial", "controller", "memballoon"}
    assert {device.tag for device in devices} <= allowed
    assert devices.find("memballoon").attrib["model"] == "none"  # type: ignore[union-attr]
    assert all(item.attrib == {"type": "usb", "model": "none"} for item in devices.iter("controller"))


def test_nothing_restarts_a_guest() -> None:
    domain = ET.fromstring(xml_of())
    assert {domain.findtext(name) for name in ("on_poweroff", "on_reboot", "on_crash")} == {"destroy"}


def test_words_of_a_command_line_reach_the_guest_as_they_are() -> None:
    assert ET.fromstring(xml_of()).findtext("os/cmdline") == 'quiet a<b & "c"'


def test_what_repeats_under_icount_is_tied_to_instructions() -> None:
    domain = ET.fromstring(xml_of(accelerator=Accelerator.ICOUNT))
    words = arguments(xml_of(accelerator=Accelerator.ICOUNT))
    assert words[words.index("-icount") + 1] == "shift=0,align=off,sleep=off"
    assert words[words.index("-seed") + 1] == "1"
    clock = domain.find("clock")
    assert clock is not None
    assert clock.attrib["offset"] == "absolute"
    assert clock.find("timer").attrib == {"name": "rtc", "track": "guest"}  # type: ignore[union-attr]


@pytest.mark.parametrize("accelerator", [Accelerator.TCG, Accelerator.KVM])
def test_other_accelerators_run_at_their_own_pace(accelerator: Accelerator) -> None:
    assert "-icount" not in arguments(xml_of(accelerator=accelerator))


def test_only_kvm_is_kvm_and_gets_the_hosts_own_cpu() -> None:
    for accelerator, kind, mode in [
        (Accelerator.KVM, "kvm", "host-passthrough"),
        (Accelerator.TCG, "qemu", "maximum"),
        (Accelerator.ICOUNT, "qemu", "maximum"),
    ]:
        domain = ET.fromstring(xml_of(accelerator=accelerator))
        assert (domain.attrib["type"], domain.find("cpu").attrib["mode"]) == (kind, mode)  # type: ignore[union-attr]


def test_vcpus_are_pinned_in_turn() -> None:
    tune = ET.fromstring(xml_of(machine=Machine(vcpus=3, pin=(4, 6)))).find("cputune")
    assert tune is not None
    assert [(pin.attrib["vcpu"], pin.attrib["cpuset"]) for pin in tune.iter("vcpupin")] == [
        ("0", "4"),
        ("1", "6"),
        ("2", "4"),
    ]
    assert tune.find("emulatorpin").attrib == {"cpuset": "4,6"}  # type: ignore[union-attr]


def test_a_guest_that_is_not_pinned_stays_on_the_cpus_that_this_process_may_use() -> None:
    """libvirt gives it all CPUs of the host otherwise, whatever ukperf was allowed (seen with taskset)."""

    def of(machine: Machine, cpus: tuple[int, ...]) -> ET.Element:
        spec = BootSpec(LINUX, machine, Accelerator.TCG, name="n")
        return ET.fromstring(domain_xml(spec, LOCAL, OWNER, None, cpus))

    assert of(Machine(), (0, 2)).find("vcpu").attrib == {"placement": "static", "cpuset": "0,2"}  # type: ignore[union-attr]
    assert of(Machine(), ()).find("vcpu").attrib == {"placement": "static"}  # type: ignore[union-attr]
    pinned = of(Machine(pin=(2,)), (0, 2))
    assert "cpuset" not in pinned.find("vcpu").attrib and pinned.find("cputune") is not None  # type: ignore[union-attr]


def test_a_disk_is_never_written_to_and_a_comma_in_its_name_is_no_option() -> None:
    words = arguments(xml_of(NANOS))
    drive = words[words.index("-drive") + 1]
    assert drive.startswith("file=/images/a,,b.img,format=raw,")
    assert "snapshot=on" in drive.split(",")
    remote = ET.fromstring(xml_of(NANOS, console=REMOTE))
    assert remote.find("devices/disk/transient") is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_distributions_disk_comes_behind_the_programs(kind: MachineKind) -> None:
    image = replace(LINUX, disk=Path("/program.ext4"), system=Path("/a,b.ext4"))
    words = arguments(xml_of(image, Accelerator.ICOUNT, machine=Machine(kind)))
    drives = [words[i + 1] for i, word in enumerate(words) if word == "-drive"]
    assert [drive.split(",format")[0] for drive in drives] == ["file=/program.ext4", "file=/a,,b.ext4"]
    assert all("snapshot=on" in drive.split(",") for drive in drives)
    assert [word for word in words if ",drive=" in word] == [
        f"virtio-blk-{'device' if kind is MachineKind.MICROVM else 'pci'},drive={name},bootindex={number}"
        for number, name in ((1, "root"), (2, "system"))
    ]
    assert len([word for word in words if word.startswith("filter-buffer")]) == 1
    remote = ET.fromstring(xml_of(image, console=REMOTE, machine=Machine(kind)))
    assert [disk.attrib["dev"] for disk in remote.findall("devices/disk/target")] == ["vda", "vdb"]
    assert len(remote.findall("devices/disk/transient")) == 2


def test_what_an_image_needs_of_qemu_is_passed_on() -> None:
    image = replace(NANOS, traits=(Trait.MODERN_MMIO, Trait.ONE_IOAPIC))
    words = ["-machine", "ioapic2=off", "-global", "virtio-mmio.force-legacy=false"]
    assert arguments(xml_of(image))[:4] == words
    words = arguments(xml_of(FLOOR))
    assert json.loads(words[words.index("-device") + 1]) == {"driver": "isa-debug-exit", "iobase": 0x501, "iosize": 4}


@given(st.builds(Owner, *[st.from_regex(r"[a-zA-Z0-9.-]{0,40}", fullmatch=True)] * 3, st.integers(), st.integers()))
def test_a_domains_owner_comes_back_as_it_was(owner: Owner) -> None:
    spec = BootSpec(LINUX, Machine(), Accelerator.TCG, name="n")
    assert owner_of(domain_xml(spec, LOCAL, owner)) == owner


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<domain/>",
        "<domain><metadata/></domain>",
        xml_of().replace('pid="42"', 'pid="x"'),
        xml_of().replace('pid="42"', ""),
        xml_of().replace("ukperf.example", "other.example"),
    ],
)
def test_a_domain_without_our_mark_is_not_ours(xml: str) -> None:
    assert owner_of(xml) is None


# What libvirt 9.0 writes for a domain like ours, with its line as one.
NATIVE = (
    "LC_ALL=C PATH=/usr/bin:/a=b HOME=/r/lib/qemu/domain--1-x /usr/bin/qemu-system-x86_64 -name guest=x"
    ' -S -object \'{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/r/master-key.aes"}\' '
    "-machine pc-q35-7.2,usb=off,memory-backend=pc.ram -accel tcg "
    '-object \'{"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456}\' '
    "-chardev socket,id=charmonitor,path=/r/monitor.sock,server=on,wait=off "
    "-mon chardev=charmonitor,id=monitor,mode=control -no-shutdown -append 'console=ttyS0 a='\\''c d'\\''' "
    "-chardev socket,id=charserial0,path=/r/console.sock -sandbox on,obsolete=deny,spawn=deny"
)


def test_what_only_libvirt_needs_is_taken_out_of_its_command_line() -> None:
    command = strip_for_direct(NATIVE)
    assert command.env == (("LC_ALL", "C"), ("PATH", "/usr/bin:/a=b"), ("HOME", "/r/lib/qemu/domain--1-x"))
    assert command.argv == (
        "/usr/bin/qemu-system-x86_64",
        "-name",
        "guest=x",
        "-machine",
        "pc-q35-7.2,usb=off,memory-backend=pc.ram",
        "-accel",
        "tcg",
        "-object",
        '{"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456}',
        "-append",
        "console=ttyS0 a='c d'",
        "-chardev",
        "socket,id=charserial0,path=/r/console.sock",
        "-sandbox",
        "on,obsolete=deny,spawn=deny",
        "-no-reboot",
    )


def test_a_command_line_in_several_lines_is_the_same_one() -> None:
    assert strip_for_direct(NATIVE.replace(" -", " \\\n-")) == strip_for_direct(NATIVE)


@pytest.mark.parametrize("native", ["", "LC_ALL=C", "A=b C=d"])
def test_a_command_line_without_a_program_is_refused(native: str) -> None:
    with pytest.raises(HostError, match="without a program"):
        strip_for_direct(native)


def test_a_timer_bounds_how_far_an_idle_guests_clock_leaps_under_icount_alone() -> None:
    for traits, leap in (((), 2), ((Trait.COARSE_IDLE,), 1000)):
        words = arguments(xml_of(replace(NANOS, traits=traits), Accelerator.ICOUNT))
        assert f"filter-buffer,id=heart,netdev=tick,interval={leap}" in words
    assert not any("filter-buffer" in word for word in arguments(xml_of(NANOS, Accelerator.TCG)))
    assert not any("filter-buffer" in word for word in arguments(xml_of(LINUX, Accelerator.ICOUNT)))


def test_memory_in_a_file_is_shared_while_it_is_saved_and_private_when_it_is_restored() -> None:
    spec = BootSpec(LINUX, Machine(memory_mib=64), Accelerator.TCG, name="ukperf-01234567-linux")
    for restores, share in ((False, "on"), (True, "off")):
        backing = Backing(Path("/cache/a,b/memory"), Path("/run/monitor.sock"), restores=restores)
        words = arguments(domain_xml(spec, LOCAL, OWNER, "/usr/bin/qemu-system-x86_64", backing=backing))
        assert f"memory-backend-file,id=template,size=64M,mem-path=/cache/a,,b/memory,share={share}" in words
        assert words[words.index("memory-backend=template") - 1] == "-machine"
        assert "socket,id=templatemon,path=/run/monitor.sock" in words
        assert ("defer" in words) is restores
