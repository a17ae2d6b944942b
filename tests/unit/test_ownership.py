"""Strays of dead ukperf processes are ended and removed; everything else is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.hosts import ownership, places

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scratch folders are: tmp_path is too long for sockets, so not in the cache there."""
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "a b"))
    monkeypatch.setattr(places, "TMP", tmp_path)
    return places.scratch_parent("1-1")


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    """A process whose argv[0] and last word are chosen; ended and reaped afterwards."""
    spawned: list[subprocess.Popen[bytes]] = []

    def run(name: str, word: str) -> subprocess.Popen[bytes]:
        # The shell waits for its input, so that it stays what its command line says.
        process = subprocess.Popen(
            [str(tmp_path / name), "-c", "read line", word], executable="/bin/sh", stdin=subprocess.PIPE
        )
        spawned.append(process)
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.001)  # exec has happened, but its words are not there yet
        return process

    yield run
    for process in spawned:
        process.kill()
        process.communicate()


def dead_owner(parent: Path, suffix: str = "") -> Path:
    """The folder of a process that has ended: its pid was real, and is not reaped into anybody else's start time."""
    process = subprocess.Popen([SLEEP, "0"])
    start = ownership.process_start(process.pid) or 1
    process.wait()
    folder = parent / f"{process.pid}-{start}{suffix}"
    folder.mkdir()
    (folder / "console.sock").touch()
    return folder


@pytest.mark.parametrize("suffix", ["", "-1"])
def test_the_vmm_of_a_dead_process_is_ended_and_its_folder_removed(
    parent: Path, spawn: Callable[[str, str], subprocess.Popen[bytes]], suffix: str
) -> None:
    folder = dead_owner(parent, suffix)
    stray = spawn("qemu-system-x86_64", f"socket,path={folder}/monitor.sock")
    assert ownership.processes_naming(folder) == [stray.pid]
    assert ownership.remove_strays() == 1
    assert stray.wait() == -9
    assert not folder.exists()


def test_other_processes_are_never_ended(
    parent: Path, spawn: Callable[[str, str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    folder = dead_owner(parent)
    others = [
        spawn("editor", f"{folder}/console.sock"),  # names the folder, but is no VMM
        spawn("qemu-system-x86_64", "/somewhere/else.sock"),  # a VMM of somebody else
        spawn("qemu-system-x86_64", f"{folder}9/monitor.sock"),  # of a folder whose name begins alike
    ]
    assert ownership.remove_strays() == 1
    assert [process.poll() for process in others] == [None] * 3


def test_the_folder_of_a_living_process_stays_and_so_does_its_vmm(
    parent: Path, spawn: Callable[[str, str], subprocess.Popen[bytes]]
) -> None:
    owner = spawn("ukperf", "x")
    folder = parent / f"{owner.pid}-{ownership.process_start(owner.pid)}"
    folder.mkdir()
    vmm = spawn("qemu-system-x86_64", f"{folder}/monitor.sock")
    assert ownership.remove_strays() == 0
    assert folder.exists()
    assert vmm.poll() is None


def test_a_pid_that_was_given_to_another_process_does_not_keep_a_folder(parent: Path) -> None:
    folder = parent / f"{os.getpid()}-1"
    folder.mkdir()
    assert ownership.remove_strays() == 1
    assert not folder.exists()


def test_a_dead_process_that_nobody_reaped_is_dead(parent: Path) -> None:
    process = subprocess.Popen([SLEEP, "60"])
    start = ownership.process_start(process.pid)
    assert start is not None
    assert ownership.is_alive(process.pid, start)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert not ownership.is_alive(process.pid, start)
    process.wait()


@pytest.mark.parametrize("name", ["notes", "12", "12-34x", "a-b", "12-34-5-6", "-1-2"])
def test_what_is_not_named_after_an_owner_is_not_ours(parent: Path, name: str) -> None:
    (parent / name).mkdir()
    assert ownership.remove_strays() == 0
    assert (parent / name).exists()


def test_without_a_cache_there_are_no_strays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr(places, "TMP", tmp_path / "nowhere")
    assert ownership.remove_strays() == 0
    assert not (tmp_path / "nowhere").exists()


def test_scratch_folders_of_one_process_are_apart_private_and_gone_afterwards(parent: Path) -> None:
    with ownership.scratch() as first:
        with ownership.scratch() as second:
            assert first != second
            assert first.stat().st_mode & 0o777 == 0o700
            (second / "file").touch()
            assert ownership.remove_strays() == 0
        assert first.exists()
        assert not second.exists()
    assert list(parent.iterdir()) == []


def test_a_scratch_folder_that_cannot_be_made_is_one_sentence(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    monkeypatch.setattr(ownership, "scratch_parent", lambda _name: parent)
    with pytest.raises(UkperfError, match="cannot be made: No space left on device"), ownership.scratch():
        pass


def test_a_process_with_brackets_in_its_name_has_a_start_time(
    spawn: Callable[[str, str], subprocess.Popen[bytes]],
) -> None:
    assert ownership.process_start(os.getpid()) == ownership.identity()[1] > 0
    assert ownership.process_start(2**22 + 1) is None
