"""The TFS writer, read back by a reader that shares nothing with it, and by nanos's own tool where that is at hand."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tfs_reader import Bad, Cursor, Decoder, Tfs, partitions, read_disk

from ukperf.errors import UkperfError
from ukperf.imaging import tfs, tree
from ukperf.imaging.nanosdisk import BOOT_FS_BYTES, check_boot_image, write_disk
from ukperf.imaging.tfsvalues import Encoder, Type, header, varint
from ukperf.imaging.tree import Entry, Kind

TOOLS = os.environ.get("UKPERF_NANOS_TOOLS", "")


def build(entries: list[Entry], path: Path, **extra: object) -> Tfs:
    layout = tfs.plan(entries, {"program": "/p"}, **extra)  # type: ignore[arg-type]
    start = int(extra.get("start", 0))  # type: ignore[call-overload]
    with path.open("wb") as out:
        out.truncate(start + layout.used)
        tfs.write(out.fileno(), layout, start)
    return Tfs(path.read_bytes(), start)


def expected(entries: list[Entry]) -> dict[bytes, tuple[str, bytes]]:
    found = {}
    for entry in entries:
        data = entry.target
        if entry.kind is Kind.FILE:
            data = Path(entry.source).read_bytes() if entry.source else entry.data
        found[entry.path] = (str(entry.kind), data)
    return found


def boot_image(path: Path, sectors: int = 8) -> Path:
    """Bytes that look like nanos's boot.img: signature, and the record of how much follows the first sector."""
    data = bytearray(random.Random(1).randbytes(512 * sectors))
    data[426:446] = (0).to_bytes(8, "little") + (512 * (sectors - 1)).to_bytes(8, "little") + b"\x0c\0\0\0"
    data[446:512] = bytes(64) + b"\x55\xaa"
    path.write_bytes(data)
    return path


# Values


@given(st.integers(0, 2**64 - 1))
def test_numbers_come_back_as_they_went(number: int) -> None:
    assert Cursor(varint(number)).varint() == number
    for kind in Type:
        for reference in (False, True):
            assert Cursor(header(kind, number, reference=reference)).header() == (not reference, kind, number)


values = st.recursive(
    st.integers(-(2**63), 2**63) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=20), inner, max_size=12),
    max_leaves=30,
)


def as_read(value: object) -> object:
    if isinstance(value, dict):
        return {key.encode("utf-8", "surrogateescape"): as_read(item) for key, item in value.items()}
    return [as_read(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=20), values, max_size=8))
@settings(max_examples=40, deadline=None)
def test_any_nesting_of_values_comes_back_as_it_went(value: dict[str, object]) -> None:
    encoder = Encoder()
    encoder.value(value)  # type: ignore[arg-type]
    cursor = Cursor(bytes(encoder.out))
    assert Decoder().value(cursor) == as_read(value)
    assert cursor.at == len(encoder.out)


# Trees

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)
leaves = st.binary(max_size=1500) | st.builds(lambda n: b"x" * n, st.integers(4000, 9000)) | names.map(str)
trees = st.recursive(st.dictionaries(names, leaves, max_size=5), lambda t: st.dictionaries(names, t, max_size=4))


def flatten(tree_: dict[str, object], prefix: bytes = b"") -> list[Entry]:
    found = []
    for name, node in tree_.items():
        path = prefix + name.encode()
        if isinstance(node, dict):
            found += [Entry(path, Kind.DIRECTORY, 0o755), *flatten(node, path + b"/")]
        elif isinstance(node, str):
            found.append(Entry(path, Kind.LINK, target=node.encode()))
        else:
            assert isinstance(node, bytes)
            found.append(Entry(path, Kind.FILE, size=len(node), data=node))
    return found


@given(trees, st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_any_tree_comes_back_whole(tmp_path_factory: pytest.TempPathFactory, tree_: dict[str, object], at: int) -> None:
    entries = tree.sort(flatten(tree_))
    found = build(entries, tmp_path_factory.mktemp("tfs") / "disk", start=512 * at)
    assert found.tree() == expected(entries)
    assert found.root[b"program"] == b"/p"


def test_a_file_bigger_than_one_extent_comes_back(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(random.Random(2).randbytes(tfs.MAX_EXTENT_BYTES + 70_001))
    found = build(tree.files({"/big": big, "/z": b"after"}), tmp_path / "disk")
    assert found.tree()[b"big"] == ("file", big.read_bytes())
    assert list(found.root[b"children"][b"big"][b"extents"]) == [b"0", b"65536"]
    assert found.tree()[b"z"] == ("file", b"after")


def test_metadata_bigger_than_one_log_extension_comes_back(tmp_path: Path) -> None:
    entries = tree.files({f"/d/{'long name ' * 20}{n}": b"%d" % n for n in range(6000)})
    found = build(entries, tmp_path / "disk")
    assert sum(1 for start, length in found.taken if length == tfs.EXTENSION_BYTES) == 3
    assert found.tree() == expected(entries)


def test_names_of_any_bytes_and_255_of_them(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for name in (b"\xff\xfe not utf-8", "ähm 日本".encode(), b"n" * 255, b" ", b"new\nline"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(name)
    entries = list(tree.scan(root))
    assert build(entries, tmp_path / "disk").tree() == {entry.path: ("file", entry.path) for entry in entries}


def test_the_same_tree_gives_the_same_bytes_whatever_its_times_and_holes(tmp_path: Path) -> None:
    disks = []
    for turn in range(2):
        root = tmp_path / f"tree{turn}"
        (root / "sub").mkdir(parents=True)
        for name in ("a", "b", "sub/c") if turn else ("sub/c", "b", "a"):
            (root / name).write_bytes(name.encode() * 1000)
        os.utime(root / "a", (turn * 1000, turn * 1000))
        with (root / "holes").open("wb") as out:  # the same bytes, once written and once a hole
            out.write(bytes(1 << 20)) if turn else out.truncate(1 << 20)
            out.write(b"end") if turn else os.pwrite(out.fileno(), b"end", 1 << 20)
        build(list(tree.scan(root)), tmp_path / f"disk{turn}")
        disks.append((tmp_path / f"disk{turn}").read_bytes())
    assert disks[0] == disks[1]


def test_holes_of_the_source_stay_holes(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as out:
        out.truncate(64 << 20)
        os.pwrite(out.fileno(), b"in the middle", 33 << 20)
    found = build(tree.files({"/holes": tmp_path / "holes"}), tmp_path / "disk")
    assert found.tree()[b"holes"][1] == (tmp_path / "holes").read_bytes()
    assert (tmp_path / "disk").stat().st_blocks * 512 < 1 << 20


def test_file_data_begins_on_pages_of_the_disk(tmp_path: Path) -> None:
    start = 512 * 5
    found = build(tree.files({f"/{n}": b"x" * (n * 700) for n in range(1, 9)}), tmp_path / "disk", start=start)
    for child in found.root[b"children"].values():
        assert (start + child[b"extents"][b"0"][b"offset"] * 512) % 4096 == 0


@pytest.mark.parametrize("size", [1000, 500_000])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_source_that_changes_while_it_is_copied_is_refused(tmp_path: Path, size: int, change: int) -> None:
    (tmp_path / "x").write_bytes(b"x" * size)
    layout = tfs.plan(tree.files({"/x": tmp_path / "x"}), {})
    (tmp_path / "x").write_bytes(b"x" * (size + change))
    with (tmp_path / "disk").open("wb") as out, pytest.raises(UkperfError, match="changed while"):
        tfs.write(out.fileno(), layout, 0)


def test_entries_before_their_directory_are_refused() -> None:
    with pytest.raises(UkperfError, match="before its directory"):
        tfs.plan([Entry(b"a/b", Kind.FILE)], {})


def test_the_reader_sees_what_is_broken(tmp_path: Path) -> None:
    build(tree.files({"/x": b"x" * 5000}), tmp_path / "disk")
    disk = bytearray((tmp_path / "disk").read_bytes())
    disk[512] ^= 1
    with pytest.raises(Bad):
        Tfs(bytes(disk))


def test_a_big_tree_is_written_in_little_memory(tmp_path: Path) -> None:
    """A child process writes 300 MB in many files; its peak resident set, Python itself included."""
    root = tmp_path / "tree"
    chunk = random.Random(3).randbytes(1 << 20)
    for n in range(40):
        (root / f"d{n}").mkdir(parents=True)
        for k in range(60):
            (root / f"d{n}" / f"f{k}").write_bytes(chunk[: (n * 61 + k * 977) % 60_000])
    (root / "big").write_bytes(chunk * 230)
    code = (
        "import sys, pathlib\n"
        "from ukperf.imaging import tfs, tree\n"
        "layout = tfs.plan(tree.scan(pathlib.Path(sys.argv[1])), {})\n"
        "with open(sys.argv[2], 'wb') as out: tfs.write(out.fileno(), layout, 0)\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    run = [sys.executable, "-c", code, str(root), str(tmp_path / "disk")]
    shown = subprocess.run(run, capture_output=True, text=True, check=True)
    assert (tmp_path / "disk").stat().st_size > 300e6
    assert int(shown.stdout) * 1024 < 100e6
    shutil.rmtree(root)


# Disks


def test_a_disk_has_boot_image_kernel_and_root(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel.img"
    kernel.write_bytes(b"\x7fELF" + random.Random(4).randbytes(3_000_000))
    boot = boot_image(tmp_path / "boot.img")
    entries = tree.files({"/bin/prog": b"\x7fELF..", "/etc/x": b"1"})
    root = {"program": "/bin/prog", "arguments": ["/bin/prog", "a b"], "environment": {"A": "1"}, "debug_exit": "t"}
    for name in ("disk", "again"):
        write_disk(tmp_path / name, boot=boot, kernel=kernel, entries=entries, root=root, label="ukperf")
    disk = (tmp_path / "disk").read_bytes()
    assert disk == (tmp_path / "again").read_bytes()
    boot_fs, root_fs = read_disk(tmp_path / "disk")
    assert boot_fs.tree() == {b"kernel": ("file", kernel.read_bytes())}
    assert root_fs.tree() == expected(entries)
    assert {key: value for key, value in root_fs.root.items() if key != b"children"} == as_read(
        {"program": b"/bin/prog", "arguments": [b"/bin/prog", b"a b"], "environment": {"A": b"1"}, "debug_exit": b"t"}
    )
    assert root_fs.label == b"ukperf"
    # The first sector but for the partition table, and all of stage 2, are the boot image's own.
    assert disk[:446] == boot.read_bytes()[:446]
    assert disk[512:4096] == boot.read_bytes()[512:]
    assert partitions(disk)[0] == (4096 + 4096, BOOT_FS_BYTES)
    assert (tmp_path / "disk").stat().st_blocks * 512 < 4_000_000


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"", "not a nanos boot image"), (b"MZ" * 2048, "not a nanos boot image"), (b"\0" * (2 << 20), "more than 1 MiB")],
)
def test_what_is_no_boot_image_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "boot.img").write_bytes(data)
    with pytest.raises(UkperfError, match=sentence):
        check_boot_image(tmp_path / "boot.img")


def test_a_failed_disk_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"\x7fELF" + bytes(100))
    boot = boot_image(tmp_path / "boot.img")
    (tmp_path / "x").write_bytes(b"1")
    entries = tree.files({"/x": tmp_path / "x"})
    (tmp_path / "x").write_bytes(b"22")
    with pytest.raises(UkperfError, match="changed"):
        write_disk(tmp_path / "disk", boot=boot, kernel=tmp_path / "kernel", entries=entries, root={})
    assert not (tmp_path / "disk").exists()
    (tmp_path / "kernel").write_bytes(b"\x7fELF" + bytes(BOOT_FS_BYTES - 4))
    with pytest.raises(UkperfError, match="more than nanos's boot partition"):
        write_disk(tmp_path / "disk", boot=boot, kernel=tmp_path / "kernel", entries=[], root={})


def test_a_full_disk_is_one_sentence_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"\x7fELF" + bytes(100))
    boot = boot_image(tmp_path / "boot.img")
    code = (
        "import resource, signal, sys, pathlib\n"
        "from ukperf.imaging import tree, nanosdisk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "d = pathlib.Path(sys.argv[1])\n"
        "try: nanosdisk.write_disk(d/'disk', boot=d/'boot.img', kernel=d/'kernel', entries=[], root={})\n"
        "except nanosdisk.UkperfError as error: print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Cannot write the disk image"), shown.stderr
    assert boot.exists()
    assert not (tmp_path / "disk").exists()


@pytest.mark.skipif(not TOOLS, reason="UKPERF_NANOS_TOOLS does not name a directory with nanos's own dump")
def test_nanos_own_dump_reads_what_we_write(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name, size in (("a", 0), ("sub/b", 5000), ("sub/deep/ü", 70_000), ("big", 40 << 20)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(random.Random(size).randbytes(size))
    for n in range(9000):
        (root / f"sub/deep/{'many' * 20}{n}").write_bytes(b"%d" % n)
    (root / "link").symlink_to("sub/b")
    (root / "empty").mkdir()
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"\x7fELF" + bytes(5000))
    disk = tmp_path / "disk"
    entries = list(tree.scan(root))
    write_disk(disk, boot=boot_image(tmp_path / "boot.img"), kernel=kernel, entries=entries, root={"program": "/a"})
    out = tmp_path / "out"
    subprocess.run([str(Path(TOOLS, "dump")), "-d", str(out), str(disk)], check=True, stdout=subprocess.DEVNULL)

    def digests(top: Path) -> dict[str, str]:
        return {
            str(file.relative_to(top)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in top.rglob("*")
            if file.is_file() and not file.is_symlink() and file.stat().st_size
        }

    assert digests(out) == digests(root)
