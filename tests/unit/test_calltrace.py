"""Programs under strace: what they asked for is noted, and nothing that they do is without bound."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.hosts import calltrace
from ukperf.hosts.calltrace import CallTrace, find_strace, trace_calls
from ukperf.hosts.straceout import NAMES_MAX, PATHS_MAX, TraceReader, special

traced = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")


def read(*lines: str) -> TraceReader:
    reader = TraceReader()
    reader.take('7 execve("/prog", 0x7ffe, 0x7ffe) = 0')
    for line in lines:
        reader.take(line)
    return reader


# ---- lines ----


def test_a_call_a_path_and_its_error_are_read() -> None:
    reader = read('7 openat(AT_FDCWD, "/proc/cpuinfo", O_RDONLY) = -1 ENOENT (No such file or directory)')
    assert reader.calls == {"openat": 1}
    assert reader.errors == {("openat", "ENOENT"): 1}
    assert reader.opened == {"/proc/cpuinfo": False} == special(reader.paths)


def test_a_path_that_was_there_once_was_there() -> None:
    good, bad = '7 access("/dev/null", R_OK) = 0', '7 access("/dev/null", R_OK) = -1 EACCES (Permission denied)'
    assert read(good, bad).paths == read(bad, good).paths == {"/dev/null": True}


def test_what_another_thread_interrupts_is_put_together() -> None:
    reader = read(
        '7 openat(AT_FDCWD, "/sys/a", O_RDONLY <unfinished ...>',
        "8 getpid() = 7",
        "7 <... openat resumed>) = 3",
    )
    assert reader.opened == {"/sys/a": True}
    assert reader.calls == {"openat": 1, "getpid": 1}


def test_the_first_execve_is_not_the_programs() -> None:
    reader = read('7 execve("/bin/true", 0x1, 0x2) = 0')
    assert reader.calls == {"execve": 1}
    assert list(reader.executed) == ["/bin/true"]


def test_what_goes_before_the_program_is_not_its_own() -> None:
    reader = TraceReader()
    reader.take("7 brk(NULL) = 0x55")
    assert reader.calls == {} and not reader.started


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("ioctl(0, TCGETS, 0x7ffe) = -1 ENOTTY (Inappropriate ioctl for device)", "TCGETS"),
        ("ioctl(3, _IOC(_IOC_READ, 0x12, 0x34, 0x4), 0x7ffe) = 0", "_IOC(_IOC_READ, 0x12, 0x34, 0x4)"),
        ("ioctl(3, SNDCTL_TMR_START or TCSETS) = 0", "SNDCTL_TMR_START or TCSETS"),
    ],
)
def test_ioctls_are_told_apart_by_their_command(text: str, command: str) -> None:
    assert list(read(f"7 {text}").ioctls) == [command]


def test_threads_and_processes_are_told_apart() -> None:
    reader = read(
        "7 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD|CLONE_SIGHAND, child_tid=0x7f}, 88) = 8",
        "7 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 9",
        "7 vfork() = -1 ENOSYS (Function not implemented) (INJECTED)",
    )
    assert (reader.threads, reader.processes) == (1, 1)
    assert reader.errors == {("vfork", "ENOSYS"): 1}


@pytest.mark.parametrize(
    ("line", "status", "signal"),
    [("+++ exited with 3 +++", 3, ""), ("+++ killed by SIGSEGV (core dumped) +++", None, "SIGSEGV")],
)
def test_the_end_is_read(line: str, status: int | None, signal: str) -> None:
    reader = read("7 getpid() = 7", "8 getpid() = 7", "8 +++ exited with 0 +++", f"7 {line}")
    assert (reader.status, reader.signal, dict(reader.live)) == (status, signal, {})


def test_numbers_of_processes_are_no_part_of_paths() -> None:
    reader = read('7 openat(AT_FDCWD, "/proc/41/maps", O_RDONLY) = 3', '7 readlink("/proc/7/exe", "", 9) = 4')
    assert list(reader.paths) == ["/proc/self/maps", "/proc/self/exe"]


def test_escapes_in_paths_are_undone() -> None:
    reader = read(r'7 openat(AT_FDCWD, "/a\"b\\\303\244\n\377", O_RDONLY) = 3')
    assert list(reader.opened) == ['/a"b\\ä\n\udcff']


def test_what_is_kept_is_bounded() -> None:
    reader = read(*(f'7 access("/{n}", R_OK) = 0' for n in range(PATHS_MAX + 10)))
    assert len(reader.paths) == PATHS_MAX
    reader = read(*(f"7 call_{n}() = 0" for n in range(NAMES_MAX + 10)))
    assert len(reader.calls) == NAMES_MAX


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=80), max_size=20))
def test_no_line_is_too_odd(lines: list[str]) -> None:
    read(*lines)


PIECES = st.sampled_from(
    [
        *("7 ", "8 ", "openat(", "ioctl(", "execve(", "clone3({", "CLONE_THREAD", "<... openat resumed>", "AT_FDCWD, "),
        *('"/x\\', '"', ", ", ") = ", "-1 ENOENT", "0", "+++ ", "exited with ", "<unfinished ...>"),
    ]
)


@given(st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=20))
def test_lines_in_any_disorder_are_taken(lines: list[str]) -> None:
    reader = read(*lines)
    assert all(path.startswith("/") for path in reader.paths)


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw))
def test_any_path_survives_the_way_through_strace(raw: bytes) -> None:
    plain = {34: '\\"', 92: "\\\\"}
    shown = "".join(plain.get(b, chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in raw)
    reader = read(f'7 openat(AT_FDCWD, "/x{shown}", O_RDONLY) = 3')
    assert [os.fsencode(path) for path in reader.opened] == [b"/x" + raw]


# ---- real programs ----


def shell(script: str, timeout_s: float = 20, **options: object) -> CallTrace:
    return trace_calls(["/bin/sh", "-c", script], {"PATH": os.defpath}, Path("/"), timeout_s, **options)  # type: ignore[arg-type]


def processes_called(name: str) -> list[str]:
    """Those that stay: what is killed needs a processor once more to go, and on a busy machine waits for it."""
    deadline = time.monotonic() + 20
    while True:
        there = psutil.process_iter(["status", "cmdline"])
        alive = (each.info for each in there if each.info["status"] != psutil.STATUS_ZOMBIE)
        left = [line for each in alive if name in (line := " ".join(each["cmdline"] or ()))]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


@traced
def test_what_a_program_asks_for_is_seen() -> None:
    code = "import threading, fcntl, termios; t = threading.Thread(target=print, args=('out',)); t.start(); t.join()"
    code += "; open('/proc/cpuinfo').read(); open('/dev/null'); raise SystemExit(3)"
    trace = trace_calls([sys.executable, "-I", "-c", code], {}, Path("/"), 30)
    assert {"openat", "mmap", "futex"} <= trace.calls.keys()
    assert trace.special["/proc/cpuinfo"] and trace.special["/dev/null"]
    assert (trace.status, trace.signal, trace.threads, trace.processes) == (3, "", 1, 0)
    assert trace.stdout == "out\n" and not trace.timed_out and not trace.ended_for


@traced
def test_a_program_that_a_signal_ends() -> None:
    assert shell("kill -SEGV $$").signal == "SIGSEGV"


@traced
def test_calls_that_are_missing_are_answered_so() -> None:
    trace = shell("echo hello", missing=["openat", "no_such_call", "execve"])
    assert trace.errors["openat", "ENOSYS"] and trace.status == 127
    assert "hello" not in trace.stdout


@traced
def test_a_program_cannot_execute_another_where_that_is_missing() -> None:
    assert shell("exec /bin/true", missing=["execve"]).status in (126, 127)


@traced
def test_a_call_may_be_answered_in_another_way() -> None:
    assert shell("cd /tmp || exit 9", answers={"chdir": "error=13"}).errors["chdir", "EACCES"] == 1
    assert shell("cd /nowhere && exit 5", answers={"chdir": "retval=0"}).status == 5


@traced
def test_the_environment_and_the_folder_are_the_programs(tmp_path: Path) -> None:
    env = {"A": "b c", "LD_BIND_NOW": "1", "PATH": os.defpath}
    trace = trace_calls(["/bin/sh", "-c", 'echo "$A $LD_BIND_NOW"; pwd'], env, tmp_path, 20)
    assert trace.stdout.splitlines() == ["b c 1", str(tmp_path)]


@traced
def test_one_that_never_ends_is_ended_with_all_that_it_started() -> None:
    script = "setsid env -i /bin/sleep 98761 & sleep 98762"
    began = time.monotonic()
    trace = shell(script, 2)
    assert trace.timed_out and "2 s" in trace.ended_for and time.monotonic() - began < 10
    assert processes_called("sleep 9876") == []


@traced
def test_what_a_program_leaves_behind_is_ended_too() -> None:
    began = time.monotonic()
    trace = shell("setsid -f env -i /bin/sleep 98763; exit 4", 60)
    assert trace.status == 4 and not trace.timed_out and time.monotonic() - began < 30
    assert processes_called("sleep 9876") == []


@traced
def test_one_that_forks_for_ever_is_ended() -> None:
    trace = shell("marked_98764() { marked_98764 | marked_98764 & }; marked_98764", 60)
    assert "threads" in trace.ended_for
    assert processes_called("marked_9876") == []


@traced
def test_one_that_writes_for_ever_is_read_to_its_end_and_little_is_kept() -> None:
    trace = shell("head -c 300000000 /dev/zero; echo; echo last; exec head -c 100000 /dev/zero >&2", 120)
    assert trace.status == 0 and len(trace.stdout) <= calltrace.KEPT_MAX >= len(trace.stderr)
    assert trace.stdout.endswith("\nlast\n")


@traced
@pytest.mark.parametrize(("program", "why"), [("/no/such", "No such file"), ("/etc/hostname", "EACCES|ENOEXEC")])
def test_one_that_cannot_be_executed_is_a_sentence(program: str, why: str) -> None:
    with pytest.raises(UkperfError, match=why):
        trace_calls([program], {}, Path("/"), 10)


def test_without_strace_there_is_a_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UkperfError) as raised:
        find_strace()
    assert raised.value.hint is not None and "install strace" in raised.value.hint
