"""What guest programs write, as real processes on this host: ukperf.h and the programs built on it."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import textwrap
import threading
from pathlib import Path

import pytest
from frames import events, frames

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.compiler import STATIC_PIE, compile_c
from ukperf.imaging.programs import boot_program, count_program, misbehave_program
from ukperf.resources import data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def compiled(tmp_path: Path):
    def build(body: str) -> Path:
        source = tmp_path / "program.c"
        source.write_text(
            f'#include "{data("workloads", "common", "ukperf.h")}"\nint main(void) {{ {textwrap.dedent(body)} }}\n'
        )
        compile_c([source], tmp_path / "program", (*STATIC_PIE, "-Wpedantic", "-Werror"), base=tmp_path)
        return tmp_path / "program"

    return build


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([path, *arguments], check=False, capture_output=True, timeout=60)


def test_boot_says_main_then_exit_and_returns_its_status(cache: Cache) -> None:
    program = boot_program(cache)
    done = run(program.path)
    assert done.returncode == 0
    first, last = frames(done.stdout)
    assert (first["event"], first["n"], first["program"], first["v"]) == ("main", 0, "boot", 1)
    assert (last["event"], last["n"], last["status"]) == ("exit", 1, 0)
    assert 0 < first["t"] <= last["t"] and 0 < first["tsc"] < last["tsc"]


def test_programs_need_no_dynamic_linker_and_are_position_independent(cache: Cache) -> None:
    head = boot_program(cache).path.read_bytes()
    assert head[16] == 3  # ET_DYN
    headers = subprocess.run(["readelf", "-lW", boot_program(cache).path], check=True, capture_output=True, text=True)
    assert "INTERP" not in headers.stdout


def test_a_frame_is_one_write(compiled) -> None:
    path = compiled("""
        uk_main("x"); uk_samples_begin("b", "cycles", 1);
        for (unsigned i = 0; i < 4000; i++) uk_samples_ratio(i, 7);
        uk_samples_end(); return uk_exit(0);""")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps the borders of writes
    with ours, subprocess.Popen([path], stdout=theirs) as process:
        theirs.close()
        messages = list(iter(lambda: ours.recv(1 << 17), b""))
        assert process.wait(60) == 0
    assert len(messages) > 5
    for message in messages:
        assert len(frames(message)) == 1 and message.startswith(b"\x1e") and message.endswith(b"\n")


def test_a_console_that_takes_little_at_a_time_gets_everything(compiled) -> None:
    path = compiled("""
        uk_main("x"); uk_samples_begin("b", "cycles", 1);
        for (unsigned i = 0; i < 9000; i++) uk_samples_ratio(i, 7);
        uk_samples_end(); return uk_exit(0);""")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    received = bytearray()
    with subprocess.Popen([path], stdout=writer) as process:
        os.close(writer)
        while block := os.read(reader, 1000):
            received += block
        assert process.wait(60) == 0
    os.close(reader)
    values = [value for frame in frames(bytes(received)) for value in frame.get("values", [])]
    assert len(values) == 9000


def test_long_samples_are_split_over_frames_in_order(compiled) -> None:
    path = compiled("""
        uk_main("x"); uk_samples_begin("b", "s", 7); uk_samples_meta_number("meta_size", 5);
        for (unsigned i = 0; i < 2000; i++) uk_samples_warmup_ratio(i, 3);
        for (unsigned i = 0; i < 3000; i++) { if (i & 1) uk_samples_value(i / 7.0); else uk_samples_ratio(i, 7); }
        uk_samples_end(); return uk_exit(0);""")
    samples = [frame for frame in frames(run(path).stdout) if frame["event"] == "samples"]
    assert len(samples) > 3
    assert all((frame["benchmark"], frame["unit"], frame["loops"]) == ("b", "s", 7) for frame in samples)
    assert samples[0]["meta_size"] == 5
    warmups = [value for frame in samples for value in frame.get("warmups", [])]
    values = [value for frame in samples for value in frame["values"]]
    assert warmups == pytest.approx([i / 3 for i in range(2000)], abs=1e-8)
    assert values == pytest.approx([i / 7 for i in range(3000)], abs=1e-8)


def test_ratios_are_exact_to_nine_decimals_at_the_ends_of_the_range(compiled) -> None:
    path = compiled("""
        uk_samples_begin("b", "cycles", 1);
        uk_samples_ratio(0, 5); uk_samples_ratio(1, 3); uk_samples_ratio(2, 1);
        uk_samples_ratio(UINT64_MAX - 1, UINT64_MAX); uk_samples_ratio(5, 0); uk_samples_ratio(1000000000000000000u, 1);
        uk_samples_end(); return 0;""")
    (frame,) = frames(run(path).stdout)
    assert frame["values"] == [0, 0.333333333, 2, 0.999999999, 0, 10**18]


def test_values_that_the_wire_cannot_carry_are_left_out_and_said_so(compiled) -> None:
    path = compiled("""
        uk_samples_begin("b", "s", 1); uk_samples_value(1.5); uk_samples_value(1.0 / 0.0); uk_samples_value(0.0 / 0.0);
        uk_samples_value(-2e18); uk_samples_warmup(1.0); uk_samples_end(); return 0;""")
    sample, error = frames(run(path).stdout)
    assert sample["values"] == [1.5] and "warmups" not in sample
    assert error["event"] == "error" and "left out" in error["message"]


def test_text_is_ascii_escaped_and_bounded(compiled) -> None:
    path = compiled(r"""
        static char text[5000];
        for (unsigned i = 0; i < sizeof text - 1; i++) text[i] = (char)(i % 255 + 1);
        uk_error(text); uk_check("name", text); uk_phase("a\"b\\c"); return uk_exit(-1);""")
    done = run(path)
    error, check, phase, last = frames(done.stdout)
    assert len(error["message"]) == 500 and len(check["digest"]) == 128
    assert phase["name"] == 'a"b\\c'
    assert error["message"][9] == "?" and error["message"][64] == "A"
    assert last["status"] == done.returncode == 255


def test_count_takes_loops_and_values_and_times_two_instructions_a_loop(cache: Cache) -> None:
    program = count_program(1000, 3, cache)
    _, sample, _ = frames(run(program.path, *program.argv[1:]).stdout)
    assert (sample["benchmark"], sample["unit"], sample["loops"]) == ("count", "cycles", 1000)
    assert len(sample["values"]) == 3 and sample["meta_instructions_per_loop"] == 2
    assert events(run(program.path, "loops=0").stdout) == ["main", "exit"]


@pytest.mark.parametrize(
    ("words", "status", "spoken"),
    [
        (["status=7"], 7, ["main", "exit"]),
        (["noexit"], 0, ["main"]),
        (["abort"], -signal.SIGABRT, ["main"]),
        (["segv"], -signal.SIGSEGV, ["main"]),
        (["lie=status"], 9, ["main", "exit"]),
        (["lie=order"], 0, ["main", "exit", "main", "main", "exit"]),
        (["sleep=0"], 0, ["main", "exit"]),
    ],
)
def test_misbehave_does_what_its_words_say(cache: Cache, words: list[str], status: int, spoken: list[str]) -> None:
    program = misbehave_program(*words, cache=cache)
    done = run(program.path, *program.argv[1:])
    assert done.returncode == status
    assert events(done.stdout) == spoken


@pytest.mark.parametrize("how", ["random", "frames"])
def test_floods_do_not_end_by_themselves_and_repeat(cache: Cache, how: str) -> None:
    program = misbehave_program(f"flood={how}", cache=cache)
    seen = []
    for _ in range(2):
        with subprocess.Popen([program.path, *program.argv[1:]], stdout=subprocess.PIPE) as process:
            watchdog = threading.Timer(60, process.kill)
            watchdog.start()
            assert process.stdout is not None
            process.stdout.readline()  # `main` has clocks in it
            seen.append(process.stdout.read(1 << 20))
            process.kill()
            watchdog.cancel()
    assert all(len(block) == 1 << 20 for block in seen)
    if how == "random":
        assert seen[0] == seen[1]
    else:
        assert len(frames(seen[0].rpartition(b"\x1e")[0])) > 100


def test_the_linux_init_does_nothing_when_it_is_not_the_first_process(cache: Cache) -> None:
    from ukperf.guests.linux import Linux

    done = run(Linux(cache).init())
    assert done.returncode == 2
    assert events(done.stdout) == ["init", "error"]


def test_a_program_is_built_once_and_again_when_its_source_changes(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from ukperf.imaging import programs

    copy = tmp_path / "workloads"
    shutil.copytree(data("workloads"), copy)
    monkeypatch.setattr(programs, "data", tmp_path.joinpath)
    first = boot_program(cache)
    assert boot_program(cache) == first
    monkeypatch.setattr(programs, "compile_c", lambda *_, **__: pytest.fail("built again"))
    assert boot_program(cache) == first
    monkeypatch.undo()
    monkeypatch.setattr(programs, "data", tmp_path.joinpath)
    (copy / "boot" / "boot.c").write_text((copy / "boot" / "boot.c").read_text().replace('"boot"', '"boots"'))
    assert boot_program(cache).digest != first.digest


def test_the_same_source_gives_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    for name in ("a", "b-longer"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "x.c").write_text("#include <stdio.h>\nint main(void) { puts(__FILE__); return 0; }\n")
        compile_c([folder / "x.c"], folder / "x", STATIC_PIE, base=folder)
    assert (tmp_path / "a" / "x").read_bytes() == (tmp_path / "b-longer" / "x").read_bytes()


def test_a_source_that_does_not_compile_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(UkperfError, match=r"could not build x\.c: .*nothing"):
        compile_c([tmp_path / "x.c"], tmp_path / "x", STATIC_PIE, base=tmp_path)


def test_no_compiler_is_one_sentence_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ukperf.imaging.compiler import find_compiler

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UkperfError, match="no C compiler") as caught:
        find_compiler()
    assert "apt-get install gcc" in (caught.value.hint or "")
