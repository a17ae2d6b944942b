"""Each file that ukperf stores says its format. What ukperf 0.1 stored, which says none, is read; what a newer ukperf
stored is refused in a sentence, or made anew where nothing is lost but time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.hosts import truth
from ukperf.imaging import closure, digests, pythontree
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import Package, PythonTree, describe, from_description
from ukperf.imaging.datasets import stored_facts, synthetic, write
from ukperf.imaging.digests import Digests
from ukperf.imaging.kernelstore import KernelStore
from ukperf.imaging.python_env import Interpreter
from ukperf.model import BootProtocol, Image


@dataclass(frozen=True)
class Stored:
    """A file of ours, and how it is read: None where it is not believed. flat: 0.1 had this member alone, bare."""

    path: Path
    read: Callable[[], object]
    refuses: bool
    flat: str = ""


def image(folder: Path, _: pytest.MonkeyPatch) -> Stored:
    def build(_: Path, key: str) -> Image:
        return Image("g", "w", key, "p", BootProtocol.KERNEL, kernel=Path("/k"), argv=("a", "b"), env=(("N", "v"),))

    made = Cache(folder).image({"x": 1}, build)

    def read() -> object:
        return Cache(folder).image({"x": 1}, lambda *_: pytest.fail("built again"))

    assert read() == made
    (path,) = (folder / "images").glob("*/*/image.json")
    return Stored(path, read, refuses=True)


def entry(folder: Path, _: pytest.MonkeyPatch) -> Stored:
    stored = KernelStore(folder).add("nanos", "1", {"kernel": b"1"})
    return Stored(stored.folder / "entry.json", lambda: KernelStore(folder).find("nanos"), refuses=False)


def trust(folder: Path, _: pytest.MonkeyPatch) -> Stored:
    KernelStore(folder).add("nanos", "1", {"kernel": b"1"})
    path = folder / "trust.json"
    return Stored(path, lambda: KernelStore(folder).trusted("nanos", "1"), refuses=True, flat="digests")


def digest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**18))  # all is old enough
    (folder / "file").write_bytes(b"x")
    real = digests.hashlib.file_digest
    Digests(folder / "memory").file(folder / "file")

    def read() -> object:
        asked: list[object] = []
        with monkeypatch.context() as patch:
            patch.setattr(digests.hashlib, "file_digest", lambda *words: asked.append(1) or real(*words))
            said = Digests(folder / "memory").file(folder / "file")
        return None if asked else said

    (path,) = (folder / "memory").iterdir()
    return Stored(path, read, refuses=False, flat="files")


def data(folder: Path, _: pytest.MonkeyPatch) -> Stored:
    write(synthetic(0.002), folder)
    return Stored(folder / "facts.json", lambda: stored_facts(folder), refuses=True)


def kvm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(folder))
    monkeypatch.setattr(truth, "_circumstances", lambda: {"boot_id": "x"})
    truth._remember(truth.Truth(False, "KVM lies.", "Ask for another."))
    return Stored(folder / "truth.json", truth._recall, refuses=False)


def environment(folder: Path, _: pytest.MonkeyPatch) -> Stored:
    memory = pythontree._Memory(Cache(folder), (), None)
    interpreter = Interpreter(folder / "bin" / "python", launcher=False, version="3.11")
    memory.remember(closure.Inputs(interpreter, (), (), (), ()), "0" * 64)
    return Stored(memory.path, memory.recall, refuses=False)


def tree(folder: Path, _: pytest.MonkeyPatch) -> Stored:
    made = PythonTree(folder, "d", 7, 1, "3.11", (Package("numpy", "2.0"),), ("tkinter: no Tcl",))
    (folder / "tree.json").write_text(describe(made))

    def read() -> object:
        stored = from_description(folder, (folder / "tree.json").read_text())
        assert stored == made
        return stored

    return Stored(folder / "tree.json", read, refuses=True)


KINDS = (image, entry, trust, digest, data, kvm, environment, tree)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_first_ukperf_stored_is_read(
    kind: Callable[[Path, pytest.MonkeyPatch], Stored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = kind(tmp_path, monkeypatch)
    before = stored.read()
    content = json.loads(stored.path.read_text())
    assert content.pop("format") == 1 and before is not None
    stored.path.write_text(json.dumps(content[stored.flat] if stored.flat else content))
    assert stored.read() == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_newer_ukperf_stored_is_not_guessed_at(
    kind: Callable[[Path, pytest.MonkeyPatch], Stored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = kind(tmp_path, monkeypatch)
    content = json.loads(stored.path.read_text())
    stored.path.write_text(json.dumps({**content, "format": 99, "more": [{"of": "it"}]}))
    if stored.refuses:
        with pytest.raises(UkperfError, match="newer ukperf"):
            stored.read()
    else:
        assert stored.read() is None


def test_an_entry_of_a_newer_ukperf_says_so_where_entries_are_verified(tmp_path: Path) -> None:
    entry = KernelStore(tmp_path).add("nanos", "1", {"kernel": b"1"})
    path = entry.folder / "entry.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    (checked,) = KernelStore(tmp_path).verify()
    assert checked.problem is not None and "newer ukperf" in checked.problem
