"""Guests by name, their recipes, and the images that they make."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from ukperf import guests, resources
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.linux import Linux, init_conf
from ukperf.guests.recipes import load_recipe
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import boot_program, count_program, misbehave_program
from ukperf.model import Accelerator, BootProtocol, MachineKind, Program

KERNEL = bytes(0x1FE) + b"\x55\xaa" + bytes(2) + b"HdrS" + bytes(8) + b"\x00\x01\x00\x01" + bytes(0x24) + b"\x01"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def options(tmp_path: Path) -> BuildOptions:
    """With a kernel that is one by its header, so that no download is needed."""
    kernel = KERNEL.ljust(0x300, b"\0") + b"6.1-test (x)" + bytes(100)
    (tmp_path / "vmlinuz").write_bytes(kernel)
    return BuildOptions(kernel=tmp_path / "vmlinuz")


def program(*argv: str, env: tuple[tuple[str, str], ...] = ()) -> Program:
    return Program("boot", "d", Path("/x"), False, argv, env)


@pytest.mark.parametrize("name", guests.names())
def test_every_guest_has_a_recipe_that_names_it(name: str, cache: Cache) -> None:
    guest = guests.get(name, cache)
    assert guest.name == guest.recipe.name == name
    assert guest.recipe.summary and guest.recipe.version
    assert guest.recipe.min_memory_mib <= guest.recipe.memory_mib


@pytest.mark.parametrize(
    ("name", "hint"), [("linus", "Did you mean linux?"), ("Flor", "floor"), ("zzz", "There are: ")]
)
def test_an_unknown_guest_gets_the_name_that_was_perhaps_meant(name: str, hint: str) -> None:
    with pytest.raises(UkperfError, match="There is no guest") as caught:
        guests.get(name)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["", "name = 3", "not toml ["])
def test_a_damaged_recipe_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(UkperfError, match="damaged"):
        load_recipe(tmp_path / "recipe.toml")


def test_floor_is_an_elf_with_xens_entry_note(cache: Cache) -> None:
    image = guests.get("floor", cache).build(boot_program(cache), BuildOptions())
    assert (image.protocol, image.initrd, image.program_digest) == (BootProtocol.KERNEL, None, "")
    assert image.kernel is not None and image.cmdline == ""
    notes = subprocess.run(["readelf", "-nW", image.kernel], check=True, capture_output=True, text=True).stdout
    assert "Xen" in notes and "0x00000012" in notes  # XEN_ELFNOTE_PHYS32_ENTRY = 18
    assert image.kernel.stat().st_size < 64 << 10


def test_floor_counts_with_the_words_of_the_count_program(cache: Cache) -> None:
    image = guests.get("floor", cache).build(count_program(5000, 3, cache), BuildOptions(cmdline=" status=1 "))
    assert image.cmdline == "loops=5000 values=3 status=1"


def test_floor_loads_no_programs(cache: Cache) -> None:
    with pytest.raises(UkperfError, match="cannot run misbehave"):
        guests.get("floor", cache).build(misbehave_program(cache=cache), BuildOptions())


def test_native_runs_the_same_bytes_with_the_same_words(cache: Cache) -> None:
    wanted = misbehave_program("status=3", cache=cache)
    image = guests.get("native", cache).build(wanted, BuildOptions())
    assert image.protocol is BootProtocol.EXEC
    assert image.argv == (str(wanted.path), "status=3") and image.program_digest == wanted.digest


def test_a_linux_image_is_built_once_and_holds_the_programs_bytes(
    cache: Cache, options: BuildOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = boot_program(cache)
    first = guests.get("linux", cache).build(boot, options)
    assert first.initrd is not None and boot.path.read_bytes() in first.initrd.read_bytes()
    assert first.kernel is not None and options.kernel is not None and first.kernel_version == "6.1-test"
    assert first.kernel.read_bytes() == options.kernel.read_bytes()
    assert first.program_digest == boot.digest
    monkeypatch.setattr("ukperf.imaging.cpio.write", lambda *_: pytest.fail("built again"))
    assert guests.get("linux", cache).build(boot, options) == first


def test_images_differ_with_everything_that_is_in_them(cache: Cache, options: BuildOptions, tmp_path: Path) -> None:
    linux = guests.get("linux", cache)
    boot = boot_program(cache)
    other = tmp_path / "other"
    other.write_bytes(options.kernel.read_bytes() + b"!")
    images = [
        linux.build(boot, options),
        linux.build(dataclasses.replace(boot, argv=("/boot", "x")), options),
        linux.build(dataclasses.replace(boot, env=(("A", "b"),)), options),
        linux.build(misbehave_program(cache=cache), options),
        linux.build(boot, dataclasses.replace(options, kernel=other)),
        linux.build(boot, dataclasses.replace(options, cmdline="debug")),
        linux.build(boot, dataclasses.replace(options, accelerator=Accelerator.ICOUNT)),
    ]
    assert len({image.digest for image in images}) == len(images)


def test_only_icount_takes_randomness_out_of_linux(cache: Cache, options: BuildOptions) -> None:
    linux, boot = guests.get("linux", cache), boot_program(cache)
    assert "nokaslr" not in linux.build(boot, options).cmdline.split()
    assert "nokaslr" in linux.build(boot, dataclasses.replace(options, accelerator=Accelerator.ICOUNT)).cmdline.split()


def test_only_a_local_microvm_under_emulation_is_told_the_counters_rate(cache: Cache, options: BuildOptions) -> None:
    linux, boot = guests.get("linux", cache), boot_program(cache)
    microvm = dataclasses.replace(options, machine=MachineKind.MICROVM)
    (word,) = (word for word in linux.build(boot, microvm).cmdline.split() if word.startswith("tsc_early_khz="))
    assert 100_000 < int(word.partition("=")[2]) < 100_000_000
    for other in (
        options,
        dataclasses.replace(microvm, remote=True),
        dataclasses.replace(microvm, accelerator=Accelerator.KVM),
        dataclasses.replace(microvm, accelerator=Accelerator.ICOUNT),
    ):
        assert "tsc_early_khz" not in linux.build(boot, other).cmdline


def test_a_machine_that_a_guest_does_not_boot_on_is_one_sentence(cache: Cache, options: BuildOptions) -> None:
    with pytest.raises(UkperfError, match="does not boot on xenhvm"):
        guests.get("linux", cache).build(boot_program(cache), dataclasses.replace(options, machine=MachineKind.XENHVM))


def test_a_missing_kernel_is_said_with_the_line_to_type(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ukperf.imaging.distro.find_kernel", lambda *_: None)
    linux = guests.get("linux", cache)
    state = linux.availability(BuildOptions())
    assert not state.ok and "ukperf images pull linux" in (state.hint or "")
    with pytest.raises(UkperfError, match="no Linux kernel"):
        linux.build(boot_program(cache), BuildOptions())


def test_availability_does_not_raise_for_a_kernel_that_is_none(cache: Cache, tmp_path: Path) -> None:
    state = guests.get("linux", cache).availability(BuildOptions(kernel=tmp_path))
    assert not state.ok and "cannot be read" in state.sentence


def test_words_and_variables_reach_init_with_their_spaces() -> None:
    conf = init_conf(program("/a b", " x ", "", env=(("A", "b = c "),)), disk="/dev/vda", modules=["/m.ko"])
    assert conf == b"module /m.ko\nroot /dev/vda\narg /a b\narg  x \narg \nenv A=b = c \n"


def test_a_program_that_waits_for_the_kernel_says_so_to_init_and_others_do_not() -> None:
    assert init_conf(program("/a"), settled=True) == b"wait settled\narg /a\n"
    assert b"wait" not in init_conf(program("/a"))


@pytest.mark.parametrize("wanted", [program("/a", "x\ny"), program("/a", "x\0"), program("/a", env=(("A", "\n"),))])
def test_what_inits_file_cannot_hold_is_refused(wanted: Program) -> None:
    with pytest.raises(UkperfError, match="line feeds"):
        init_conf(wanted)


@pytest.mark.parametrize("wanted", [program(*["/a"] * 257), program("/a", "x" * 70000)])
def test_more_than_init_can_hold_is_refused(wanted: Program) -> None:
    with pytest.raises(UkperfError, match="at most 256 arguments"):
        init_conf(wanted)


def test_our_data_is_found_in_an_installed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path)
    with pytest.raises(UkperfError, match="are missing"):
        resources.data_root()
    for name in ("images", "workloads"):
        (tmp_path / "_data" / name).mkdir(parents=True)
    assert resources.data("images") == tmp_path / "_data" / "images"
    with pytest.raises(UkperfError, match="is missing"):
        resources.data("images", "nothing")


def test_the_names_of_guests_cost_no_heavy_import() -> None:
    script = "import sys, ukperf.guests as g; g.names(); print('elftools' in sys.modules, 'numpy' in sys.modules)"
    root = str(resources.data_root())
    done = subprocess.run(
        [os.sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.stdout.split() == ["False", "False"]


def test_linux_needs_modules_for_a_disk(cache: Cache, options: BuildOptions, tmp_path: Path) -> None:
    from ukperf.guests.linux import Disk, disk_initramfs

    linux = Linux(cache)
    with pytest.raises(UkperfError, match="has no modules"):
        disk_initramfs(
            linux.kernel(options), linux.init(), boot_program(cache), tmp_path / "x", Disk("/dev/vda", ("virtio_blk",))
        )


def test_a_disk_on_xen_has_xens_name_and_driver(
    cache: Cache, options: BuildOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ukperf.guests.linux import disk_initramfs

    asked: list[str] = []

    def load_order(_folder: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
        asked.extend(names)
        return [("xen_blkfront", b"a module")]

    monkeypatch.setattr("ukperf.imaging.kmodules.load_order", load_order)
    linux = Linux(cache)
    kernel = dataclasses.replace(linux.kernel(options), modules=tmp_path)
    for machine, device in ((MachineKind.XENPV, b"/dev/xvda"), (MachineKind.XENPVH, b"/dev/xvda")):
        disk_initramfs(kernel, linux.init(), boot_program(cache), tmp_path / "x", linux.disk_on(machine))
        assert b"module /xen_blkfront.ko\nroot " + device + b"\narg " in (tmp_path / "x").read_bytes()
    assert set(asked) == {"xen_blkfront"}
    disk_initramfs(kernel, linux.init(), boot_program(cache), tmp_path / "x", linux.disk_on(MachineKind.Q35))
    assert "virtio_blk" in asked and b"root /dev/vda\n" in (tmp_path / "x").read_bytes()


@pytest.mark.parametrize("accelerator", [Accelerator.TCG, Accelerator.ICOUNT])
def test_a_linux_command_line_past_the_kernels_limit_is_refused_before_any_boot(
    cache: Cache, options: BuildOptions, accelerator: Accelerator
) -> None:
    """COMMAND_LINE_SIZE is 2048 on x86: 2047 bytes and a NUL."""
    linux, boot = guests.get("linux", cache), boot_program(cache)
    options = dataclasses.replace(options, accelerator=accelerator)
    room = 2047 - len(linux.build(boot, options).cmdline) - 1
    most = dataclasses.replace(options, cmdline="x" * room)
    assert len(linux.build(boot, most).cmdline) == 2047
    with pytest.raises(UkperfError, match="would have 2,048 bytes, and its kernel takes 2,047"):
        linux.build(boot, dataclasses.replace(options, cmdline="x" * (room + 1)))
    with pytest.raises(UkperfError, match="would have 2,048 bytes"):  # a letter is not a byte
        linux.build(boot, dataclasses.replace(options, cmdline="x" * (room - 1) + "ü"))


def test_linux_needs_80_mib_and_a_kernel_of_the_users_own_may_do_with_less(options: BuildOptions) -> None:
    linux = guests.get("linux")
    linux.check_memory(80, BuildOptions())
    with pytest.raises(UkperfError, match="linux needs 80 MiB of memory, and would get 79"):
        linux.check_memory(79, BuildOptions())
    linux.check_memory(16, options)
