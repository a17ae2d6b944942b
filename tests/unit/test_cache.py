"""The content-addressed store: built once, whole or not at all, shared by builders that know nothing of each other."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.imaging import digests
from ukperf.imaging.cache import Cache
from ukperf.imaging.digests import Digests
from ukperf.model import BootProtocol, Image

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def remains(cache: Cache) -> list[str]:
    return [path.name for name in ("tmp", "locks") for path in (cache.root / name).glob("*")]


def settle(*paths: Path) -> None:
    """Makes files old enough to be remembered; ctime cannot be set, so the rule itself is relaxed by the caller."""
    for path in paths:
        os.utime(path, ns=(1, 1))


def test_an_entry_is_built_once(cache: Cache) -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_text("!")

    first = cache.entry("things", "k1", build)
    assert cache.entry("things", "k1", build) == first
    assert (first / "sub" / "x").read_text() == "!"
    assert len(built) == 1 and built[0] != first
    assert remains(cache) == []
    cache.entry("things", "k2", build)
    cache.entry("other/things", "k1", build)
    assert len(built) == 3


def test_a_build_that_fails_leaves_the_cache_as_it_was(cache: Cache) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("things", "k", build)
    assert remains(cache) == []
    assert not (cache.root / "things" / "k").exists()
    cache.entry("things", "k", lambda folder: None)


def _build_slowly(root: Path, started: object, go_on: object, log: Path) -> None:
    def build(folder: Path) -> None:
        with log.open("a") as out:
            out.write(f"{os.getpid()}\n")
        (folder / "x").write_text(str(os.getpid()))
        started.set()
        go_on.wait(60)

    Cache(root).entry("things", "k", build)


def test_of_two_builders_at_once_the_second_takes_the_firsts_work(cache: Cache, tmp_path: Path) -> None:
    started, go_on = FORK.Event(), FORK.Event()
    log = tmp_path / "log"
    builders = [FORK.Process(target=_build_slowly, args=(cache.root, started, go_on, log)) for _ in range(3)]
    for builder in builders:
        builder.start()
    assert started.wait(60)
    go_on.set()
    for builder in builders:
        builder.join(60)
        assert builder.exitcode == 0
    assert len(log.read_text().splitlines()) == 1
    assert (cache.root / "things" / "k" / "x").read_text() == log.read_text().strip()
    assert remains(cache) == []


@pytest.mark.parametrize("key", ["k", "another"])
def test_what_a_killed_builder_left_is_cleared_by_the_next_build(cache: Cache, tmp_path: Path, key: str) -> None:
    started, never = FORK.Event(), FORK.Event()
    builder = FORK.Process(target=_build_slowly, args=(cache.root, started, never, tmp_path / "log"))
    builder.start()
    assert started.wait(60)
    os.kill(builder.pid, signal.SIGKILL)
    builder.join(60)
    assert remains(cache) != []
    cache.entry("things", key, lambda folder: None)
    assert remains(cache) == []
    assert not (cache.root / "things" / key / "x").exists()


def test_a_builder_that_is_at_work_keeps_its_folder(cache: Cache, tmp_path: Path) -> None:
    started, go_on = FORK.Event(), FORK.Event()
    builder = FORK.Process(target=_build_slowly, args=(cache.root, started, go_on, tmp_path / "log"))
    builder.start()
    assert started.wait(60)
    cache.entry("things", "another", lambda folder: None)
    go_on.set()
    builder.join(60)
    assert builder.exitcode == 0
    assert (cache.root / "things" / "k" / "x").exists()


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UkperfError, match="cannot be written") as caught:
        Cache(tmp_path / "file").entry("things", "k", lambda folder: None)
    assert "UKPERF_CACHE_DIR" in (caught.value.hint or "")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert Cache().root == tmp_path / "elsewhere"


def test_keys_depend_on_contents_and_not_on_order(cache: Cache) -> None:
    assert cache.key({"a": 1, "b": ["é", "\udcff"]}) == cache.key({"b": ["é", "\udcff"], "a": 1})
    assert len({cache.key({"a": value}) for value in (1, "1", [1], None, 1.5)}) == 5


def image(folder: Path, key: str) -> Image:
    (folder / "initrd").write_bytes(b"i")
    return Image(
        guest="linux",
        workload="boot",
        digest=key,
        program_digest="p",
        protocol=BootProtocol.KERNEL,
        kernel=Path("/somewhere/vmlinuz"),
        initrd=folder / "initrd",
        cmdline='quiet x="a b"',
        argv=("a", "b c"),
        env=(("N", "é v"),),
        min_memory_mib=64,
    )


def test_an_image_comes_back_as_it_was_built(cache: Cache) -> None:
    first = cache.image({"x": 1}, image)
    again = cache.image({"x": 1}, lambda folder, key: pytest.fail("built again"))
    assert again == first
    assert (
        first.initrd == next((cache.root / "images").glob(f"*/{first.digest}/initrd"))
        and first.initrd.read_bytes() == b"i"
    )
    assert first.kernel == Path("/somewhere/vmlinuz")


def test_an_image_that_another_version_of_ukperf_built_is_not_read_as_ours(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Later(Image):
        something_new: int = 0

    later = cache.image({"x": 1}, image)
    monkeypatch.setattr("ukperf.imaging.cache.Image", Later)
    assert cache.image({"x": 1}, image).initrd != later.initrd
    assert cache.image({"x": 1}, image).digest == later.digest  # it is named by what is in it


def test_a_damaged_image_says_what_to_remove(cache: Cache) -> None:
    first = cache.image({"x": 1}, image)
    (damaged,) = (cache.root / "images").glob(f"*/{first.digest}")
    (damaged / "image.json").write_text("{")
    with pytest.raises(UkperfError, match="cannot be read") as caught:
        cache.image({"x": 1}, image)
    assert f"rm -r {damaged}" in (caught.value.hint or "")


# ---- digests ----


def a_tree(root: Path) -> Path:
    (root / "d").mkdir(parents=True)
    (root / "d" / "x").write_bytes(b"12345")
    (root / "d" / "run").write_bytes(b"#!")
    (root / "d" / "run").chmod(0o755)
    (root / "link").symlink_to("d/x")
    return root


def test_equal_trees_in_different_places_have_one_digest(tmp_path: Path) -> None:
    memory = Digests(tmp_path / "memory")
    assert memory.tree(a_tree(tmp_path / "a")) == memory.tree(a_tree(tmp_path / "b"))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "d" / "x").write_bytes(b"12346"),
        lambda root: (root / "d" / "x").rename(root / "d" / "y"),
        lambda root: (root / "d" / "x").chmod(0o755),
        lambda root: (root / "d" / "empty").mkdir(),
        lambda root: ((root / "link").unlink(), (root / "link").symlink_to("d/run")),
        lambda root: ((root / "link").unlink(), (root / "link").write_bytes(b"d/x")),
    ],
)
def test_whatever_reaches_an_image_changes_the_trees_digest(tmp_path: Path, change) -> None:
    memory = Digests(tmp_path / "memory")
    root = a_tree(tmp_path / "a")
    before = memory.tree(root)
    change(root)
    assert memory.tree(root) != before


def test_an_unchanged_tree_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))  # all is old enough
    root = a_tree(tmp_path / "a")
    first = Digests(tmp_path / "memory")
    tree, file = first.tree(root), first.file(root / "d" / "x")
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    second = Digests(tmp_path / "memory")
    assert (second.tree(root), second.file(root / "d" / "x")) == (tree, file)


def test_a_changed_file_with_its_old_size_and_time_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))
    memory = Digests(tmp_path / "memory")
    root = a_tree(tmp_path / "a")
    path = root / "d" / "x"
    settle(path)
    before = memory.tree(root), memory.file(path)
    time.sleep(0.02)  # past the clock of the file system, not a deadline
    path.write_bytes(b"abcde")
    settle(path)
    assert memory.file(path) != before[1] and memory.tree(root) != before[0]


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    memory = Digests(tmp_path / "memory")
    path = a_tree(tmp_path / "a") / "d" / "x"
    memory.file(path)
    memory.tree(tmp_path / "a")
    assert not list((tmp_path / "memory").glob("*.tree"))
    assert all(
        "12345" not in file.read_text() and str(path) not in file.read_text()
        for file in (tmp_path / "memory").glob("*")
    )


def test_a_memory_that_is_damaged_or_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    root = a_tree(tmp_path / "a")
    good = Digests(tmp_path / "memory").tree(root)
    (tmp_path / "file").write_text("")
    assert Digests(tmp_path / "file").tree(root) == good
    for file in (tmp_path / "memory").glob("*"):
        file.write_text('{"x": [1]}')
    assert Digests(tmp_path / "memory").tree(root) == good


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="cannot be read: No such file"):
        Digests(tmp_path).file(tmp_path / "x")
