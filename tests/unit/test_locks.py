"""What only one process may write is locked; folders and keys appear whole, and the first of two makers wins."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ukperf import files
from ukperf.errors import UkperfError
from ukperf.files import locked, publish, write_once
from ukperf.imaging import cache, kernelstore
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelstore import KernelStore

FORK = multiprocessing.get_context("fork")


class HeldError(Exception):
    pass


def _hold(path: Path, held: object, go_on: object) -> None:
    with locked(path, HeldError()):
        held.set()
        go_on.wait(60)


def test_a_lock_that_another_process_has_is_refused_at_once(tmp_path: Path) -> None:
    held, go_on = FORK.Event(), FORK.Event()
    holder = FORK.Process(target=_hold, args=(tmp_path / "lock", held, go_on))
    holder.start()
    assert held.wait(60)
    with pytest.raises(HeldError), locked(tmp_path / "lock", HeldError()):
        pytest.fail("two hold it")
    go_on.set()
    holder.join(60)
    with locked(tmp_path / "lock", HeldError()):
        pass


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    held, never = FORK.Event(), FORK.Event()
    holder = FORK.Process(target=_hold, args=(tmp_path / "lock", held, never))
    holder.start()
    assert held.wait(60)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(60)
    with locked(tmp_path / "lock", HeldError()):
        pass


def test_a_lock_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", HeldError()):
        start = time.monotonic()
        with pytest.raises(HeldError), locked(tmp_path / "lock", HeldError(), wait_s=0.2):
            pytest.fail("two hold it")
        assert time.monotonic() - start >= 0.2
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path / "lock", HeldError()):
            entered.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(60)
    threading.Timer(0.2, leave.set).start()
    with locked(tmp_path / "lock", HeldError(), wait_s=60):
        assert leave.is_set()
    holder.join(60)


@pytest.mark.parametrize("fails", [False, True])
def test_a_lock_that_is_not_kept_goes_with_its_holder(fails: bool, tmp_path: Path) -> None:
    try:
        with locked(tmp_path / "lock", HeldError(), remove=True):
            assert (tmp_path / "lock").exists()
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert list(tmp_path.iterdir()) == []


def test_a_waiter_does_not_take_a_lock_whose_file_was_removed(tmp_path: Path) -> None:
    """It would hold what nobody else can find, beside the holder of a new file of that name."""
    path = tmp_path / "lock"
    taken = threading.Event()

    def wait() -> None:
        with locked(path, HeldError(), wait_s=60, remove=True):
            assert path.exists()
            with pytest.raises(HeldError), locked(path, HeldError(), remove=True):
                pass
            taken.set()

    with locked(path, HeldError(), remove=True):
        waiter = threading.Thread(target=wait)
        waiter.start()
        time.sleep(0.2)
    waiter.join(60)
    assert taken.is_set()


def test_who_builds_for_too_long_is_waited_for_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WAIT_S", 0.1)
    (tmp_path / "locks").mkdir()
    with (
        locked(tmp_path / "locks" / "things-k", HeldError()),
        pytest.raises(UkperfError, match="Another ukperf has been building"),
    ):
        Cache(tmp_path).entry("things", "k", lambda folder: None)


def test_who_writes_to_the_kernel_store_for_too_long_is_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernelstore, "WAIT_S", 0.1)
    with (
        locked(tmp_path / ".lock", HeldError()),
        pytest.raises(UkperfError, match="Another ukperf has been writing to the kernel store"),
    ):
        KernelStore(tmp_path).add("nanos", "1", {"kernel": b"1"})


@pytest.mark.parametrize("links", [True, False])
def test_of_two_that_make_a_key_the_first_ones_stays(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:  # a file system without them: the last one's stays, but whole
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(1, "not permitted")))
    write_once(tmp_path / "key", b"first", mode=0o600)
    write_once(tmp_path / "key", b"second", mode=0o600)
    assert (tmp_path / "key").read_bytes() == (b"first" if links else b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_folder_gets_its_name_when_all_in_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work" / "below").mkdir(parents=True)
    (tmp_path / "work" / "below" / "file").write_text("x")
    (tmp_path / "work" / "link").symlink_to("/nowhere/at/all")
    order: list[str] = []
    sync = files.sync

    def noted(path: Path) -> None:
        order.append(f"{path.name} {'named' if (tmp_path / 'home' / 'it').exists() else 'not named'}")
        sync(path)

    monkeypatch.setattr(files, "sync", noted)
    publish(tmp_path / "work", tmp_path / "home" / "it")
    # All inside is durable before the name; in which order among themselves, several at once, says nothing.
    assert sorted(order[:-1]) == ["below not named", "file not named", "work not named"]
    assert order[-1] == "home named"
    assert (tmp_path / "home" / "it" / "below" / "file").read_text() == "x"


def test_a_folder_that_is_there_goes_aside(tmp_path: Path) -> None:
    for name in ("work", "it"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    publish(tmp_path / "work", tmp_path / "it", aside=tmp_path / "old")
    assert (tmp_path / "it" / "work").exists() and (tmp_path / "old" / "it").exists()
