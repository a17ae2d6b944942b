"""The watch over one running guest: reads the console, times the events, and ends in bounded time whatever happens.

One thread, one poll loop. Timestamps are CLOCK_MONOTONIC nanoseconds taken right after the read that returned the
bytes.
"""

from __future__ import annotations

import contextlib
import re
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from ukperf import signals
from ukperf.console import CLOCK_CHECKED, MAX_FRAMES, FrameDecoder, OutputCapture, assemble
from ukperf.files import create_own
from ukperf.hosts.base import OnFrame
from ukperf.hosts.intake import ConsoleSource, Intake
from ukperf.hosts.lastwords import GRACE_S, LastWordsListener
from ukperf.hosts.readyline import ReadyLine
from ukperf.hosts.visiting import Visiting
from ukperf.model import BootSpec, Event, Frame, Observation, Outcome, Visit

# After its exit frame a guest that powers itself off gets this long to do so.
STOP_GRACE_S = 20.0
# After the VMM said that the guest stopped, the console may still hold bytes for this long.
DRAIN_S = 0.25
_EVENTS = {"init": Event.FIRST_BYTE, "main": Event.MAIN, "ready": Event.READY, "exit": Event.EXIT}

# The loop wakes at least this often, so that a pause signal or a clock step cannot make it oversleep.
MAX_WAIT_S = 1.0
# A turn of the watch's loop takes MAX_WAIT_S at most; one that takes this long was stopped (SIGSTOP, a debugger, a
# frozen cgroup, a paused host), and what it timed is not the guest's doing.
STALLED_S = 10.0
SLEPT_S = 0.1  # the two clocks are read one after the other
_OF_PEAK = re.compile(rb'"(main|exit)"')  # frames after which a process may be gone, and its peak with it


class StopSignal(Protocol):
    """Readable when the guest has stopped."""

    def fileno(self) -> int: ...

    def stopped_at(self) -> int | None:
        """When it stopped, CLOCK_MONOTONIC ns; None if it has not (a spurious wake-up)."""
        ...


@dataclass
class Watch:
    """State of one watch. run() returns when the guest has ended or must be ended; observe() sums up."""

    spec: BootSpec
    console: ConsoleSource
    stop: StopSignal
    events: dict[Event, int]  # START … RESUMED on entry
    on_frame: OnFrame | None = None
    sample_rss: Callable[[], int | None] | None = None  # peak resident bytes of the VMM, read while it lives
    vmm: int | None = None  # a pidfd, where the VMM may end before anybody says so
    until: Event | None = None  # the watch is over with it, and the guest goes on
    frames: list[Frame] = field(default_factory=list)
    ticks: dict[Event, int] = field(default_factory=dict)
    peak_rss: int | None = None
    ended_by_host: bool = False
    _outcome: Outcome | None = None
    _reason: str = ""

    def __post_init__(self) -> None:
        keep = self.spec.keep_output
        command, slow = self.spec.image.command, self.spec.image.slow_s
        self._timeout_s, self._grace_s = self.spec.timeout_s + slow, STOP_GRACE_S + slow
        self._idle_s = None if self.spec.idle_s is None else self.spec.idle_s + slow
        self._speaks = command is None or command.frames
        self._restored = self.spec.template is not None  # its `main` frame came before it was saved
        self._chatter = command is not None and command.chatter
        pattern = self.spec.ready or ("" if command is None else command.ready)
        self._ready = ReadyLine(pattern) if pattern else None
        listen = self._listen if self.spec.ready else None
        self._output = (
            None if keep is None and listen is None else OutputCapture(keep or 0, listen, started=self._restored)
        )
        self._last_words = LastWordsListener(self.spec.last_words)
        self._gave_up: float | None = None  # when its last words came, time.monotonic()
        self._decoder = FrameDecoder(self.spec.console_limit, self._output)
        self._read_at = 0  # when what is looked at was read, ns
        self._log: BinaryIO | None = None
        self._files = contextlib.ExitStack()
        self._intake = Intake(self.console)
        self._vmm_ended: int | None = None
        self._stalled_s = 0.0
        self._slept_before = asleep_ns()
        self._visiting: Visiting | None = None
        self._visit: Visit | None = None

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            self._files = stack
            if self.spec.visitor is not None:
                self._visiting = stack.enter_context(Visiting(self.spec, self.events[Event.START]))
            self._loop()
            if self._visiting is not None:
                self._visit = self._visit or self._visiting.close()
            self._look()
            self._log_file()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self.console.fileno(), select.POLLIN)
        poll.register(self.stop.fileno(), select.POLLIN)
        for other in (self.vmm, self._visited):
            if other is not None:
                poll.register(other, select.POLLIN)
        started = turned = time.monotonic()
        while self._outcome is None:
            left = self._seconds_left(started)
            if left <= 0:
                if self._look():
                    continue  # there may be more time, after an exit frame
                self._time_out()
                return
            ready = self._intake.wait(poll, min(left, MAX_WAIT_S))
            woken = time.monotonic_ns()
            stopped = self.stop.stopped_at() if self.stop.fileno() in ready else None
            signals.check()
            self._stalled_s, turned = max(self._stalled_s, woken / 1e9 - turned), woken / 1e9
            if self.vmm in ready:
                self._vmm_ended = woken
                poll.unregister(self.vmm)  # the stop event will follow
            if self.console.fileno() in ready and not self._read():
                poll.unregister(self.console.fileno())  # its end; as above
            if stopped is not None:
                self._stopped(stopped)
                return
            if not ready or self._intake.is_late(woken):
                self._look()
            if self._decoder.flooded:
                self._end(Outcome.FLOODED, self._flood())
            elif self._ready is not None and self._ready.fault:
                self._end(Outcome.LOST, self._ready.fault)
            elif self._may_end() or self._visited in ready:
                self.ended_by_host = True
                return

    @property
    def _visited(self) -> int | None:
        """What is readable once a visit is over."""
        return None if self._visiting is None else self._visiting.fileno()

    def ready_at(self) -> int | None:
        """When a guest got ready that is to be saved then: by its frame or line, or its first answer."""
        if self.spec.visitor is None:
            return self.events.get(Event.READY)
        return None if self._visit is None or self._visit.fault else self._visit.answered_ns

    def _may_end(self) -> bool:
        """Has a guest that is ended by us said all that it should?"""
        early = self.until in self.events or (self.spec.until_ready and Event.READY in self.events)
        return early or (self._last_event() in self.events and not self.spec.image.powers_off)

    def _listen(self, data: bytes) -> None:
        """To what was written, for the line that says that the guest is ready."""
        if self._ready is not None and Event.READY not in self.events and self._ready.fits(data):
            self.events[Event.READY] = self._read_at

    def _last_event(self) -> Event:
        """After it, a guest that does not end itself is ended."""
        return Event.EXIT if self._speaks else Event.READY

    def _seconds_left(self, started: float) -> float:
        deadline = started + self._timeout_s
        if self._idle_s is not None:
            deadline = min(deadline, max(started, self._intake.heard) + self._idle_s)
        if Event.EXIT in self.events:
            deadline = min(deadline + self._grace_s, self.events[Event.EXIT] / 1e9 + self._grace_s)
        elif self._gave_up is not None:
            deadline = min(deadline, self._gave_up + GRACE_S)
        return deadline - time.monotonic()

    def _time_out(self) -> None:
        if self._gave_up is not None and Event.EXIT not in self.events:
            self._end(Outcome.CRASHED, "the guest gave up")
            return
        if self._visiting is not None and Event.EXIT not in self.events:
            self._visit = self._visiting.close()
            self._end(Outcome.HUNG, self._visit.fault or f"the visit was not over within {self._timeout_s:g} s")
            return
        idle = self._idle_s is not None and time.monotonic() >= self._intake.heard + self._idle_s
        if self._decoder.total == 0:
            self._end(Outcome.SILENT, f"not one byte in {self._idle_s if idle else self._timeout_s:g} s")
        elif idle and Event.EXIT not in self.events:
            self._end(Outcome.HUNG, f"not one more byte in {self._idle_s:g} s")
        elif Event.EXIT in self.events:
            self._end(Outcome.HUNG, f"its program ended, but the guest did not power off within {self._grace_s:g} s")
        elif Event.MAIN in self.events or self._restored or not self._speaks:
            self._end(Outcome.HUNG, f"no end of the program within {self._timeout_s:g} s")
        else:
            self._end(Outcome.HUNG, f"its program did not start within {self._timeout_s:g} s")

    def _flood(self) -> str:
        if self._decoder.total > self.spec.console_limit:
            return f"it wrote more than {self.spec.console_limit >> 10} KiB to its console"
        return f"it wrote more than {MAX_FRAMES} frames to its console"

    def _end(self, outcome: Outcome, reason: str) -> None:
        self._outcome, self._reason = outcome, reason

    def _read(self) -> bool:
        """Take what is there; False at the end of the console."""
        data = self._intake.read()
        if data and self.sample_rss is not None and _OF_PEAK.search(data):
            self.peak_rss = self.sample_rss() or self.peak_rss
        return data != b""

    def _look(self) -> bool:
        """Look at what was read; False where there was nothing."""
        some = False
        for at, data in self._intake.unread():
            self._accept(at, data)
            some = True
        return some

    def _accept(self, at: int, data: bytes) -> None:
        if not self._decoder.flooded and (log := self._log_file()) is not None:
            log.write(data)
        if Event.FIRST_BYTE not in self.events and not self._chatter:
            self.events[Event.FIRST_BYTE] = at
        self._read_at = at
        if not self.spec.ready:
            self._listen(data)
        for frame in self._decoder.feed(data, at):
            self._take(frame)
        self._last_words.listen(data, started=Event.MAIN in self.events or self._restored)
        if self._last_words.ends and self._gave_up is None:
            self._gave_up = time.monotonic()

    def _log_file(self) -> BinaryIO | None:
        """The copy of the console, made when there is something to write or the guest is gone: it takes time."""
        if self._log is None and self.spec.console_path is not None:
            self._log = self._files.enter_context(create_own(self.spec.console_path))
        return self._log

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        event = _EVENTS.get(frame.event)
        if event is Event.READY and self._ready is not None:
            event = None  # a pattern says when that is
        if frame.event == "phase" and frame.fields.get("name") == CLOCK_CHECKED:
            event = Event.CHECKED
        tick = frame.fields.get("tsc")
        if event is not None and isinstance(tick, int) and tick >= 0 and event not in self.ticks:
            self.ticks[event] = int(tick)
        if self._chatter and Event.FIRST_BYTE not in self.events:
            self.events[Event.FIRST_BYTE] = frame.at_ns
        if event is not None and event is not Event.FIRST_BYTE and event not in self.events:
            self.events[event] = frame.at_ns
            if self.sample_rss is not None and event is not Event.CHECKED:
                self.peak_rss = self.sample_rss() or self.peak_rss
        if self.on_frame is not None:
            self.on_frame(frame)

    def _stopped(self, at: int) -> None:
        poll = select.poll()
        poll.register(self.console.fileno(), select.POLLIN)
        self._look()
        deadline = time.monotonic() + max(DRAIN_S, self.console.quiet_s)
        # Until the end of the console, or until nothing more comes: a VMM that is kept alive never closes it.
        while time.monotonic() < deadline and not self._decoder.flooded:
            if (
                not poll.poll(0 if self._last_event() in self.events else self.console.quiet_s * 1000)
                or not self._read()
            ):
                break
            self._look()
        if Event.EXIT not in self.events and not self._decoder.flooded:
            rest = self.console.rest(self._decoder.total)
            if rest:
                self._accept(time.monotonic_ns(), rest)
        self.events[Event.STOPPED] = at if self._vmm_ended is None else min(at, self._vmm_ended)

    def observe(self, *, peak_rss: int | None = None, host_calls_ns: int = 0, extra: str = "") -> Observation:
        """Sum up. extra: what the VMM itself said (its log's tail), for failures."""
        report = assemble(self.frames, restored=self._restored)
        outcome, reason = self._outcome, self._reason
        if outcome is None:
            self._clamp()
            outcome, reason = self._as_reported(report.exit_status, report.signal, report.error)
        if outcome is Outcome.OK and self._visit is not None and self._visit.fault:
            outcome, reason = Outcome.FAILED, self._visit.fault
        if disturbed := self._disturbed():
            outcome, reason = Outcome.LOST, disturbed
        if outcome in (Outcome.OK, Outcome.FAILED) and report.lies:
            outcome, reason = Outcome.LIED, report.lies[0]
        why = None if outcome in (Outcome.OK, Outcome.LOST, Outcome.LIED) else self._last_words.why
        if why is not None:
            reason = f"{reason}: {why.sentence}"
        if outcome is not Outcome.OK and extra:
            reason = f"{reason}; the VMM said: {extra}"
        return Observation(
            outcome=outcome,
            reason=reason,
            events=dict(self.events),
            ticks=dict(self.ticks),
            report=report,
            exit_status=report.exit_status,
            ended_by_host=self.ended_by_host,
            console_bytes=self._decoder.total,
            bad_frames=self._decoder.bad_frames,
            console_tail=self._decoder.tail,
            output=None if self._output is None or self.spec.keep_output is None else self._output.done(),
            vmm_peak_rss=peak_rss or self.peak_rss,
            host_calls_ns=host_calls_ns,
            why=why,
            visit=self._visit,
        )

    def _disturbed(self) -> str:
        """Why nothing that was timed in this boot counts, or nothing: the host slept, or we were stopped."""
        slept_s = (asleep_ns() - self._slept_before) / 1e9
        if slept_s > SLEPT_S:
            return f"the host slept for {slept_s:.1f} s during this boot"
        if self._stalled_s > STALLED_S:
            return f"ukperf itself was stopped for {self._stalled_s:.0f} s during this boot"
        return ""

    def _clamp(self) -> None:
        """No byte was written after the guest stopped; one that we read later, on a busy host, was written before."""
        stopped = self.events.get(Event.STOPPED)
        if stopped is not None:
            self.events = {event: min(at, stopped) for event, at in self.events.items()}

    def _as_reported(self, status: int | None, sent: int, error: str) -> tuple[Outcome, str]:
        if not self._speaks or (self.ended_by_host and Event.EXIT not in self.events):
            return Outcome.OK, ""  # how it ended, its host knows
        if Event.EXIT not in self.events and status is None:
            lost = f" ({self._decoder.bad_frames} frames were damaged)" if self._decoder.bad_frames else ""
            where = "before" if Event.MAIN not in self.events and not self._restored else "after"
            return Outcome.CRASHED, f"the guest ended {where} main without an exit frame{lost}"
        if sent:
            return Outcome.CRASHED, f"its program was killed by {signal_name(sent)}"
        if status:
            return Outcome.FAILED, error or f"its program exited with status {status}"
        if Event.MAIN not in self.events and not self._restored:
            return Outcome.CRASHED, f"its main frame was lost ({self._decoder.bad_frames} frames were damaged)"
        return Outcome.OK, ""


def signal_name(number: int) -> str:
    """`SIGSEGV`, or `signal 34` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def asleep_ns() -> int:
    """How long this machine has slept since it was started: CLOCK_BOOTTIME counts it, CLOCK_MONOTONIC does not
    (clock_gettime(2))."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
