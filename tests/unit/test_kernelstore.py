"""The kernel store: entries are whole or not there, and a name keeps its bytes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from fakekernels import boot_img, nanos_kernel, unikraft_kernel

from ukperf.errors import UkperfError
from ukperf.guests.nanos import Nanos
from ukperf.guests.stored import StoredGuest
from ukperf.guests.unikraft import Unikraft
from ukperf.imaging.kernelstore import KERNEL_MAX, KernelOrigin, KernelStore


def state(store: KernelStore) -> dict[str, bytes]:
    """Every file of the store but its lock."""
    files = (path for path in store.root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(store.root)): path.read_bytes() for path in files}


@pytest.fixture
def store(tmp_path: Path) -> KernelStore:
    return KernelStore(tmp_path / "store")


def test_an_empty_store_has_nothing_and_makes_no_folder(store: KernelStore) -> None:
    assert store.entries() == []
    assert store.verify() == []
    assert store.find("nanos") is None
    assert store.remove([]) == 0
    assert not store.root.exists()


def test_what_is_added_is_found_with_digests_sizes_and_origin(store: KernelStore) -> None:
    origin = KernelOrigin("http://x/y", "ab" * 32, pinned=True)
    added = store.add("nanos", "0.1.54", {"kernel": b"kernel", "boot": b"boot"}, origin=origin)
    found = store.find("nanos")
    assert found == added
    assert found.path("kernel").read_bytes() == b"kernel"
    assert found.path("boot").read_bytes() == b"boot"
    assert (found.size, found.source, found.source_digest, found.pinned) == (10, "http://x/y", "ab" * 32, True)
    assert store.verify()[0].problem is None


def test_the_newest_is_found_unless_a_version_is_named(store: KernelStore) -> None:
    for version in ("2", "1", "3"):
        store.add("unikraft", version, {"kernel": version.encode()})
    store.add("unikraft", "9", {"kernel": b"xen"}, platform="xen")
    newest, named, xen = store.find("unikraft"), store.find("unikraft", "1"), store.find("unikraft", platform="xen")
    assert (newest and newest.version, named and named.version, xen and xen.version) == ("3", "1", "9")
    assert [entry.version for entry in store.older()] == ["2", "1"]
    assert len(store.older(keep=0)) == 4


def test_the_same_bytes_twice_are_one_entry(store: KernelStore) -> None:
    first = store.add("nanos", "1", {"kernel": b"k", "boot": b"b"})
    assert store.add("nanos", "1", {"boot": b"b", "kernel": b"k"}) == first


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_other_bytes_under_a_known_name_are_refused_by_both_files_digests(store: KernelStore) -> None:
    store.add("nanos", "1", {"kernel": b"k", "boot": b"b"})
    before = state(store)
    with pytest.raises(UkperfError, match="another nanos 1") as caught:
        store.add("nanos", "1", {"kernel": b"changed", "boot": b"b"})
    assert f"kernel file has sha256:{sha256(b'k')} here and sha256:{sha256(b'changed')}" in caught.value.message
    assert "boot" not in caught.value.message
    assert "--replace" in str(caught.value.hint)
    assert state(store) == before


def test_a_kernel_is_replaced_when_it_is_asked_for(store: KernelStore) -> None:
    old = store.add("nanos", "1", {"kernel": b"k"})
    newest = store.add("nanos", "2", {"kernel": b"2"})
    new = store.add("nanos", "1", {"kernel": b"changed"}, replacing=True)
    assert store.entries() == [newest, new]  # the newest is what is booted
    assert new.path("kernel").read_bytes() == b"changed"
    assert new.folder == old.folder
    assert not old.path("kernel").exists()  # under a path that a run knows there are never other bytes
    assert sorted(path.name for path in store.root.iterdir()) == [".lock", "nanos-1-qemu", "nanos-2-qemu", "trust.json"]
    with pytest.raises(UkperfError, match="another nanos 1"):
        store.add("nanos", "1", {"kernel": b"k"})


def test_what_was_removed_is_forgotten(store: KernelStore) -> None:
    entry, other = (store.add("nanos", version, {"kernel": b"k"}) for version in "12")
    assert store.remove([entry]) == 1
    assert store.trusted("nanos", "1") is None
    assert store.add("nanos", "1", {"kernel": b"changed"}).digest != entry.digest
    shutil.rmtree(other.folder)  # by hand
    assert store.add("nanos", "2", {"kernel": b"changed"}).path("kernel").read_bytes() == b"changed"


def test_a_damaged_entry_takes_no_other_bytes_unless_told_to(store: KernelStore) -> None:
    entry = store.add("nanos", "1", {"kernel": b"k"})
    (entry.folder / "entry.json").write_text("{")
    with pytest.raises(UkperfError, match="is damaged"):
        store.add("nanos", "1", {"kernel": b"changed"})
    store.add("nanos", "1", {"kernel": b"changed"}, replacing=True)
    assert store.verify()[0].problem is None


def test_without_the_memory_of_digests_an_entry_still_keeps_its_bytes(store: KernelStore) -> None:
    store.add("nanos", "1", {"kernel": b"k"})
    (store.root / "trust.json").unlink()
    with pytest.raises(UkperfError, match="another nanos 1"):
        store.add("nanos", "1", {"kernel": b"changed"})


@pytest.mark.parametrize("version", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "a\n"])
def test_versions_that_are_no_file_names_are_refused(store: KernelStore, version: str) -> None:
    with pytest.raises(UkperfError, match="no version"):
        store.add("nanos", version, {"kernel": b"k"})


def test_verify_tells_what_is_damaged_and_adding_again_mends_it(store: KernelStore) -> None:
    entry = store.add("nanos", "1", {"kernel": b"kernel"})
    other = store.add("nanos", "2", {"kernel": b"kernel 2"})
    entry.path("kernel").write_bytes(b"kernel, changed")
    other.path("kernel").unlink()
    assert [bool(checked.problem) for checked in store.verify()] == [True, True]
    assert "has the digest" in str(store.verify()[0].problem)
    store.add("nanos", "1", {"kernel": b"kernel"})
    assert [bool(checked.problem) for checked in store.verify()] == [False, True]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": 3}', '{"files": [{"name": "x"}]}'])
def test_a_damaged_entry_is_reported_and_hides_no_other(store: KernelStore, text: str) -> None:
    store.add("nanos", "1", {"kernel": b"1"})
    bad = store.add("nanos", "2", {"kernel": b"2"})
    (bad.folder / "entry.json").write_text(text)
    assert [entry.version for entry in store.entries()] == ["1"]
    assert "cannot be read" in str(store.verify()[1].problem)


def test_an_entry_that_names_files_elsewhere_is_damaged(store: KernelStore) -> None:
    entry = store.add("nanos", "1", {"kernel": b"1"})
    path = entry.folder / "entry.json"
    values = json.loads(path.read_text())
    values["files"][0]["name"] = "../../secret"
    path.write_text(json.dumps(values))
    assert store.entries() == []
    assert store.verify()[0].problem is not None


def test_a_failed_add_leaves_the_store_as_it_was(store: KernelStore, tmp_path: Path) -> None:
    store.add("nanos", "1", {"kernel": b"1"})
    before = state(store)
    with (tmp_path / "big").open("wb") as out:
        out.truncate(KERNEL_MAX + 1)
    for bad, sentence in ((tmp_path / "nowhere", "cannot be read"), (tmp_path / "big", "more than 64 MiB")):
        with pytest.raises(UkperfError, match=sentence):
            store.add("nanos", "2", {"boot": b"b", "kernel": bad})
        assert state(store) == before


def test_what_a_dead_writer_left_is_cleared(store: KernelStore) -> None:
    store.add("nanos", "1", {"kernel": b"1"})
    (store.root / ".new-dead").mkdir()
    (store.root / ".new-dead" / "kernel.img").write_bytes(b"half")
    assert len(store.entries()) == 1
    store.remove([])
    assert not (store.root / ".new-dead").exists()


def _add_one(root: str, number: int) -> None:
    KernelStore(Path(root)).add("nanos", str(number), {"kernel": b"%d" % number})


def test_writers_at_the_same_time_lose_nothing(store: KernelStore) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_one, args=(str(store.root), number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(entry.version for entry in store.entries()) == ["0", "1", "2", "3"]
    assert len(json.loads((store.root / "trust.json").read_text())["digests"]) == 4


def test_a_damaged_memory_of_digests_is_not_forgotten_silently(store: KernelStore) -> None:
    store.add("nanos", "1", {"kernel": b"1"})
    (store.root / "trust.json").write_text("{")
    with pytest.raises(UkperfError, match=r"trust\.json"):
        store.add("nanos", "2", {"kernel": b"2"})


# images add


def test_added_files_get_the_version_that_the_kernel_says(store: KernelStore, tmp_path: Path) -> None:
    (tmp_path / "n").write_bytes(nanos_kernel())
    (tmp_path / "b").write_bytes(boot_img())
    (tmp_path / "u").write_bytes(unikraft_kernel("0.17.0~deadbeef"))
    (tmp_path / "u2").write_bytes(unikraft_kernel("?"))
    added, unikraft = Nanos(store=store).add(tmp_path / "n", tmp_path / "b"), Unikraft(store=store)
    assert (added.version, [file.role for file in added.files]) == ("git-0123456789ab", ["boot", "kernel"])
    assert unikraft.add(tmp_path / "u", platform="xen").version == "0.17.0~deadbeef"
    local = unikraft.add(tmp_path / "u2")
    assert local.version == f"local-{local.sha256('kernel')[:12]}"
    assert added.source == f"file {tmp_path / 'n'}"


def test_files_that_are_not_what_they_should_be_are_refused(store: KernelStore, tmp_path: Path) -> None:
    (tmp_path / "n").write_bytes(nanos_kernel())
    (tmp_path / "u").write_bytes(unikraft_kernel())
    (tmp_path / "b").write_bytes(boot_img())
    (tmp_path / "text").write_bytes(b"hello NVMTFS Unikraft")
    nanos, unikraft = Nanos(store=store), Unikraft(store=store)
    cases: list[tuple[StoredGuest, str, str | None, str]] = [
        (nanos, "n", None, "boot image too"),
        (nanos, "n", "text", "not a nanos boot image"),
        (nanos, "text", "b", "not an ELF file"),
        (nanos, "u", "b", "not for x86-64"),
        (unikraft, "n", None, "nothing in it says Unikraft"),
        (unikraft, "u", "b", "has no boot image"),
        (unikraft, "nowhere", None, "cannot be read"),
    ]
    for guest, kernel, boot, sentence in cases:
        with pytest.raises(UkperfError, match=sentence):
            guest.add(tmp_path / kernel, tmp_path / boot if boot else None)
    assert store.entries() == []
