"""The command line: bad input is one sentence and a hint on standard error, status 2, and never a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from records import run_of, save_run

from ukperf import signals
from ukperf.cli import COMMANDS, main
from ukperf.engine import setting
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.hosts import libvirt_host
from ukperf.hosts.fake import FakeHost

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ("boot-time", "--guest", "native", "--baseline", "native", "--share-host")


class Shell:
    """Calls `ukperf` inside this process, or as one of its own, with folders of the test."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._patch = folder, capsys, monkeypatch
        monkeypatch.setattr(main, "_end_in_order", lambda: None)  # this process is pytest's

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """(exit status, standard output, standard error)"""
        self._patch.setattr(sys, "argv", ["ukperf", *words])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main.run()
        out, err = self._capsys.readouterr()
        status = caught.value.code
        return status if isinstance(status, int) else 0, out, err

    def refusal(self, *words: str) -> str:
        """What a refused call says on standard error; at most two lines, status 2, nothing on standard output."""
        status, out, err = self(*words)
        assert (status, out) == (2, ""), (status, out, err)
        assert err.startswith("ukperf: ")
        assert len(err.splitlines()) <= 2
        assert "Traceback" not in err
        assert not [words for words in ("Value error", "Input should be", "parse string") if words in err], err
        return err

    def process(self, *words: str, **more: object) -> subprocess.Popen[str]:
        code = "from ukperf.cli.main import run; run()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,  # type: ignore[call-overload]
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests here: programs are compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shell(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(cache))
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    yield Shell(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["boot-tim"], "No such command 'boot-tim'", "boot-time"),
        (["boot-time", "--bots", "3"], "No such option: --bots", "--boots"),
        (["boot-time", "extra"], "unexpected extra argument", "ukperf boot-time --help"),
        (["boot-time", "--boots"], "--boots", "ukperf"),
        (["boot-time", "--boots", "many"], "--boots", "ukperf boot-time --help"),
        (["boot-time", "--boots", "1e9"], "--boots", "ukperf boot-time --help"),
        (["boot-time", "--boots", "0"], "--boots 0 is not between 1 and 100000", ""),
        (["boot-time", "--boots", "-1"], "--boots -1 is not between", ""),
        (["boot-time", "--boots", "1000000000"], "--boots 1000000000 is not between", ""),
        (["boot-time", "--precision", "0"], "--precision 0 is not between", ""),
        (["boot-time", "--precision", "nan"], "--precision nan is not between", ""),
        (["boot-time", "--seed", "9999999999999999999"], "--seed 9999999999999999999 is not between 0 and", ""),
        (["selftest", "--seed", "-1"], "--seed -1 is not between 0 and", ""),
        (["boot-time", "--delta", "0"], "--delta 0 is not between", ""),
        (["boot-time", "--delta", "nan"], "--delta nan is not between", ""),
        (["boot-time", "--memory", "0"], "--memory 0 is not between", ""),
        (["boot-time", "--memory", "99999999"], "--memory 99999999 is not between", ""),
        (["boot-time", "--vcpus", "0"], "--vcpus 0 is not between", ""),
        (["boot-time", "--timeout", "0"], "--timeout 0 is not between", ""),
        (["boot-time", "--timeout", "inf"], "--timeout inf is not between", ""),
        (["boot-time", "--max-time", "soon"], "'soon' is not a valid duration", "15m"),
        (["boot-time", "--max-time", "-5m"], "'-5m' is not a valid duration", "15m"),
        (["boot-time", "--max-time", "nan"], "'nan' is not a valid duration", "15m"),
        (["boot-time", "--max-time", "9999h"], "'9999h' is not a valid duration", "15m"),
        (["boot-time", "--max-time", ""], "'' is not a valid duration", "15m"),
        (["boot-time", "--pin", "9999"], "is no list of CPUs", "0,2-3"),
        (["boot-time", "--pin", "4095"], "CPU 4095 is not among those", "It may use:"),
        (["boot-time", "--pin", ""], "'' is no list of CPUs", "0,2-3"),
        (["boot-time", "--pin", "1-"], "'1-' is no list of CPUs", "0,2-3"),
        (["boot-time", "--pin", "3-1"], "'3-1' is no list of CPUs", "0,2-3"),
        (["boot-time", "--machine", "pdp11"], "There is no machine type 'pdp11'", "q35"),
        (["boot-time", "--accel", "steam"], "'steam'", "ukperf boot-time --help"),
        (["boot-time", "--launch", "rocket"], "'rocket'", "ukperf boot-time --help"),
        (["boot-time", "--kernel", "linux"], "--kernel 'linux' names no guest", "--kernel GUEST=VALUE"),
        (["boot-time", "--kernel", "=x"], "names no guest", "GUEST=VALUE"),
        (["boot-time", "--kernel", "linux=/nowhere"], "The kernel /nowhere cannot be read: No such file", ""),
        (["boot-time", "--kernel", "linux=/"], "The kernel / cannot be read: Is a directory", ""),
        (["boot-time", "--append", "linux=a\nb"], "cannot be printed", ""),
        (["boot-time", "--guest", "linx"], "There is no guest 'linx'", "Did you mean linux?"),
        (["boot-time", "--baseline", "nanso"], "There is no guest 'nanso'", "Did you mean nanos?"),
        (["boot-time", "--connect", "somewhere"], "'somewhere' is no libvirt connection", "qemu:///system"),
        (["boot-time", "--connect", "qemu+tcp://["], "is no libvirt connection", "qemu:///system"),
        (["boot-time", "--run", "/proc/nothing/run", *NATIVE[1:]], "/proc/nothing/run cannot be made", "--run"),
        (["images", "build", "linx"], "There is no guest 'linx'", "Did you mean linux?"),
        (["images", "clean", "--max-size", "much"], "'much' is no size, like 500M", "ukperf images clean --help"),
        (["images", "clean", "-c", "qemu:///x", "--max-size", "1G"], "for this machine's cache", "Leave it out"),
        (["-c", "somewhere", "images", "clean"], "'somewhere' is no libvirt connection", "qemu:///system"),
        (["images", "build", "linux", "--workload", "sklern"], "no workload 'sklern'", "Did you mean sklearn?"),
        (["images", "build", "linux", "--scale", "0.1"], "--scale is for sklearn's data, and boot has none", ""),
        (["images", "build", "linux", "--workload", "sklearn", "--scale", "9"], "A scale of 9 makes no sense", "4"),
        (["images", "prune", "--keep", "-1"], "it must be at least 0", "ukperf images prune --help"),
        (["images", "prune", "nanso"], "There is no guest 'nanso' whose kernels are added or pulled", "nanos?"),
        (["paper", "--boots", "0"], "--boots 0 is not between 1 and 100000", ""),
        (["resume"], "Missing argument 'DIR'", "ukperf resume --help"),
        (["resume", "/"], "/ is no run of ukperf", ""),
        (["resume", "/etc/passwd"], "/etc/passwd is no run of ukperf", ""),
        (["resume", "/nowhere"], "/nowhere is no run of ukperf", ""),
    ],
)
def test_bad_input_is_one_sentence_that_says_what_and_what_to_do(
    shell: Shell, words: list[str], says: str, hint: str
) -> None:
    err = shell.refusal(*words)
    assert says in err
    assert hint in err


@pytest.mark.parametrize("command", ["compare", "report", "report --json", "plan", "export --format csv"])
def test_a_baseline_that_the_run_does_not_have_is_refused(shell: Shell, command: str) -> None:
    run = save_run(shell.folder / "run", run_of({"linux": 1.0, "nanos": 0.5}, 8))
    first, *others = command.split()
    said = shell.refusal(first, str(run), *others, "--baseline", "nanso")
    assert "run has no guest 'nanso'" in said and "Did you mean nanos?" in said
    assert shell(first, str(run), *others, "--baseline", "nanos")[0] == 0


def test_a_connection_that_refuses_is_one_sentence(shell: Shell) -> None:
    err = shell.refusal("boot-time", "--connect", "qemu+tcp://127.0.0.1:1/system", "-g", "floor", "--share-host")
    assert "libvirt does not open qemu+tcp://127.0.0.1:1/system" in err
    assert "Connection refused" in err


def test_without_qemu_the_sentence_says_how_to_get_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_host, "EMULATOR", "qemu-system-of-nobody")
    err = shell.refusal("boot-time", "-g", "floor", "--share-host")
    assert "qemu-system-of-nobody is not installed" in err
    assert "apt-get install" in err


def test_without_libvirt_the_sentence_says_how_to_get_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    err = shell.refusal("boot-time", "-g", "floor", "--connect", "qemu:///system", "--share-host")
    assert "libvirt cannot be loaded" in err
    assert "ukperf setup" in err


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\nexit 0\n", b"\x7fELF", b"MZ" + b"\0" * 4096])
def test_a_kernel_that_is_no_kernel_is_one_sentence(
    shell: Shell, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[FakeHost]:
        yield FakeHost(uri="qemu:///embed")

    monkeypatch.setattr(setting, "open_host", opened)
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(content)
    err = shell.refusal("boot-time", "--kernel", f"linux={kernel}", "--accel", "tcg", "-g", "linux", "--share-host")
    assert str(kernel) in err


def test_a_folder_for_programs_that_cannot_be_written_is_one_sentence(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", "/proc/nothing")
    assert "/proc/nothing" in shell.refusal(*NATIVE)


def test_a_program_runs_without_libvirt_and_qemu(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    monkeypatch.setattr(libvirt_host, "EMULATOR", "qemu-system-of-nobody")
    run = shell.folder / "run"
    status, out, err = shell(*NATIVE, "--boots", "6", "--json", "--run", str(run))
    assert (status, err) == (0, "")
    page = json.loads(out)
    assert page["comparisons"] == []
    assert page["facts"]["accelerator"] == "native"
    assert len(read_journal(run / JOURNAL).records) == 6
    before = (run / JOURNAL).read_bytes()
    status, out, err = shell("resume", str(run), "--json")  # finished: only shown
    assert (status, err) == (0, "")
    assert json.loads(out)["guests"] == page["guests"]
    assert (run / JOURNAL).read_bytes() == before
    status, out, _ = shell("resume", str(run))
    assert status == 0
    assert "6 good boots" in out
    assert "holds a run already" in shell.refusal(*NATIVE, "--run", str(run))


def test_a_plan_that_is_damaged_is_one_sentence(shell: Shell) -> None:
    run = shell.folder / "run"
    run.mkdir()
    (run / "plan.json").write_text('{"format": 2}')
    assert "is damaged" in shell.refusal("resume", str(run))


def test_a_journal_cut_in_the_middle_of_a_line_goes_on(shell: Shell) -> None:
    run = shell.folder / "run"
    shell(*NATIVE, "--boots", "3", "--run", str(run))
    whole = (run / JOURNAL).read_bytes()
    (run / JOURNAL).write_bytes(whole[:-40])
    status, _, err = shell("resume", str(run), "--share-host")
    assert (status, err) == (0, "")
    assert len(read_journal(run / JOURNAL).records) == 3


def test_a_damaged_line_is_told_and_its_boot_done_again(shell: Shell) -> None:
    run = shell.folder / "run"
    shell(*NATIVE, "--boots", "3", "--run", str(run))
    lines = (run / JOURNAL).read_bytes().splitlines(keepends=True)
    (run / JOURNAL).write_bytes(b"".join([lines[0], b"\0\n", lines[2]]))
    status, _, err = shell("resume", str(run), "--share-host")
    assert (status, err) == (0, "ukperf: 1 damaged line of the journal was left out.\n")


# In processes of their own: signals, and limits.


def wait_for_lines(run: Path, count: int, process: subprocess.Popen[str]) -> None:
    while not (run / JOURNAL).exists() or (run / JOURNAL).read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_keeps_what_was_measured_and_says_how_to_go_on(shell: Shell, number: int, status: int) -> None:
    run = shell.folder / "run"
    process = shell.process(*NATIVE, "--boots", "300", "--run", str(run))
    wait_for_lines(run, 3, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == status
    assert out == ""
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert err.startswith(f"ukperf: {signals.sentence(number)}\n")
    assert f"ukperf resume {run}" in err
    contents = read_journal(run / JOURNAL)
    assert len(contents.records) >= 3
    assert contents.damaged == ()
    assert [record.trial.index for record in contents.records] == list(range(len(contents.records)))
    assert processes_of(run) == []


def test_a_killed_ukperf_loses_at_most_the_trial_under_way(shell: Shell) -> None:
    run = shell.folder / "run"
    process = shell.process(*NATIVE, "--boots", "60", "--run", str(run))
    wait_for_lines(run, 3, process)
    process.kill()
    process.communicate()
    had = len(read_journal(run / JOURNAL).records)
    status, _, err = shell("resume", str(run), "--share-host")
    assert (status, err) == (0, "")
    records = read_journal(run / JOURNAL).records
    assert [(r.trial.index, r.trial.block) for r in records] == [(i, i) for i in range(60)]
    assert 3 <= had <= 60


def test_a_disk_that_is_full_is_one_sentence_and_whole_lines_are_kept(shell: Shell) -> None:
    """No file may grow beyond 6 kB: the journal cannot be written on; EFBIG stands for ENOSPC."""
    run = shell.folder / "run"
    assert shell(*NATIVE, "--boots", "1", "--run", str(shell.folder / "warm"))[0] == 0
    limit = (6_000, 6_000)
    process = shell.process(
        *NATIVE, "--boots", "50", "--run", str(run), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert f"{run / JOURNAL} cannot be written: File too large." in err
    assert f"ukperf resume {run}" in err
    assert len(err.splitlines()) == 2
    text = (run / JOURNAL).read_bytes()
    assert text.endswith(b"\n")
    contents = read_journal(run / JOURNAL)
    assert len(contents.records) == text.count(b"\n") > 1


def processes_of(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(str(folder)) in command:
                found.append(command.decode(errors="replace"))
    return found


def test_a_terminal_without_greek_letters_gets_no_traceback(shell: Shell) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = shell.process(*NATIVE, "--boots", "6", "--run", str(shell.folder / "run"), env=environment)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "?" in out


def ended(*words: str, out: IO[str], err: IO[str] | int = subprocess.PIPE) -> tuple[int, bytes | None]:
    """(exit status, standard error) of a process of its own whose standard output is a file of ours."""
    command = [sys.executable, "-c", "from ukperf.cli.main import run; run()", *words]
    done = subprocess.run(command, cwd=ROOT, stdout=out, stderr=err, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def gone() -> Iterator[IO[str]]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as file:
        yield file


def test_a_reader_that_leaves_ends_it_quietly_as_sigpipe_does(gone: IO[str]) -> None:
    assert ended("--help", out=gone) == (141, b"")
    assert ended("selftest", "--trials", "1", out=gone, err=gone)[0] == 141  # a complaint that nobody reads


def test_a_reader_that_leaves_is_no_regression(gone: IO[str], tmp_path: Path) -> None:
    """rich, too, makes status 1 of a broken pipe, and that is what `check` says of a regression."""
    run = save_run(tmp_path / "run", run_of({"linux": 1.0, "nanos": 0.5}))
    assert ended("report", str(run), out=gone) == (141, b"")
    assert ended("report", str(run), "--html", out=gone) == (141, b"")
    assert (run / "report.html").exists()


def test_an_answer_that_cannot_be_written_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        assert ended("--version", out=full) == (2, b"ukperf: No space left on device.\n")


# Help and completion.


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(shell: Shell, command: str) -> None:
    status, out, err = shell(command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: ukperf {command} ")


def test_the_help_begins_with_the_question_and_names_every_command(shell: Shell) -> None:
    status, out, _ = shell("--help")
    assert status == 0
    assert "Is this unikernel really faster than Linux" in out
    assert all(f"  {command} " in out for command in COMMANDS)
    assert shell("--version")[1].startswith("ukperf ")


def test_ukperf_alone_shows_its_help(shell: Shell) -> None:
    status, out, err = shell()
    assert status == 2
    assert "Usage: ukperf" in out + err


@pytest.mark.parametrize(
    ("kind", "line", "offers"),
    [
        ("bash", "ukperf boot", "boot-time"),
        ("bash", "ukperf boot-time --prec", "--precision"),
        ("bash", "ukperf boot-time --guest nan", "nanos"),
        ("zsh", "ukperf images ", "pull"),
        ("fish", "ukperf boot-time --accel ic", "icount"),
    ],
)
def test_the_shell_completes_commands_options_and_guests(shell: Shell, line: str, offers: str, kind: str) -> None:
    words = line.split(" ")
    environment = {
        **os.environ,
        "_UKPERF_COMPLETE": f"complete_{kind}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    process = shell.process(env=environment)
    out, _ = process.communicate()
    assert offers in out


def test_completion_scripts_are_shown_for_the_shell(shell: Shell) -> None:
    process = shell.process(env={**os.environ, "_UKPERF_COMPLETE": "source_bash"})
    out, _ = process.communicate()
    assert "_UKPERF_COMPLETE=complete_bash" in out
    assert "ukperf" in out
