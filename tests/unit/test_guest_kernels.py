"""Where the Linux guest's kernel and modules come from, with an apt made of shell scripts."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fakeapt import FakeApt

from ukperf.errors import UkperfError
from ukperf.imaging import distro, kmodules
from ukperf.imaging.cache import Cache
from ukperf.imaging.distro import find_kernel, pull_kernel
from ukperf.imaging.kernelfile import kernel_version
from ukperf.imaging.kmodules import load_order
from ukperf.paths import is_plain


def bzimage(version: str, *, wide: bool = True) -> bytes:
    """As much of a bzImage as its header promises (Documentation/arch/x86/boot.rst)."""
    head = bytearray(0x400)
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    head[0x211] = 1
    head[0x236] = 1 if wide else 0
    return bytes(head[:0x300]) + f"{version} (builder@host) #1 SMP".encode() + bytes(0x400)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_the_version_is_read_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(bzimage("6.1.0-56-cloud-amd64"))
    assert kernel_version(tmp_path / "k") == "6.1.0-56-cloud-amd64"


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (b"", "is no Linux kernel"),
        (b"MZ" + bytes(2000), "is no Linux kernel"),
        (b"#!/bin/sh\n", "is no Linux kernel"),
        (b"\x7fELF", "is no Linux kernel"),
        (b"\x7fELF" + bytes(range(256)) * 8, "is no Linux kernel"),
        (bzimage("6.1", wide=False), "not one for x86-64"),
    ],
)
def test_a_kernel_that_is_no_kernel_is_one_sentence(tmp_path: Path, contents: bytes, sentence: str) -> None:
    (tmp_path / "k").write_bytes(contents)
    with pytest.raises(UkperfError, match=sentence):
        kernel_version(tmp_path / "k")


def test_an_elf_program_is_no_kernel() -> None:
    with pytest.raises(UkperfError, match="is no Linux kernel"):
        kernel_version(Path("/bin/true").resolve())


@pytest.mark.parametrize("path", ["/nowhere/vmlinuz", "/"])
def test_a_kernel_that_cannot_be_read_is_one_sentence(path: str) -> None:
    with pytest.raises(UkperfError, match="cannot be read"):
        kernel_version(Path(path))


def test_the_users_own_kernel_wins(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(bzimage("9.9.9-mine"))
    kernel = find_kernel(cache, tmp_path / "k")
    assert kernel is not None and (kernel.version, kernel.vmlinuz, kernel.modules) == (
        "9.9.9-mine",
        tmp_path / "k",
        None,
    )


# ---- apt ----


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    fake = FakeApt(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    return fake


def test_debians_cloud_kernel_is_taken_apart_in_the_cache(apt: FakeApt, cache: Cache) -> None:
    apt.package("linux-image-cloud-amd64", ["linux-image-6.1.0-9-cloud-amd64"], {})
    apt.package(
        "linux-image-6.1.0-9-cloud-amd64",
        ["kmod", "initramfs-tools"],
        {
            "./boot/vmlinuz-6.1.0-9-cloud-amd64": bzimage("6.1.0-9-cloud-amd64"),
            "./boot/System.map-6.1.0-9-cloud-amd64": b"not wanted",
            "./lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/virtio/virtio.ko": b"wanted",
            "./lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/gpu/drm/drm.ko": b"not wanted",
        },
    )
    kernel = pull_kernel(cache)
    assert kernel.version == "6.1.0-9-cloud-amd64" and kernel == find_kernel(cache)
    assert kernel.modules is not None
    assert [path.name for path in kernel.modules.rglob("*.ko")] == ["virtio.ko"]
    files = {path.name for path in cache.root.rglob("*/*") if path.is_file()}
    assert files == {"vmlinuz-6.1.0-9-cloud-amd64", "virtio.ko"}
    assert apt.log.read_text().count("download") == 1
    pull_kernel(cache)
    assert apt.log.read_text().count("download") == 1


@pytest.mark.parametrize("name", ["a\nb", "a\udcffb", "a b"])
def test_apt_works_in_a_folder_with_a_plain_name(apt: FakeApt, tmp_path: Path, name: str) -> None:
    """apt itself writes `/x/a` where it is told `/x/a\\nb/…`: over whatever is there."""
    apt.script("apt-get", f'pwd >>"{apt.log}"\ncp "{apt.folder}"/pool/*.deb .\n')
    apt.package("linux-image-cloud-amd64", ["linux-image-6.1.0-9-cloud-amd64"], {})
    apt.package("linux-image-6.1.0-9-cloud-amd64", [], {"./boot/vmlinuz-6.1.0-9": bzimage("6.1.0-9")})
    kernel = pull_kernel(Cache(tmp_path / name))
    assert kernel.vmlinuz.is_relative_to(tmp_path / name)
    (worked_in,) = map(Path, apt.log.read_text().splitlines())
    assert is_plain(worked_in)
    assert not worked_in.exists()


def test_ubuntus_modules_come_in_a_package_of_their_own(apt: FakeApt, cache: Cache) -> None:
    apt.package("linux-image-virtual", ["linux-image-6.8.0-31-generic"], {})
    apt.package(
        "linux-image-6.8.0-31-generic",
        ["linux-modules-6.8.0-31-generic"],
        {"./boot/vmlinuz-6.8.0-31-generic": bzimage("6.8.0-31-generic")},
    )
    modules = {"./usr/lib/modules/6.8.0-31-generic/modules.builtin": b"kernel/drivers/block/virtio_blk.ko\n"}
    apt.package("linux-modules-6.8.0-31-generic", [], modules)
    kernel = pull_kernel(cache)
    assert kernel.modules is not None and (kernel.modules / "modules.builtin").is_file()
    assert load_order(kernel.modules, ["virtio_blk"]) == []


def test_a_kernel_that_lies_beside_its_modules_is_one_too(apt: FakeApt, cache: Cache) -> None:
    """Debian 14's package of the name is empty, and /boot is filled when it is installed."""
    version = "7.2.13+deb14-cloud-amd64"
    parts = [f"linux-{part}-{version}" for part in ("base", "binary", "modules")]
    apt.package("linux-image-cloud-amd64", [f"linux-image-{version}"], {})
    apt.package(f"linux-image-{version}", ["linux-base", *parts], {"./usr/share/x": b"x"})
    folder = f"./usr/lib/modules/{version}"
    apt.package(parts[0], [], {f"{folder}/config": b"CONFIG_X=y\n"})
    apt.package(parts[1], [], {f"{folder}/vmlinuz": bzimage(version)})
    apt.package(parts[2], [], {f"{folder}/modules.builtin": b"kernel/drivers/virtio/virtio_pci.ko\n"})
    kernel = pull_kernel(cache)
    assert kernel.version == version and kernel == find_kernel(cache)
    assert (kernel.vmlinuz.parent / f"config-{version}").is_file()
    assert kernel.modules is not None and load_order(kernel.modules, ["virtio_pci"]) == []


def test_a_package_can_write_nothing_but_what_we_want_of_it(apt: FakeApt, cache: Cache, tmp_path: Path) -> None:
    apt.package("linux-image-cloud-amd64", ["linux-image-6.1.0-9-cloud-amd64"], {})
    evil = {
        "./boot/vmlinuz-1": bzimage("1"),
        "/boot/vmlinuz-absolute": b"x",
        "./boot/../../../../escaped": b"x",
        "./lib/modules/1/kernel/drivers/virtio/../../../../../../../../escaped": b"x",
        "../boot/config-escaped": b"x",
        "./etc/cron.d/x": b"x",
    }
    apt.package("linux-image-6.1.0-9-cloud-amd64", [], evil)
    before = set(tmp_path.iterdir()) | {cache.root}
    pull_kernel(cache)
    assert set(tmp_path.iterdir()) - {apt.log} == before - {apt.log}
    entries = {path.relative_to(cache.root).parts[3:] for path in cache.root.rglob("*/*") if path.is_file()}
    assert entries <= {("boot", "vmlinuz-1"), ("boot", "vmlinuz-absolute"), ("boot", "config-escaped")}


def test_empty_package_lists_are_filled_in_a_folder_of_ours(apt: FakeApt, cache: Cache) -> None:
    with pytest.raises(UkperfError, match="apt knows none of") as caught:
        pull_kernel(cache)
    assert "apt-get update" in (caught.value.hint or "")
    assert f"Dir::State::Lists={cache.root}" in apt.log.read_text() and "update" in apt.log.read_text()
    assert not list(cache.root.glob("apt-*"))


def test_no_network_is_one_sentence_in_apts_words(apt: FakeApt, cache: Cache, tmp_path: Path) -> None:
    apt.package("linux-image-cloud-amd64", ["linux-image-6.1.0-9-cloud-amd64"], {})
    apt.package("linux-image-6.1.0-9-cloud-amd64", [], {})
    (tmp_path / "broken").write_text("W: x\nE: Failed to fetch the thing\nE: more\n")
    with pytest.raises(UkperfError, match="Failed to fetch the thing"):
        pull_kernel(cache)
    assert find_kernel(cache) is None or "cloud" in str(find_kernel(cache))
    assert not list(cache.root.glob("apt-*"))


def test_no_apt_is_one_sentence(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UkperfError, match="no apt-get") as caught:
        pull_kernel(cache)
    assert "--kernel linux=PATH" in (caught.value.hint or "")


def test_the_newest_kernel_in_the_cache_is_the_highest_number(cache: Cache) -> None:
    for number in (9, 56, 10):
        folder = cache.root / distro._KIND / str(number) / "boot"
        folder.mkdir(parents=True)
        (folder / f"vmlinuz-6.1.0-{number}-cloud-amd64").write_bytes(bzimage(f"6.1.0-{number}-cloud-amd64"))
    kernel = find_kernel(cache)
    assert kernel is not None and kernel.version == "6.1.0-56-cloud-amd64"


# ---- modules ----


def module(path: Path, depends: str) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = (
        f'__attribute__((section(".modinfo"), used)) static const char x[] = "license=GPL\\0depends={depends}\\0y=z";'
    )
    subprocess.run(["gcc", "-c", "-x", "c", "-o", str(path), "-"], input=source.encode(), check=True)
    return path.read_bytes()


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    drivers = tmp_path / "kernel" / "drivers"
    module(drivers / "top-one.ko", "middle,built_in")
    module(drivers / "middle.ko", "base,other-base")
    module(drivers / "base.ko", "")
    packed = module(drivers / "other_base.ko", "base")
    (drivers / "other_base.ko").unlink()
    (drivers / "other_base.ko.xz").write_bytes(lzma.compress(packed))
    (tmp_path / "modules.builtin").write_text("kernel/lib/built-in.ko\n")
    order = load_order(tmp_path, ["top_one", "base"])
    assert [name for name, _ in order] == ["base", "other_base", "middle", "top_one"]
    assert all(contents.startswith(b"\x7fELF") for _, contents in order)


def test_modules_that_need_each_other_do_not_hang_us(tmp_path: Path) -> None:
    module(tmp_path / "kernel" / "a.ko", "b")
    module(tmp_path / "kernel" / "b.ko", "a")
    assert {name for name, _ in load_order(tmp_path, ["a"])} == {"a", "b"}


@pytest.mark.parametrize(("name", "contents"), [("a.ko", b"junk"), ("a.ko.xz", b"junk"), ("a.ko.gz", b"junk")])
def test_a_damaged_module_is_one_sentence(tmp_path: Path, name: str, contents: bytes) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / name).write_bytes(contents)
    with pytest.raises(UkperfError, match=r"is no kernel module|cannot be read"):
        load_order(tmp_path, ["a"])


PACKERS = {
    ".xz": lzma.compress,
    ".gz": gzip.compress,
    ".zst": lambda data: subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout,
}
zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd")
packings = pytest.mark.parametrize("suffix", [".xz", ".gz", pytest.param(".zst", marks=zstd)])


@packings
def test_packed_modules_are_unpacked(tmp_path: Path, suffix: str) -> None:
    plain = module(tmp_path / "kernel" / "a.ko", "")
    (tmp_path / "kernel" / "a.ko").rename(tmp_path / "a.ko")
    (tmp_path / "kernel" / f"a.ko{suffix}").write_bytes(PACKERS[suffix](plain))
    assert load_order(tmp_path, ["a"]) == [("a", plain)]


@packings
@pytest.mark.parametrize("damage", ["cut off", "too large"])
def test_a_module_unpacks_whole_and_to_no_more_than_a_module_has(
    tmp_path: Path, suffix: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kmodules, "MODULE_MAX", 1 << 20)
    (tmp_path / "kernel").mkdir()
    packed = PACKERS[suffix](bytes(1 << 20 if damage == "cut off" else (1 << 20) + 1))
    (tmp_path / "kernel" / f"a.ko{suffix}").write_bytes(packed[:-10] if damage == "cut off" else packed)
    with pytest.raises(UkperfError, match="more than 1 MiB" if damage == "too large" else r"cannot be read: .*\.$"):
        load_order(tmp_path, ["a"])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("suffix", ["", ".xz", ".zst"])
def test_a_pipe_among_the_modules_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "kernel").mkdir()
    os.mkfifo(tmp_path / "modules.builtin")
    os.mkfifo(tmp_path / "kernel" / f"a.ko{suffix}")
    with pytest.raises(UkperfError, match="it is a pipe"):
        load_order(tmp_path, ["a"])


def test_a_missing_module_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="virtio_blk is not in"):
        load_order(tmp_path, ["virtio_blk"])
