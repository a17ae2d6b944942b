"""Why a guest did not run a program: the pure functions, and a program under strace."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cprograms import compiled
from records import boot, failed

from ukperf.hosts.calltrace import CallTrace
from ukperf.imaging.pack import FileToPack, pack
from ukperf.imaging.packpython import pack_python
from ukperf.model import BootProtocol, BootRecord, CallClass, CallTable, Cause, Image, Outcome, SystemCall, Why
from ukperf.workloads import tracing, whynot
from ukperf.workloads.tracing import Traced

HUNG = failed(boot("uk", 0), Outcome.HUNG, "no end of the program within 15 s")
FAILED = failed(boot("uk", 0), Outcome.FAILED, "its program exited with status 3")
CRASHED = failed(boot("uk", 0), Outcome.CRASHED, "the guest ended after main without an exit frame")
ALARM = SystemCall(37, "alarm", CallClass.STUB, detail="an alarm set for 1,000 s is not there")
FORK = SystemCall(57, "fork", CallClass.ENOSYS, 38)
RSEQ = SystemCall(334, "rseq", CallClass.ENOSYS, 38)
SOCKET = SystemCall(41, "socket", CallClass.ERROR, 95)
SETITIMER = SystemCall(38, "setitimer", CallClass.WORKS)
OK = Traced(Outcome.OK, took_s=0.1)


def used(*names: str, **more: object) -> Traced:
    return replace(OK, calls=frozenset(names), **more)  # type: ignore[arg-type]


class Host:
    """Runs with answers: those in which one of `breaks` is answered end as it says."""

    def __init__(self, breaks: Mapping[str, Outcome]) -> None:
        self.breaks, self.asked = breaks, list[Mapping[str, str]]()

    def __call__(self, answers: Mapping[str, str]) -> Traced:
        self.asked.append(answers)
        return next((replace(OK, outcome=how) for name, how in self.breaks.items() if name in answers), OK)


def lacks(*calls: SystemCall) -> dict[str, SystemCall]:
    return whynot.lacking(CallTable("uk", "1", "2", "3", calls, 1))


def test_a_call_is_the_cause_where_the_program_ends_so_on_this_machine_too() -> None:
    host = Host({"alarm": Outcome.HUNG})
    why = whynot.by_calls("uk", HUNG, used("alarm", "rseq"), lacks(ALARM, RSEQ), host)
    assert why is not None and (why.cause, why.sure) == (Cause.WAIT, True)
    assert why.sentence == "it waits for SIGALRM, which never comes: uk's alarm does nothing"
    assert why.evidence == (
        "an alarm set for 1,000 s is not there; with that call answered so, it does not end on this machine either"
    )
    assert host.asked == [{"alarm": "retval=0", "rseq": "error=38"}, {"alarm": "retval=0"}]


def test_calls_that_the_program_does_without_are_not_blamed() -> None:
    host = Host({})
    assert whynot.by_calls("uk", FAILED, used("alarm", "rseq"), lacks(ALARM, RSEQ), host) is None
    assert len(host.asked) == 1


def test_a_program_that_ends_otherwise_here_is_no_proof() -> None:
    """In the guest it hangs, and here it fails at once."""
    why = whynot.by_calls("uk", HUNG, used("socket"), lacks(SOCKET), Host({"socket": Outcome.FAILED}))
    assert why is None


def test_an_error_is_answered_with_the_guests_own() -> None:
    host = Host({"socket": Outcome.FAILED})
    why = whynot.by_calls("uk", FAILED, used("socket"), lacks(SOCKET), host)
    assert host.asked[-1] == {"socket": "error=95"}
    assert why is not None and why.sentence == "it calls socket: uk's socket is missing"


def test_a_program_that_forks_is_told_of_the_fork() -> None:
    host = Host({"fork": Outcome.FAILED})
    why = whynot.by_calls("uk", FAILED, used("clone", processes=True), lacks(FORK), host)
    assert why is not None and (why.cause, why.sure) == (Cause.FORK, True)
    assert why.sentence == "it starts another process, and uk has no fork"
    assert set(host.asked[-1]) == set(tracing.PROCESSES)


def test_one_that_starts_threads_too_is_not_tried_without_clone_and_is_guessed() -> None:
    host = Host({"fork": Outcome.FAILED})
    why = whynot.by_calls("uk", FAILED, used("clone", processes=True, threads=True), lacks(FORK), host)
    assert why is not None and (why.cause, why.sure) == (Cause.FORK, False)
    assert not host.asked
    only_threads = used("clone", processes=False, threads=True)
    assert whynot.by_calls("uk", FAILED, only_threads, lacks(FORK), host) is None


def test_whether_a_timer_brings_its_signal_is_what_the_table_says() -> None:
    handler = SystemCall(13, "rt_sigaction", CallClass.STUB, detail="the handler that was set is not there")
    assert "setitimer" not in lacks(SETITIMER, handler)
    assert "setitimer" in lacks(replace(SETITIMER, kind=CallClass.STUB))


def test_a_program_that_cannot_be_tried_is_guessed_at() -> None:
    """It takes longer on this machine than it may: a server."""
    server = replace(used("alarm"), outcome=Outcome.HUNG)
    why = whynot.by_calls("uk", HUNG, server, lacks(ALARM), Host({}))
    assert why is not None and (why.cause, why.sure) == (Cause.WAIT, False)
    assert why.words.startswith("likely, it waits for SIGALRM")
    assert whynot.by_calls("uk", HUNG, replace(server, calls=frozenset()), lacks(ALARM), Host({})) is None


def test_a_call_in_which_the_guest_is_known_to_end_is_named() -> None:
    kills = SystemCall(128, "rt_sigtimedwait", CallClass.KILLS, detail="page fault")
    why = whynot.by_calls("uk", CRASHED, used("rt_sigtimedwait"), lacks(kills), Host({}))
    assert why == Why(Cause.CALL, "it calls rt_sigtimedwait, and uk ends in that", "page fault", sure=False)


def test_several_calls_together_are_said_as_a_guess() -> None:
    def tried(answers: Mapping[str, str]) -> Traced:
        return replace(OK, outcome=Outcome.FAILED) if len(answers) == 2 else OK

    why = whynot.by_calls("uk", FAILED, used("alarm", "socket"), lacks(ALARM, SOCKET), tried)
    assert why is not None and not why.sure and "one or several of alarm, socket" in why.sentence


def without(outcome: Outcome, asked: list[Sequence[str]]) -> whynot.Without:
    def tried(paths: Sequence[str]) -> Traced:
        asked.append(paths)
        return replace(OK, outcome=outcome)

    return tried


def test_files_that_were_not_packed_are_the_cause_where_it_fails_here_without_them_too() -> None:
    missing, asked = ["/etc/localtime", "/opt/data.csv", "/opt/more.csv"], list[Sequence[str]]()
    why = whynot.by_files(FAILED, missing, without(Outcome.FAILED, asked))
    assert why is not None and (why.cause, why.sure, asked) == (Cause.FILES, True, [missing])
    assert why.sentence.startswith("it reads /opt/data.csv and 2 more files, which were not packed: --file ")
    alone = whynot.by_files(FAILED, ["/opt/\x1b[2Jdata"], without(Outcome.CRASHED, asked))
    assert alone is not None and "\x1b" not in alone.sentence and ", which was not packed" in alone.sentence


def test_files_without_which_it_ends_well_here_or_otherwise_than_in_the_guest_are_not_blamed() -> None:
    assert whynot.by_files(FAILED, ["/opt/data.csv"], without(Outcome.OK, [])) is None
    assert whynot.by_files(HUNG, ["/opt/data.csv"], without(Outcome.FAILED, [])) is None


def test_nothing_is_tried_where_no_file_is_missing_and_little_where_many_are() -> None:
    asked = list[Sequence[str]]()
    assert whynot.by_files(FAILED, [], without(Outcome.FAILED, asked)) is None and not asked
    assert whynot.by_files(FAILED, ["/x"] * 9_999, without(Outcome.FAILED, asked)) is not None
    assert len(asked[0]) == whynot.MOST_FILES


def test_a_program_that_fails_here_too_is_not_the_guests_fault() -> None:
    here = replace(OK, outcome=Outcome.FAILED, reason=FAILED.reason, exit_status=3)
    same = whynot.by_this_machine(replace(FAILED, exit_status=3), here)
    said = "it fails on this machine too, in the folder that it has in guests (--cwd): its program exited with status 3"
    assert same == Why(Cause.PROGRAM, said)
    other = whynot.by_this_machine(CRASHED, here)
    assert other is not None and not other.sure
    assert whynot.by_this_machine(FAILED, OK) is None


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("/p: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file", "files"),
        ("fork: Function not implemented", "fork"),
        ("sh: 0: Cannot fork", None),
        ("epoll_create1: Function not implemented", "call"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "memory"),
        ("MemoryError", "memory"),
        ("cat: /data: No such file or directory", "files"),
        ("/bin/sh: 1: sleep: not found", "files"),
        ("all is well", None),
    ],
)
def test_what_the_program_wrote_is_a_guess_at_the_cause(said: str, cause: str | None) -> None:
    record = replace(FAILED, console_tail=f"hello\n{said}\nand so on\n")
    why = whynot.by_output(record)
    assert (why and why.cause) == cause
    assert why is None or (not why.sure and why.evidence == said)
    assert whynot.by_output(replace(record, outcome=Outcome.HUNG)) is None


def test_guests_with_one_good_boot_have_nothing_to_be_explained() -> None:
    late = failed(boot("uk", 1, index=3), Outcome.HUNG, "x")
    records: list[BootRecord] = [boot("linux", 0), HUNG, late, replace(late, trial=replace(late.trial, guest="linux"))]
    assert whynot.failing(records) == {"uk": late}


# ---- under strace ----


@pytest.mark.parametrize(
    ("seen", "outcome", "reason"),
    [
        (CallTrace({}, status=0), Outcome.OK, ""),
        (CallTrace({}, status=3), Outcome.FAILED, "its program exited with status 3"),
        (CallTrace({}, signal="SIGSEGV"), Outcome.CRASHED, "its program was killed by SIGSEGV"),
        (
            CallTrace({}, ended_for="it had not ended after 2 s", timed_out=True),
            Outcome.HUNG,
            "it had not ended after 2 s",
        ),
        (CallTrace({}, ended_for="it had more than 256 threads"), Outcome.LOST, "it had more than 256 threads"),
    ],
    ids=["ok", "failed", "killed", "hung", "threads"],
)
def test_a_traces_end_is_said_as_a_hosts(seen: CallTrace, outcome: Outcome, reason: str) -> None:
    found = tracing.traced(seen, 1.5)
    assert (found.outcome, found.reason, found.took_s) == (outcome, reason, 1.5)


def test_what_a_program_made_and_started_is_told() -> None:
    found = tracing.traced(CallTrace({"alarm": 1, "clone": 2}, threads=1), 0)
    assert (found.calls, found.processes, found.threads) == ({"alarm", "clone"}, False, True)


WAITS = """
#include <signal.h>
#include <unistd.h>
static volatile int came;
static void on_alarm(int signal) { came = signal; }
int main(void) {
    signal(SIGALRM, on_alarm);
    alarm(1);
    while (!came) pause();
    return 0;
}"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_program_is_run_with_the_answers_of_a_guest(tmp_path: Path) -> None:
    compiled(tmp_path / "waits", WAITS)
    tracer = tracing.tracer_of(pack(["./waits"], base=tmp_path))
    plain = tracer.run({})
    assert plain.outcome is Outcome.OK and {"alarm", "pause"} <= plain.calls and 1 <= plain.took_s < 10
    assert tracer.run({"rseq": "error=38"}).outcome is Outcome.OK
    assert tracer.run({"alarm": "retval=0"}, 2.0).outcome is Outcome.HUNG


READS = """
#include <fcntl.h>
#include <sys/stat.h>
int main(void) {
    struct stat data;
    int made = open("%s/made", O_CREAT | O_WRONLY, 0600), packed = open("/etc/passwd", O_RDONLY);
    return made < 0 || packed < 0 || stat("%s/own/data", &data) || open("%s/own/data", O_RDONLY) < 0;
}"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_a_program_reads_and_was_not_packed_is_told_and_taken_away(tmp_path: Path) -> None:
    """What it makes itself, and what is among its files, is not missing in a guest."""
    compiled(tmp_path / "reads", READS.replace("%s", str(tmp_path)))
    (tmp_path / "own").mkdir()
    (tmp_path / "own/data").write_text("1")
    tracer = tracing.tracer_of(pack(["./reads"], files=[FileToPack(Path("/etc/passwd"))], base=tmp_path))
    plain = tracer.run({})
    assert plain.outcome is Outcome.OK and "/etc/passwd" in plain.read
    missing = [path for path in tracer.not_packed(plain) if not path.startswith("/etc/ld.so")]
    assert missing == [str(tmp_path / "own" / "data")]
    gone = tracer.run({}, absent=missing)
    assert (gone.outcome, gone.exit_status) == (Outcome.FAILED, 1)
    assert tracer.run({}, absent=[str(tmp_path / "nobody")]).outcome is Outcome.OK


def test_copies_that_a_program_ran_from_are_its_own_also_in_a_cache_reached_by_a_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    for name in ("root", "copy-00"):
        (tmp_path / "real" / name).mkdir()
        (tmp_path / "real" / name / "m.pyc").write_text("")
    (tmp_path / "theirs").write_text("")
    image = Image("native", "run", "", "", BootProtocol.EXEC, tree=tmp_path / "linked" / "root")
    read = tuple(str(tmp_path / path) for path in ("linked/copy-00/m.pyc", "real/copy-00/m.pyc", "theirs"))
    assert tracing.Tracer(image).not_packed(replace(OK, read=read)) == (str(tmp_path / "theirs"),)


SCRIPT = """
import os
if os.fork() == 0:
    os._exit(0)
assert os.wait()[1] == 0 and os.environ["ORT_DISABLE_TELEMETRY"] == "1"
assert os.environ["HOME"] != "/" and not os.listdir(os.environ["HOME"])
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_python_script_is_run_so_too_without_telemetry_and_with_an_empty_home(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(SCRIPT)
    tracer = tracing.tracer_of(pack_python(tmp_path / "forks.py", env=[("HOME", "/")]), tracing.PYTHON_LIMIT_S)
    plain = tracer.run({})
    assert (plain.outcome, plain.processes, plain.threads) == (Outcome.OK, True, False)
    assert tracer.run(dict.fromkeys(tracing.PROCESSES, "error=38")).outcome is Outcome.FAILED
