"""Guests that are command lines: what a recipe may say, how a command is booted, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ukperf import guests, patterns, templates
from ukperf.console import encode_frame
from ukperf.engine.bootfiles import BootFiles, files_of
from ukperf.engine.plan import load
from ukperf.engine.record import record_of
from ukperf.errors import HostError, UkperfError
from ukperf.guests import recipes
from ukperf.guests.base import BuildOptions
from ukperf.guests.commandtable import table_of
from ukperf.hosts import booting, this_machine, watch
from ukperf.hosts.command import CommandHost, command_of
from ukperf.hosts.fake import FakeHost
from ukperf.hosts.ownership import process_start
from ukperf.hosts.places import scratch_parents
from ukperf.hosts.readyline import ReadyLine
from ukperf.imaging import binaries
from ukperf.imaging.cache import Cache
from ukperf.imaging.programs import boot_program
from ukperf.model import (
    Accelerator,
    BootProtocol,
    BootSpec,
    Command,
    ConsoleWay,
    Event,
    Image,
    Machine,
    Observation,
    Outcome,
    Phase,
    Program,
    Status,
    StatusWay,
    Trial,
)

FRAMES = encode_frame("main", 0, 1, 1, program="fake", v=1) + encode_frame("exit", 1, 2, 2, status=0)
MACHINE = Machine(memory_mib=77, vcpus=2)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UKPERF_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("UKPERF_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "frames").write_bytes(FRAMES)
    return tmp_path


def script(folder: Path, body: str) -> Path:
    """A command that does what a shell script says; `frames` writes a good boot's."""
    path = folder / "monitor"
    path.write_text(f"#!/bin/sh\nframes() {{ cat '{folder}/frames'; }}\n{body}\n")
    path.chmod(0o755)
    return path


def spec_of(path: Path, *words: str, timeout_s: float = 20.0, **values: object) -> BootSpec:
    image = Image("fake", "boot", "d", "", BootProtocol.COMMAND, argv=(str(path), *words))
    names = {name: values.pop(name) for name in ("kernel", "disk", "cmdline", "powers_off", "env") if name in values}
    image = replace(image, command=Command(**values), **names)  # type: ignore[arg-type]
    return BootSpec(image, MACHINE, Accelerator.TCG, timeout_s=timeout_s, name="ukperf-fake", console_limit=1 << 20)


def boot(folder: Path, body: str, *words: str, **values: object) -> Observation:
    return CommandHost().boot(spec_of(script(folder, body), *words, **values))


# ---- one boot ----


@pytest.mark.parametrize("way", [ConsoleWay.STDOUT, ConsoleWay.PTY])
def test_a_command_that_writes_its_console_has_the_phases_that_can_be_told(folders: Path, way: ConsoleWay) -> None:
    spec = spec_of(script(folders, "echo firmware; sleep 0.05; frames; sleep 0.05"), console=way)
    seen = CommandHost().boot(spec)
    assert (seen.outcome, seen.reason, seen.exit_status) == (Outcome.OK, "", 0)
    phases = record_of(Trial(0, 0, 0, "fake"), spec, seen).phases
    assert set(phases) == {Phase.KERNEL, Phase.INIT, Phase.STOP, Phase.TOTAL}
    # Of a command that sleeps twice; a busy machine reads one of its lines late, so neither phase alone is bounded.
    assert phases[Phase.INIT] + phases[Phase.STOP] > 0.04 and phases[Phase.TOTAL] > 0.09
    assert "firmware" in seen.console_tail
    assert seen.vmm_peak_rss is not None and seen.noise["load"] >= 0


CALLER = """
import socket, sys
if sys.argv[1] == "never": sys.exit("no such device")
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(open(sys.argv[2], "rb").read())
print("what it says itself"); s.close()
"""


def test_a_command_may_call_a_socket_and_its_start_is_then_a_phase(folders: Path) -> None:
    words = ("-c", CALLER, "{console}", str(folders / "frames"))
    spec = spec_of(Path(sys.executable), *words, console=ConsoleWay.SOCKET)
    seen = CommandHost().boot(spec)
    assert seen.outcome is Outcome.OK and "says itself" not in seen.console_tail
    assert record_of(Trial(0, 0, 0, "fake"), spec, seen).phases[Phase.VMM] > 0
    never = CommandHost().boot(spec_of(Path(sys.executable), "-c", CALLER, "never", console=ConsoleWay.SOCKET))
    assert (never.outcome, never.reason) == (
        Outcome.LOST,
        "it did not connect to its console; it said: no such device",
    )


def test_a_terminal_is_one_and_changes_no_byte(folders: Path) -> None:
    seen = boot(folders, "test -t 1 && test -t 0 || exit 9; printf 'a\\nb\\n'; frames", console=ConsoleWay.PTY)
    assert seen.outcome is Outcome.OK and seen.console_tail.startswith("a\nb\n")
    assert seen.console_bytes == len(FRAMES) + 4


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("frames; exit 7", Outcome.FAILED, "its command exited with status 7"),
        ("frames; echo why >&2; kill -SEGV $$", Outcome.CRASHED, "its command was killed by SIGSEGV; it said: why"),
        ("echo no kernel >&2; exit 1", Outcome.CRASHED, "without an exit frame; the VMM said: no kernel; its command"),
        ("trap '' TERM INT HUP; echo up; while :; do sleep 1; done", Outcome.HUNG, "did not start within 1 s"),
        ("sleep 9", Outcome.SILENT, "not one byte in 1 s"),
        ("exec cat /dev/zero", Outcome.FLOODED, "wrote more than 1024 KiB"),
        ("head -c 99999999 /dev/zero >&2; frames", Outcome.OK, ""),
    ],
)
def test_odd_ends_are_told_and_bounded(folders: Path, body: str, outcome: Outcome, reason: str) -> None:
    began = time.monotonic()
    seen = boot(folders, body, timeout_s=10.0 if outcome is Outcome.OK else 1.0)
    assert seen.outcome is outcome and reason in seen.reason
    assert time.monotonic() - began < 9


@pytest.mark.parametrize(
    ("way", "good", "frames", "status", "outcome"),
    [
        (StatusWay.PLAIN, (0,), True, 0, Outcome.OK),
        (StatusWay.PLAIN, (3, 4), True, 4, Outcome.OK),
        (StatusWay.PLAIN, (3, 4), True, 0, Outcome.FAILED),
        (StatusWay.DEBUG_EXIT, (41,), False, 83, Outcome.OK),
        (StatusWay.DEBUG_EXIT, (41,), False, 41, Outcome.FAILED),
        (StatusWay.DEBUG_EXIT, (41,), False, 0, Outcome.FAILED),  # as after a reset
        (StatusWay.DEBUG_EXIT, (41,), True, 0, Outcome.OK),  # its frames say that it went well
        (StatusWay.PLAIN, (0,), False, 0, Outcome.OK),
    ],
)
def test_a_status_means_what_the_recipe_says(
    folders: Path, way: StatusWay, good: tuple[int, ...], frames: bool, status: int, outcome: Outcome
) -> None:
    body = f"{'frames' if frames else 'echo hello'}; exit {status}"
    assert boot(folders, body, status=way, good_status=good, frames=frames).outcome is outcome


def test_a_guest_without_frames_has_a_total_and_what_is_not_told_is_not_there(folders: Path) -> None:
    spec = spec_of(script(folders, "echo booting; sleep 0.03; echo ready; sleep 0.03"), frames=False, ready="^ready")
    seen = CommandHost().boot(spec)
    record = record_of(Trial(0, 0, 0, "fake"), spec, seen)
    assert seen.outcome is Outcome.OK and not {Event.MAIN, Event.EXIT} & seen.events.keys()
    assert set(record.phases) == {Phase.KERNEL, Phase.READY, Phase.TOTAL}
    assert record.phases[Phase.KERNEL] <= record.phases[Phase.READY] <= record.phases[Phase.TOTAL]
    assert record.statuses == {"init": Status.NOT_SEEN, "stop": Status.NOT_SEEN}


def test_a_server_is_ended_once_it_is_ready(folders: Path) -> None:
    spec = spec_of(script(folders, "echo up; sleep 60"), frames=False, ready="up", powers_off=False)
    seen = CommandHost().boot(spec)
    record = record_of(Trial(0, 0, 0, "fake"), spec, seen)
    assert (seen.outcome, seen.ended_by_host) == (Outcome.OK, True)
    assert record.phases[Phase.TOTAL] == record.phases[Phase.READY] and Phase.STOP not in record.phases
    ended = boot(folders, "frames; sleep 60", powers_off=False)
    assert (ended.outcome, ended.ended_by_host) == (Outcome.OK, True)


def test_the_first_byte_of_a_command_that_chatters_is_that_of_the_first_frame(folders: Path) -> None:
    seen = boot(folders, "echo log; sleep 0.05; frames", chatter=True)
    assert seen.events[Event.FIRST_BYTE] - seen.events[Event.START] > 40_000_000


def test_a_run_may_ask_for_the_line_of_a_programs_output_that_says_that_it_is_ready(folders: Path) -> None:
    """Not for one of the kernel's before it, and in programs of this machine too."""
    (folders / "begin").write_bytes(encode_frame("main", 0, 1, 1, program="fake", v=1))
    path = script(folders, f"echo ready soon; sleep 0.05; cat {folders}/begin; echo; echo ready; sleep 60")
    spec = replace(spec_of(path), ready="^ready", until_ready=True)
    native = replace(spec, image=Image("native", "w", "", "", BootProtocol.EXEC, argv=(str(path),)))
    for seen in (CommandHost().boot(spec), this_machine().boot(native)):
        assert (seen.outcome, seen.ended_by_host, seen.output) == (Outcome.OK, True, None)
        assert seen.events[Event.READY] >= seen.events[Event.MAIN]
    assert Phase.READY not in record_of(Trial(0, 0, 0, "fake"), spec, seen).phases  # `run` makes a benchmark of it
    kept = CommandHost().boot(replace(spec, until_ready=False, keep_output=100, timeout_s=1.0))
    assert kept.outcome is Outcome.HUNG and kept.output is not None and kept.output.head == b"\nready\n"


def test_a_pattern_that_backtracks_for_ever_ends_the_boot_with_a_reason(folders: Path) -> None:
    began = time.monotonic()
    seen = boot(folders, f"echo {'a' * 60}; sleep 60", frames=False, ready="^(a|aa)+$.b", powers_off=False)
    assert seen.outcome is Outcome.LOST and "was searched for longer than" in seen.reason
    assert time.monotonic() - began < 9


def test_lines_are_searched_as_they_come_and_their_length_is_bounded() -> None:
    line = ReadyLine("b+c$")
    assert [line.fits(part) for part in (b"a", b"b\n", b"c\n", b"bb", b"c")] == [False] * 4 + [True]
    long = ReadyLine("end")
    assert not long.fits(b"x" * 100_000 + b"end") and long.fits(b"\nthe end") and long.fault == ""


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "x" * 2_000])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(patterns.PatternError):
        patterns.compiled(pattern)


# ---- what is executed ----


def test_placeholders_are_filled_once_and_no_shell_sees_them(folders: Path) -> None:
    kernel = folders / "k {memory_mib} $(touch oops)"
    kernel.write_text("k")
    spec = spec_of(
        Path("/bin/x"), "-k", "{kernel}", "{arguments}", "m={memory_mib},c={vcpus}", '{"a": 1}', "{cmdline}{name}",
        kernel=kernel, cmdline="; {vcpus}", words=("{name}", "a b"), program=Path("/p"),
    )  # fmt: skip
    argv = command_of(spec, spec.image.command or Command(), folders / "scratch")
    link = Path(argv[2])
    assert link.resolve() == kernel and link.parent == folders / "scratch"
    assert argv[3:] == ("{name}", "a b", "m=77,c=2", '{"a": 1}', "; {vcpus}ukperf-fake")


@pytest.fixture(autouse=True)
def scratch(folders: Path) -> None:
    (folders / "scratch").mkdir()


def test_a_placeholder_without_a_value_is_one_sentence(folders: Path) -> None:
    spec = spec_of(Path("/bin/x"), "{kernel}")
    with pytest.raises(HostError, match=r"has \{kernel\}, and there is none"):
        command_of(spec, spec.image.command or Command(), folders / "scratch")


def test_json_leaves_out_what_has_no_value_and_numbers_are_numbers(folders: Path) -> None:
    data = {
        "boot": {"kernel": "{kernel}", "initrd": "{initrd}", "args": '{cmdline} "q"'},
        "drives": [{"path": "{disk}"}, {"path": "fixed"}],
        "cpus": "{vcpus}",
        "args": ["first", "{arguments}"],
    }
    spec = spec_of(Path("/x"), "{json}", kernel=Path("/k"), cmdline='a"b', words=("1", "2"), json=json.dumps(data))
    argv = command_of(spec, spec.image.command or Command(), folders / "scratch")
    assert json.loads(Path(argv[1]).read_text()) == {
        "boot": {"kernel": "/k", "args": 'a"b "q"'},
        "drives": [{"path": "fixed"}],
        "cpus": 2,
        "args": ["first", "1", "2"],
    }


def test_a_disk_that_is_written_to_is_a_copy(folders: Path) -> None:
    disk = folders / "disk"
    disk.write_text("whole")
    body = 'echo changed >"$1"; frames'
    assert boot(folders, body, "{disk}", disk=disk).outcome is Outcome.OK
    assert disk.read_text() == "whole"
    boot(folders, body, "{disk}", disk=disk, copies_disk=False)
    assert disk.read_text() == "changed\n"


def test_a_command_gets_what_its_recipe_says_and_little_else(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    seen = boot(folders, "env; frames", env=(("MINE", "1"),))
    assert "MINE=1\n" in seen.console_tail and "PATH=" in seen.console_tail and "SECRET" not in seen.console_tail


def test_a_command_that_is_gone_is_a_lost_boot_with_a_reason() -> None:
    seen = CommandHost().boot(spec_of(Path("/gone")))
    assert (seen.outcome, seen.reason) == (Outcome.LOST, "/gone cannot be executed: No such file or directory")


def test_what_is_no_command_is_refused() -> None:
    with pytest.raises(HostError, match="has none"):
        CommandHost().boot(replace(spec_of(Path("/x")), image=Image("native", "w", "", "", BootProtocol.EXEC)))


def test_an_images_protocol_says_who_boots_it() -> None:
    host = FakeHost()
    assert [booting(protocol, host).uri for protocol in BootProtocol] == ["fake", "fake", "native", "command"]
    assert this_machine().uri == "native"


# ---- nothing is left ----

FORKS = """
sleep 600 & echo $! >>{pids}
setsid sleep 600 & echo $! >>{pids}
(setsid sh -c 'trap "" HUP TERM; sleep 600; :' & echo $! >>{pids})
"""


def gone(pids: list[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(process_start(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(process_start(pid) for pid in pids)


@pytest.mark.parametrize("end", ["frames", "frames; exec sleep 600", "exit 5", "sleep 600"])
def test_what_a_command_forked_ends_with_the_boot_however_that_ends(
    folders: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "STOP_GRACE_S", 1.0)  # for one that says `exit` and stays
    pids = folders / "pids"
    boot(folders, FORKS.format(pids=pids) + end, timeout_s=1.0)
    started = list(map(int, pids.read_text().split()))
    assert len(started) == 3 and gone(started)
    assert not [path for parent in scratch_parents() for path in parent.glob(f"{os.getpid()}-*")]


def test_an_interrupt_ends_it_too(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = folders / "pids"

    def interrupted(_frame: object) -> None:
        raise KeyboardInterrupt

    spec = spec_of(script(folders, FORKS.format(pids=pids) + "frames; sleep 600"))
    with pytest.raises(KeyboardInterrupt):
        CommandHost().boot(spec, interrupted)
    assert gone(list(map(int, pids.read_text().split())))


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_commands import spec_of
from ukperf.hosts.command import CommandHost
CommandHost().boot(spec_of(Path({monitor!r}), timeout_s=600.0))
"""


@pytest.mark.parametrize("guardian", [True, False])
def test_nothing_is_left_of_a_ukperf_that_was_killed(folders: Path, guardian: bool) -> None:
    """Its guardian ends it; where that was killed too, the next start does."""
    pids = folders / "pids"
    monitor = script(folders, FORKS.format(pids=pids) + f"echo $$ >>{pids}; echo up; sleep 600")
    program = KILLED.format(tests=str(Path(__file__).parent), monitor=str(monitor))
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        while not (pids.exists() and len(pids.read_text().split()) == 4):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.1)  # it is recorded by now
        if not guardian:
            for pid in children_of(process.pid):
                if b"ukperf-guardian" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        process.kill()
    started = list(map(int, pids.read_text().split()))
    if not guardian:
        assert not gone(started, 0.2)
        from ukperf.hosts import remains

        remains.clear()
    assert gone(started)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# ---- recipes ----


def recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


GOOD = """
kernel = "k"
[command]
arguments = ["./monitor", "{kernel}", ["--cmdline", "{cmdline}"]]
frames = false
"""


def test_a_recipe_without_a_builder_boots_its_kernel(folders: Path) -> None:
    script(folders, 'test "$1" = --version && echo "Monitor 1.2" && exit; cat "$1"')
    (folders / "k").write_text("hello from the kernel")
    name = recipes.use(recipe(folders, GOOD))
    guest = guests.get(name, Cache())
    program = Program("boot", "p", folders / "frames", False, ("/p",))
    assert guest.availability(BuildOptions()).sentence == "Monitor 1.2; kernel k"
    image = guest.build(program, BuildOptions())
    assert (image.protocol, image.argv[1:], image.program_digest) == (BootProtocol.COMMAND, ("{kernel}",), "")
    assert image.command is not None and image.command.vmm == "Monitor 1.2" and len(image.command.vmm_sha256) == 64
    assert image.executed_by(Accelerator.ICOUNT) is Accelerator.NATIVE
    assert guest.build(program, BuildOptions(cmdline="a b")).argv[1:] == ("{kernel}", "--cmdline", "{cmdline}")
    with pytest.raises(UkperfError, match="loads no programs"):
        guest.build(replace(program, workload="count"), BuildOptions())
    (folders / "k").unlink()
    assert not guest.availability(BuildOptions()).ok


def test_a_recipe_with_a_program_runs_that_of_every_guest(folders: Path) -> None:
    script(folders, '"$@"')
    recipe(folders, '[command]\narguments = ["./monitor", "{program}", "{arguments}"]\nversion = []')
    guest = guests.get(recipes.use(folders / "mine.toml"), Cache())
    program = boot_program(guest.cache)
    image = guest.build(program, BuildOptions())
    assert image.program_digest == program.digest and guest.recipe.loads_programs
    seen = booting(image.protocol, FakeHost()).boot(BootSpec(image, MACHINE, Accelerator.NATIVE, timeout_s=20.0))
    assert (seen.outcome, seen.reason) == (Outcome.OK, "")
    assert image.command is not None and "does not say" in image.command.vmm
    files = BootFiles([image])
    assert not files.changed(image)
    script(folders, "exit 0")
    assert "monitor, which mine boots from, was changed" in files.changed(image)
    assert {folders / "monitor", program.path} <= set(files_of(image))


def test_a_programs_variables_are_its_own_and_not_the_commands(folders: Path) -> None:
    """A library that is loaded before a program would else be loaded into the command, whose frames count as its."""
    script(folders, 'echo "command: $A"; exec "$@"')
    path = folders / "program"
    path.write_text(f'#!/bin/sh\necho "program: $A $1"; cat {folders}/frames\n')
    path.chmod(0o755)
    program = Program("boot", "p", path, False, ("/program", "x"), env=(("A", "b c"),))
    recipes.use(recipe(folders, '[command]\narguments = ["./monitor", "{program}", "{arguments}"]\nversion = []'))
    image = guests.get("mine", Cache()).build(program, BuildOptions())
    seen = CommandHost().boot(BootSpec(image, MACHINE, Accelerator.NATIVE, timeout_s=20.0))
    assert seen.outcome is Outcome.OK and seen.console_tail.startswith("command: \nprogram: b c x\n")
    assert path in files_of(image)
    recipes.use(recipe(folders, '[command]\narguments = ["./monitor", "{program}"]\nversion = []'))
    with pytest.raises(UkperfError, match="cannot hand on the variables"):
        guests.get("mine", Cache()).build(program, BuildOptions())


def test_a_program_that_a_command_runs_gets_no_variables_but_its_own(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on this machine itself: LANG alone makes `echo` take four times as long."""
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    script(folders, 'echo "command: ${LANG-none}"; exec "$@"')
    path = folders / "program"
    path.write_text(f'#!/bin/sh\necho "program: ${{LANG-none}} ${{HOME-none}} $A"; /bin/cat {folders}/frames\n')
    path.chmod(0o755)
    program = Program("boot", "p", path, False, ("/program",), env=(("A", "b"),))
    recipes.use(recipe(folders, '[command]\narguments = ["./monitor", "{program}", "{arguments}"]\nversion = []'))
    seen = CommandHost().boot(
        BootSpec(
            guests.get("mine", Cache()).build(program, BuildOptions()), MACHINE, Accelerator.NATIVE, timeout_s=20.0
        )
    )
    assert seen.console_tail.startswith("command: en_US.UTF-8\nprogram: none none b\n"), seen.console_tail


def test_a_command_runs_by_the_accelerators_that_its_recipe_has(folders: Path) -> None:
    script(folders, "frames")
    text = '[command]\narguments = ["./monitor", "{accelerator}", "{program}"]\nversion = []\n'
    recipes.use(recipe(folders, text + 'accelerators = { tcg = ["-a", "tcg"], kvm = [] }'))
    guest = guests.get("mine", Cache())
    program = boot_program(guest.cache)
    image = guest.build(program, BuildOptions(accelerator=Accelerator.TCG))
    assert image.argv[1:] == ("-a", "tcg", "{program}") and image.executed_by(Accelerator.TCG) is Accelerator.TCG
    assert guest.build(program, BuildOptions(accelerator=Accelerator.KVM)).argv[1:] == ("{program}",)
    with pytest.raises(UkperfError, match="mine runs its guest by tcg or kvm, and this run is by icount"):
        guest.build(program, BuildOptions(accelerator=Accelerator.ICOUNT))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[command]", "command lacks 'arguments'"),
        ("command = 3", "command is no table"),
        ("[command]\narguments = []", "does not begin with a program"),
        ("[command]\narguments = ['{kernel}']", "begins with a placeholder"),
        ("[command]\narguments = [['x']]", "does not begin with a program"),
        ("[command]\narguments = ['x', 3]", "neither a word nor a list of words"),
        ("[command]\narguments = ['x', ['a', 3]]", "neither a word nor a list of words"),
        ("[command]\narguments = ['x', '{kernle}']", "unknown placeholder {kernle}; Did you mean kernel"),
        ("[command]\narguments = ['x', 'a{arguments}', '{program}']", "{arguments} stands for several words"),
        ("[command]\narguments = ['x', '{accelerator}', '{kernel}']", "{accelerator} and the words of the table"),
        ("[command]\narguments = ['x', '{kernel}']\naccelerators = { kvm = ['-k'] }", "go together"),
        ("[command]\narguments = ['x', '{kernel}']\naccelerators = { hvf = [] }", "there is no 'hvf'"),
        ("[command]\narguments = ['x', '{json}']", "{json} and the table command.json go together"),
        ("[command]\narguments = ['x', '{json}']\njson = { a = 1979-05-27 }", "has what JSON has not"),
        ("[command]\narguments = ['x', '{kernel}', '{console}']", '{console} and console = "socket" go together'),
        ("[command]\narguments = ['x', '{kernel}']\nconsole = 'socket'", "go together"),
        ("[command]\narguments = ['x', '{kernel}']\nconsole = 'serial'", "there is no 'serial'"),
        ("[command]\narguments = ['x', '{kernel}']\nready = '('", "command.ready is no pattern"),
        ("[command]\narguments = ['x', '{kernel}']\ngood_status = [256]", "is no exit status"),
        ("[command]\narguments = ['x', '{kernel}']\ngood_status = []", "no end would be a good one"),
        ("[command]\narguments = ['x', '{kernel}']\nstatus = 'debug-exit'\ngood_status = [200]", "127 is the largest"),
        ("[command]\narguments = ['x', '{kernel}']\nframes = false\npowers_off = false", "command.ready must say when"),
        (
            "[command]\narguments = ['x', '{kernel}']\nframes = false\naccelerators = { icount = [] }",
            "leave out icount",
        ),
        ("[command]\narguments = ['x', '{kernel}']\nenvironment = { 'A=B' = 'c' }", "no variable can have"),
        ("[command]\narguments = ['x', \"a\\u0000b{kernel}\"]", "a NUL in it"),
        ("[command]\narguments = ['x', '{kernel}']\nready_s = 3", "command has an unknown key 'ready_s'"),
        ("[command]\narguments = ['x', 'y']", "boots nothing"),
        ("[command]\narguments = ['x', '{disk}']", "no builder makes one"),
        ("builder = 'linus'\n[command]\narguments = ['x', '{kernel}']", "There is no guest 'linus'"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_in_a_sentence(folders: Path, text: str, said: str) -> None:
    with pytest.raises(UkperfError) as caught:
        recipes.use(recipe(folders, text))
        guests.get("mine")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_command_needs_is_looked_for(folders: Path) -> None:
    script(folders, "frames")
    text = '[command]\narguments = ["./monitor", "{program}"]\nversion = []\nneeds = ["sh", "/dev/null", "%s"]'
    for missing in ("/dev/there-is-none", "no-such-program", "firmware.bin"):
        recipes.use(recipe(folders, text % missing))
        found = guests.get("mine", Cache()).availability(BuildOptions())
        assert not found.ok and missing in found.sentence
    (folders / "firmware.bin").write_text("f")
    recipes.use(recipe(folders, text % "./firmware.bin"))
    image = guests.get("mine", Cache()).build(boot_program(), BuildOptions())
    assert folders / "firmware.bin" in files_of(image)
    (folders / "monitor").unlink()
    with pytest.raises(UkperfError, match=r"\./monitor is not on this machine"):
        guests.get("mine", Cache()).build(boot_program(), BuildOptions())


@pytest.mark.parametrize("body", ["sleep 60", "exec cat /dev/zero", "sleep 60 & exit", "exit 3"])
def test_a_version_is_asked_for_in_bounded_time_and_size(
    folders: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(binaries, "VERSION_S", 0.5)
    began = time.monotonic()
    assert len(binaries.version_of(script(folders, body), ("--version",))) <= 120
    assert time.monotonic() - began < 5


def test_recipes_that_come_with_ukperf_are_whole_and_say_where_they_were_tried() -> None:
    ours = recipes.commands()
    assert len(ours) >= 10
    for name, path in ours.items():
        file = recipes.read(path)
        assert file.name == name and file.command is not None and file.summary
        assert file.command.tried.startswith("not tried: ") or "2026" in file.command.tried
        assert guests.get(name).recipe.protocol is BootProtocol.COMMAND


def test_a_recipe_of_ours_that_nobody_has_tried_says_so(folders: Path) -> None:
    untried = "The recipe of firecracker is not tried: no KVM where ukperf is made."
    assert guests.get("firecracker").choice(BuildOptions()) == untried
    assert guests.get("qemu-linux").choice(BuildOptions()) == ""
    script(folders, "exit")
    recipes.use(recipe(folders, GOOD))
    assert guests.get("mine").choice(BuildOptions()) == ""


def test_a_recipe_of_ours_is_listed_where_its_program_is_there(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guests._is_here.cache_clear()
    monkeypatch.setenv("PATH", str(folders))
    assert "runsc" not in guests.names()
    script(folders, "exit").rename(folders / "runsc")
    guests._is_here.cache_clear()
    assert "runsc" in guests.names()
    guests._is_here.cache_clear()
    (folders / "config" / "guests").mkdir(parents=True)
    (folders / "config" / "guests" / "runsc.toml").write_text("builder = 'linux'")
    assert guests.get("runsc").recipe.protocol is BootProtocol.KERNEL  # the user's goes before ours


def test_unused_placeholders_of_several_texts_are_known() -> None:
    assert templates.all_places(["{a}{b}", "c", "{ d }", "{a}"]) == {"a", "b"}
    assert table_of({"arguments": ["x", ["-k", "{kernel}"]]}).groups == (("x",), ("-k", "{kernel}"))


# ---- a run ----


def test_a_command_stands_in_the_blocks_beside_another_guest_and_can_be_resumed(folders: Path) -> None:
    from typer.testing import CliRunner

    from ukperf.cli.main import app

    script(folders, 'test "$1" = --version && echo "Monitor 1.2" && exit; frames')
    (folders / "k").write_text("k")
    told = GOOD.replace("frames = false", "frames = true").replace('["--cmdline"', '"-m{memory_mib}", ["--cmdline"')
    recipe(folders, told)
    words = ["boot-time", "--guest-file", str(folders / "mine.toml"), "-g", "native", "--baseline", "native"]
    words += ["--boots", "2", "--run", str(folders / "run"), "--share-host"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    plan = load(folders / "run")
    assert plan.images["mine"].command is not None and plan.hosts == ("native",)
    lines = [json.loads(line) for line in (folders / "run" / "journal.ndjson").read_text().splitlines()]
    mine = next(line for line in lines if line["trial"]["guest"] == "mine")
    assert mine["outcome"] == "ok" and mine["facts"]["vmm"] == "Monitor 1.2" and len(mine["facts"]["vmm_sha256"]) == 64
    assert mine["facts"]["machine"] == "by its recipe, 256 MiB"  # what the command is told, and no more
    (folders / "run" / "journal.ndjson").write_text(json.dumps(lines[0]) + "\n")
    script(folders, "exit")
    resumed = CliRunner().invoke(app, ["resume", str(folders / "run"), "--share-host"])
    assert isinstance(resumed.exception, UkperfError)
    assert "monitor, which mine boots from, has the digest" in str(resumed.exception)
