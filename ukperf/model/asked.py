"""What is asked: machines, programs, images, and one boot of one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ukperf.model.fleet import Fleet
from ukperf.model.why import LastWords

if TYPE_CHECKING:
    from ukperf.model.visit import Visitor


class Accelerator(StrEnum):
    """What executes guest instructions. AUTO is resolved by the truth check before anything is measured."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"
    ICOUNT = "icount"
    XEN = "xen"
    NATIVE = "native"  # no virtual machine: the `native` guest


class Platform(StrEnum):
    """What a guest's kernel is built for: the kernel store keeps those of one guest apart by it."""

    QEMU = "qemu"
    XEN = "xen"


class MachineKind(StrEnum):
    Q35 = "q35"
    MICROVM = "microvm"
    XENPV = "xenpv"
    XENPVH = "xenpvh"
    XENHVM = "xenhvm"

    @property
    def platform(self) -> Platform:
        """What kernels for this machine are built for."""
        xen = (MachineKind.XENPV, MachineKind.XENPVH, MachineKind.XENHVM)
        return Platform.XEN if self in xen else Platform.QEMU


class Trait(StrEnum):
    """What a driver must know of an image besides its files. How it is had, drivers know."""

    EXIT_PORT = "exit-port"  # ends the machine by I/O port 0x501: what is written there becomes (value << 1) | 1
    ONE_IOAPIC = "one-ioapic"  # knows the first I/O APIC only
    MODERN_MMIO = "modern-mmio"  # its driver of virtio-mmio speaks version 2 only
    COARSE_IDLE = "coarse-idle"  # never waits for its disk while anything is counted: its clock may leap meanwhile


class Launch(StrEnum):
    """Who executes the VMM: libvirt itself, or we, with the command line that libvirt wrote."""

    LIBVIRT = "libvirt"
    DIRECT = "direct"


class Restorer(StrEnum):
    """How a saved guest goes on."""

    TEMPLATE = "template"  # its memory is a file that is mapped privately; the state of its devices is read
    LIBVIRT = "libvirt"  # libvirt's own save and restore: its memory is read from the file that libvirt wrote


class BootProtocol(StrEnum):
    """How an image reaches its first instruction."""

    KERNEL = "kernel"  # the VMM loads kernel (+ initrd): Linux bzImage, multiboot, or PVH ELF note
    DISK = "disk"  # firmware reads the boot sector of the first disk
    EXEC = "exec"  # no VM: fork and execve on the host
    COMMAND = "command"  # a command line of this machine boots it, by a recipe


class ConsoleWay(StrEnum):
    """How the console of a command comes to us."""

    STDOUT = "stdout"  # what the command writes to its standard output
    PTY = "pty"  # the same, where that must be a terminal
    SOCKET = "socket"  # the command connects to a unix socket of ours


class StatusWay(StrEnum):
    """What a command's exit status means."""

    PLAIN = "plain"
    DEBUG_EXIT = "debug-exit"  # QEMU's isa-debug-exit: (value << 1) | 1; 0 where the machine ended in another way


@dataclass(frozen=True)
class Machine:
    """The virtual machine that every guest of a run gets."""

    kind: MachineKind = MachineKind.Q35
    memory_mib: int = 256
    vcpus: int = 1
    pin: tuple[int, ...] = ()  # host CPUs, empty: not pinned


DEFAULT_PLATFORM = Machine().kind.platform


@dataclass(frozen=True)
class Network:
    """A guest's network device, and the one way in: a TCP port of this machine's loopback interface.

    guest_port: what its program listens on. host_port: what leads there, 0: a free one, chosen anew at each boot; that
    of a program of this machine is its own. The address is the one that QEMU's user-mode network has for its guest.
    """

    ADDRESS: ClassVar[str] = "10.0.2.15"
    PREFIX: ClassVar[int] = 24
    MASK: ClassVar[str] = str(IPv4Network((0, PREFIX)).netmask)
    GATEWAY: ClassVar[str] = "10.0.2.2"

    guest_port: int
    host_port: int = 0


@dataclass(frozen=True)
class Program:
    """What runs in a guest: an ELF file (C workloads) or a directory tree (Python).

    digest is the sha256 of the bytes that are the same in every guest; argv[0] is a path inside the guest.
    """

    workload: str
    digest: str
    path: Path  # the ELF file, or the tree's root directory
    is_tree: bool
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    settled: bool = False  # starts when the kernel has done what it put off at boot, and has the CPU to itself


@dataclass(frozen=True)
class Repetitions:
    """pyperf's numbers for one benchmark: how often it is called for one value, and how many values and warm-ups."""

    loops: int
    values: int
    warmups: int


@dataclass(frozen=True)
class Command:
    """What a driver must know of a COMMAND image besides its files and `argv`, whose first word is the command's file
    and whose others have placeholders (templates.py).

    accelerator: what executes the guest; NATIVE: this machine's CPU, whatever the run's others are executed by.
    """

    accelerator: Accelerator = Accelerator.NATIVE
    program: Path | None = None  # {program}: a file of this machine
    words: tuple[str, ...] = ()  # {arguments}: the program's
    json: str = ""  # {json}: a file with this in it, placeholders among it
    console: ConsoleWay = ConsoleWay.STDOUT
    chatter: bool = False  # the command itself writes to the console: the guest's first byte is its first frame's
    frames: bool = True  # False: the guest speaks no frames, and its end is that of the command
    ready: str = ""  # a pattern: the first line that it is found in is an event
    status: StatusWay = StatusWay.PLAIN
    good_status: tuple[int, ...] = (0,)
    copies_disk: bool = True  # the command writes to the disk that it is given
    vmm: str = ""  # what the command calls itself: the first line of its version
    vmm_sha256: str = ""
    files: tuple[Path, ...] = ()  # others that it needs

    def good(self, status: int) -> bool:
        """Is that the exit status of a guest that ended well?"""
        if self.status is StatusWay.PLAIN:
            return status in self.good_status
        # A machine that was reset ends with 0 too: only a guest that said how it went may.
        return (status == 0 and self.frames) or (status & 1 == 1 and status >> 1 in self.good_status)


@dataclass(frozen=True)
class Image:
    """Guest + workload, bootable, addressed by the sha256 of everything in it."""

    guest: str
    workload: str
    digest: str
    program_digest: str  # "" where the program is linked into the kernel (floor)
    protocol: BootProtocol
    kernel: Path | None = None
    initrd: Path | None = None
    disk: Path | None = None
    system: Path | None = None  # a second disk: the root file system of a distribution, the program being on the first
    cmdline: str = ""
    argv: tuple[str, ...] = ()  # EXEC and COMMAND only; the first word is the file that is executed
    argv0: str = ""  # EXEC only: what the program sees in place of it
    env: tuple[tuple[str, str], ...] = ()  # EXEC and COMMAND only
    tree: Path | None = None  # EXEC and COMMAND only: the packed files that words of argv and env are among
    kernel_version: str = ""
    kernel_digest: str = ""
    powers_off: bool = True  # False: sleeps for ever after the exit frame, the host ends it
    min_memory_mib: int = 16
    slow_s: float = 0.0  # what its way up, and its way down, may take besides what others are given
    traits: tuple[Trait, ...] = ()
    command: Command | None = None  # COMMAND only

    @property
    def disks(self) -> tuple[Path, ...]:
        """In the order in which the guest finds them."""
        return tuple(path for path in (self.disk, self.system) if path is not None)

    @property
    def files(self) -> Mapping[str, Path]:
        """What its machine reads, by the names of the fields."""
        names = ("kernel", "initrd", "disk", "system")
        return {name: path for name in names if (path := getattr(self, name)) is not None}

    def with_files(self, place: Callable[[Path], Path]) -> Image:
        """The image with each file that its machine reads where `place` puts it."""
        put = {name: place(path) for name, path in self.files.items()}
        return replace(
            self, kernel=put.get("kernel"), initrd=put.get("initrd"), disk=put.get("disk"), system=put.get("system")
        )

    def with_words(self, moved: Callable[[str], str]) -> Image:
        """The image with other words, wherever a path may be in one: of a process, and of a command and its program."""
        command = self.command
        if command is not None:
            program = command.program and Path(moved(str(command.program)))
            files = tuple(Path(moved(str(path))) for path in command.files)
            words, text = tuple(map(moved, command.words)), moved(command.json)
            command = replace(command, program=program, words=words, files=files, json=text)
        env = tuple((name, moved(value)) for name, value in self.env)
        return replace(self, argv=tuple(map(moved, self.argv)), env=env, command=command)

    def executed_by(self, accelerator: Accelerator) -> Accelerator:
        """What executes it in a run by `accelerator`: processes of this machine have no other than its CPU."""
        if self.command is not None:
            return self.command.accelerator
        return Accelerator.NATIVE if self.protocol is BootProtocol.EXEC else accelerator


@dataclass(frozen=True)
class Listening:
    """What is wanted of what a program writes. keep: bytes of it, 0: none; limit: bytes of the console altogether.

    ready: a pattern (of the package regex); the first line that it matches is an event. until_ready: the guest is ended
    there.
    """

    keep: int = 0
    limit: int = 8 << 20
    ready: str = ""
    until_ready: bool = False


COUNTS = "counts"  # a run's folder of what its boots executed


def counts_file(folder: Path, index: int) -> Path:
    """Where a run's folder has the counts of the trial of that number."""
    return folder / COUNTS / f"{index:05d}.gz"


def flow_beside(counts: Path) -> Path:
    """Where system calls and call stacks of the same boot are."""
    return counts.with_suffix(".flow.gz")


@dataclass(frozen=True)
class Counting:
    """How often each piece of a guest's code begins is counted, by a plugin of QEMU's, into a file. stacks: call stacks
    are followed too."""

    plugin: Path
    file: Path
    stacks: bool = False

    @property
    def flow(self) -> Path:
        """The file of system calls and call stacks, which machines of one vCPU have."""
        return self.file.with_name(f"{self.file.name}.flow")


@dataclass(frozen=True)
class BootSpec:
    """One trial as a host sees it: everything needed to boot, and every bound on what may come back."""

    image: Image
    machine: Machine
    accelerator: Accelerator
    launch: Launch = Launch.LIBVIRT
    timeout_s: float = 120.0
    idle_s: float | None = None  # a guest that says nothing for so long is taken to hang; None: only timeout_s counts
    console_limit: int = 8 << 20  # bytes
    keep_output: int | None = None  # bytes of what the program writes; None: nobody asks for its output
    ready: str = ""  # a pattern; the first line of the program's output that it matches is an event
    until_ready: bool = False  # the guest is ended there
    last_words: tuple[LastWords, ...] = ()  # of its kernel, by the guest's recipe
    run_id: str = ""
    name: str = ""  # domain name, unique on the host
    console_path: Path | None = None  # the raw console is written here, if given
    template: Path | None = None  # the folder of a template that the guest is restored from, instead of being booted
    restorer: Restorer = Restorer.TEMPLATE
    cold: bool = False  # what its machine reads is dropped from the page cache before
    network: Network | None = None  # None: the guest has no network device
    visitor: Visitor | None = None  # what this machine does with the guest's port while it runs; its end is the guest's
    fleet: Fleet | None = None  # so many of it at once
    counting: Counting | None = None  # None: nothing is counted


def kind_of(guest: str) -> str:
    """`nanos` of `nanos:0.1.55` (GUEST:VERSION): the guest itself, whichever of its kernels the name chooses."""
    return guest.partition(":")[0]
