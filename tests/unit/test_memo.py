"""What was found out from files is believed while these are what they were, and no longer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from ukperf.imaging.memo import Memo


@dataclass(frozen=True)
class Answer:
    words: tuple[str, ...]
    path: Path


ANSWER = Answer(("a", "b"), Path("/x"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that has been left alone for a while, in a folder that has too."""
    path = tmp_path / "sources" / "file"
    path.parent.mkdir()
    path.write_text("content")
    return path


@pytest.fixture
def memo(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Memo[Answer]:
    later = source.stat().st_ctime_ns + 10_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: later)
    return Memo(tmp_path / "memory", Answer, ["question", 1])


def test_an_answer_is_recalled_to_its_own_question_alone(tmp_path: Path, memo: Memo[Answer], source: Path) -> None:
    assert memo.recall() is None
    memo.remember(ANSWER, [str(source), str(source.parent), str(tmp_path / "not there")])
    assert memo.recall() == ANSWER
    assert Memo(tmp_path / "memory", Answer, ["question", 2]).recall() is None


@pytest.mark.parametrize("change", ["content", "mode", "touch", "replace", "remove", "appear", "folder"])
def test_any_change_of_a_file_makes_it_forget(change: str, tmp_path: Path, memo: Memo[Answer], source: Path) -> None:
    memo.remember(ANSWER, [str(source), str(source.parent), str(tmp_path / "not there")])
    if change == "content":
        source.write_text("CONTENT")
    elif change == "mode":
        source.chmod(0o755)
    elif change == "touch":
        os.utime(source, ns=(0, 0))
    elif change == "replace":
        (tmp_path / "other").write_text("content")
        (tmp_path / "other").replace(source)
    elif change == "remove":
        source.unlink()
    elif change == "appear":
        (tmp_path / "not there").touch()
    else:
        (source.parent / "new").touch()
    assert memo.recall() is None


def test_what_was_changed_just_now_is_not_trusted(
    memo: Memo[Answer], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = source.stat().st_ctime_ns + 1_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: now)
    memo.remember(ANSWER, [str(source)])
    assert memo.recall() is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"answer": 1}', '{"format": 99, "files": {}, "answer": {"words": [], "path": "/x"}}']
)
def test_damage_is_forgetting(text: str, memo: Memo[Answer], source: Path) -> None:
    memo.remember(ANSWER, [str(source)])
    memo.path.write_text(text)
    assert memo.recall() is None
