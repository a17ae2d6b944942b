"""The library that is loaded into other people's programs: `main` and `exit` come whole, whatever these do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cprograms import compiled

from ukperf import guests
from ukperf.console import assemble
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.native import NativeHost
from ukperf.imaging.cache import Cache
from ukperf.imaging.pack import pack
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
HEAD = """
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void say(void) { printf("handler"); }
static void *leave(void *x) { usleep(20000); exit(5); }
"""
Run = Callable[..., Observation]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def run(tmp_path: Path, cache: Cache) -> Run:
    """Compile main's body (or take a command line), pack it, run it on this machine."""

    def go(body: str, *words: str, **options: object) -> Observation:
        if body:
            compiled(tmp_path / "p", f"{HEAD}\nint main(int argc, char **argv) {{ {body} }}\n", "-pthread")
            words = ("./p", *words)
        packed = pack(words, base=tmp_path, cache=cache, **options)  # type: ignore[arg-type]
        image = guests.get("native").build(packed.program, BuildOptions())
        spec = BootSpec(
            image,
            Machine(),
            Accelerator.NATIVE,
            timeout_s=30,
            console_limit=32 << 20,
            console_path=tmp_path / "console.log",
        )
        return NativeHost().boot(spec)

    return go


def outside_frames(path: Path) -> bytes:
    """The console without what stands between RS and LF."""
    first, *rest = path.read_bytes().split(b"\x1e")
    return first + b"".join(part.partition(b"\n")[2] for part in rest)


def events(seen: Observation) -> list[str]:
    return [frame.event for frame in seen.frames]


@pytest.mark.parametrize(
    ("body", "status", "output"),
    [
        ('puts("out"); return 0;', 0, b"out\n"),
        ('printf("no line feed"); return 3;', 3, b"no line feed"),
        ('printf("buffered"); atexit(say); exit(4);', 4, b"bufferedhandler"),
        ('printf("lost"); _exit(5);', 5, b""),
        ('printf("lost"); at_quick_exit(say); quick_exit(6);', 6, b""),
        ("pthread_t t; pthread_create(&t, 0, leave, 0); pthread_exit(0);", 5, b""),
        ("exit(256 + 7);", 7, b""),
    ],
    ids=["return", "unflushed", "exit", "_exit", "quick_exit", "exit of a thread", "status of 8 bits"],
)
def test_main_and_exit_come_with_the_status(body: str, status: int, output: bytes, run: Run, tmp_path: Path) -> None:
    seen = run(body)
    assert seen.outcome is (Outcome.FAILED if status else Outcome.OK), seen.reason
    assert events(seen) == ["main", "exit"] and seen.bad_frames == 0
    assert assemble(seen.frames).exit_status == status
    assert seen.frames[0].fields["program"] == "p"
    assert outside_frames(tmp_path / "console.log") == output


def test_the_clock_of_the_run_begins_behind_the_main_frame_and_ends_before_the_exit_frame(run: Run) -> None:
    main, end = run("usleep(20000); return 0;").frames
    for clock in ("t", "tsc"):
        begun = end.fields[f"began_{clock}"]
        assert isinstance(begun, int)
        assert main.fields[clock] < begun < end.fields[clock]  # type: ignore[operator]
    assert 20_000_000 <= end.fields["t"] - end.fields["began_t"] < 2_000_000_000  # type: ignore[operator]
    assert "peak_rss" not in end.fields  # on the host it would be the memory of whoever forked


@pytest.mark.parametrize(
    "body",
    [
        "close(1); return 0;",
        'close(1); open("/dev/null", O_WRONLY); puts("gone"); return 0;',
        'freopen("/dev/null", "w", stdout); puts("gone"); return 0;',
        "dup2(2, 1); close(2); return 0;",
    ],
)
def test_the_exit_frame_comes_from_a_program_that_gave_its_output_away(body: str, run: Run) -> None:
    seen = run(body)
    assert (seen.outcome, events(seen), seen.console_tail.count("gone")) == (Outcome.OK, ["main", "exit"], 0)


def test_a_program_that_closes_everything_gets_no_frame_in_its_own_files(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "own"
    body = f'for (int i = 0; i < 1024; i++) close(i); while (open("{file}", O_RDWR | O_CREAT, 0600) < 100); return 0;'
    assert events(run(body)) == ["main"]
    assert file.read_bytes() == b""


def test_five_megabytes_of_output_are_whole_and_so_are_the_frames(run: Run, tmp_path: Path) -> None:
    seen = run('for (int i = 0; i < 500000; i++) printf("%09d\\n", i); return 0;')
    assert (seen.outcome, seen.bad_frames, events(seen)) == (Outcome.OK, 0, ["main", "exit"])
    assert outside_frames(tmp_path / "console.log") == b"".join(b"%09d\n" % i for i in range(500_000))


def test_output_with_record_separators_costs_no_frame_of_ours(run: Run) -> None:
    seen = run('write(1, "\\x1e{\\n\\x1e", 4); return 0;')
    assert (seen.outcome, events(seen)) == (Outcome.OK, ["main", "exit"])


@pytest.mark.parametrize(
    "body",
    [
        "if (fork() == 0) exit(9); wait(0); return 0;",
        "if (fork() == 0) _exit(9); wait(0); return 0;",
        "if (vfork() == 0) _exit(9); wait(0); return 0;",
        'system("exit 9"); return 0;',
        'if (fork() == 0) { closefrom(3); execlp("sh", "sh", "-c", ":", NULL); } wait(0); return 0;',
        'char c[99]; FILE *f = popen("echo x", "r"); return fread(c, 1, 99, f) != 2;',
        'if (fork() == 0) { closefrom(3); dup2(open("/dev/null", 1), 1); execlp("sh", "sh", "-c", ":", NULL); } '
        "wait(0); return 0;",
    ],
)
def test_what_the_program_forks_is_silent(body: str, run: Run) -> None:
    seen = run(body)
    assert (seen.outcome, events(seen)) == (Outcome.OK, ["main", "exit"]), seen.reason


def test_a_program_that_executes_another_is_one_program(run: Run) -> None:
    seen = run('execlp("sh", "sh", "-c", "sh -c :; exec sh -c \'exit 3\'", NULL);', env=[("PATH", "/usr/bin:/bin")])
    assert (events(seen), assemble(seen.frames).exit_status) == (["main", "exit"], 3)
    assert not assemble(seen.frames).lies
    assert "began_tsc" not in seen.frames[1].fields  # only the first program knows
    assert "peak_rss" not in seen.frames[1].fields  # as above


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_death_by_a_signal_is_the_hosts_to_tell(name: str, run: Run) -> None:
    body = "abort();" if name == "SIGABRT" else f"raise({name}); return 0;"
    seen = run(f"struct rlimit none = {{0, 0}}; setrlimit(RLIMIT_CORE, &none); {body}")
    assert (seen.outcome, events(seen)) == (Outcome.CRASHED, ["main"])
    assert seen.reason == f"its program was killed by {name}"


def test_folder_and_standard_input_are_those_of_the_tree(run: Run, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("from the file")
    body = (
        'char c[999] = ""; printf("%s\\n", getcwd(c, 999)); c[read(0, c, 99)] = 0; printf("%s", c); return isatty(0);'
    )
    seen = run(body, cwd="/some/where", stdin=tmp_path / "input")
    folder, _, said = outside_frames(tmp_path / "console.log").decode().partition("\n")
    assert folder.endswith("/copy-00/some/where") and said == "from the file"
    assert seen.outcome is Outcome.OK


def test_without_a_file_standard_input_is_at_its_end(run: Run) -> None:
    assert run("char c; return read(0, &c, 1) != 0;").outcome is Outcome.OK


def test_arguments_are_the_trees_paths_and_tmp_is_the_hosts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    run("for (int i = 1; i < argc; i++) puts(argv[i]); return 0;", "/tmp", "/", "/ukperf/stdin", "/no/such")
    tmp, root, inside, other = outside_frames(tmp_path / "console.log").decode().split()
    assert (tmp, root, other) == ("/tmp", "/", "/no/such")
    assert inside.endswith("/copy-00/ukperf/stdin")


@pytest.mark.parametrize("flags", [("-static-pie", "-fPIE"), ("-static",)], ids=["static-pie", "static"])
def test_a_static_program_runs_behind_its_main_frame(flags: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("from the file")
    body = """char c[999]; puts(getcwd(c, 999)); puts(getenv("A")); c[read(0, c, 99)] = 0; puts(c);
        puts(argv[1]); fflush(stdout); return strcmp(argv[0] + strlen(argv[0]) - 2, "/p") ? 1 : 3;"""
    compiled(tmp_path / "p", f"{HEAD}\nint main(int argc, char **argv) {{ {body} }}\n", "-pthread", *flags)
    seen = run("", "./p", "two words", cwd="/some/where", stdin=tmp_path / "input", env=[("A", "b c")])
    folder, *said = outside_frames(tmp_path / "console.log").decode().splitlines()
    assert folder.endswith("/copy-00/some/where") and said == ["b c", "from the file", "two words"]
    assert events(seen) == ["main"]
    assert (seen.outcome, seen.exit_status) == (Outcome.FAILED, 3)  # its end is the host's to tell
    assert seen.frames[0].fields["program"] == "p"


def test_without_a_folder_a_program_begins_in_its_tree(run: Run, tmp_path: Path) -> None:
    run("char c[999]; puts(getcwd(c, 999)); return 0;")
    assert outside_frames(tmp_path / "console.log").endswith(b"/copy-00\n")


def test_a_cache_whose_path_has_a_space_is_refused_for_this_machine(tmp_path: Path) -> None:
    packed = pack(["true"], cache=Cache(tmp_path / "a b"))
    with pytest.raises(UkperfError, match="it has a space"):
        guests.get("native").build(packed.program, BuildOptions())
