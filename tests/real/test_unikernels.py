"""nanos and Unikraft boot from the images that we write, under plain QEMU lines: the guests' kernels are the judges.

The kernels come out of the user's kernel store; without one, the tests of that guest are skipped.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from realrun import World, journal

from ukperf.guests.base import BuildOptions
from ukperf.guests.nanos import Nanos
from ukperf.guests.stored import StoredGuest
from ukperf.guests.unikraft import Unikraft
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import STATIC_PIE, compile_c
from ukperf.imaging.kernelstore import KernelStore
from ukperf.imaging.programs import boot_program, misbehave_program
from ukperf.model import Image, MachineKind, Program, Trait

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
QEMU = shutil.which("qemu-system-x86_64")
TCG = ("-accel", "tcg")
ICOUNT = (
    *("-accel", "tcg", "-icount", "shift=0,align=off,sleep=off", "-seed", "1"),
    *("-rtc", "base=2026-01-01T00:00:00,clock=vm"),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def guest_or_skip(name: str, cache: Cache) -> StoredGuest:
    if QEMU is None:
        pytest.skip("there is no qemu-system-x86_64 on the path")
    guest = {"nanos": Nanos, "unikraft": Unikraft}[name](cache, KernelStore())
    there = guest.availability(BuildOptions())
    if not there.ok:
        pytest.skip(f"{there.sentence} {there.hint}")
    return guest


def line(image: Image, machine: MachineKind, accelerator: tuple[str, ...], memory: int) -> list[str]:
    """The QEMU command line of an image, as somebody without libvirt would type it."""
    assert QEMU is not None
    words = [QEMU, "-machine", machine.value, "-cpu", "max", "-m", str(memory), "-nodefaults", "-display", "none"]
    words += ["-no-reboot", "-serial", "stdio", *accelerator]
    if Trait.ONE_IOAPIC in image.traits:
        words += ["-machine", "ioapic2=off"]
    if Trait.MODERN_MMIO in image.traits:
        words += ["-global", "virtio-mmio.force-legacy=false"]
    if image.kernel:
        words += ["-kernel", str(image.kernel)]
    if image.initrd:
        words += ["-initrd", str(image.initrd)]
    if image.cmdline:
        words += ["-append", image.cmdline]
    if image.disk:
        bus = "virtio-blk-device" if machine is MachineKind.MICROVM else "virtio-blk-pci"
        aio, device = "threads", f"{bus},drive=root"
        if "-icount" in accelerator:  # docs/images.md says why
            aio = "io_uring"
            words += ["-global", f"virtio-{'mmio' if machine is MachineKind.MICROVM else 'pci'}.ioeventfd=off"]
            words += ["-netdev", "hubport,id=tick,hubid=0"]
            words += ["-object", "filter-buffer,id=heart,netdev=tick,interval=2"]
        words += ["-drive", f"file={image.disk},format=raw,if=none,id=root,snapshot=on,aio={aio}", "-device", device]
    if Trait.EXIT_PORT in image.traits:
        words += ["-device", "isa-debug-exit,iobase=0x501,iosize=4"]
    return words


def boot(
    image: Image,
    machine: MachineKind = MachineKind.Q35,
    accelerator: tuple[str, ...] = TCG,
    memory: int = 256,
    end: bytes = b'"event":"exit"',
) -> tuple[str, int | None]:
    """(console, QEMU's exit status). A guest that stays is ended at the first line that holds `end`: None then."""
    command = line(image, machine, accelerator, memory)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as vmm:
        assert vmm.stdout is not None
        try:
            seen = b""
            for text in vmm.stdout:
                seen += text
                if end in text and not image.powers_off:
                    return seen.decode(errors="replace"), None
            return seen.decode(errors="replace"), vmm.wait()
        finally:
            vmm.kill()


def frames(console: str) -> Iterator[dict[str, Any]]:
    for piece in console.split("\x1e")[1:]:
        text = piece.partition("\n")[0].rstrip("\r")
        body, _, crc = text.partition('"crc":"')
        assert crc[:8] == f"{zlib.crc32(body.encode()):08x}", text
        yield json.loads(text)


MACHINES = [MachineKind.Q35, MachineKind.MICROVM]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["nanos", "unikraft"])
def test_the_boot_program_reaches_main_and_exits(name: str, machine: MachineKind, cache: Cache) -> None:
    guest = guest_or_skip(name, cache)
    image = guest.build(boot_program(cache), BuildOptions(machine=machine))
    console, status = boot(image, machine)
    assert [frame["event"] for frame in frames(console)] == ["main", "exit"], console
    assert status == (1 if Trait.EXIT_PORT in image.traits else None)  # 1: isa-debug-exit's (0 << 1) | 1


def test_the_status_of_a_nanos_program_is_qemus(cache: Cache) -> None:
    guest = guest_or_skip("nanos", cache)
    for words, code in ((("status=3",), 3), (("noexit",), 0), (("abort",), 6)):
        console, status = boot(guest.build(misbehave_program(*words, cache=cache), BuildOptions()))
        assert status == (code << 1) | 1, (words, console)


def test_the_status_of_a_unikraft_program_is_in_its_frame(cache: Cache) -> None:
    guest = guest_or_skip("unikraft", cache)
    console, _ = boot(guest.build(misbehave_program("status=3", cache=cache), BuildOptions()))
    assert [frame.get("status") for frame in frames(console)] == [None, 3], console


def fnv(data: bytes) -> int:
    """FNV-1a, 64 bits, as treewalk.c has it; files that are zeros but for their ends are folded (x ^ 0 is x)."""
    value, prime, mask = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1
    at = 0
    while at < len(data):
        stop = at
        while stop < len(data) and data[stop : stop + 4096] == bytes(4096):
            stop += 4096
        if stop > at:
            value = value * pow(prime, stop - at, 1 << 64) & mask
            at = stop
            continue
        for byte in data[at : at + 4096]:
            value = ((value ^ byte) * prime) & mask
        at += 4096
    return value


def make_tree(top: Path) -> dict[str, str]:
    """A tree with everything that a writer may get wrong; path in hexadecimal → what treewalk.c should print of it."""
    chance = random.Random(5)
    contents: dict[bytes, bytes] = {
        b"empty": b"",
        b"one": b"1",
        b"sector": chance.randbytes(512),
        b"page": chance.randbytes(4096),
        b"page and one": chance.randbytes(4097),
        b"n" * 255: b"a name of 255 bytes",
        "ähm 日本 ☃".encode(): b"not ASCII",
        b"not \xff utf-8": b"not even UTF-8",
        b"sub/deep/er/file": chance.randbytes(70_000),
        b"sub.txt": b"sorts between sub and sub/",
        b"big": chance.randbytes(9000) + bytes(40 << 20) + chance.randbytes(9000),  # more than one extent
    }
    contents |= {b"many/%04d" % number: b"%d" % number for number in range(600)}
    expected: dict[bytes, str] = {}
    for name, data in contents.items():
        path = Path(str(top), name.decode(errors="surrogateescape"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        expected[name] = f"file {len(data)} {fnv(data):016x}"
        for depth in range(1, name.count(b"/") + 1):
            expected[b"/".join(name.split(b"/")[:depth])] = "directory 0 0"
    (top / "hollow").mkdir()
    expected[b"hollow"] = "directory 0 0"
    for name, target in ((b"link", b"sub/deep"), (b"dangling", b"no/where"), (b"absolute", b"/tree/one")):
        Path(str(top), name.decode()).symlink_to(target.decode())
        expected[name] = f"link 0 {target.hex()}"
    return {name.hex(): text for name, text in expected.items()}


@pytest.mark.parametrize("name", ["nanos", "unikraft"])
def test_a_tree_arrives_in_the_guest_as_it_was(name: str, cache: Cache, tmp_path: Path) -> None:
    guest = guest_or_skip(name, cache)
    root = tmp_path / "root"
    expected = make_tree(root / "tree")
    if name == "nanos":  # lists names that are no UTF-8, and cannot find them then; they are in the image all the same
        expected[b"not \xff utf-8".hex()] = "lost 0 0"
    compile_c([HERE / "treewalk.c"], root / "walk", STATIC_PIE, base=HERE)
    program = Program(
        "treewalk", "t" * 64, root, True, ("/walk", "/tree", "a b", 'q"u\\o'), (("UKPERF_TEST", "x y=z ä"),)
    )
    console, _ = boot(guest.build(program, BuildOptions()), memory=512, end=b"end of the walk")
    lines = [text.rstrip("\r") for text in console.split("\n")]
    assert "end of the walk" in lines, console[-3000:]
    arguments = [bytes.fromhex(text.split(" ", 1)[1]).decode() for text in lines if text.startswith("argument ")]
    assert arguments[1:] == ["/tree", "a b", 'q"u\\o']
    assert f"variable {'x y=z ä'.encode().hex()}" in lines
    found = {}
    for text in lines:
        facts, _, path = text.rpartition(" ")
        if facts.split(" ")[0] in {"file", "directory", "link", "lost", "unreadable"}:
            found[path] = facts
    assert found == expected


@pytest.mark.parametrize(
    ("name", "machine"),
    [("nanos", MachineKind.Q35), ("unikraft", MachineKind.Q35), ("unikraft", MachineKind.MICROVM)],
)
def test_instructions_to_main_repeat(name: str, machine: MachineKind, cache: Cache) -> None:
    """The least of six boots, and at least two more within 0.1 % of it. For nanos, which reads its disk as it boots,
    that is not for free (line()), and a host that is busy enough can still hold a boot up: docs/images.md."""
    guest = guest_or_skip(name, cache)
    image = guest.build(boot_program(cache), BuildOptions(machine=machine))
    counts: list[int] = []
    while len(counts) < 6 and sum(count <= min(counts) * 1.001 for count in counts) < 3:
        console, _ = boot(image, machine, ICOUNT)
        counts.append(next(frames(console))["tsc"])
    assert sum(count <= min(counts) * 1.001 for count in counts) >= 3, counts


def test_the_four_guests_run_side_by_side_and_every_trial_checks_its_clock(uk: World, cache: Cache) -> None:
    for name in ("nanos", "unikraft"):
        guest_or_skip(name, cache)
    uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    four = ("-g", "linux", "-g", "nanos", "-g", "unikraft", "-g", "floor")
    answer = uk.json("boot-time", *four, "--accel", "icount", "--boots", "2", "--run", uk.path("run"))
    records = journal(uk.path("run"))
    assert [record["outcome"] for record in records] == ["ok"] * 8
    for record in records:
        ticks = record["ticks"]
        if record["trial"]["guest"] == "floor":
            assert record["clock_ratio"] is None, "it has none"
        else:
            assert ticks["main"] < ticks["clock-checked"] <= ticks["exit"]
            # Unikraft's clock does not keep pace with instructions at all; it must say so in every trial
            expected = 0.0 if record["trial"]["guest"] == "unikraft" else 1.0
            assert record["clock_ratio"] == pytest.approx(expected, abs=0.01)
    assert [guest["clock_ratio"] is None for guest in answer["guests"]] == [g == "floor" for g in order(answer)]
    assert any("clock of unikraft stands still" in warning for warning in answer["warnings"])


def order(answer: dict[str, Any]) -> list[str]:
    return [guest["guest"] for guest in answer["guests"]]


# the probe of a kernel that is about to be stored, and guests by version


def stored(name: str, cache: Cache) -> tuple[Path, list[str]]:
    """A kernel of the user's store, and the words that add one like it with other files beside it."""
    files = guest_or_skip(name, cache).files(BuildOptions())
    return files.kernel, ["--boot", str(files.boot)] if files.boot else []


@pytest.mark.parametrize("name", ["nanos", "unikraft"])
def test_a_whole_kernel_passes_the_probe(uk: World, cache: Cache, name: str) -> None:
    kernel, more = stored(name, cache)
    assert uk.json("images", "add", name, "--kernel", kernel, *more)["probed"] is True


# A kernel whose parameter or device goes by another name lacks it as one that was built without.
@pytest.mark.parametrize(
    ("ours", "theirs", "sentence", "option"),
    [
        (b"\0vars\0", b"\0varz\0", "environment variables do not reach the program", "POSIX_ENVIRON_LIBPARAM=y"),
        (b"\0fstab\0", b"\0fstaz\0", "did not run a program", "VFSCORE_AUTOMOUNT_UP=y"),
        (b"urandom\0", b"urandoz\0", "no random numbers in /dev/urandom", "UKSWRAND_DEVFS=y"),
    ],
)
def test_a_kernel_that_lacks_something_is_refused_when_it_is_added(
    uk: World, cache: Cache, ours: bytes, theirs: bytes, sentence: str, option: str
) -> None:
    kernel, _ = stored("unikraft", cache)
    whole = kernel.read_bytes()
    if whole.count(ours) != 1:
        pytest.skip(f"this kernel has {ours!r} {whole.count(ours)} times")
    uk.path("lacking").write_bytes(whole.replace(ours, theirs))
    said = uk.run("images", "add", "unikraft", "--kernel", uk.path("lacking"), "--version", "lacking", status=2)
    assert sentence in said
    assert option in said
    assert "no kernels here yet" in uk.run("images", "list")
    assert "is here" in uk.run(
        "images", "add", "unikraft", "--kernel", uk.path("lacking"), "--version", "lacking", "--no-probe"
    )


def test_two_versions_of_a_guest_are_two_guests_of_one_run(uk: World, cache: Cache) -> None:
    kernel, more = stored("nanos", cache)
    for version in ("old:1", "new"):
        uk.run("images", "add", "nanos", "--kernel", kernel, *more, "--version", version, "--no-probe")
    run = uk.path("run")
    words = (
        "boot-time",
        "-g",
        "nanos:old:1",
        "-g",
        "nanos",
        "--baseline",
        "nanos:old:1",
        "--accel",
        "tcg",
        "--run",
        run,
    )
    table = uk.json(*words, "--boots", "1")
    assert table["baseline"] == "nanos:old:1"
    assert {record["trial"]["guest"] for record in journal(run)} == {"nanos:old:1", "nanos"}
    assert not [path for path in run.rglob("*") if ":" in path.name]
    compared = uk.json("compare", f"{run}:nanos:old:1", f"{run}:nanos")
    assert {c["baseline"] for c in compared["comparisons"]} == {"run:nanos:old:1"}
