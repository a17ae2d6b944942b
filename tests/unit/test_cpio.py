"""The cpio writer against GNU cpio: what it lists, and what it unpacks."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging import cpio, tree
from ukperf.imaging.tree import Entry, Kind

GNU = shutil.which("cpio")
needs_gnu = pytest.mark.skipif(GNU is None, reason="GNU cpio is not installed: sudo apt-get install cpio")

# cpio stops at TRAILER!!! and `.`/`..` are no names; anything else may be one.
NO_NAMES = (b".", b"..", b"TRAILER!!!")  # hypothesis finds constants of the code under test
names = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, 47} and name not in NO_NAMES)
nodes: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.binary(max_size=200), st.tuples(names)),  # a file, or a link to a name
    lambda children: st.dictionaries(names, children, max_size=4),
    max_leaves=12,
)


def make(root: Path, node: object) -> None:
    if isinstance(node, bytes):
        root.write_bytes(node)
        root.chmod(0o755 if len(node) % 2 else 0o644)
    elif isinstance(node, tuple):
        root.symlink_to(os.fsdecode(node[0]))
    else:
        assert isinstance(node, dict)
        root.mkdir(mode=0o755)
        for name, child in node.items():
            make(root / os.fsdecode(name), child)


def facts(root: Path) -> dict[str, tuple[int, bytes]]:
    """path → (mode, contents or target)"""
    found = {}
    for where, folders, files in os.walk(root):
        for path in (Path(where, name) for name in folders + files):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                content = os.fsencode(path.readlink())
            elif stat.S_ISREG(mode):
                content = path.read_bytes()
            else:
                content = b""
            found[str(path.relative_to(root))] = (mode, content)
    return found


def unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    with archive.open("rb") as source:
        subprocess.run([GNU, "-id", "--quiet", "--no-absolute-filenames"], stdin=source, cwd=target, check=True)


def listing(archive: Path) -> list[str]:
    with archive.open("rb") as source:
        done = subprocess.run([GNU, "-itv", "--quiet"], stdin=source, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@needs_gnu
@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, nodes, max_size=5))
def test_gnu_cpio_unpacks_any_tree_as_it_was(contents: dict[bytes, object]) -> None:
    old = os.umask(0)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder / "in", contents)
            cpio.write(folder / "a.cpio", tree.scan(folder / "in"))
            unpack(folder / "a.cpio", folder / "out")
            assert facts(folder / "out") == facts(folder / "in")
    finally:
        os.umask(old)


@given(st.lists(st.tuples(names, st.binary(max_size=50)), unique_by=lambda pair: pair[0], max_size=8), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_same_entries_in_any_order_are_the_same_bytes(pairs, random) -> None:
    entries = [Entry(b"d/" + name, Kind.FILE, 0o644, len(data), None, data) for name, data in pairs]
    shuffled = list(entries)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        length = cpio.write(first, entries)
        cpio.write(second, shuffled)
        assert first.read_bytes() == second.read_bytes()
        assert length == first.stat().st_size and length % 512 == 0


@needs_gnu
def test_times_owners_and_the_umask_do_not_show(tmp_path: Path) -> None:
    for name, mode, when in (("a", 0o600, 1), ("b", 0o664, 2_000_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("same")
        (tmp_path / name / "x").chmod(mode)
        os.utime(tmp_path / name / "x", (when, when))
        cpio.write(tmp_path / f"{name}.cpio", tree.scan(tmp_path / name))
    assert (tmp_path / "a.cpio").read_bytes() == (tmp_path / "b.cpio").read_bytes()


@needs_gnu
def test_devices_and_missing_parents_are_there(tmp_path: Path) -> None:
    cpio.write(tmp_path / "a", [Entry(b"x/y/z", Kind.FILE, 0o644, 1, None, b"!")], cpio.BASIC_DEVICES)
    lines = listing(tmp_path / "a")
    kinds = {line.split()[-1]: line for line in lines}
    assert list(kinds) == ["dev", "dev/console", "dev/null", "dev/urandom", "dev/zero", "x", "x/y", "x/y/z"]
    assert kinds["dev/console"].startswith("crw-------") and "5,   1" in kinds["dev/console"]
    assert kinds["x/y"].startswith("drwxr-xr-x")


@needs_gnu
def test_long_and_non_ascii_names_and_large_files_survive(tmp_path: Path) -> None:
    source = tmp_path / "in"
    deep = source / ("d" * 255) / ("é" * 127) / "日本語"
    deep.mkdir(parents=True)
    (deep / "\udcff\udcfe").write_bytes(os.urandom(3_000_001))
    (deep / "sparse").write_bytes(b"")
    os.truncate(deep / "sparse", 10_000_000)
    cpio.write(tmp_path / "a", tree.scan(source))
    unpack(tmp_path / "a", tmp_path / "out")
    assert facts(tmp_path / "out") == facts(source)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([Entry(b"a", Kind.FILE), Entry(b"a", Kind.FILE)], "twice"),
        ([Entry(b"a", Kind.FILE), Entry(b"a/b", Kind.FILE)], "no directory"),
        ([Entry(b"a", Kind.LINK, target=b"b"), Entry(b"a/b", Kind.FILE)], "no directory"),
        ([Entry(b"TRAILER!!!", Kind.FILE)], "marks its end"),
        ([Entry(b"x/" * 2100 + b"x", Kind.FILE)], "too long"),
        ([Entry(b"big", Kind.FILE, size=1 << 32, source="/nowhere")], "smaller than 4 GiB"),
        ([Entry(b"a", Kind.FILE, size=3, source="/nowhere/at/all")], "Cannot read"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_with_a_sentence(tmp_path: Path, entries, sentence: str) -> None:
    with pytest.raises(UkperfError, match=sentence):
        cpio.write(tmp_path / "a", entries)


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    entry = Entry(b"x", Kind.FILE, size=4, source=str(tmp_path / "x"))
    with pytest.raises(UkperfError, match="changed"):
        cpio.write(tmp_path / "a", [entry])


def test_memory_does_not_grow_with_the_tree(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(300):
        with (source / f"{number}").open("wb") as out:
            out.write(bytes([number % 251]) * (1 << 20) if number < 100 else b"x" * 1000)
    script = (
        "import sys, resource, pathlib\n"
        "from ukperf.imaging import cpio, tree\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "cpio.write(pathlib.Path(sys.argv[2]), tree.scan(pathlib.Path(sys.argv[1])))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, source, tmp_path / "a"], check=True, capture_output=True, text=True
    )
    assert (tmp_path / "a").stat().st_size > 100 << 20
    assert int(done.stdout) < 30_000  # KiB, of 100 MiB
