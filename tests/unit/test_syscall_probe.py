"""The campaign that finds out a guest's system calls, on a guest made of a script: no VM, every way to die."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from ukperf.console import assemble
from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.model import BootProtocol, CallClass, CallTable, Frame, Image, Observation, Outcome, SystemCall
from ukperf.workloads.syscall_probe import (
    BOOTS_MAX,
    Probe,
    Prober,
    cached_table,
    check_globs,
    prober,
    probes_of,
    table_names,
)

NAMES = {0: "read", 1: "write", 2: "open", 3: "close", 60: "exit", 169: "reboot", 231: "exit_group"}
ALONE = (60, 169, 231)
PROBES = tuple(Probe(nr, name, nr in ALONE) for nr, name in NAMES.items())


def frame(event: str, **fields: object) -> Frame:
    return Frame(event, fields, 0)


@dataclass
class Guest:
    """Answers like the prober in a guest: answers maps a number to its class, or to the outcome that it ends in."""

    answers: Mapping[int, str | Outcome] = field(default_factory=dict)
    garbled: frozenset[int] = frozenset()  # `probe` frames that never arrive whole
    lost_once: set[int] = field(default_factory=set)  # `syscall` frames that do not arrive the first time
    alive: bool = True
    ends_by_host: bool = False
    boots: list[tuple[str, ...]] = field(default_factory=list)

    def boot(self, words: tuple[str, ...]) -> Observation:
        self.boots.append(words)
        options = dict(word.split("=") for word in words)
        if not self.alive:
            return Observation(Outcome.SILENT, "not one byte before the deadline")
        frames = [frame("main")]
        if "only" in options:
            numbers = [int(options["only"])]
        else:
            numbers = [nr for nr in NAMES if nr >= int(options["from"]) and nr not in ALONE]
        for nr in numbers:
            answer = self.answers.get(nr, "works")
            if nr not in self.garbled:
                frames.append(frame("probe", nr=nr))
            if isinstance(answer, Outcome):
                report = assemble(frames)
                return Observation(answer, f"it {answer} there", report=report, ended_by_host=self.ends_by_host)
            if nr in self.lost_once:
                self.lost_once.discard(nr)
                continue
            frames.append(frame("syscall", nr=nr, **{"class": answer}, errno=38 if answer == "enosys" else 0))
        return Observation(Outcome.OK, report=assemble([*frames, frame("exit", status=0)]))


def probe(guest: Guest, *, harm: bool = True, powers_off: bool = True) -> tuple[dict[int, SystemCall], Prober]:
    run = Prober(guest.boot, PROBES, harm=harm, powers_off=powers_off, say=lambda _: None)
    return {call.nr: call for call in run.run()}, run


def kinds(calls: Mapping[int, SystemCall]) -> dict[int, CallClass]:
    return {nr: call.kind for nr, call in calls.items()}


def test_a_guest_that_lives_is_probed_in_one_boot_and_one_for_each_call_that_ends_programs() -> None:
    guest = Guest({1: "enosys", 2: "stub", 3: "error"})
    calls, run = probe(guest)
    assert [words[0] for words in guest.boots] == ["from=0", "only=60", "only=169", "only=231"]
    assert [calls[nr].kind for nr in (0, 1, 2, 3)] == ["works", "enosys", "stub", "error"]
    assert calls[1].errno == 38
    assert run.complaint == ""


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.CRASHED, CallClass.KILLS),
        (Outcome.FAILED, CallClass.KILLS),
        (Outcome.HUNG, CallClass.HANGS),
        (Outcome.FLOODED, CallClass.KILLS),
    ],
)
def test_a_call_that_ends_the_guest_is_named_and_the_next_boot_goes_on_behind_it(
    outcome: Outcome, kind: CallClass
) -> None:
    guest = Guest({1: outcome})
    calls, _ = probe(guest)
    assert calls[1].kind is kind
    assert calls[1].detail == f"it {outcome} there"
    assert [words[0] for words in guest.boots[:2]] == ["from=0", "from=2"]
    assert calls[2].kind is calls[3].kind is CallClass.WORKS


def test_a_guest_that_dies_in_every_call_is_probed_to_the_end() -> None:
    calls, run = probe(Guest(dict.fromkeys(NAMES, Outcome.CRASHED)))
    assert [calls[nr].kind for nr in (0, 1, 2, 3)] == [CallClass.KILLS] * 4
    assert run.boots == 4 + len(ALONE)


def test_a_call_whose_announcement_is_always_lost_when_the_guest_dies_in_it_is_blamed_all_the_same() -> None:
    calls, run = probe(Guest({2: Outcome.CRASHED}, garbled=frozenset({2})))
    assert calls[2].kind is CallClass.KILLS
    assert calls[3].kind is CallClass.WORKS
    assert run.complaint == ""


def test_an_answer_that_was_lost_on_the_console_is_asked_for_again_alone() -> None:
    guest = Guest({1: "stub"}, lost_once={1})
    calls, _ = probe(guest)
    assert calls[1].kind is CallClass.STUB
    assert ("only=1", "harm=1") in guest.boots


def test_a_guest_that_never_starts_is_given_up_with_the_reason() -> None:
    guest = Guest(alive=False)
    calls, run = probe(guest)
    assert len(guest.boots) == 2
    assert set(kinds(calls).values()) == {CallClass.UNPROBED}
    assert "not one byte" in run.complaint


def test_boots_are_bounded_whatever_the_guest_does() -> None:
    many = tuple(Probe(nr, f"call{nr}", False) for nr in range(1000))
    boots = 0

    def boot(words: tuple[str, ...]) -> Observation:
        nonlocal boots
        boots += 1
        started = [frame("main"), frame("probe", nr=int(words[0].split("=")[1]))]
        return Observation(Outcome.CRASHED, report=assemble(started))

    run = Prober(boot, many, harm=False, powers_off=True, say=lambda _: None)
    calls = run.run()
    assert boots == BOOTS_MAX
    assert str(BOOTS_MAX - 1) in run.complaint
    assert len(calls) == 1000


def test_exit_group_works_where_nothing_comes_after_it() -> None:
    calls, _ = probe(Guest({231: Outcome.FAILED}))  # Linux: our init says status 7
    assert calls[231].kind is CallClass.WORKS


def test_exit_group_that_hangs_works_only_in_a_guest_that_stays_after_every_exit() -> None:
    def hung() -> Guest:
        return Guest({231: Outcome.HUNG, 169: Outcome.HUNG}, ends_by_host=True)

    stays, _ = probe(hung(), powers_off=False)
    goes, _ = probe(hung(), powers_off=True)
    assert stays[231].kind is CallClass.WORKS
    assert goes[231].kind is CallClass.HANGS
    assert stays[169].kind is CallClass.HANGS  # a reboot that leaves the machine running is none


def test_exit_group_that_comes_back_is_a_stub() -> None:
    calls, _ = probe(Guest({231: "stub"}))
    assert calls[231].kind is CallClass.STUB


def test_nothing_harmful_is_asked_of_a_kernel_that_others_live_on() -> None:
    guest = Guest()
    probe(guest, harm=False)
    assert not any("harm=1" in words for words in guest.boots)


@pytest.mark.parametrize(
    "fields",
    [
        {"class": "gorgeous", "errno": 0},
        {"class": "works", "errno": -1},
        {"class": "works", "errno": 4096},
        {"class": "works", "errno": True},
        {"class": "works", "errno": "2"},
        {"class": "kills", "errno": 0},
        {"class": "stub", "errno": 0, "proof": 7},
    ],
)
def test_an_answer_that_makes_no_sense_is_none(fields: dict[str, object]) -> None:
    def boot(words: tuple[str, ...]) -> Observation:
        told = [frame("main"), frame("probe", nr=0), frame("syscall", nr=0, **fields), frame("exit")]
        return Observation(Outcome.OK, report=assemble(told))

    run = Prober(boot, (Probe(0, "read", False),), harm=False, powers_off=True, say=lambda _: None)
    assert run.run()[0].kind is CallClass.UNPROBED


def test_answers_about_numbers_that_were_not_asked_are_ignored() -> None:
    def boot(words: tuple[str, ...]) -> Observation:
        lies = (frame("syscall", nr=nr, **{"class": "works"}, errno=0) for nr in (1, -1, 10**9, "x"))
        return Observation(Outcome.OK, report=assemble([frame("main"), *lies, frame("exit")]))

    run = Prober(boot, (Probe(0, "read", False),), harm=False, powers_off=True, say=lambda _: None)
    assert [call.nr for call in run.run()] == [0]


def test_the_table_of_names_is_the_kernels() -> None:
    names = table_names()
    assert (names[0], names[231], names[318]) == ("read", "exit_group", "getrandom")
    assert len(names) >= 362


def test_a_prober_that_lists_too_little_is_refused() -> None:
    with pytest.raises(UkperfError, match="did not list"):
        probes_of(Observation(Outcome.OK, report=assemble([frame("call", nr=0, how="together")])))


# ---- the cache ----


def image(**changes: str) -> Image:
    values = {"guest": "g", "workload": "syscalls", "digest": "i", "program_digest": "p", "kernel_digest": "k"}
    return Image(protocol=BootProtocol.KERNEL, **{**values, **changes})


def maker(complaint: str = "") -> tuple[Callable[[], CallTable], list[int]]:
    made: list[int] = []

    def make() -> CallTable:
        made.append(1)
        calls = (SystemCall(0, "read", CallClass.ERROR, 9, "said so"),)
        return CallTable("g", "1.0", "k", "p", calls, 3, complaint)

    return make, made


def ask(
    cache: Cache, make: Callable[[], CallTable], subject: Image, context: Sequence[str] = (), *, fresh: bool = False
) -> CallTable:
    return cached_table(cache, subject, context, fresh=fresh, make=make)


def test_a_table_is_made_once_for_a_kernel_and_a_prober(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    make, made = maker()
    first = ask(cache, make, image())
    assert ask(cache, make, image()) == first
    assert len(made) == 1
    for other in (image(kernel_digest="k2"), image(program_digest="p2"), image(guest="h")):
        ask(cache, make, other)
    ask(cache, make, image(), ["kvm"])
    ask(cache, make, image(), fresh=True)
    assert len(made) == 6


def test_an_incomplete_table_is_not_kept(tmp_path: Path) -> None:
    make, made = maker("the guest did not start")
    for _ in range(2):
        ask(Cache(tmp_path), make, image())
    assert len(made) == 2


NEWER = json.dumps({**asdict(CallTable("g", "1.0", "k", "p", (), 3)), "format": 99})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"calls": [{"nr": 1}]}', '{"calls": 7}', NEWER])
def test_a_damaged_table_is_made_again(tmp_path: Path, text: str) -> None:
    cache = Cache(tmp_path)
    make, made = maker()
    ask(cache, make, image())
    path = next((tmp_path / "syscalls").glob("*.json"))
    path.write_text(text)
    ask(cache, make, image())
    assert len(made) == 2


def test_a_table_that_has_no_format_is_read(tmp_path: Path) -> None:
    """As ukperf 0.1 wrote it."""
    make, made = maker()
    first = ask(Cache(tmp_path), make, image())
    path = next((tmp_path / "syscalls").glob("*.json"))
    stored = json.loads(path.read_text())
    assert stored.pop("format") == 1
    path.write_text(json.dumps(stored))
    assert ask(Cache(tmp_path), make, image()) == first and len(made) == 1


def test_a_pattern_that_no_call_is_named_like_is_refused_before_anything_boots() -> None:
    check_globs("getp*,mmap")
    with pytest.raises(UkperfError, match=r"No system call is named like getppidd\*") as caught:
        check_globs("mmap,getppidd*")
    assert caught.value.hint == "Did you mean getppid*?"


# ---- the prober itself, where this machine's kernel lies ----

SENDERS = {"tgkill": "retval=0", "tkill": "retval=0", "kill": "retval=0"}


LIES: Mapping[str, Mapping[str, str]] = {
    "setitimer": {"setitimer": "retval=0", "getitimer": "error=ENOSYS"},
    "timer_create": {"timer_settime": "retval=0"},
    "timer_settime": {"timer_settime": "retval=0", "timer_gettime": "error=ENOSYS"},
    "timerfd_settime": {"timerfd_settime": "retval=0", "timerfd_gettime": "error=ENOSYS"},
    "rt_sigaction": SENDERS,
    "kill": {"kill": "retval=0", "rt_sigpending": "error=ENOSYS"},
    "rt_sigqueueinfo": {"rt_sigqueueinfo": "retval=0", "rt_sigpending": "error=ENOSYS"},
    "pidfd_send_signal": {"pidfd_send_signal": "retval=0"},
    "rt_sigsuspend": {"rt_sigsuspend": "error=EINTR"} | SENDERS,
    "pause": {"pause": "error=EINTR", "setitimer": "retval=0"},
    "signalfd4": SENDERS,
}


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, bool], subprocess.Popen[bytes]]:
    """(call, does the kernel lie?) → its prober, all at once: most of what they do is wait for a signal."""
    numbers = {called: nr for nr, called in table_names().items()}
    running = {}
    for (name, lies), lied in itertools.product(LIES.items(), (False, True)):
        told = [word for call, answer in lies.items() for word in ("-e", f"inject={call}:{answer}")]
        before = ["strace", "-f", "-qq", "-o", "/dev/null", *told] if lied else []
        program = [*before, str(prober().path), f"only={numbers[name]}"]
        folder = tmp_path_factory.mktemp(name)
        running[name, lied] = subprocess.Popen(program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return running


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("name", LIES)
def test_a_call_works_only_if_its_signal_was_seen_to_arrive(
    name: str, probed: Mapping[tuple[str, bool], subprocess.Popen[bytes]]
) -> None:
    """And it does where the kernel tells the truth."""
    said = []
    for lied in (False, True):
        out, err = probed[name, lied].communicate(timeout=60)
        assert probed[name, lied].returncode == 0, err
        frames = [json.loads(line) for line in out.split(b"\x1e") if b'"syscall"' in line]
        said.append([(each["name"], each["class"]) for each in frames])
    assert said == [[(name, "works")], [(name, "stub")]]
