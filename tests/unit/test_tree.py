"""The entry lists that every image writer takes."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging.tree import Entry, Kind, files, merge, scan, sort


def paths(entries: list[Entry]) -> list[bytes]:
    return [entry.path for entry in entries]


def test_scan_lists_a_directory_before_its_contents_in_byte_order(tmp_path: Path) -> None:
    for name in ("b/z", "b/a", "a-b", "a/deep/er", "ä", "Z"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "link").symlink_to("b/z")
    (tmp_path / "dir-link").symlink_to("b")
    found = list(scan(tmp_path))
    assert [os.fsdecode(path) for path in paths(found)] == [
        *("Z", "a", "a/deep", "a/deep/er", "a-b", "b", "b/a", "b/z", "dir-link", "link", "ä"),
    ]
    assert found == sort(reversed(found))
    assert found[-2].target == b"b/z"


def test_scan_keeps_nothing_of_the_mode_but_whether_it_runs(tmp_path: Path) -> None:
    for name, mode in (("plain", 0o600), ("run", 0o710), ("suid", 0o4755)):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(mode)
    assert [entry.mode for entry in scan(tmp_path)] == [0o644, 0o755, 0o755]


def test_scan_goes_deeper_than_pythons_stack(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1200):  # relative steps: the whole path is longer than PATH_MAX allows at once
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
    finally:
        os.close(here)
    assert len(list(scan(tmp_path))) == 1200
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # pytest's own removal recurses


def test_scan_refuses_what_is_no_file_directory_or_link(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(UkperfError, match=r"/s is neither a file, a directory nor a link"):
            list(scan(tmp_path))


def test_scan_of_no_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="is not a directory"):
        list(scan(tmp_path / "nowhere"))


def test_files_makes_the_parents_and_marks_programs(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    entries = files({"/bin/sub/prog": program, "etc/x": b"1"}, executable=["/bin/sub/prog"])
    assert [(entry.path, entry.kind, entry.mode) for entry in entries] == [
        (b"bin", Kind.DIRECTORY, 0o755),
        (b"bin/sub", Kind.DIRECTORY, 0o755),
        (b"bin/sub/prog", Kind.FILE, 0o755),
        (b"etc", Kind.DIRECTORY, 0o755),
        (b"etc/x", Kind.FILE, 0o644),
    ]
    assert entries[2].size == 4


@pytest.mark.parametrize("name", ["", "/", "../x", "a/../b", "a//b", "./a", "n" * 256, "a\0b"])
def test_files_refuses_paths_that_no_image_can_have(name: str) -> None:
    with pytest.raises(UkperfError, match="no path"):
        files({name: b""})


def test_files_refuses_a_file_that_is_also_a_directory() -> None:
    with pytest.raises(UkperfError, match="file and a directory"):
        files({"/a": b"", "/a/b": b""})


def test_merge_lets_the_upper_tree_win() -> None:
    merged = merge(files({"/a/x": b"old", "/b": b"stays"}), files({"/a/x": b"new", "/c": b"added"}))
    assert [(entry.path, entry.data) for entry in merged if entry.kind is Kind.FILE] == [
        *((b"a/x", b"new"), (b"b", b"stays"), (b"c", b"added")),
    ]
    with pytest.raises(UkperfError, match="file in one tree"):
        merge(files({"/a/x": b""}), files({"/a": b""}))


@given(st.sets(st.lists(st.sampled_from(["a", "a-", "a/", "b", "é"]), min_size=1, max_size=4).map("".join)))
def test_sorted_entries_put_every_directory_before_its_contents(names: set[str]) -> None:
    good = {name.strip("/") for name in names if name.strip("/") and "//" not in name}
    leaves = {name for name in good if not any(other.startswith(name + "/") for other in good)}
    entries = files(dict.fromkeys(leaves, b""))
    seen: set[bytes] = {b""}
    for entry in entries:
        assert entry.path.rpartition(b"/")[0] in seen
        seen.add(entry.path)
