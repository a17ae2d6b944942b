"""Root file systems from tar archives: unpacked without root, and nothing outside the folder."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.imaging.rootfs import unpack


def member(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **facts: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def reader(*members: tuple[tarfile.TarInfo, bytes], cut: int = 0) -> Callable[[int], bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return io.BytesIO(out.getvalue()[: -cut or None]).read


SYSTEM = [
    member("./", tarfile.DIRTYPE, mode=0o755),
    member("./usr", tarfile.DIRTYPE, mode=0o755),
    member("./usr/bin", tarfile.DIRTYPE, mode=0o755),
    member("./bin", tarfile.SYMTYPE, linkname="usr/bin"),
    member("./usr/bin/su", data=b"su", mode=0o4755),
    member("./usr/bin/sudo", tarfile.LNKTYPE, linkname="./usr/bin/su"),
    member("./shadow", data=b"x", mode=0o640, gid=42),
    member("./mail", tarfile.DIRTYPE, mode=0o2775, uid=3, gid=8),
    member("./null", tarfile.CHRTYPE, mode=0o666),
]


def test_a_system_is_unpacked_with_its_modes_and_links_and_its_owners_are_told(tmp_path: Path) -> None:
    owners = unpack(reader(*SYSTEM), tmp_path, "it")
    assert owners == {"shadow": (0, 42), "mail": (3, 8)}
    assert (tmp_path / "usr/bin/su").stat().st_mode & 0o7777 == 0o4755
    assert (tmp_path / "mail").stat().st_mode & 0o7777 == 0o2775
    assert (tmp_path / "usr/bin/sudo").samefile(tmp_path / "usr/bin/su")
    assert os.readlink(tmp_path / "bin") == "usr/bin"  # noqa: PTH115
    assert not (tmp_path / "null").exists()


@pytest.mark.parametrize(
    "bad",
    [
        [member("../x", data=b"x")],
        [member("a", tarfile.SYMTYPE, linkname="/etc"), member("a/x", data=b"x")],
        [member("nowhere/x", data=b"x")],
        [member("x", tarfile.LNKTYPE, linkname="../../etc/passwd")],
        [member("s", tarfile.SYMTYPE, linkname="/etc/passwd"), member("x", tarfile.LNKTYPE, linkname="s")],
    ],
)
def test_what_leads_out_of_the_folder_is_refused(tmp_path: Path, bad: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UkperfError, match="not trusted"):
        unpack(reader(*bad), tmp_path / "in", "it")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_archive_that_breaks_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UkperfError):
        unpack(reader(member("big", data=bytes(30_000)), cut=15_000), tmp_path, "it")
