"""Programs that know nothing of ukperf, the same bytes in every guest, timed by the preloaded library."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from cprograms import compiled

from ukperf import guests
from ukperf.guests import linux
from ukperf.guests.base import BuildOptions, join_cmdline
from ukperf.hosts.libvirt_host import LibvirtHost
from ukperf.imaging.pack import FileToPack, Packed, pack
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
GUESTS = ("linux", "linux-lean", "nanos", "unikraft")
KEPT = 4096  # bytes of what a program writes
OWN_IN_RUN = 20_000  # instructions that the library may add to what is measured
LUA = "local t = {} for i = 1, 2000 do t[i] = i * i end print(#t, t[2000], io.read('a') == '', '\\r\\n')"
SQL = "create table t(x); insert into t values (3), (4); select sum(x * x), count(*) from t;"


def boot(
    guest: str,
    packed: Packed,
    host: LibvirtHost,
    timeout_s: float = 120,
    accelerator: Accelerator = Accelerator.TCG,  # icount takes longer: for what counts instructions
) -> Observation:
    """One boot; skips where there is no such guest here."""
    options = BuildOptions(accelerator=accelerator)
    there = guests.get(guest).availability(options)
    if not there.ok:
        pytest.skip(f"no {guest} here: {there.sentence}")
    image = guests.get(guest).build(packed.program, options)
    spec = BootSpec(image, Machine(), accelerator, timeout_s=timeout_s, name=f"t-other-{guest}", keep_output=KEPT)
    return host.boot(spec)


def fields(seen: Observation, event: str) -> Mapping[str, int]:
    """The numbers of the only frame of an event."""
    (frame,) = (frame for frame in seen.frames if frame.event == event)
    return {name: value for name, value in frame.fields.items() if isinstance(value, int)}


@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize(
    ("words", "answer"),
    [(("lua5.4", "-e", LUA), b"2000\t4000000\ttrue\t\r\n\n"), (("sqlite3", ":memory:", SQL), b"25|2\n")],
    ids=["lua5.4", "sqlite3"],
)
def test_an_unmodified_debian_program_runs_and_is_timed(
    guest: str, words: tuple[str, ...], answer: bytes, host: LibvirtHost
) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed: sudo apt-get install {words[0]}")
    seen = boot(guest, pack(words, env=[("HOME", "/")]), host)
    assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"
    assert seen.output is not None and seen.output.head == answer
    main, end = fields(seen, "main"), fields(seen, "exit")
    assert end["status"] == 0
    assert main["tsc"] < end["began_tsc"] < end["tsc"]
    assert end["tsc"] - end["began_tsc"] > 100_000  # ticks: it did something


@pytest.mark.parametrize("guest", GUESTS)
def test_the_library_hardly_adds_to_what_is_measured(guest: str, host: LibvirtHost, tmp_path: Path) -> None:
    """A program that ends in its first constructor: what is left between the two clocks is ours, and some of the
    loader's."""
    code = "#include <unistd.h>\n__attribute__((constructor)) static void end(void) { _exit(0); }\nint main(void) {}"
    compiled(tmp_path / "null", code)
    seen = boot(guest, pack(["./null"], base=tmp_path), host, accelerator=Accelerator.ICOUNT)
    end = fields(seen, "exit")
    assert 0 < end["tsc"] - end["began_tsc"] <= OWN_IN_RUN


GAPS = r"""
#include <stdio.h>
int main(void)
{
    long long start = __builtin_ia32_rdtsc(), last = start, longest = 0;
    while (last - start < 300000000) {
        long long then = last;
        last = __builtin_ia32_rdtsc();
        longest = last - then > longest ? last - then : longest;
    }
    printf("%lld\n", longest);
}
"""
TURN = 1_000_000  # instructions: a tick of the scheduler is at least as long, what a tick itself costs far shorter


@pytest.mark.parametrize("guest", GUESTS)
def test_a_program_has_the_cpu_to_itself(
    guest: str, host: LibvirtHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux 6.12 tests its cryptography by turns with whatever init starts, for 1,300 million instructions."""
    monkeypatch.setattr(linux, "join_cmdline", join_cmdline)  # with those tests
    compiled(tmp_path / "gaps", GAPS)
    seen = boot(guest, pack(["./gaps"], base=tmp_path), host, accelerator=Accelerator.ICOUNT)
    assert seen.output is not None
    assert int(seen.output.head) < TURN


CODE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    char text[100] = "", data[100] = "";
    printf("%s in %s\n", getenv("GREETING"), getcwd(text, 100));
    text[read(0, text, 99)] = 0;
    fgets(data, 99, fopen("data.txt", "r"));
    printf("%s and %s and %s\n", text, data, argv[1]);
    fflush(stdout);
    close(1);
    return open("/tmp/own", O_CREAT | O_RDWR, 0600) == 1 && puts("hidden") > 0 ? 7 : 1;
}
"""


@pytest.mark.parametrize("guest", GUESTS)
def test_folder_input_environment_and_files_are_alike_in_every_guest(
    guest: str, host: LibvirtHost, tmp_path: Path
) -> None:
    compiled(tmp_path / "says", CODE)
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "input").write_text("input")
    packed = pack(
        ["./says", "two words"],
        files=[FileToPack(Path("data.txt"))],
        env=[("GREETING", "hello there")],
        cwd="/some/where",
        stdin=tmp_path / "input",
        base=tmp_path,
    )
    seen = boot(guest, packed, host)
    assert seen.output is not None
    assert seen.output.head == b"hello there in /some/where\ninput and data and two words\n"
    assert (seen.outcome, fields(seen, "exit")["status"]) == (Outcome.FAILED, 7), seen.reason


FORKS = r"""
#include <stdlib.h>
#include <unistd.h>
int main(void)
{
    system("sh -c 'exit 3'");
    execl("/bin/sh", "sh", "-c", "exit 4", (char *)0);
}
"""


def test_in_linux_children_are_silent_and_an_executed_program_goes_on(host: LibvirtHost, tmp_path: Path) -> None:
    compiled(tmp_path / "forks", FORKS)
    sh = str(Path("/bin/sh").resolve())
    packed = pack(["./forks"], files=[FileToPack(Path(sh), "/bin/sh")], base=tmp_path)
    seen = boot("linux", packed, host)
    assert [frame.event for frame in seen.frames] == ["init", "main", "exit", "status"]
    assert fields(seen, "exit")["status"] == fields(seen, "status")["status"] == 4


@pytest.mark.parametrize(("guest", "outcome"), [("linux", Outcome.CRASHED), ("unikraft", Outcome.FAILED)])
def test_a_program_that_aborts_has_an_end(guest: str, outcome: Outcome, host: LibvirtHost, tmp_path: Path) -> None:
    compiled(tmp_path / "aborts", "#include <stdlib.h>\nint main(void) { abort(); }")
    seen = boot(guest, pack(["./aborts"], base=tmp_path), host, timeout_s=60)
    assert (seen.outcome, seen.exit_status) == (outcome, 134), seen.reason


@pytest.mark.parametrize("guest", GUESTS)
def test_a_static_program_is_started_alike_in_every_guest(guest: str, host: LibvirtHost, tmp_path: Path) -> None:
    compiled(tmp_path / "says", CODE, "-static-pie", "-fPIE")
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "input").write_text("input")
    packed = pack(
        ["./says", "two words"],
        files=[FileToPack(Path("data.txt"))],
        env=[("GREETING", "hello there")],
        cwd="/some/where",
        stdin=tmp_path / "input",
        base=tmp_path,
    )
    for timeout_s in (5, 15, 60):  # one guest does not tell of its end, and is waited for
        seen = boot(guest, packed, host, timeout_s=timeout_s)
        if seen.outcome is not Outcome.SILENT and seen.output is not None and seen.output.head.endswith(b"words\n"):
            break
    assert seen.output is not None
    assert seen.output.head == b"hello there in /some/where\ninput and data and two words\n"
    told = {"nanos": (Outcome.CRASHED, None), "unikraft": (Outcome.HUNG, None)}
    assert (seen.outcome, seen.exit_status) == told.get(
        guest, (Outcome.FAILED, 7)
    )  # who tells of its end, and who does not
