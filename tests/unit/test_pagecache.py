"""What is dropped from the page cache, and what is said of the rest."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from ukperf.hosts import pagecache

SIZE = 64 * mmap.PAGESIZE


def cached(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return pagecache.cached(descriptor, path.stat().st_size)
    finally:
        os.close(descriptor)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    os.sync()
    path.read_bytes()
    if not cached(path):
        pytest.skip("this file system has no page cache")
    return path


def test_a_file_that_is_on_the_disk_is_dropped(file: Path) -> None:
    assert pagecache.drop([file, file]) == 0
    assert cached(file) == 0


def test_what_somebody_has_mapped_and_touched_stays_and_is_counted(file: Path) -> None:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), SIZE, prot=mmap.PROT_READ) as mapped:
        assert mapped[SIZE // 2 : SIZE // 2 + 1]
        left = pagecache.drop([file])
        assert 0 < left <= SIZE


def test_what_is_not_there_or_no_file_counts_as_nothing(tmp_path: Path) -> None:
    assert pagecache.drop([tmp_path / "none", tmp_path]) == 0
