"""Our guests under a bare QEMU (TCG, no libvirt): what they say, how they go away, and what repeats."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from frames import events, frames

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.linux import Linux, disk_initramfs
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import boot_program, count_program, misbehave_program
from ukperf.model import Image, MachineKind, Program

QEMU = shutil.which("qemu-system-x86_64")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(QEMU is None, reason="QEMU is not installed: sudo apt-get install qemu-system-x86"),
]
ICOUNT = ("-icount", "shift=0,align=off,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01,clock=vm")
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def cache() -> Cache:
    return Cache()


@pytest.fixture(scope="module")
def linux(cache: Cache) -> Linux:
    guest = Linux(cache)
    try:
        guest.obtain()
    except UkperfError as error:
        pytest.skip(str(error))
    return guest


def boot(
    image: Image, *extra: str, machine: str = "q35", memory: int = 256, patience: float = TIMEOUT_S, status: int = 0
) -> bytes:
    """The console of one boot that ends by itself, QEMU with this status.

    Raises TimeoutExpired, with the console so far, when it does not.
    """
    command = [QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-accel", "tcg"]
    command += ["-machine", machine, "-cpu", "max", "-m", str(memory), "-no-reboot", "-kernel", str(image.kernel)]
    command += ["-initrd", str(image.initrd)] if image.initrd else []
    command += ["-append", image.cmdline, *extra]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=patience)
    assert done.returncode == status, done.stderr.decode(errors="replace")
    return done.stdout


def boot_without_end(image: Image, patience: float = 10) -> bytes:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        boot(image, patience=patience)
    return caught.value.output or b""


# ---- floor ----


@pytest.mark.parametrize("machine", ["q35", "microvm", "q35,acpi=off"])
@pytest.mark.parametrize("memory", [8, 3000])
def test_floor_boots_and_powers_off(cache: Cache, machine: str, memory: int) -> None:
    image = guests.get("floor", cache).build(boot_program(cache), BuildOptions(cmdline="status=3"))
    # without -no-reboot's help: a guest that resets instead of powering off would never end
    console = boot(image, "-action", "reboot=reset", machine=machine, memory=memory)
    first, last = frames(console)
    assert (first["event"], first["program"]) == ("main", "floor")
    assert (last["event"], last["status"]) == ("exit", 3)


def test_floor_leaves_microvm_without_acpi_by_a_reset(cache: Cache) -> None:
    image = guests.get("floor", cache).build(boot_program(cache), BuildOptions())
    assert events(boot(image, machine="microvm,acpi=off", memory=32)) == ["main", "exit"]


def test_floor_hands_its_status_to_isa_debug_exit_where_nothing_else_is(cache: Cache) -> None:
    image = guests.get("floor", cache).build(boot_program(cache), BuildOptions(cmdline="status=5"))
    device = ("-device", "isa-debug-exit,iobase=0x501")
    console = boot(image, *device, machine="microvm,acpi=off", memory=32, status=5 << 1 | 1)
    assert events(console) == ["main", "exit"]


@pytest.mark.parametrize("machine", ["q35", "microvm"])
def test_floor_executes_exactly_two_instructions_a_loop(cache: Cache, machine: str) -> None:
    loops = 100_000
    image = guests.get("floor", cache).build(count_program(loops, 4, cache), BuildOptions())
    consoles = {boot(image, *ICOUNT, machine=machine, memory=32) for _ in range(2)}
    assert len(consoles) == 1  # to the instruction, counter and all
    _, sample, _ = frames(consoles.pop())
    assert len(sample["values"]) == 4 and len(set(sample["values"])) == 1
    overhead = (sample["values"][0] - sample["meta_instructions_per_loop"]) * loops
    assert 0 <= overhead < 20  # the reading of the counter


@pytest.mark.parametrize(("word", "spoken"), [("hang", ["main"]), ("silent", [])])
def test_floor_hangs_on_request(cache: Cache, word: str, spoken: list[str]) -> None:
    image = guests.get("floor", cache).build(boot_program(cache), BuildOptions(cmdline=word))
    assert events(boot_without_end(image, patience=5)) == spoken


def test_floor_crashes_on_request(cache: Cache) -> None:
    image = guests.get("floor", cache).build(boot_program(cache), BuildOptions(cmdline="crash"))
    assert events(boot(image, memory=32)) == ["main"]


# ---- linux ----


@pytest.mark.parametrize("machine", [MachineKind.Q35, MachineKind.MICROVM])
def test_linux_runs_the_boot_program(linux: Linux, cache: Cache, machine: MachineKind) -> None:
    image = linux.build(boot_program(cache), BuildOptions(machine=machine))
    found = frames(boot(image, machine=machine))
    assert [frame["event"] for frame in found] == ["init", "main", "exit", "status"]
    assert found[1]["program"] == "boot" and (found[3]["status"], found[3]["signal"]) == (0, 0)
    assert [frame["t"] for frame in found] == sorted(frame["t"] for frame in found)
    assert [frame["tsc"] for frame in found] == sorted(frame["tsc"] for frame in found)


@pytest.mark.parametrize(
    ("words", "spoken", "status", "signal"),
    [
        (["status=7"], ["init", "main", "exit", "status"], 7, 0),
        (["noexit"], ["init", "main", "status"], 0, 0),
        (["abort"], ["init", "main", "status"], 134, 6),
        (["segv"], ["init", "main", "status"], 139, 11),
        (["lie=status"], ["init", "main", "exit", "status"], 9, 0),
    ],
)
def test_linux_says_how_the_program_ended(
    *, linux: Linux, cache: Cache, words: list[str], spoken: list[str], status: int, signal: int
) -> None:
    image = linux.build(misbehave_program(*words, cache=cache), BuildOptions(machine=MachineKind.MICROVM))
    found = frames(boot(image, machine="microvm"))
    assert [frame["event"] for frame in found] == spoken
    assert (found[-1]["status"], found[-1]["signal"]) == (status, signal)


def test_linux_gives_arguments_and_environment_as_they_are(linux: Linux, cache: Cache, tmp_path: Path) -> None:
    from ukperf.imaging.compiler import STATIC_PIE, compile_c
    from ukperf.resources import data

    source = tmp_path / "words.c"
    source.write_text(
        f'#include "{data("workloads", "common", "ukperf.h")}"\n#include <stdlib.h>\n'
        'int main(int argc, char **argv) { uk_main("words"); for (int i = 0; i < argc; i++) uk_check("arg", argv[i]);'
        ' uk_check("env", getenv("NAME")); return uk_exit(0); }\n'
    )
    compile_c([source], tmp_path / "words", STATIC_PIE, base=tmp_path)
    digest = cache.digests.file(tmp_path / "words")
    words = ("/bin/wo rds", " two  spaces ", "", "a=b")
    wanted = Program("words", digest, tmp_path / "words", False, words, (("NAME", "v = w "),))
    found = frames(boot(linux.build(wanted, BuildOptions(machine=MachineKind.MICROVM)), machine="microvm"))
    assert [frame["digest"] for frame in found if frame["event"] == "check"] == [*words, "v = w "]


def test_a_program_that_cannot_run_is_an_error_frame(linux: Linux, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF but no more")
    wanted = Program("x", cache.digests.file(tmp_path / "x"), tmp_path / "x", False, ("/x",))
    found = frames(boot(linux.build(wanted, BuildOptions(machine=MachineKind.MICROVM)), machine="microvm"))
    assert [frame["event"] for frame in found] == ["init", "error", "status"]
    assert "cannot run /x" in found[1]["message"] and found[2]["status"] == 127


@pytest.mark.skipif(shutil.which("mke2fs") is None, reason="mke2fs is not installed: sudo apt-get install e2fsprogs")
@pytest.mark.parametrize(
    ("machine", "device", "drive"),
    [
        ("q35", "virtio-blk-pci,drive=d", ()),
        ("microvm", "virtio-blk-device,drive=d", ("-global", "virtio-mmio.force-legacy=false")),
    ],
)
def test_linux_runs_a_program_from_a_disk(
    *, linux: Linux, cache: Cache, tmp_path: Path, machine: str, device: str, drive: Sequence[str]
) -> None:
    wanted = misbehave_program("status=4", cache=cache)
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(wanted.path, root / "bin" / "x")
    disk = tmp_path / "disk"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, disk, "8M"], check=True, capture_output=True)
    options = BuildOptions(machine=MachineKind(machine))
    wanted = replace(wanted, argv=("/bin/x", *wanted.argv[1:]))
    disk_initramfs(linux.kernel(options), linux.init(), wanted, tmp_path / "initrd", linux.disk_on(options.machine))
    image = replace(linux.build(boot_program(cache), options), initrd=tmp_path / "initrd")
    drives = ("-drive", f"if=none,id=d,format=raw,file={disk}", "-device", device, *drive)
    found = frames(boot(image, *drives, machine=machine))
    assert [frame["event"] for frame in found] == ["init", "main", "exit", "status"]
    assert found[-1]["status"] == 4


def test_init_says_what_went_wrong_and_powers_off(linux: Linux, cache: Cache, tmp_path: Path) -> None:
    options = BuildOptions(machine=MachineKind.MICROVM)
    disk_initramfs(
        linux.kernel(options), linux.init(), boot_program(cache), tmp_path / "initrd", linux.disk_on(options.machine)
    )
    image = replace(linux.build(boot_program(cache), options), initrd=tmp_path / "initrd")
    found = frames(boot(image, machine="microvm"))  # no disk at all
    assert [frame["event"] for frame in found] == ["init", "error"]
    assert "no disk /dev/vda" in found[1]["message"]
