"""The guests debian and ubuntu: their images are put together of what was built once and the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ukperf import guests
from ukperf.doctor import checks
from ukperf.errors import UkperfError
from ukperf.guests import distribution
from ukperf.guests.base import Availability, BuildOptions
from ukperf.guests.distribution import Debian, Distribution
from ukperf.guests.linux import tree_disk
from ukperf.guests.recipes import Joins
from ukperf.hosts.fake import FakeHost, good_boot
from ukperf.imaging import bootstrap
from ukperf.imaging.cache import Cache
from ukperf.model import Accelerator, MachineKind, Program
from ukperf.resources import data

UNIT = data("images", "debian", "unit.c")


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    """With a system in its cache that mmdebstrap would have built."""

    def built(_wanted: bootstrap.SystemWanted, folder: Path, _name: str) -> None:
        (folder / bootstrap.KERNEL).write_bytes(b"kernel")
        (folder / bootstrap.INITRD).write_bytes(b"initramfs")
        (folder / bootstrap.SYSTEM).write_bytes(b"system")
        facts = bootstrap.Built("Debian 12", "6.1.0-9", 231, "1" * 64, "2" * 64, "2026-11-27")
        (folder / bootstrap.BUILT).write_text(json.dumps(facts.__dict__))

    monkeypatch.setattr(bootstrap, "build", built)
    monkeypatch.setattr(bootstrap, "find_tool", lambda: "mmdebstrap")
    first = tmp_path / "first"
    first.write_bytes(b"first of all")
    monkeypatch.setattr(distribution, "own_part", lambda _cache, _source: first)
    return Debian(Cache(tmp_path / "cache"))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "boot").write_bytes(b"\x7fELF program")
    return Program("boot", "3" * 64, tmp_path / "boot", False, ("/boot", "two words"), (("A", "b"),))


needs_e2fsprogs = pytest.mark.skipif(
    shutil.which("debugfs", path="/usr/sbin:/sbin") is None, reason="e2fsprogs is not installed"
)


@pytest.mark.parametrize("name", ["debian", "ubuntu"])
def test_it_takes_part_where_it_is_named_and_is_built_then(name: str, tmp_path: Path) -> None:
    guest = guests.get(name, Cache(tmp_path))
    assert isinstance(guest, Distribution)
    assert guest.recipe.joins is Joins.IF_NAMED and guest.fetches
    there = guest.availability(BuildOptions())
    assert not there.ok and there.hint is not None and f"ukperf images pull {name}" in there.hint
    assert list(tmp_path.glob("systems/*")) == []  # who only asks builds nothing


@needs_e2fsprogs
def test_its_program_is_on_the_first_disk_and_what_is_run_is_behind_its_initramfs(
    debian: Debian, program: Program
) -> None:
    image = debian.build(program, BuildOptions(accelerator=Accelerator.ICOUNT))
    assert image.disk is not None and image.system is not None and image.initrd is not None
    assert image.system.read_bytes() == b"system"
    command = ["/sbin/debugfs", "-R", "cat /boot", image.disk]
    assert subprocess.run(command, capture_output=True, check=True).stdout == program.path.read_bytes()
    initrd = image.initrd.read_bytes()
    assert initrd.startswith(b"initramfs\0") and initrd[512:518] == b"070701"
    assert b"root 5eed5eed-0000-4000-8000-000000000000\narg /boot\narg two words\nenv A=b\n" in initrd
    assert b"first of all" in initrd
    assert "231 packages" in image.kernel_version and "Debian 12" in image.kernel_version
    assert "nokaslr" in image.cmdline.split() and image.slow_s > 0
    assert debian.availability(BuildOptions()).ok


@needs_e2fsprogs
def test_a_cache_that_has_moved_is_used_where_it_is(debian: Debian, program: Program, tmp_path: Path) -> None:
    before = debian.build(program, BuildOptions())
    debian.cache.root.rename(tmp_path / "moved")
    after = Debian(Cache(tmp_path / "moved")).build(program, BuildOptions())
    assert after.digest == before.digest
    places = (after.kernel, after.initrd, *after.disks)
    assert all(path is not None and path.is_relative_to(tmp_path / "moved") and path.is_file() for path in places)


@needs_e2fsprogs
def test_a_tree_is_on_the_same_disk_as_in_linux(debian: Debian, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "x").write_bytes(b"x")
    program = Program("run", "4" * 64, tmp_path / "tree", True, ("/x",))
    assert debian.build(program, BuildOptions()).disk == tree_disk(debian.cache, program)


@needs_e2fsprogs
def test_images_differ_by_words_and_command_lines_and_share_the_system(debian: Debian, program: Program) -> None:
    options = [BuildOptions(), BuildOptions(cmdline="x"), BuildOptions(accelerator=Accelerator.ICOUNT)]
    images = [debian.build(program, one) for one in options]
    assert len({image.digest for image in images}) == 3
    assert len({image.system for image in images}) == 1


def test_another_kernel_or_machine_is_refused(debian: Debian, program: Program, tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="its own kernel only"):
        debian.build(program, BuildOptions(kernel=tmp_path / "vmlinuz"))
    assert not debian.availability(BuildOptions(kernel=tmp_path / "vmlinuz")).ok
    with pytest.raises(UkperfError, match="does not boot on xenpv"):
        debian.build(program, BuildOptions(machine=MachineKind.XENPV))


def test_a_damaged_system_is_one_sentence(debian: Debian, program: Program) -> None:
    debian.obtain()
    next(debian.cache.root.rglob(bootstrap.BUILT)).write_text("{}")
    with pytest.raises(UkperfError, match="damaged") as caught:
        debian.build(program, BuildOptions())
    assert "rm -r" in (caught.value.hint or "")


def test_doctor_does_not_boot_it_to_see_a_clock_that_is_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Debian, "availability", lambda *_: Availability(True, "there"))
    monkeypatch.setattr(guests, "names", lambda: ("debian",))
    monkeypatch.setattr(checks, "check_clock", lambda *_: pytest.fail("booted"))
    host = FakeHost(lambda _spec, number: good_boot(100 + number), accelerators=(Accelerator.TCG,))
    assert checks._clocks(host, Accelerator.TCG) == []


def test_the_unit_is_started_once_and_its_end_is_the_machines() -> None:
    text = data("images", "debian", "ukperf.service").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert values["Restart"] == "no"
    assert values["SuccessAction"] == values["FailureAction"] == "poweroff"


def test_the_units_program_tells_how_another_ended(tmp_path: Path) -> None:
    unit = tmp_path / "unit"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-o", unit, UNIT], check=True)
    for code, how, said in (
        ("exited", "3", '"status":3,"signal":0'),
        ("killed", "SEGV", '"status":139,"signal":11'),
        ("dumped", "ABRT", '"status":134,"signal":6'),
        ("killed", "NONSENSE", '"status":127,"signal":0'),
    ):
        environment = {"EXIT_CODE": code, "EXIT_STATUS": how}
        out = subprocess.run([unit, "end"], env=environment, capture_output=True, text=True, check=True).stdout
        assert said in out
    assert subprocess.run([unit], capture_output=True, check=False).returncode == 2
