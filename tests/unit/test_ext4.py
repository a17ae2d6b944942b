"""ext4 images: same tree, same bytes; what went in comes out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.imaging.ext4 import Ext4Layout, shape, write_ext4

SBIN = "/usr/sbin:/sbin:" + os.environ["PATH"]
needs_mke2fs = pytest.mark.skipif(shutil.which("mke2fs", path=SBIN) is None, reason="mke2fs is not installed")


def plant(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3000)
        path.chmod(0o755 if name.endswith("run") else 0o644)


NAMES = ["a/b/c.txt", "z.run", "m/é.bin", "long/" + "n" * 200, *(f"many/{i:04}" for i in range(300))]


@needs_mke2fs
def test_same_tree_gives_the_same_image_whatever_its_age_owner_and_order(tmp_path: Path) -> None:
    plant(tmp_path / "t1", NAMES)
    plant(tmp_path / "t2", NAMES[::-1])
    for path in (tmp_path / "t2").rglob("*"):
        os.utime(path, (1, 2))
        if os.geteuid() == 0:
            os.chown(path, 123, 456)
    write_ext4(tmp_path / "t1", tmp_path / "1.img")
    write_ext4(tmp_path / "t2", tmp_path / "2.img")
    assert (tmp_path / "1.img").read_bytes() == (tmp_path / "2.img").read_bytes()


@needs_mke2fs
def test_image_is_a_sound_file_system_with_the_trees_bytes(tmp_path: Path) -> None:
    plant(tmp_path / "t", NAMES)
    write_ext4(tmp_path / "t", tmp_path / "x.img")
    check = shutil.which("e2fsck", path=SBIN)
    debugfs = shutil.which("debugfs", path=SBIN)
    assert check
    assert debugfs
    assert subprocess.run([check, "-fn", tmp_path / "x.img"], capture_output=True, check=False).returncode == 0
    for name in NAMES[::20] + NAMES[:5]:
        command = [debugfs, "-R", f'cat "/{name}"', tmp_path / "x.img"]
        out = subprocess.run(command, capture_output=True, check=False)
        assert out.stdout == (tmp_path / "t" / name).read_bytes()


def test_image_is_little_bigger_than_its_tree(tmp_path: Path) -> None:
    plant(tmp_path / "t", [f"f{i}" for i in range(50)])
    (tmp_path / "t" / "big").write_bytes(bytes(20 << 20))
    size = shape(tmp_path / "t").blocks * 4096
    assert (20 << 20) < size < (20 << 20) * 1.15 + (4 << 20)


def test_a_missing_tree_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="not a directory"):
        write_ext4(tmp_path / "none", tmp_path / "x.img")


@needs_mke2fs
def test_owners_room_and_a_journal_as_asked(tmp_path: Path) -> None:
    plant(tmp_path / "t", ["a b", "x"])
    features = "none,has_journal,extent,filetype,sparse_super,large_file"
    layout = Ext4Layout("5eed5eed-0000-4000-8000-00000000000f", features, 64, {"a b": (70_000, 42)})
    write_ext4(tmp_path / "t", tmp_path / "x.img", layout)
    assert (tmp_path / "x.img").stat().st_size > 64 << 20
    check = [str(shutil.which("e2fsck", path=SBIN)), "-fn", str(tmp_path / "x.img")]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0

    def debugfs(words: str) -> str:
        command = [str(shutil.which("debugfs", path=SBIN)), "-R", words, str(tmp_path / "x.img")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "User: 70000   Group:    42" in debugfs('stat "/a b"')
    assert "User:     0   Group:     0" in debugfs("stat /x")
    assert layout.uuid in debugfs("stats") and "has_journal" in debugfs("stats")


@needs_mke2fs
@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_an_owner_that_debugfs_cannot_be_told_is_refused(tmp_path: Path, name: str) -> None:
    plant(tmp_path / "t", ["x"])
    with pytest.raises(UkperfError, match="owner"):
        write_ext4(tmp_path / "t", tmp_path / "x.img", Ext4Layout(owners={name: (1, 1)}))
