"""The guests nanos and unikraft, with kernels that only look like ones."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from cprograms import compiled
from fakekernels import boot_img, elf, nanos_kernel, unikraft_kernel
from hypothesis import given
from hypothesis import strategies as st
from tfs_reader import read_disk

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.nanos import Nanos
from ukperf.guests.unikraft import Unikraft, check_loadable, quote
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelstore import KernelStore
from ukperf.model import Accelerator, BootProtocol, MachineKind, Program, Trait


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def store(tmp_path: Path) -> KernelStore:
    store = KernelStore(tmp_path / "store")
    store.add("nanos", "1", {"kernel": nanos_kernel(), "boot": boot_img()})
    store.add("unikraft", "1", {"kernel": unikraft_kernel()})
    return store


def program(folder: Path, *words: str, env: tuple[tuple[str, str], ...] = (), kind: int = 3) -> Program:
    """A C program; kind: the ELF type, 3 position independent, 2 not."""
    data = bytearray(elf(62, b"code"))
    data[16:18] = kind.to_bytes(2, "little")
    (folder / "prog").write_bytes(data)
    return Program("boot", "d" * 64, folder / "prog", False, ("/prog", *words), env)


def tree_program(folder: Path) -> Program:
    (folder / "tree" / "bin").mkdir(parents=True)
    made = program(folder, "-c", "x")
    (folder / "tree" / "bin" / "python").write_bytes(made.path.read_bytes())
    (folder / "tree" / "lib").symlink_to("bin")
    return Program("sklearn", "e" * 64, folder / "tree", True, ("/bin/python", "-c", "x"), (("A", "b c"),))


def test_a_missing_kernel_is_one_sentence_with_the_line_to_type(tmp_path: Path, cache: Cache) -> None:
    for kind, more in ((Nanos, "--kernel kernel.img --boot boot.img"), (Unikraft, "--kernel FILE")):
        guest = kind(cache, KernelStore(tmp_path / "empty"))
        there = guest.availability(BuildOptions())
        assert (there.ok, there.sentence) == (False, f"There is no {guest.name} kernel yet.")
        wanted = f"ukperf images pull {guest.name}, or: ukperf images add {guest.name} {more}"
        assert there.hint == f"Get one: {wanted}"
        with pytest.raises(UkperfError, match=r"no .* kernel yet"):
            guest.build(program(tmp_path), BuildOptions())


def test_both_are_guests_by_name() -> None:
    assert {"nanos", "unikraft"} <= set(guests.names())


# nanos


def test_nanos_gets_a_disk_with_kernel_program_arguments_and_environment(
    tmp_path: Path, cache: Cache, store: KernelStore
) -> None:
    made = program(tmp_path, "a b", "", env=(("X", "1"), ("Ü", "ä=b")))
    image = Nanos(cache, store).build(made, BuildOptions())
    assert (image.protocol, image.kernel, image.initrd) == (BootProtocol.DISK, None, None)
    assert (image.program_digest, image.kernel_version, image.traits) == ("d" * 64, "1", (Trait.EXIT_PORT,))
    assert image.disk is not None
    boot, root = read_disk(image.disk)
    assert boot.tree() == {b"kernel": ("file", nanos_kernel())}
    assert root.tree() == {b"prog": ("file", made.path.read_bytes())}
    assert root.root[b"program"] == b"/prog"
    assert root.root[b"arguments"] == [b"/prog", b"a b", b""]
    assert root.root[b"environment"] == {b"X": b"1", "Ü".encode(): "ä=b".encode()}
    assert root.root[b"debug_exit"] == b"t"


def test_nanos_on_microvm_boots_the_same_disk_by_its_kernel(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    guest, made = Nanos(cache, store), program(tmp_path)
    disk, direct = guest.build(made, BuildOptions()), guest.build(made, BuildOptions(machine=MachineKind.MICROVM))
    assert direct.disk == disk.disk
    assert direct.digest != disk.digest
    assert (direct.protocol, direct.kernel_digest) == (BootProtocol.KERNEL, disk.kernel_digest)
    assert direct.kernel is not None
    assert direct.kernel.read_bytes() == nanos_kernel()
    assert direct.traits == (Trait.EXIT_PORT, Trait.ONE_IOAPIC, Trait.MODERN_MMIO)


def test_nanos_on_microvm_under_icount_is_refused_before_it_hangs(
    tmp_path: Path, cache: Cache, store: KernelStore
) -> None:
    options = BuildOptions(machine=MachineKind.MICROVM, accelerator=Accelerator.ICOUNT)
    with pytest.raises(UkperfError, match="no clock on microvm"):
        Nanos(cache, store).build(program(tmp_path), options)


def test_nanos_on_xen_powers_off_instead_of_asking_for_a_device_that_is_not_there(
    tmp_path: Path, cache: Cache, store: KernelStore
) -> None:
    image = Nanos(cache, store).build(program(tmp_path), BuildOptions(machine=MachineKind.XENHVM))
    assert image.traits == ()
    assert image.disk is not None
    assert b"debug_exit" not in read_disk(image.disk)[1].root


def test_nanos_takes_options_of_its_root_tuple(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    image = Nanos(cache, store).build(program(tmp_path), BuildOptions(cmdline="noaslr  log_level=info"))
    assert image.disk is not None
    root = read_disk(image.disk)[1].root
    assert (root[b"noaslr"], root[b"log_level"]) == (b"t", b"info")


def test_nanos_takes_a_tree_and_gives_it_a_tmp(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    image = Nanos(cache, store).build(tree_program(tmp_path), BuildOptions())
    assert image.disk is not None
    found = read_disk(image.disk)[1].tree()
    assert sorted(found) == [b"bin", b"bin/python", b"lib", b"tmp"]
    assert found[b"lib"] == ("link", b"bin")


def test_nanos_by_path_finds_the_boot_image_of_a_release_or_a_build(tmp_path: Path, cache: Cache) -> None:
    guest = Nanos(cache, KernelStore(tmp_path / "empty"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "boot").mkdir()
    kernel = tmp_path / "bin" / "kernel.img"
    kernel.write_bytes(nanos_kernel())
    with pytest.raises(UkperfError, match=rf"{re.escape(str(kernel))} has no boot\.img beside it"):
        guest.build(program(tmp_path), BuildOptions(kernel=kernel))
    (tmp_path / "boot" / "boot.img").write_bytes(boot_img())
    assert guest.build(program(tmp_path), BuildOptions(kernel=kernel)).kernel_version == "git-0123456789ab"
    with pytest.raises(UkperfError, match="cannot be read"):
        guest.build(program(tmp_path), BuildOptions(kernel=tmp_path / "nowhere"))


def test_another_kernel_program_or_word_is_another_image(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    for kind in (Nanos, Unikraft):
        guest, made = kind(cache, store), program(tmp_path)
        digests = {
            guest.build(made, BuildOptions()).digest,
            guest.build(program(tmp_path, "x"), BuildOptions()).digest,
            guest.build(program(tmp_path, env=(("A", "1"),)), BuildOptions()).digest,
            guest.build(made, BuildOptions(cmdline="a.b=1")).digest,
        }
        files = {"kernel": nanos_kernel(b"2"), "boot": boot_img()}
        if kind is Unikraft:
            files = {"kernel": unikraft_kernel(content=b"2")}
        store.add(guest.name, "2", files)
        digests.add(guest.build(made, BuildOptions()).digest)
        assert len(digests) == 5


def test_an_unchanged_image_is_not_written_again(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    for kind in (Nanos, Unikraft):
        first = kind(cache, store).build(program(tmp_path), BuildOptions())
        path = first.disk or first.initrd
        assert path is not None
        before = path.stat().st_mtime_ns, path.stat().st_ino
        assert kind(cache, store).build(program(tmp_path), BuildOptions()) == first
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


# unikraft


def test_unikraft_gets_kernel_initrd_and_a_command_line(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    image = Unikraft(cache, store).build(program(tmp_path, "a b", env=(("X", "1 2"),)), BuildOptions())
    assert image.protocol is BootProtocol.KERNEL
    assert image.kernel is not None
    assert image.kernel.read_bytes() == unikraft_kernel()
    assert image.initrd is not None
    assert image.cmdline == 'env.vars=[ "X=1 2" ] vfs.fstab=[ "initrd0:/:extract::ramfs=2:" ] -- "/prog" "a b"'
    assert (image.powers_off, image.traits, image.disk) == (False, (), None)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40))
def test_a_quoted_word_is_read_back_as_it_was(word: str) -> None:
    assert shlex.split(quote(word)) == [word]


@pytest.mark.parametrize("word", ["a\nb", "a\0b", "\x1b[31m"])
def test_words_that_no_command_line_can_hold_are_refused(word: str) -> None:
    with pytest.raises(UkperfError, match="control characters"):
        quote(word)


@pytest.mark.parametrize(
    ("counts", "fits"), [((54, 0), True), ((55, 0), False), ((42, 10), True), ((43, 10), False), ((0, 60), False)]
)
def test_more_arguments_than_the_kernel_takes_are_refused(
    tmp_path: Path, cache: Cache, store: KernelStore, counts: tuple[int, int], fits: bool
) -> None:
    """60 words on the line, the kernel's own name among them: 54 arguments and no variables were seen to arrive."""
    words, variables = counts
    made = program(tmp_path, *["x"] * words, env=tuple((f"V{n}", "1") for n in range(variables)))
    guest = Unikraft(cache, store)
    if fits:
        assert guest.build(made, BuildOptions()).cmdline.count('"x"') == words
    else:
        with pytest.raises(UkperfError, match=r"Unikraft takes .* arguments and variables in all"):
            guest.build(made, BuildOptions())


def test_a_command_line_longer_than_the_kernel_takes_is_refused(
    tmp_path: Path, cache: Cache, store: KernelStore
) -> None:
    guest = Unikraft(cache, store)
    room = 4060 - len(guest.cmdline(program(tmp_path, "")))
    assert len(guest.cmdline(program(tmp_path, "x" * room))) == 4060
    with pytest.raises(UkperfError, match="4,061 bytes"):
        guest.cmdline(program(tmp_path, "x" * (room + 1)))


def test_a_program_that_is_not_position_independent_is_refused(
    tmp_path: Path, cache: Cache, store: KernelStore
) -> None:
    with pytest.raises(UkperfError, match="not position independent"):
        Unikraft(cache, store).build(program(tmp_path, kind=2), BuildOptions())
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(UkperfError, match="no ELF program"):
        check_loadable(tmp_path / "script")
    with pytest.raises(UkperfError, match="cannot be read"):
        check_loadable(tmp_path / "nowhere")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_packed_program_that_is_refused_is_called_as_it_was_asked_for(tmp_path: Path) -> None:
    """Not by its place in the cache."""
    compiled(tmp_path / "program", "int main(void) { return 0; }", "-no-pie")
    with pytest.raises(UkperfError, match=r"^/usr/bin/program is not position independent"):
        check_loadable(tmp_path / "program", "/usr/bin/program")


def test_unikraft_takes_a_tree(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    image = Unikraft(cache, store).build(tree_program(tmp_path), BuildOptions())
    assert image.initrd is not None
    assert b"bin/python" in image.initrd.read_bytes()
    assert '-- "/bin/python" "-c" "x"' in image.cmdline


# the command


def test_unikrafts_archive_is_written_again_where_it_is_gone(tmp_path: Path, cache: Cache, store: KernelStore) -> None:
    made = tree_program(tmp_path)
    first = Unikraft(cache, store).build(made, BuildOptions()).initrd
    shutil.rmtree(cache.root / "archives")
    second = Unikraft(cache, store).build(made, BuildOptions()).initrd
    assert first == second is not None and second.is_file()


def test_images_commands_tell_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from ukperf.cli.images import app

    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "kernel.img").write_bytes(nanos_kernel())
    (tmp_path / "boot.img").write_bytes(boot_img())

    def run(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, list(words))
        if isinstance(result.exception, UkperfError):
            return str(result.exception)
        assert result.exit_code == status, result.output
        return result.output

    assert "no kernels here yet" in run("list")
    assert json.loads(run("list", "--json"))["kernels"] == []
    files = ("--kernel", str(tmp_path / "kernel.img"), "--boot", str(tmp_path / "boot.img"))
    assert "nanos 7 (qemu) is here" in run("add", "nanos", "--no-probe", *files, "--version", "7")
    assert json.loads(run("add", "nanos", "--no-probe", *files, "--json"))["version"] == "git-0123456789ab"
    assert "Did you mean nanos?" in run("add", "nanoss", *files)
    (tmp_path / "kernel.img").write_bytes(nanos_kernel(b"rebuilt"))
    assert "There is another nanos 7" in run("add", "nanos", "--no-probe", *files, "--version", "7")
    (tmp_path / "kernel.img").write_bytes(nanos_kernel(b"rebuilt again"))
    replaced = json.loads(run("add", "nanos", "--no-probe", *files, "--version", "7", "--replace", "--json"))
    assert replaced["files"][1]["sha256"] == hashlib.sha256(nanos_kernel(b"rebuilt again")).hexdigest()
    assert "Removed nanos 7" in run("prune", "nanos", "--version", "7")
    (tmp_path / "kernel.img").write_bytes(nanos_kernel())
    run("prune", "--keep", "0")
    for version in (("--version", "7"), ()):
        run("add", "nanos", "--no-probe", *files, *version)
    listed = json.loads(run("list", "--json"))["kernels"]
    assert [entry["version"] for entry in listed] == ["7", "git-0123456789ab"]
    assert "git-0123456789ab" in run("list")
    assert run("verify").count(": ok") == 2
    Path(listed[0]["files"][0]["path"]).write_bytes(b"x")
    assert "has the digest" in run("verify", status=1)
    assert "Removed nanos 7" in run("prune")
    assert "no kernel of version 8" in run("prune", "--version", "8")
    assert json.loads(run("prune", "nanos", "--keep", "0", "--json"))["removed"][0]["version"] == "git-0123456789ab"
    assert "Did you mean boot?" in run("build", "nanos", "--workload", "boott")
    assert "ukperf images pull nanos" in run("build", "nanos")
