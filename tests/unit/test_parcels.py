"""Files that guests boot from on their way to machines that have them not."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_runner import plan_of
from test_spread import ONCE, FakeCluster, about, blocks, done, good, run

from ukperf.engine import atworker, parcels
from ukperf.engine.bootfiles import digests_of
from ukperf.engine.errand import Piece, Question, Told, answer_of, packed, plan_text, to_bytes, unpacked
from ukperf.engine.parcels import located, receive, size_said
from ukperf.errors import UkperfError
from ukperf.hosts.fake import FakeHost, good_boot
from ukperf.imaging.cache import KEPT, Cache
from ukperf.imaging.treeparcel import TreeParcel
from ukperf.model import BootProtocol, Command, Plan

GUESTS = ("floor", "linux")


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cache:
    """The cache of a worker, which plays its part in this process."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(parcels, "PART", 1000)
    host = FakeHost(lambda spec, n: good_boot())
    monkeypatch.setattr(atworker, "_host", lambda plan: host)
    return Cache()


def plan_with_files(folder: Path) -> Plan:
    """Two kernels, one of them executed by two guests, and a program of native's."""
    folder.mkdir(exist_ok=True)
    plan = plan_of((*GUESTS, "native"), boots=8)
    paths = {name: folder / name for name in plan.images}
    for name, path in paths.items():
        path.write_bytes(name.encode() * 500)
    images = {
        name: replace(image, argv=(str(paths[name]), "x"))
        if image.protocol is BootProtocol.EXEC
        else replace(image, argv=(), kernel=paths[name])
        for name, image in plan.images.items()
    }
    return replace(plan, images=images, files=digests_of(images.values(), Cache().digests))


def answer(worker: str, question: Question) -> Told:
    return answer_of(atworker.answer(to_bytes(question)))


def test_a_worker_gets_what_it_lacks_once_and_boots_from_it(theirs: Cache, tmp_path: Path) -> None:
    ours = tmp_path / "asker"
    plan = plan_with_files(ours)
    hidden = tmp_path / "hidden"

    def elsewhere(act: Callable[[], Told]) -> Told:
        """On a machine without the asker's files."""
        ours.rename(hidden)
        try:
            return act()
        finally:
            hidden.rename(ours)

    def act(worker: str, question: Question) -> Told:
        return (
            elsewhere(lambda: answer(worker, question)) if question.do in ("about", "file") else good(worker, question)
        )

    said: list[str] = []
    cluster = FakeCluster({"a": 1}, act)
    run(tmp_path, cluster, plan, said)
    total = sum(path.stat().st_size for path in ours.iterdir())
    (sentence,) = said
    assert sentence.startswith(f"Sent {size_said(total)} to ") and sentence.endswith(", 3 files.")
    sent = [q.piece for _, q in cluster.asked if q.piece is not None]
    assert sum(len(unpacked(piece.data)) for piece in sent) == total and max(p.offset for p in sent) >= 1000
    there, lacks = located(replace(plan, images=dict(plan.images)), theirs)
    assert not lacks and there.images["floor"].kernel == ours / "floor"
    ours.rename(hidden)
    there, lacks = located(plan, theirs)
    assert not lacks
    for name in GUESTS:
        kernel = there.images[name].kernel
        assert kernel is not None and kernel.read_bytes() == (hidden / name).read_bytes()
    program = Path(there.images["native"].argv[0])
    assert there.images["native"].argv[1:] == ("x",) and os.access(program, os.X_OK)
    assert there.files[str(program)] == plan.files[str(ours / "native")]
    again = FakeCluster({"a": 1}, act)
    hidden.rename(ours)
    (tmp_path / "second").mkdir()
    run(tmp_path / "second", again, plan, said)
    assert len(said) == 1 and not [q for _, q in again.asked if q.do == "file"]  # it has them


def plan_with_tree(folder: Path) -> Plan:
    """native with a packed tree, and a guest whose command line names a file and needs another one."""
    plan = plan_of(("native", "linux"), boots=4)
    tree = folder / "root"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "program").write_bytes(b"#!" + b"p" * 3000)
    (tree / "bin" / "program").chmod(0o755)
    (tree / "link").symlink_to("bin/program")
    (folder / "firmware").write_bytes(b"f" * 100)
    native = replace(
        plan.images["native"],
        argv=(str(tree / "bin/program"), str(tree / "link"), "x"),
        env=(("HOME", str(tree)),),
        tree=tree,
    )
    command = Command(json=f'{{"firmware": "{folder}/firmware"}}', files=(folder / "firmware",))
    words = ("/bin/sh", f"bios={folder}/firmware,ro", f"{folder}/firmware2")
    linux = replace(plan.images["linux"], protocol=BootProtocol.COMMAND, argv=words, command=command)
    images = {"native": native, "linux": linux}
    return replace(plan, images=images, files=digests_of(images.values(), Cache().digests, trees=True))


def test_a_packed_tree_and_the_files_that_a_command_names_are_sent(theirs: Cache, tmp_path: Path) -> None:
    ours, hidden = tmp_path / "asker", tmp_path / "hidden"
    plan = plan_with_tree(ours)
    assert located(plan, theirs) == (plan, ())  # on a machine that has it all, nothing is moved

    def act(worker: str, question: Question) -> Told:
        if question.do not in ("about", "file"):
            return Told() if question.do == "end" else done(question)
        ours.rename(hidden)
        try:
            return answer(worker, question)
        finally:
            hidden.rename(ours)

    said: list[str] = []
    cluster = FakeCluster({"a": 1}, act)
    run(tmp_path, cluster, plan, said)
    assert len(blocks(tmp_path)) == 4 and said[0].startswith("Sent ") and said[0].endswith(", 2 files."), said
    assert sum(q.piece is not None for _, q in cluster.asked) >= 4  # the tree in pieces
    ours.rename(hidden)
    there, lacks = located(plan, theirs)
    assert not lacks
    native, linux = there.images["native"], there.images["linux"]
    tree, command = native.tree, linux.command
    assert (
        tree is not None
        and tree.is_relative_to(theirs.root)
        and theirs.digests.tree(tree) == plan.files[str(ours / "root")]
    )
    assert native.argv == (str(tree / "bin/program"), str(tree / "link"), "x") and dict(native.env) == {
        "HOME": str(tree)
    }
    assert os.access(tree / "link", os.X_OK) and native.env == (("HOME", str(tree)),)
    assert command is not None and command.files[0].read_bytes() == b"f" * 100
    firmware = str(command.files[0])
    assert linux.argv == ("/bin/sh", f"bios={firmware},ro", f"{ours}/firmware2")  # a longer name is another file
    assert command.json == f'{{"firmware": "{firmware}"}}'
    (tree / "bin" / "program").write_bytes(b"damaged")
    assert located(plan, theirs)[1] == (plan.files[str(ours / "root")],)


def test_what_a_command_looks_for_by_itself_is_not_sent_and_a_tree_of_an_old_plan_neither(
    theirs: Cache, tmp_path: Path
) -> None:
    plan = plan_with_tree(tmp_path / "asker")
    linux = plan.images["linux"]
    assert linux.command is not None
    by_itself = replace(linux, argv=("/bin/sh",), command=replace(linux.command, json=""))
    (tmp_path / "asker" / "firmware").unlink()
    with pytest.raises(UkperfError, match="firmware, which linux boots from, is not there"):
        located(replace(plan, images={"linux": by_itself}), theirs)
    old = {path: digest for path, digest in plan.files.items() if path != str(tmp_path / "asker/root")}
    with pytest.raises(UkperfError, match="not planned to be sent"):
        located(replace(plan, files=old, images={"native": plan.images["native"]}), theirs)


def test_a_tree_with_other_bytes_than_announced_does_not_stay(theirs: Cache, tmp_path: Path) -> None:
    plan = plan_with_tree(tmp_path / "asker")
    parcel = TreeParcel(tmp_path / "asker/root")
    data = parcel.read(parcel.size).replace(b"pppp", b"qqqq")
    with pytest.raises(UkperfError, match="A tree that it was sent has another digest"):
        receive(Piece("ab" * 32, len(data), 0, packed(data)), "me", theirs, {"ab" * 32})
    assert not list((theirs.root / "trees").glob("*/root")) and not list((theirs.root / parcels.PARTS).iterdir())
    assert parcel.read(1) == b"" and plan.files


def test_what_is_damaged_in_the_cache_is_sent_again(theirs: Cache, tmp_path: Path) -> None:
    plan = plan_with_files(tmp_path / "asker")
    content = (tmp_path / "asker/floor").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    receive(Piece(digest, len(content), 0, packed(content)), "me", theirs)
    shutil.rmtree(tmp_path / "asker")
    assert digest not in located(plan, theirs)[1]
    (theirs.root / "files" / digest / KEPT).write_bytes(b"other")
    assert digest in located(plan, theirs)[1]


def test_a_file_with_other_bytes_is_not_booted_from(theirs: Cache, tmp_path: Path) -> None:
    plan = plan_with_files(tmp_path / "asker")
    (tmp_path / "asker/linux").write_bytes(b"of this machine")
    assert located(plan, theirs)[1] == (plan.files[str(tmp_path / "asker/linux")],)


PIECES = [
    (Piece("ab" * 32, 4, 0, packed(b"four")), "another digest"),
    (Piece("ab" * 32, 3, 0, packed(b"four")), "larger than it says"),
    (Piece("ab" * 32, 1 << 39, 0, packed(b"four")), "larger than it says"),
    (Piece("ab" * 32, 9, 0, "no base64"), "no piece of a file"),
]


@pytest.mark.parametrize(("piece", "why"), PIECES)
def test_pieces_that_do_not_fit_are_refused_and_nothing_of_them_stays(
    piece: Piece, why: str, theirs: Cache, tmp_path: Path
) -> None:
    with pytest.raises(UkperfError, match=why):
        receive(piece, "me", theirs)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_pieces_out_of_order_are_refused(theirs: Cache) -> None:
    receive(Piece("ab" * 32, 9, 0, packed(b"four")), "me", theirs)
    with pytest.raises(UkperfError, match="out of order"):
        receive(Piece("ab" * 32, 9, 5, packed(b"four")), "me", theirs)


def test_a_worker_without_room_says_so_and_its_block_goes_to_another(
    theirs: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with_files(tmp_path / "asker")
    full = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    plan = replace(plan, images={guest: plan.images[guest] for guest in GUESTS})
    lacked = tuple(plan.files[str(tmp_path / "asker" / guest)] for guest in GUESTS)

    def act(worker: str, question: Question) -> Told:
        if worker == "full" and question.do == "about":
            return Told(about=about(worker, lacks=lacked))
        return answer(worker, question) if question.do == "file" else good(worker, question)

    said: list[str] = []
    run(tmp_path, FakeCluster({"full": 1, "a": 1}, act), plan, said)
    assert blocks(tmp_path) == ONCE
    assert sum("takes no part: It has no room for a file of 2.5 kB: 1.0 MB are free" in s for s in said) == 1, said


def test_a_disk_that_is_full_in_a_block_is_a_sentence(
    theirs: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with_files(tmp_path / "asker")

    def full(spec: object, number: int) -> object:
        raise OSError(28, "No space left on device", "/cache/console.log")

    host = FakeHost(full)  # type: ignore[arg-type]
    monkeypatch.setattr(atworker, "_host", lambda plan: host)
    told = answer("a", Question("block", plan_text(plan), 0, 0, GUESTS))
    assert told.refusal == "A file cannot be read or written there: No space left on device (/cache/console.log)."


def test_a_worker_that_lacks_what_it_was_sent_or_nobody_has_takes_no_part(theirs: Cache, tmp_path: Path) -> None:
    plan = plan_with_files(tmp_path / "asker")
    known, unknown = next(iter(plan.files.values())), "cd" * 32

    def act(worker: str, question: Question) -> Told:
        lacks = {"forgets": (known,), "raves": (unknown,)}.get(worker, ())
        if question.do == "about":
            return Told(about=about(worker, lacks=lacks))
        return Told() if question.do == "file" else good(worker, question)

    said: list[str] = []
    run(tmp_path, FakeCluster({"forgets": 1, "raves": 1, "a": 1}, act), plan, said)
    assert any("forgets takes no part: it lacks a file that it was sent" in s for s in said), said
    assert any("raves takes no part: it lacks a file that no guest boots from (cdcdcdcd" in s for s in said)
    assert len(blocks(tmp_path)) == 8


def test_two_workers_of_one_machine_are_sent_files_once(theirs: Cache, tmp_path: Path) -> None:
    plan = plan_with_files(tmp_path / "asker")
    had: set[str] = set()

    def act(worker: str, question: Question) -> Told:
        if question.do == "about":
            lacks = tuple(digest for digest in plan.files.values() if digest not in had)
            return Told(about=about(worker, kernel="abc", lacks=lacks))
        if question.piece is not None:
            if question.piece.offset + len(unpacked(question.piece.data)) == question.piece.size:
                had.add(question.piece.digest)
            return Told()
        return Told() if question.do == "end" else done(question)

    said: list[str] = []
    cluster = FakeCluster({"a": 1, "b": 1}, act)
    run(tmp_path, cluster, plan, said, alone=False)
    assert len({name for name, q in cluster.asked if q.do == "file"}) == 1
    assert {name for name, q in cluster.asked if q.do == "block"} == {"a", "b"}
    assert said == [
        f"Sent {size_said(sum(p.stat().st_size for p in (tmp_path / 'asker').iterdir()))} to node-a, 3 files."
    ]


def test_a_file_of_the_askers_that_was_changed_ends_the_run(theirs: Cache, tmp_path: Path) -> None:
    plan = plan_with_files(tmp_path / "asker")
    lacked = tuple(plan.files.values())
    (tmp_path / "asker/floor").write_bytes(b"rebuilt")

    def act(worker: str, question: Question) -> Told:
        return Told(about=about(worker, lacks=lacked)) if question.do == "about" else good(worker, question)

    with pytest.raises(UkperfError, match="floor was changed or removed since this run was planned"):
        run(tmp_path, FakeCluster({"a": 1}, act), plan)
