"""What ukperf starts itself ends with it, also when it is killed; what is somebody else's is never touched."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ukperf.hosts import children, remains
from ukperf.hosts.interrupts import HELD
from ukperf.hosts.native import NativeHost
from ukperf.hosts.ownership import process_start
from ukperf.model import Accelerator, BootProtocol, BootSpec, Image, Machine, Outcome

SLEEP = ("/bin/sleep", "600")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "a cache's"))
    return tmp_path / "a cache's" / "children"


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(SLEEP, start_new_session=True))
        while not Path(f"/proc/{started[-1].pid}/cmdline").read_bytes():
            time.sleep(0.001)  # exec has happened, but its words are not there yet
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def book(folder: Path, lines: list[str], alive: bool = False) -> Path:
    """The records of an owner that has died, or of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = subprocess.Popen(SLEEP)
    start = process_start(owner.pid)
    owner.kill()
    owner.wait()
    path = folder / (f"{os.getpid()}-{process_start(os.getpid())}" if alive else f"{owner.pid}-{start}")
    path.write_text("".join(lines))
    return path


def line(process: subprocess.Popen[bytes], *, later: int = 0, digest: str = "") -> str:
    start = process_start(process.pid)
    assert start is not None
    return f"{process.pid} {start + later} {digest or children._digest_of(SLEEP)}\n"


def test_the_next_start_ends_what_a_dead_ukperf_started(
    folder: Path, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    process = sleeper()
    path = book(folder, [line(process)])
    remains.clear()
    assert process.wait() == -signal.SIGKILL
    assert not path.exists()


def test_what_is_not_as_recorded_is_somebody_elses(
    folder: Path, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    reused, other, living = sleeper(), sleeper(), sleeper()
    book(folder, [line(reused, later=1), line(other, digest="0" * 64), "1\n", f"{os.getpid()} x y\n", "-1 -1 -1\n"])
    ours = book(folder, [line(living)], alive=True)
    (folder / "notes").write_text(line(living))
    assert children.end_strays() == 0
    assert [process.poll() for process in (reused, other, living)] == [None] * 3
    assert sorted(path.name for path in folder.iterdir()) == sorted([ours.name, "notes"])


def test_a_record_is_of_what_proc_says_later(sleeper: Callable[[], subprocess.Popen[bytes]], folder: Path) -> None:
    process = sleeper()
    assert children._digest(process.pid) == children._digest_of(SLEEP)


def native(program: str) -> BootSpec:
    image = Image("native", "boot", "", "", BootProtocol.EXEC, argv=("/bin/sh", "-c", program))
    return BootSpec(image, Machine(), Accelerator.NATIVE, timeout_s=60.0)


def test_records_last_as_long_as_the_process(folder: Path) -> None:
    seen: list[bytes] = []

    def look(_frame: object) -> None:
        seen.extend(path.read_bytes() for path in folder.iterdir())

    frame = r"""printf '\036{"event":"main","n":0}\n'; printf '\036{"e":"exit"}\n'"""
    NativeHost().boot(native(frame), look)
    (path,) = folder.iterdir()
    assert path.name == f"{os.getpid()}-{process_start(os.getpid())}"
    assert path.read_bytes() == b""


def test_a_program_of_this_machine_has_a_group_of_its_own_and_our_session() -> None:
    """The kernel makes a new session wait, on a busy machine longer than a short program runs."""
    with children.spawned(SLEEP, {}, subprocess.DEVNULL, subprocess.DEVNULL, own_session=False) as process:
        assert (os.getpgid(process.pid), os.getsid(process.pid)) == (process.pid, os.getsid(0))


def test_a_start_time_is_known_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc is slow to answer while a process is loaded."""
    for _ in range(20):
        children.prepare()
        with children.spawned(SLEEP, {}, subprocess.DEVNULL, subprocess.DEVNULL) as process:
            assert process_start(process.pid) in process.starts
    monkeypatch.setattr(children, "process_start", lambda pid: pytest.fail("asked"))
    assert NativeHost().boot(native("exit 3")).outcome is Outcome.CRASHED


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_children import native
from ukperf.hosts.native import NativeHost
NativeHost().boot(native("sleep 600 & echo $$ $! >" + {pids!r} + "; wait"))
"""


def test_a_native_program_and_what_it_forked_end_when_ukperf_is_killed(tmp_path: Path, folder: Path) -> None:
    pids = tmp_path / "pids"
    program = KILLED.format(tests=str(Path(__file__).parent), pids=str(pids))
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        while not (
            pids.exists() and len(pids.read_text().split()) == 2 and any(p.stat().st_size for p in folder.iterdir())
        ):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    program_and_child = list(map(int, pids.read_text().split()))
    while any(process_start(pid) for pid in program_and_child):
        time.sleep(0.01)
    while list(folder.iterdir()):  # the guardian's last act
        time.sleep(0.01)


STARTING = """
import os, subprocess, sys, time
from ukperf.hosts import children
from ukperf.hosts.ownership import scratch
children.prepare()
with scratch() as folder:
    for place in (folder, folder.parent / "1-1"):
        slow = f"sleep 0.2; exec /bin/sh -c 'while sleep 0.1; do :; done' qemu guest=ukperf-1 {place}/monitor.sock"
        process = subprocess.Popen(["/bin/sh", "-c", slow], env={"PATH": os.environ["PATH"]}, start_new_session=True)
        print(process.pid, flush=True)
    time.sleep(600)
"""


def test_a_guest_that_is_being_started_when_ukperf_is_killed_ends_and_that_of_another_does_not(folder: Path) -> None:
    """As libvirt starts it: without our variables, its pid known to us only once it is up."""
    with subprocess.Popen([sys.executable, "-c", STARTING], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        ours, other = (int(owner.stdout.readline()) for _ in range(2))
        owner.kill()
    try:
        while list(folder.iterdir()):  # the guardian's last act
            time.sleep(0.01)
        assert process_start(ours) is None and process_start(other) is not None
    finally:
        for group in (ours, other):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def test_an_interrupt_that_comes_while_a_program_is_started_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    spawn = os.posix_spawn

    def interrupted(path: str, *words: object, **options: object) -> int:
        started.append(spawn(path, *words, **options))  # type: ignore[arg-type]
        if path == "/bin/sh" and "sleep 600" in words[0]:  # type: ignore[operator]
            signal.raise_signal(signal.SIGINT)
        return started[-1]

    assert signal.SIGINT in HELD
    monkeypatch.setattr(os, "posix_spawn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        NativeHost().boot(native("sleep 600"))
    with pytest.raises(ChildProcessError):  # ended, and waited for
        os.waitpid(started[-1], 0)


@pytest.mark.parametrize("standard", [0, 1, 2])
def test_a_program_gets_its_standard_descriptors_and_no_others(standard: int, tmp_path: Path) -> None:
    """Also where our own standard ones are closed, or the caller left one open for us."""
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
left, writer = os.pipe()
os.set_inheritable(left, True)
os.close({standard})
from test_children import native
from ukperf.hosts.native import NativeHost
said = []
frame = "printf '\\036{{}}\\n'; for n in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$n && printf $n; done"
seen = NativeHost().boot(native(frame))
open({str(tmp_path / "said")!r}, "w").write(seen.console_tail)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (tmp_path / "said").read_text().endswith("012")


def test_signals_that_python_ignores_end_programs_as_they_expect() -> None:
    assert NativeHost().boot(native("kill -PIPE $$; echo survived")).console_tail == ""


def test_a_cache_that_cannot_be_written_costs_the_record_and_no_boot(folder: Path) -> None:
    folder.parent.parent.mkdir(exist_ok=True)
    folder.parent.write_text("no folder")
    assert NativeHost().boot(native("exit 3")).outcome is Outcome.CRASHED


def test_a_program_that_is_not_there_is_a_lost_boot_with_a_reason() -> None:
    spec = native("")
    gone = BootSpec(Image("native", "boot", "", "", BootProtocol.EXEC, argv=("/gone",)), spec.machine, spec.accelerator)
    seen = NativeHost().boot(gone)
    assert (seen.outcome, seen.reason) == (Outcome.LOST, "/gone cannot be executed: No such file or directory")


def test_half_written_files_of_the_dead_are_removed_and_no_others(folder: Path) -> None:
    kept = folder.parent / "libvirt-capabilities"
    kept.mkdir(parents=True)
    owner = subprocess.Popen(SLEEP)
    owner.kill()
    owner.wait()
    dead = [kept / f".abc.xml.{owner.pid}", kept / f".abc.xml.{owner.pid}.tmp", folder.parent / f".x.{owner.pid}.tmp"]
    stay = [kept / f".abc.xml.{os.getpid()}.tmp", kept / "abc.xml", kept / f"abc.xml.{owner.pid}", kept / ".hidden"]
    for path in (*dead, *stay):
        path.touch()
    remains.clear()
    assert [path.name for path in (*dead, *stay) if path.exists()] == [path.name for path in stay]
