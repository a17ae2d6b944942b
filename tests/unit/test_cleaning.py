"""`ukperf images clean`: what it removes of the cache, in which order, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_cli import Shell

from ukperf.imaging import inuse
from ukperf.imaging.cache import Cache, entry_name
from ukperf.imaging.cleaning import clean, entries, size_of

DAY_NS = 86_400 * 10**9


@pytest.fixture
def root(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(root: Path, kind: str, number: int, kib: int = 64) -> Path:
    """An entry of this many KiB that was used `number` days after 1970, by a process that has ended."""

    def fill(folder: Path) -> None:
        (folder / "file").write_bytes(os.urandom(kib << 10))

    key = Cache.key({"number": number})
    path = Cache(root).entry(kind, key, fill)
    locks = inuse._locks.pop((os.getpid(), root))
    os.close(locks.descriptor)
    os.utime(path, ns=(number * DAY_NS, number * DAY_NS))
    return path


@contextmanager
def another_process(root: Path, code: str) -> Iterator[None]:
    """A ukperf that has done `code` with `cache`, and lives until the block ends."""
    script = (
        f"from pathlib import Path\nfrom ukperf.imaging.cache import Cache\ncache = Cache(Path({str(root)!r}))\n{code}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}\nprint('up', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield
        process.communicate("\n")
    assert process.returncode == 0


def test_all_entries_go_and_are_made_again(root: Path) -> None:
    paths = [put(root, "programs", 1), put(root, "images/0123456789ab", 2), put(root, "kernels/linux", 3)]
    (root / "digests").mkdir()
    (root / "digests" / f"{'0' * 64}.tree").write_text("{}")
    cleaned = clean(root)
    assert [entry.kind for entry in cleaned.removed] == ["programs", "images", "kernels", "digests"]
    assert (cleaned.in_use, cleaned.left_bytes, entries(root)) == ((), 0, [])
    assert not any(path.exists() for path in paths)
    assert list((root / "tmp").iterdir()) == []
    assert put(root, "programs", 1).is_dir()


def test_those_go_first_that_were_not_used_for_longest_until_the_rest_is_small_enough(root: Path) -> None:
    paths = [put(root, "programs", number) for number in (3, 1, 2)]
    cleaned = clean(root, max_bytes=2 * entries(root)[0].bytes)
    assert [entry.path for entry in cleaned.removed] == [paths[1]]
    assert cleaned.left_bytes == sum(size_of(path) for path in (paths[0], paths[2]))
    assert clean(root, max_bytes=cleaned.left_bytes).removed == ()


def test_using_an_entry_is_noted(root: Path) -> None:
    old, new = put(root, "programs", 1), put(root, "programs", 2)
    Cache(root).entry("programs", old.name, lambda folder: pytest.fail("it is there"))
    assert [entry.path for entry in entries(root)] == [new, old]


@pytest.mark.parametrize("how", ["entry", "hold", "keep", "built"])
def test_what_a_running_ukperf_uses_stays_until_it_ends(root: Path, how: str) -> None:
    used, other = put(root, "trees", 1), put(root, "trees", 2)
    code = {
        "entry": f"cache.entry('trees', {used.name!r}, None)",
        "hold": f"cache.hold(Path({str(used / 'root' / 'bin')!r}))",
        "keep": f"cache.keep(Path({str(used / 'file')!r}))",
        "built": f"cache.entry('trees', {'e' * 64!r}, lambda folder: (folder / 'x').touch())",
    }[how]
    with another_process(root, code):
        cleaned = clean(root)
        kept = root / "trees" / ("e" * 64) if how == "built" else used
        assert [entry.path for entry in cleaned.in_use] == [kept]
        assert kept.is_dir() and not other.exists()
    assert [entry.path for entry in clean(root).removed] == [kept]


def test_what_this_process_uses_stays(root: Path) -> None:
    path = put(root, "trees", 1)
    assert Cache(root).has("trees", path.name)
    assert [entry.path for entry in clean(root).in_use] == [path]
    assert path.is_dir()
    with inuse.unused(root, entry_name("trees", path.name)) as unused:
        assert not unused


def test_whatever_is_not_an_entry_stays(root: Path, tmp_path: Path) -> None:
    put(root, "programs", 1)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ("a" * 64)).mkdir(parents=True)
    kept = [
        root / "plan-key-0",
        root / "truth.json",
        root / "mine" / "notes.txt",
        root / "embed" / "759-98200" / "etc" / "qemu.conf",
        root / "programs" / "README",
        root / ("b" * 64),  # not in a folder of the cache's
        elsewhere / ("a" * 64) / "file",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept")
    (root / "linked").symlink_to(elsewhere)
    (root / "programs" / ("c" * 64)).symlink_to(elsewhere)
    assert len(clean(root).removed) == 1
    assert all(path.read_text() == "kept" for path in kept)
    assert (root / "programs" / ("c" * 64)).is_symlink()


def test_a_copy_that_its_program_closed_goes_too(root: Path) -> None:
    path = put(root, "trees", 1)
    closed = path / "copy-00" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    closed.chmod(0)
    assert len(clean(root).removed) == 1
    assert list((root / "tmp").iterdir()) == []


def test_the_command_says_what_went_and_how_much(shell: Shell, root: Path) -> None:
    put(root, "programs", 1)
    put(root, "images/0123456789ab", 2)
    with another_process(root, f"cache.has('images/0123456789ab', {Cache.key({'number': 2})!r})"):
        status, out, _ = shell("images", "clean", "--json")
        said = json.loads(out)
        assert status == 0
        assert [entry["kind"] for entry in said["removed"]] == ["programs"]
        assert [entry["kind"] for entry in said["in_use"]] == ["images"]
        assert said["bytes"] >= 64 << 10
        _, out, _ = shell("images", "clean")
        assert "A running ukperf uses, so it stays: 1 in images." in out and "0 bytes freed" in out
    status, out, _ = shell("images", "clean", "--max-size", "1K")
    assert status == 0 and out.splitlines()[1].split()[:2] == ["images", "1"]
    assert shell("images", "clean", "--max-size", "2 GiB")[0] == 0


def test_an_empty_cache_is_no_fault(shell: Shell, root: Path) -> None:
    status, out, err = shell("images", "clean")
    assert (status, err) == (0, "")
    assert "0 bytes freed" in out
    assert not root.exists()


def test_doctor_says_how_large_the_cache_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ukperf.doctor import checks

    put(root, "programs", 1, kib=3000)
    assert "3 MB in" in checks._cache().sentence and "clean" not in checks._cache().sentence
    monkeypatch.setattr(checks, "CACHE_BYTES", 1)
    assert "`ukperf images clean` empties it" in checks._cache().sentence
