"""Whatever nobody foresaw is one sentence, status 70, and a file; status 1 stays a check's word."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_cli import Shell

from ukperf.cli import lastresort, main


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def _endless() -> None:
    _endless()


def _raise(error: BaseException) -> object:
    def work() -> object:
        if isinstance(error, RecursionError):
            _endless()
        raise error

    return work


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("it is odd"),
        TypeError("float() argument must be …"),
        KeyError("x\x1b[31m"),
        RecursionError(),
        AssertionError(),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        ExceptionGroup("several", [ValueError("one"), _MuteError()]),
        _MuteError(),
        StopIteration(),
        ZeroDivisionError("x" * 10_000),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_is_one_sentence_and_a_file(
    error: Exception, shell: Shell, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_work", _raise(error))
    status, out, err = shell("doctor")
    assert (status, out) == (70, "")
    assert len(err.splitlines()) == 2 and "Traceback" not in err and len(err) < 1_000
    assert err.startswith("ukperf: This is a fault of ukperf: " + type(error).__name__)
    (path,) = (cache / lastresort.FOLDER).iterdir()
    text = path.read_text()
    assert (str(path) in err and "Traceback" in text and "_raise" in text) or "work" in text
    assert len(text) < 200_000 and "\x1b" not in text


def test_the_files_do_not_become_many(shell: Shell, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cache / lastresort.FOLDER
    folder.mkdir(parents=True)
    for number in range(50):
        (folder / f"2020-{number:02}.txt").write_text("old")
    monkeypatch.setattr(main, "_work", _raise(ValueError("new")))
    assert shell("doctor")[0] == 70
    kept = sorted(path.name for path in folder.iterdir())
    assert len(kept) == lastresort.MOST_FILES and "2020-49.txt" in kept and "2020-00.txt" not in kept


def test_without_a_place_for_the_file_the_sentence_says_where_it_came_from(
    shell: Shell, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("no folder")
    monkeypatch.setattr(main, "_work", _raise(ValueError("odd")))
    status, _, err = shell("doctor")
    assert status == 70 and "test_lastresort.py, line" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (MemoryError(), 2, "not enough memory"),
        (SystemExit("a library's words"), 2, "a library's words"),
        (SystemExit(None), 0, ""),
        (SystemExit(143), 143, ""),
        (OSError(28, "No space left on device", "/x"), 2, "No space left on device: /x"),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
    ids=str,
)
def test_what_has_a_meaning_keeps_it(
    error: BaseException, status: int, says: str, shell: Shell, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_work", _raise(error))
    found, _, err = shell("doctor")
    assert found == status and says in err and "Traceback" not in err
    assert not (cache / lastresort.FOLDER).exists()


def test_a_thread_that_dies_leaves_its_traceback_in_the_file(
    shell: Shell, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def work() -> object:
        thread = threading.Thread(target=_raise(ValueError("in a thread")))  # type: ignore[arg-type]
        thread.start()
        thread.join()
        return 0

    monkeypatch.setattr(main, "_work", work)
    status, _, err = shell("doctor")
    assert status == 0 and "in a thread" in err and "Traceback" not in err
    assert len(list((cache / lastresort.FOLDER).iterdir())) == 1


def test_the_streams_are_as_they_were_afterwards(shell: Shell) -> None:
    before = sys.stdout, sys.stderr
    shell("--version")
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(("closed", "words", "status"), [(">&-", "--version", 0), ("2>&-", "report nothing", 2)])
def test_a_stream_that_is_closed_leads_nowhere_and_changes_no_status(closed: str, words: str, status: int) -> None:
    code = "from ukperf.cli.main import run; run()"
    ended = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {words} {closed}', sys.executable, code], capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, b"", b"")


def test_no_file_gets_the_number_of_a_stream_that_is_closed(tmp_path: Path) -> None:
    code = (
        "import os; from ukperf.cli.main import _open_streams as o; o(); print(); os.write(1, b'x'); os.write(2, b'y')"
    )
    line = "exec \"$0\" -c \"$1; f = open('$2', 'x'); os.write(1, b'z'); assert f.fileno() > 2\" <&- >&- 2>&-"
    path = tmp_path / "file"
    ended = subprocess.run(["sh", "-c", line, sys.executable, code, str(path)], check=False)
    assert ended.returncode == 0 and path.read_bytes() == b""
