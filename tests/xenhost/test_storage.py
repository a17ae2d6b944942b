"""Files brought to a host that does not see ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukperf.errors import HostError
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.hosts.storage import POOL, Pool, file_digest
from xenhost.run import content

pytestmark = pytest.mark.real


@pytest.fixture
def pool(host: LibvirtHost) -> Pool:
    pool = Pool(host._connection, host.uri)
    pool.remove_all()
    return pool


def volumes(pool: Pool) -> set[str]:
    return {volume.name() for volume in pool._pool.listAllVolumes(0)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file & more"
    path.write_bytes(bytes(range(256)) * 5000 + b"odd end")
    return path


def test_a_file_arrives_whole_and_is_named_by_its_digest(pool: Pool, file: Path) -> None:
    path = pool.put(file)
    assert path.endswith("/" + file_digest(file))
    assert content(pool, path) == file.read_bytes()


def test_a_file_is_uploaded_once_whoever_asks(host: LibvirtHost, pool: Pool, file: Path, tmp_path: Path) -> None:
    path = pool.put(file)
    before = pool._connection.storageVolLookupByPath(path).XMLDesc(0)  # has the time of the last change
    same = tmp_path / "same"
    same.write_bytes(file.read_bytes())
    assert Pool(host._connection, host.uri).put(same) == path
    assert pool._connection.storageVolLookupByPath(path).XMLDesc(0) == before


def test_an_upload_that_was_cut_off_is_done_again(host: LibvirtHost, pool: Pool, file: Path) -> None:
    pool._create(file_digest(file), file.stat().st_size)  # as a killed ukperf leaves it: a volume of zeros
    assert content(pool, Pool(host._connection, host.uri).put(file)) == file.read_bytes()


def test_a_file_that_changed_is_another_file(pool: Pool, file: Path) -> None:
    first = pool.put(file)
    file.write_bytes(file.read_bytes() + b"!")
    second = pool.put(file)
    assert first != second
    assert content(pool, second) == file.read_bytes()


def test_a_boots_copy_of_a_disk_is_gone_afterwards(pool: Pool, file: Path) -> None:
    path = Path(pool.put(file))
    before = volumes(pool)
    with pool.clone(path, "ukperf-1-0") as copy:
        assert copy != path
        assert content(pool, str(copy)) == file.read_bytes()
    assert volumes(pool) == before


def test_a_full_pool_is_one_sentence_and_leaves_nothing_there(pool: Pool, tmp_path: Path) -> None:
    taken = pool._pool.info()[3] - (64 << 20)
    xml = f"<volume><name>filler</name><capacity>{taken}</capacity><allocation>{taken}</allocation></volume>"
    filler = pool._pool.createXML(xml, 0)
    huge = tmp_path / "huge.img"
    with huge.open("wb") as sink:
        sink.truncate(256 << 20)
    try:
        with pytest.raises(HostError, match=r"is full: huge\.img needs 256\.0 MiB, \d+\.\d MiB are left\."):
            pool.put(huge)
        assert volumes(pool) == {"filler"}
    finally:
        filler.delete(0)


def test_only_our_own_volumes_are_removed(pool: Pool, file: Path) -> None:
    stranger = pool._pool.createXML("<volume><name>somebody's</name><capacity>1</capacity></volume>", 0)
    pool.put(file)
    try:
        assert pool.remove_all() >= file.stat().st_size
        assert volumes(pool) == {"somebody's"}
    finally:
        stranger.delete(0)


def test_a_session_without_the_pool_says_how_to_make_one(host: LibvirtHost) -> None:
    class NoPools:
        def storagePoolLookupByName(self, _name: str) -> object:
            error = host._libvirt.libvirtError("no pool")
            error.err = (host._libvirt.VIR_ERR_NO_STORAGE_POOL, *[None] * 8)  # not the last one that the library had
            raise error

    with pytest.raises(HostError, match=f"no storage pool named {POOL}") as caught:
        Pool(NoPools(), "qemu+ssh://me@there/session")
    assert "pool-create-as ukperf" in str(caught.value.hint)
