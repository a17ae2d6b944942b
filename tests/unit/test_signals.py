"""^C, SIGTERM and SIGHUP end a process whatever it is doing: also one in whose destructor they arrived."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ukperf import signals

ALL = pytest.mark.parametrize("number", signals.ENDING, ids=lambda number: number.name)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A process with ukperf's handlers, up to where its program says `ready`."""
    processes: list[subprocess.Popen[str]] = []

    def run(program: str) -> subprocess.Popen[str]:
        head = "import ctypes, os, signal, sys, time\nfrom ukperf import signals\nsignals.install()\n"
        process = subprocess.Popen(
            [sys.executable, "-c", head + textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


WAITING = """
    try:
        print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt as end:
        print("cleaned")
        sys.exit(signals.status_of(end.number))
"""


@ALL
def test_each_of_them_is_raised_and_known_afterwards(
    start: Callable[[str], subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = start(WAITING)
    process.send_signal(number)
    assert process.communicate() == ("cleaned\n", "")
    assert process.returncode == 128 + number


@ALL
@pytest.mark.parametrize("where", ["destructor", "callback"])
def test_what_python_drops_is_raised_again(
    start: Callable[[str], subprocess.Popen[str]], number: signal.Signals, where: str
) -> None:
    process = start(
        f"""
        def swallow(*_):
            signal.raise_signal({int(number)})
            return 0

        class Late:
            __del__ = swallow

        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        try:
            print("ready", flush=True)
            if {where!r} == "destructor":
                Late()
            else:
                array = (ctypes.c_int * 2)(1, 2)
                ctypes.CDLL(None).qsort(array, 2, ctypes.sizeof(ctypes.c_int), kind(swallow))
            time.sleep(600)
        except KeyboardInterrupt as end:
            print("cleaned")
            sys.exit(signals.status_of(end.number))
        """
    )
    assert process.communicate(timeout=60) == ("cleaned\n", "")
    assert process.returncode == 128 + number


def test_what_somebody_caught_and_forgot_is_found_by_who_asks(start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start(
        """
        try:
            print("ready", flush=True)
            time.sleep(600)
        except BaseException:
            pass
        try:
            signals.check()
        except signals.Ended as end:
            print(signals.sentence(end.number))
        """
    )
    process.terminate()
    assert process.communicate() == ("Ended by SIGTERM.\n", "")


def test_twice_in_a_row_is_once(start: Callable[[str], subprocess.Popen[str]]) -> None:
    """timeout(1) sends its signal to the process and to the group; so do terminals and make."""
    process = start(WAITING.replace('print("cleaned")', 'time.sleep(0.1); print("cleaned")'))
    process.terminate()
    process.terminate()
    assert process.communicate() == ("cleaned\n", "")
    assert process.returncode == 143


STUCK = {
    "python": "time.sleep(600)",
    "c": "mutex = ctypes.create_string_buffer(64); [ctypes.CDLL(None).pthread_mutex_lock(mutex) for _ in 'ab']",
}


@pytest.mark.parametrize("stuck", STUCK)
def test_a_second_one_ends_the_process_at_once_after_its_last_acts(
    start: Callable[[str], subprocess.Popen[str]], stuck: str, tmp_path: Path
) -> None:
    """Also where a C function does not return, so that Python's handlers never run."""
    process = start(
        f"""
        signals.SECOND_S = 0.05

        def touch(name):
            open(name, "w").close()

        with signals.last_act(lambda: touch("over")):
            pass
        with signals.last_act(lambda: touch("acted")), signals.last_act(lambda: 1 / 0):
            try:
                print("ready", flush=True)
                {STUCK[stuck]}
            except KeyboardInterrupt:
                {STUCK[stuck]}
        """
    )
    process.terminate()
    while process.poll() is None:
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert said == "ukperf: Ended at once by a second SIGINT; what was measured is kept.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["acted"]


def test_what_the_caller_ignores_stays_ignored(start: Callable[[str], subprocess.Popen[str]]) -> None:
    """nohup, and shells that start something in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = start(WAITING)
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.communicate() == ("cleaned\n", "")
    assert process.returncode == 143
