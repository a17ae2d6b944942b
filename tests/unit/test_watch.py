"""The watch over one guest: every way in which a guest can end, and the events' times."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ukperf import console as wire
from ukperf.console import encode_frame
from ukperf.hosts import intake
from ukperf.hosts import watch as watching
from ukperf.hosts.intake import SocketConsole
from ukperf.hosts.watch import Watch
from ukperf.model import Accelerator, BootProtocol, BootSpec, Event, Frame, Image, Machine, Observation, Outcome

MAIN = encode_frame("main", 0, 100, 1_000, program="fake", v=1)
EXIT = encode_frame("exit", 1, 300, 3_000, status=0)
GUEST = Image("linux", "boot", "0" * 64, "1" * 64, BootProtocol.KERNEL)
SPEC = BootSpec(GUEST, Machine(), Accelerator.TCG, timeout_s=20.0)
SOON = 0.05


class Stop:
    """A stop signal that the test gives."""

    def __init__(self, at: int | None = None) -> None:
        self._descriptor = os.eventfd(0)
        self._at: int | None = None
        if at is not None:
            self.give(at)

    def give(self, at: int | None) -> None:
        self._at = at
        os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        return self._descriptor

    def stopped_at(self) -> int | None:
        if self._at is None:
            os.eventfd_read(self._descriptor)
        return self._at

    def close(self) -> None:
        os.close(self._descriptor)


class Guest:
    """The other end of the console, and the VMM's word that it stopped."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.stop = Stop()

    def says(self, data: bytes) -> Guest:
        self.theirs.setblocking(False)
        assert self.theirs.send(data) == len(data), "more than the socket's buffer holds"
        return self

    def stops(self, at: int | None = None) -> Guest:
        self.stop.give(time.monotonic_ns() if at is None else at)
        return self

    def watched(self, spec: BootSpec = SPEC, **more: object) -> tuple[Watch, Observation]:
        events = {Event.START: 1, Event.CREATED: 2, Event.RESUMED: 3}
        watch = Watch(spec, SocketConsole(self.ours), self.stop, events, **more)  # type: ignore[arg-type]
        watch.run()
        return watch, watch.observe()


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.ours.close()
    made.theirs.close()
    made.stop.close()


def test_a_good_boot_has_every_event_in_order(guest: Guest) -> None:
    _, seen = guest.says(b"booting\n" + MAIN + EXIT).stops().watched()
    assert (seen.outcome, seen.reason, seen.exit_status) == (Outcome.OK, "", 0)
    assert list(seen.events) == [event for event in Event if event not in (Event.CHECKED, Event.READY, Event.LOADED)]
    times = list(seen.events.values())
    assert times == sorted(times)
    assert seen.ticks == {Event.MAIN: 1_000, Event.EXIT: 3_000}
    assert seen.console_bytes == len(b"booting\n" + MAIN + EXIT)
    assert [frame.event for frame in seen.frames] == ["main", "exit"]


def test_the_end_of_a_clock_check_is_an_event_of_its_own_and_other_phases_are_none(guest: Guest) -> None:
    between = encode_frame("phase", 1, 1_500, 1_500, name="fit") + encode_frame(
        "phase", 2, 2_000, 2_000, name=wire.CLOCK_CHECKED
    )
    _, seen = guest.says(MAIN + between + encode_frame("exit", 3, 3_000, 3_000, status=0)).stops().watched()
    assert seen.outcome is Outcome.OK
    assert list(seen.events) == [event for event in Event if event not in (Event.READY, Event.LOADED)]
    assert seen.ticks == {Event.MAIN: 1_000, Event.CHECKED: 2_000, Event.EXIT: 3_000}


def test_bytes_read_after_the_guest_stopped_were_written_before(guest: Guest) -> None:
    """On a busy host the VMM's word overtakes the console: no event is later than the stop."""
    stopped = time.monotonic_ns()
    _, seen = guest.says(MAIN + EXIT).stops(stopped).watched()
    assert seen.outcome is Outcome.OK
    assert seen.events[Event.FIRST_BYTE] == seen.events[Event.EXIT] == seen.events[Event.STOPPED] == stopped


def test_a_vmm_that_ends_by_itself_stops_the_guest_before_anybody_says_so(guest: Guest) -> None:
    """libvirt says so a fifth of a second after QEMU's end, where the guest ended QEMU without a power-off."""
    reader, writer = os.pipe()  # readable at its end, like a pidfd
    os.close(writer)
    guest.says(MAIN + EXIT)
    late = threading.Timer(0.1, guest.stops)
    late.start()
    before = time.monotonic_ns()
    watch, seen = guest.watched(vmm=reader)
    late.join()
    os.close(reader)
    assert seen.outcome is Outcome.OK
    assert before < seen.events[Event.STOPPED] == watch._vmm_ended < guest.stop.stopped_at()


def test_what_is_left_on_the_console_is_read_after_the_stop(guest: Guest) -> None:
    chatter = b"\x1b[0mok\n" * 12_000  # more than one read
    _, seen = guest.says(MAIN + chatter + EXIT).stops().watched()
    assert seen.outcome is Outcome.OK
    assert seen.console_bytes == len(MAIN + chatter + EXIT)


def test_the_kernels_status_frame_is_waited_for(guest: Guest) -> None:
    killed = encode_frame("status", 1, 400, 4_000, status=0, signal=11)
    _, seen = guest.says(encode_frame("init", 0, 1, 10) + MAIN + EXIT + killed).stops().watched()
    assert (seen.outcome, seen.reason) == (Outcome.CRASHED, "its program was killed by SIGSEGV")
    assert seen.ticks[Event.FIRST_BYTE] == 10


def test_the_end_of_the_console_is_not_yet_the_end_of_the_guest(guest: Guest) -> None:
    guest.says(MAIN + EXIT).theirs.shutdown(socket.SHUT_WR)

    class StopsAfterItsEnd(SocketConsole):
        def read(self) -> tuple[int, bytes] | None:
            got = super().read()
            if got is not None and not got[1]:
                guest.stops()
            return got

    watch = Watch(SPEC, StopsAfterItsEnd(guest.ours), guest.stop, {})
    watch.run()
    seen = watch.observe()
    assert seen.outcome is Outcome.OK
    assert Event.STOPPED in seen.events


def test_a_console_that_is_reset_is_at_its_end() -> None:
    class Reset:
        def setblocking(self, _: bool) -> None: ...

        def recv(self, _: int) -> bytes:
            raise ConnectionResetError

    got = SocketConsole(Reset()).read()  # type: ignore[arg-type]
    assert got is not None
    assert got[1] == b""


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        (MAIN + encode_frame("exit", 1, 200, 2_000, status=3), Outcome.FAILED, "its program exited with status 3"),
        (
            MAIN
            + encode_frame("error", 1, 200, 2_000, message="no disk")
            + encode_frame("exit", 2, 200, 2_000, status=1),
            Outcome.FAILED,
            "no disk",
        ),
        (b"", Outcome.CRASHED, "the guest ended before main without an exit frame"),
        (b"panic\n", Outcome.CRASHED, "the guest ended before main without an exit frame"),
        (MAIN + b"panic\n", Outcome.CRASHED, "the guest ended after main without an exit frame"),
        (
            MAIN + EXIT.replace(b"status", b"staxus"),
            Outcome.CRASHED,
            "the guest ended after main without an exit frame (1 frames were damaged)",
        ),
        (MAIN + EXIT.replace(b"0,", b"x,"), Outcome.CRASHED, "the guest ended after main without an exit frame"),
        (EXIT, Outcome.CRASHED, "its main frame was lost (0 frames were damaged)"),
        (EXIT + MAIN, Outcome.LIED, "frames repeat or run backwards"),
        (MAIN + MAIN + EXIT, Outcome.LIED, "frames repeat or run backwards"),
        (MAIN + encode_frame("exit", 1, 300, 3_000), Outcome.LIED, "an exit frame without a status"),
        (
            MAIN + encode_frame("samples", 1, 200, 2_000, benchmark="b", unit="s", loops=1, values=[-1]) + EXIT,
            Outcome.LIED,
            "b: a negative cost",
        ),
    ],
)
def test_how_a_guest_that_stopped_is_judged(guest: Guest, said: bytes, outcome: Outcome, reason: str) -> None:
    _, seen = guest.says(said).stops().watched()
    assert seen.outcome is outcome
    assert seen.reason.startswith(reason)


def test_a_lost_main_frame_is_no_good_boot(guest: Guest) -> None:
    _, seen = guest.says(MAIN.replace(b"fake", b"fxke") + EXIT).stops().watched()
    assert seen.outcome in (Outcome.CRASHED, Outcome.LIED)
    assert seen.bad_frames == 1


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        (b"", Outcome.SILENT, "not one byte in 0.05 s"),
        (b"Loading Linux", Outcome.HUNG, "its program did not start within 0.05 s"),
        (MAIN, Outcome.HUNG, "no end of the program within 0.05 s"),
    ],
)
def test_a_guest_that_does_not_end_is_ended_in_time(guest: Guest, said: bytes, outcome: Outcome, reason: str) -> None:
    _, seen = guest.says(said).watched(replace(SPEC, timeout_s=SOON))
    assert (seen.outcome, seen.reason) == (outcome, reason)
    assert Event.STOPPED not in seen.events
    assert seen.console_tail == said.decode().replace("\x1e", "·")


def test_a_guest_that_does_not_power_off_gets_a_grace_of_its_own(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "STOP_GRACE_S", SOON)
    _, seen = guest.says(MAIN + EXIT).watched()  # its time-out is far away
    assert seen.outcome is Outcome.HUNG
    assert seen.reason == "its program ended, but the guest did not power off within 0.05 s"


def test_the_grace_begins_with_the_exit_frame_even_if_the_time_is_nearly_up(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.says(MAIN + EXIT)
    watch = Watch(replace(SPEC, timeout_s=10.0), SocketConsole(guest.ours), guest.stop, {})
    now = 1_000.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    assert watch._seconds_left(995.0) == 5.0
    watch.events[Event.EXIT] = int(1_004e9)
    assert watch._seconds_left(995.0) == 4.0 + watching.STOP_GRACE_S
    now = 1_030.0
    assert watch._seconds_left(995.0) < 0


@pytest.mark.parametrize(("slow_s", "reason"), [(0.0, "within 0.05 s"), (0.5, "within 0.55 s")])
@pytest.mark.parametrize("said", [b"", MAIN, MAIN + EXIT])
def test_a_guest_that_is_slow_by_its_recipe_gets_that_much_more_time(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, said: bytes, slow_s: float, reason: str
) -> None:
    monkeypatch.setattr(watching, "STOP_GRACE_S", SOON)
    spec = replace(SPEC, image=replace(GUEST, slow_s=slow_s), timeout_s=SOON, idle_s=SOON if said == MAIN else None)
    started = time.monotonic()
    _, seen = guest.says(said).watched(spec)
    assert time.monotonic() - started >= slow_s + SOON
    assert reason.removeprefix("within ") in seen.reason


def test_a_guest_that_never_powers_off_is_ended_at_its_exit_frame(guest: Guest) -> None:
    spec = replace(SPEC, image=replace(GUEST, powers_off=False))
    watch, seen = guest.says(MAIN + EXIT).watched(spec)
    assert (seen.outcome, seen.ended_by_host) == (Outcome.OK, True)
    assert Event.STOPPED not in watch.events


@pytest.mark.parametrize("said", [b"\x00random\xff" * 1_000, MAIN * 100, b"\x1e" * 9_000])
def test_a_flood_ends_the_guest(guest: Guest, said: bytes) -> None:
    _, seen = guest.says(said).watched(replace(SPEC, console_limit=4_096))
    assert (seen.outcome, seen.reason) == (Outcome.FLOODED, "it wrote more than 4 KiB to its console")
    assert seen.console_bytes <= len(said)


def test_a_flood_of_frames_is_named_as_one(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAMES", 5)
    monkeypatch.setattr(watching, "MAX_FRAMES", 5)
    frames = b"".join(encode_frame("phase", n, n, n, name="x") for n in range(7))
    _, seen = guest.says(frames).watched()
    assert (seen.outcome, seen.reason) == (Outcome.FLOODED, "it wrote more than 5 frames to its console")


def test_a_flood_after_the_stop_is_not_read_to_its_end(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "CHUNK", 1_000)
    _, seen = guest.says(MAIN + EXIT + b"x" * 50_000).stops().watched(replace(SPEC, console_limit=4_096))
    assert seen.console_bytes < 10_000


def test_a_wake_up_without_a_stop_goes_on_watching(guest: Guest) -> None:
    os.eventfd_write(guest.stop.fileno(), 1)
    _, seen = guest.says(b"x").watched(replace(SPEC, timeout_s=SOON))
    assert seen.outcome is Outcome.HUNG


def test_the_raw_console_is_kept_but_no_more_of_it_than_the_limit(guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "console" / "0.log"
    guest.says(b"hello\r\n" + MAIN + EXIT).stops().watched(replace(SPEC, console_path=path))
    assert path.read_bytes() == b"hello\r\n" + MAIN + EXIT
    flood = Guest()
    flood.says(b"x" * 100_000).watched(replace(SPEC, console_path=path, console_limit=100))
    assert path.stat().st_size <= 100 + intake.CHUNK


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["pipe", "link", "folder that is a link"])
def test_the_raw_console_goes_into_no_pipe_and_through_no_link(guest: Guest, tmp_path: Path, what: str) -> None:
    """A run's folder may be anybody's."""
    path = tmp_path / "console" / "0.log"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "0.log").write_text("precious")
    if what == "folder that is a link":
        path.parent.symlink_to(tmp_path / "precious")
    else:
        path.parent.mkdir()
        os.mkfifo(path) if what == "pipe" else path.symlink_to(tmp_path / "precious" / "0.log")
    with pytest.raises(OSError, match=f"it is a {what.split(maxsplit=1)[0]}|it is a link to another"):
        guest.says(MAIN + EXIT).stops().watched(replace(SPEC, console_path=path))
    assert (tmp_path / "precious" / "0.log").read_text() == "precious"


def test_frames_are_passed_on_as_they_come_and_memory_is_read_while_the_vmm_lives(guest: Guest) -> None:
    passed: list[Frame] = []
    readings = iter([10, 20])
    watch, seen = (
        guest.says(MAIN + EXIT).stops().watched(on_frame=passed.append, sample_rss=lambda: next(readings, None))
    )
    assert [frame.event for frame in passed] == ["main", "exit"]
    assert seen.vmm_peak_rss == 20
    assert watch.observe(peak_rss=30).vmm_peak_rss == 30


def test_a_counter_that_is_none_is_no_tick(guest: Guest) -> None:
    _, seen = guest.says(encode_frame("main", 0, 1, -5) + encode_frame("exit", 1, 2, 7, status=0)).stops().watched()
    assert seen.ticks == {Event.EXIT: 7}


def test_what_the_vmm_said_goes_with_failures_only(guest: Guest) -> None:
    watch, _ = guest.says(MAIN).stops().watched()
    assert watch.observe(extra="qemu: no memory").reason.endswith("; the VMM said: qemu: no memory")
    good = Guest()
    watch, _ = good.says(MAIN + EXIT).stops().watched()
    assert watch.observe(extra="a warning").reason == ""


def test_an_observer_that_raises_is_not_swallowed(guest: Guest) -> None:
    def interrupt(_: Frame) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guest.says(MAIN).watched(on_frame=interrupt)


def test_with_a_bound_on_silence_every_word_starts_the_time_anew(guest: Guest) -> None:
    """A slow console is no hang."""
    spec = replace(SPEC, timeout_s=60_000.0, idle_s=1_000.0)
    watch = Watch(spec, SocketConsole(guest.ours), guest.stop, {})
    long_ago = time.monotonic() - 5_000
    assert watch._seconds_left(long_ago) < 0
    guest.says(MAIN)
    watch._read()
    assert 0 < watch._seconds_left(long_ago) <= 1_000
    assert watch._seconds_left(long_ago - 60_000) < 0  # but not for ever


def test_with_a_bound_on_silence_a_guest_that_falls_silent_hangs_long_before_its_deadline(guest: Guest) -> None:
    began = time.monotonic()
    _, seen = guest.says(MAIN).watched(replace(SPEC, timeout_s=600.0, idle_s=SOON))
    assert (seen.outcome, seen.reason) == (Outcome.HUNG, "not one more byte in 0.05 s")
    assert time.monotonic() - began < 300
    _, seen = Guest().watched(replace(SPEC, timeout_s=600.0, idle_s=SOON))
    assert (seen.outcome, seen.reason) == (Outcome.SILENT, "not one byte in 0.05 s")


def test_a_boot_during_which_the_host_slept_is_lost(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = iter([0, 4_200_000_000])
    monkeypatch.setattr(watching, "asleep_ns", lambda: next(asleep))
    _, seen = guest.says(MAIN + EXIT).stops().watched()
    assert (seen.outcome, seen.reason) == (Outcome.LOST, "the host slept for 4.2 s during this boot")


def test_a_boot_during_which_ukperf_was_stopped_is_lost(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP shows as a turn of the loop that took far longer than it may."""
    monkeypatch.setattr(watching, "STALLED_S", -1.0)  # every turn takes longer than that
    _, seen = guest.says(MAIN + EXIT).stops().watched()
    assert seen.outcome is Outcome.LOST and "ukperf itself was stopped" in seen.reason


def test_an_end_that_is_there_with_the_last_frames_is_stamped_before_they_are_looked_at(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at frames, and making the log, take as long as a short program runs."""
    said: list[str] = []

    class Ends(Stop):
        def stopped_at(self) -> int | None:
            said.append("stamped")
            return super().stopped_at()

    monkeypatch.setattr(watching, "create_own", lambda path: said.append("log") or path.open("wb"))
    guest.stop.close()
    guest.stop = Ends()
    spec = replace(SPEC, console_path=tmp_path / "console.log")
    _, seen = guest.says(MAIN + EXIT).stops().watched(spec, on_frame=lambda frame: said.append(frame.event))
    assert said == ["stamped", "log", "main", "exit"]
    assert seen.outcome is Outcome.OK
    assert spec.console_path is not None and spec.console_path.read_bytes() == MAIN + EXIT


def test_peak_memory_is_read_when_a_frame_arrives_since_its_process_may_be_gone_when_it_is_looked_at(
    guest: Guest,
) -> None:
    alive = iter([4096, None, None])
    _, seen = guest.says(MAIN + EXIT).stops().watched(sample_rss=lambda: next(alive))
    assert seen.vmm_peak_rss == 4096


def test_a_guest_that_never_pauses_is_looked_at_all_the_same(guest: Guest) -> None:
    guest.says(MAIN + EXIT)

    class Babbling(SocketConsole):
        def read(self) -> tuple[int, bytes] | None:
            got = super().read()
            guest.says(b".")
            return got

    spec = replace(SPEC, image=replace(GUEST, powers_off=False))
    watch = Watch(spec, Babbling(guest.ours), guest.stop, {Event.START: 1})
    watch.run()
    assert watch.ended_by_host and watch.observe().outcome is Outcome.OK


def test_a_guest_that_says_nothing_leaves_an_empty_log(guest: Guest, tmp_path: Path) -> None:
    spec = replace(SPEC, console_path=tmp_path / "console.log")
    guest.stops().watched(spec)
    assert (tmp_path / "console.log").read_bytes() == b""


def test_a_machine_that_is_awake_has_not_slept_since() -> None:
    before = watching.asleep_ns()
    assert abs(watching.asleep_ns() - before) < watching.SLEPT_S * 1e9


class Endless:
    """A console that has one more piece until that is enough, and then says how its guest ended."""

    quiet_s = 0.02

    def __init__(self, piece: bytes, stop: Stop, enough: Callable[[float], bool]) -> None:
        """enough: is told for how many seconds it has been writing."""
        self._piece, self._stop, self._enough = piece, stop, enough
        self._descriptor = os.eventfd(1)
        self._began, self._pieces = 0, 0

    def fileno(self) -> int:
        return self._descriptor

    def rest(self, _taken: int) -> bytes:
        return b""

    def seconds(self) -> float:
        return (time.monotonic_ns() - self._began) / 1e9

    def read(self) -> tuple[int, bytes]:
        at = time.monotonic_ns()
        self._pieces += 1
        if self._pieces == 1:
            self._began = at
            return at, MAIN + self._piece
        if self._enough(self.seconds()):
            self._stop.give(at)
            self._enough = lambda _: False
            return at, self._piece + EXIT
        return at, self._piece

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.mark.parametrize(("piece", "naps"), [(b"x", True), (b"x" * 4096, False)], ids=["bytes", "pages"])
def test_a_guest_that_writes_byte_by_byte_without_a_pause_is_looked_after_less_often_and_hardly_late(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, piece: bytes, naps: bool
) -> None:
    slept: list[tuple[float, float]] = []  # seconds, and how long it had been writing
    source = Endless(piece, guest.stop, lambda wrote: wrote > (10 if naps and not slept else 0.2))
    me, asleep = threading.get_ident(), time.sleep

    def nap(seconds: float) -> None:
        if threading.get_ident() == me:
            slept.append((seconds, source.seconds()))
        else:  # what an earlier test has left sleeps too
            asleep(seconds)

    monkeypatch.setattr(time, "sleep", nap)
    spec = replace(SPEC, console_limit=1 << 40)
    watch = Watch(spec, source, guest.stop, {Event.START: 1, Event.CREATED: 2, Event.RESUMED: 3})
    watch.run()
    source.close()
    seen = watch.observe()
    assert seen.outcome is Outcome.OK
    assert bool(slept) is naps
    assert all(0 < nap <= min(intake.NAP_S, intake.NAP_PART * wrote) for nap, wrote in slept)


def test_after_a_pause_a_guest_is_read_at_once_again(guest: Guest) -> None:
    guest.says(MAIN)
    later = threading.Timer(2 * intake.ENDED_S, lambda: guest.says(EXIT).stops())
    later.start()
    watch, seen = guest.watched()
    later.join()
    assert seen.outcome is Outcome.OK
    assert watch._intake._torrent[1:] == [1, len(EXIT)]  # of what came before the pause nothing is left
