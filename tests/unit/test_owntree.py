"""A program of this machine runs in a copy of its tree, which is as it was packed before each boot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ukperf.errors import HostError
from ukperf.hosts import owntree
from ukperf.hosts.owntree import OwnTree, as_packed
from ukperf.model import BootProtocol, Command, Image


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_text("packed")
    (root / "program").write_text("#!")
    (root / "program").chmod(0o755)
    (root / "link").symlink_to("folder")
    return root


def end(tree: OwnTree) -> None:
    """As at the end of its process."""
    os.close(tree._lock)


def test_where_nothing_was_changed_nothing_is_written(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = OwnTree(packed)
    tree.mend()
    assert (tree.root / "folder" / "file").read_text() == "packed" and os.access(tree.root / "program", os.X_OK)
    assert (tree.root / "link").readlink() == Path("folder")
    monkeypatch.setattr(owntree, "copy", lambda *_: pytest.fail("copied again"))
    tree.mend()
    end(tree)
    again = OwnTree(packed)
    again.mend()
    assert again.root == tree.root


def test_a_write_of_the_same_size_is_seen_at_once(packed: Path) -> None:
    """The clock of file times goes in steps of milliseconds."""
    tree = OwnTree(packed)
    for _ in range(50):
        tree.mend()
        assert (tree.root / "folder" / "file").read_text() == "packed"
        with (tree.root / "folder" / "file").open("r+") as file:
            file.write("PACKED")


def test_what_the_last_process_left_is_not_taken_over(packed: Path) -> None:
    tree = OwnTree(packed)
    tree.mend()
    (tree.root / "folder" / "file").write_text("left")
    (tree.root / "more").write_text("left")
    end(tree)
    again = OwnTree(packed)
    assert again.root == tree.root
    again.mend()
    assert (again.root / "folder" / "file").read_text() == "packed" and not (again.root / "more").exists()


def test_two_processes_have_two_copies_with_names_of_one_length(packed: Path) -> None:
    one, two = OwnTree(packed), OwnTree(packed)
    assert one.root != two.root and len(str(one.root)) == len(str(two.root))


def test_a_folder_that_became_a_link_leads_nowhere(packed: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "file").write_text("of somebody else")
    tree = OwnTree(packed)
    tree.mend()
    (tree.root / "folder" / "file").unlink()
    (tree.root / "folder").rmdir()
    (tree.root / "folder").symlink_to(others)
    tree.mend()
    assert (tree.root / "folder" / "file").read_text() == "packed" and not (tree.root / "folder").is_symlink()
    assert (others / "file").read_text() == "of somebody else"


def test_words_of_an_image_name_the_copy(packed: Path) -> None:
    command = Command(program=packed / "program", words=("-i", f"A={packed}/folder", "x"))
    image = Image(
        "g",
        "run",
        "",
        "",
        BootProtocol.COMMAND,
        argv=(f"{packed}/program", "/x"),
        env=(("LIBRARY", f"{packed}/a:{packed}/b"),),
        tree=packed,
        command=command,
    )
    moved, copy = as_packed(image), packed.with_name("copy-00")
    assert moved.argv == (f"{copy}/program", "/x") and moved.env == (("LIBRARY", f"{copy}/a:{copy}/b"),)
    assert moved.command is not None and moved.command.program == copy / "program"
    assert moved.command.words == ("-i", f"A={copy}/folder", "x")


def test_a_tree_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    image = Image("g", "run", "", "", BootProtocol.EXEC, argv=("/x",), tree=tmp_path / "gone" / "root")
    with pytest.raises(HostError, match="cannot be made as they were packed"):
        as_packed(image)
