"""The empty image over another one: what the format says, field by field, and QEMU's own word where it is here."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from ukperf.hosts.overlay import write_overlay


def base_of(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("size", [1, 512, 70_000, 1 << 30, (1 << 40) + 1])
def test_it_says_what_the_format_wants(tmp_path: Path, size: int) -> None:
    base = base_of(tmp_path / "base, with a comma.img", size)
    write_overlay(tmp_path / "over", base)
    data = (tmp_path / "over").read_bytes()
    magic, version, offset, length, bits, virtual, crypt, entries, l1, table, clusters = struct.unpack_from(
        ">4sIQIIQIIQQI", data
    )
    assert (magic, version, bits, crypt, clusters) == (b"QFI\xfb", 3, 16, 0, 1)
    assert data[offset : offset + length] == str(base).encode()
    assert virtual % 512 == 0
    assert 0 <= virtual - size < 512
    assert entries * (1 << 29) >= virtual > (entries - 1) * (1 << 29)
    (block,) = struct.unpack_from(">Q", data, table)
    assert struct.unpack_from(">5H", data, block) == (1, 1, 1, 1, 0), "four clusters are in use, each once"
    assert data[l1:] == bytes(65_536), "no cluster of the guest's yet"
    assert len(data) == 4 * 65_536


def test_a_base_that_cannot_be_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too large"):
        write_overlay(tmp_path / "over", base_of(tmp_path / "vast", (1 << 42) + 1))


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_qemu_finds_no_fault_in_it(tmp_path: Path) -> None:
    write_overlay(tmp_path / "over", base_of(tmp_path / "base", 1 << 20))
    done = subprocess.run(["qemu-img", "check", str(tmp_path / "over")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
