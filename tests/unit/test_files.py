"""Files that are none hang nothing and fill nothing, and what ukperf writes is whole or not there."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ukperf import files
from ukperf.cli.options import kernels
from ukperf.engine.folders import locked, write_beside
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.plan import PLAN, load
from ukperf.errors import UkperfError
from ukperf.guests.recipes import load_recipe
from ukperf.guests.unikraft import Unikraft, check_loadable
from ukperf.hosts import embed, remote
from ukperf.hosts.storage import file_digest
from ukperf.imaging import closure, python_env, pythontree
from ukperf.imaging.copying import Item, copy_out
from ukperf.imaging.datasets import FACTS, stored_facts
from ukperf.imaging.datasources import read_npz, read_svmlight
from ukperf.imaging.digests import Digests
from ukperf.imaging.elf import is_elf, read_elf
from ukperf.imaging.kernelfile import kernel_version
from ukperf.imaging.kernelstore import ENTRY_FILE, KernelStore
from ukperf.imaging.nanosdisk import check_boot_image
from ukperf.imaging.newsgroups import read_newsgroups
from ukperf.imaging.tree import Entry, Kind
from ukperf.runs.pyperffile import read_pyperf


@contextmanager
def no_file(kind: str, path: Path) -> Iterator[None]:
    """Something at `path` that is no regular file."""
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "socket":
            server.bind(str(path))
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        else:
            path.symlink_to("/nowhere/at/all")
        yield


KINDS = ("pipe", "device", "socket", "folder", "loop", "broken link")


def _add(path: Path) -> object:
    return Unikraft(store=KernelStore(path.parent / "store")).add(path, version="1")


def _plan(path: Path) -> object:
    path.rename(path.with_name(PLAN))
    return load(path.parent)


def _facts(path: Path) -> object:
    path.rename(path.with_name(FACTS))
    return stored_facts(path.parent)


def _entry(path: Path) -> object:
    folder = path.parent / "store" / "nanos-1-qemu"
    folder.mkdir(parents=True)
    path.rename(folder / ENTRY_FILE)
    (checked,) = KernelStore(path.parent / "store").verify()
    if checked.problem:
        raise UkperfError(checked.problem)
    return checked


def _disk(path: Path) -> None:
    with remote._copy(path):
        pass


READERS: dict[str, Callable[[Path], object]] = {
    "plan": _plan,
    "journal": read_journal,
    "pyperf": read_pyperf,
    "kernel option": lambda path: kernels([f"linux={path}"]),
    "linux kernel": kernel_version,
    "unikraft kernel": lambda path: Unikraft().inspect(path),
    "added kernel": _add,
    "nanos boot image": check_boot_image,
    "store entry": _entry,
    "recipe": load_recipe,
    "program": check_loadable,
    "library": read_elf,
    "npz": read_npz,
    "svmlight": read_svmlight,
    "newsgroups": read_newsgroups,
    "data facts": _facts,
    "digest": lambda path: Digests(path.parent / "digests").file(path),
    "file of an image": lambda path: copy_out(1, [Item(0, Entry(b"a", Kind.FILE, size=9, source=str(path)))]),
    "module of Python": lambda path: closure._copy(path, path.with_name("copy")),
    "file of a Python workload": lambda path: pythontree._put(path, path.with_name("copy")),
    "disk to copy": _disk,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_a_sentence_wherever_a_file_is_read(reader: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    with no_file(kind, path), pytest.raises(UkperfError) as caught:
        READERS[reader](path)
    assert "Errno" not in str(caught.value) and "None" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
def test_whether_it_is_an_elf_file_is_asked_without_hanging(kind: str, tmp_path: Path) -> None:
    with no_file(kind, tmp_path / "it"):
        assert not is_elf(tmp_path / "it")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_not_uploaded(kind: str, tmp_path: Path) -> None:
    with no_file(kind, tmp_path / "it"), pytest.raises(OSError, match=r"."):
        file_digest(tmp_path / "it")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_what_libvirt_learned_is_forgotten_where_it_is_no_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with no_file(kind, tmp_path / "kept" / "qemu.xml"):
        embed._copy(tmp_path / "kept", tmp_path / "learned")
    assert not list((tmp_path / "learned").glob("*.xml"))


def test_what_libvirt_learned_is_kept_from_run_to_run(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "qemu.xml").write_text("<qemuCaps/>")
    embed._copy(tmp_path / "kept", tmp_path / "learned")
    assert (tmp_path / "learned" / "qemu.xml").read_text() == "<qemuCaps/>"


@pytest.mark.timeout(20)
def test_a_pipe_in_the_standard_library_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "module.py").touch()
    assert list(python_env._walk(tmp_path)) == [tmp_path / "module.py"]


def _journal(path: Path) -> None:
    with Journal(path):
        pass


def _locked(folder: Path) -> None:
    with locked(folder):
        pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "write"),
    [
        (JOURNAL, lambda folder: _journal(folder / JOURNAL)),
        (".lock", _locked),
    ],
)
def test_what_is_no_file_is_not_written_to(name: str, write: Callable[[Path], None], kind: str, tmp_path: Path) -> None:
    """A run's folder may be anybody's: a link in it must not make us write somewhere else."""
    with no_file(kind, tmp_path / name), pytest.raises(UkperfError, match="cannot be written"):
        write(tmp_path)


def test_a_link_in_a_runs_folder_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    victim.write_text("mine")
    (tmp_path / JOURNAL).symlink_to(victim)
    with pytest.raises(UkperfError, match="it is a link to another file"):
        _journal(tmp_path / JOURNAL)
    assert victim.read_text() == "mine"


def _which(path: Path) -> tuple[int, ...]:
    """What tells one file from another; a device's times change when others use its number."""
    stat = path.lstat()
    return stat.st_dev, stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_rdev, stat.st_size


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "loop"])
def test_what_is_no_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    """`--output /dev/null`, by root, must not put a file where the device was."""
    path = tmp_path / "it"
    with no_file(kind, path):
        before = _which(path)
        with pytest.raises(UkperfError, match="cannot be written"):
            write_beside(path, "text")
        assert _which(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_file_stays_a_link_and_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("old")
    (tmp_path / "link").symlink_to("folder/file")
    files.write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "file").read_text() == "new"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "it"
    files.write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_umasks_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "it", b"x")
        files.write_atomically(tmp_path / "secret", b"x", mode=0o600)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("it", "secret")] == [0o640, 0o600]


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    files.write_atomically(path, "x")
    assert path.read_text() == "x"


def test_never_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"x" * 100)
    assert files.read_bytes(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="it has more than 99 bytes"):
        files.read_bytes(path, 99)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="it has more than 16 MiB"):
        files.read_json(path)
    with pytest.raises(OSError, match="it has more than 10 bytes"):
        files.read_bytes(Path("/proc/self/status"), 10)  # which says of itself that it is empty


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_an_oserror(name: str, tmp_path: Path) -> None:
    for use in (files.open_regular, lambda path: files.write_atomically(path, "x")):
        with pytest.raises(OSError, match="its name is none that a file can have"):
            use(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000, "{", "\ud800".encode("utf-8", "surrogatepass"), ""])
def test_what_is_no_json_is_a_value_error(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "it").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError):
        files.read_json(tmp_path / "it")
