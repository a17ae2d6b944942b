"""Decodes frames from a guest that may lie (docs/wire.md).

The decoder never raises on any bytes, keeps a bounded amount of memory, and never lets one bad frame spoil the next.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise

from ukperf.model import Frame, ProgramOutput, Report, Sample, Unit
from ukperf.text import clean

RS = 0x1E
LF = 0x0A
MAX_FRAME = 16_384  # bytes between RS and LF
MAX_FRAMES = 100_000
MAX_MEMBERS = 64
MAX_TEXT = 512
MAX_LIST = 4_096
MAX_NUMBER = 1e18
MAX_COUNTER = 2**64  # tsc and t are 64-bit counters
MAX_VALUES = 1_000_000  # per trial
MAX_BENCHMARKS = 512
TAIL = 4_096

CLOCK_STARTED = "clock started"  # names of the phase frames around a program's clock check
CLOCK_CHECKED = "clock checked"
_INIT = ("init", "status")  # events of our Linux init
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CRC = re.compile(rb',"crc":"([0-9a-f]{8})"}\Z')


class FrameDecoder:
    """Push parser: feed it what was read, get the frames that this completed.

    limit: bytes after which the console counts as flooded; decoding stops there, counting goes on. output: gets what
    stands outside frames.
    """

    def __init__(self, limit: int = 8 << 20, output: OutputCapture | None = None) -> None:
        self._limit = limit
        self._output = output
        self._frame: bytearray | None = None  # bytes since RS, None outside frames
        self._tail = bytearray()
        self.total = 0
        self.frames = 0
        self.bad_frames = 0
        self.first_byte_ns: int | None = None

    @property
    def flooded(self) -> bool:
        return self.total > self._limit or self.frames > MAX_FRAMES or self.bad_frames > MAX_FRAMES

    @property
    def tail(self) -> str:
        """The console's last kilobytes for a person: frames included, control characters made visible."""
        text = bytes(self._tail[-TAIL:]).decode("utf-8", "replace").replace("\r", "")
        return clean(text, keep="\n\t")

    def feed(self, data: bytes, at_ns: int) -> list[Frame]:
        """Decode what was read at host time at_ns (CLOCK_MONOTONIC, ns)."""
        if not data:
            return []
        if self.first_byte_ns is None:
            self.first_byte_ns = at_ns
        self.total += len(data)
        self._tail += data
        del self._tail[:-TAIL]
        if self.flooded:
            return []
        frames: list[Frame] = []
        position = 0
        while position < len(data):
            position = self._step(data, position, at_ns, frames)
        return frames

    def _step(self, data: bytes, position: int, at_ns: int, frames: list[Frame]) -> int:
        """Consume up to the next RS (outside a frame) or the next LF or RS (inside one)."""
        if self._frame is None:
            start = data.find(RS, position)
            self._outside(data[position:] if start < 0 else data[position:start])
            if start < 0:
                return len(data)
            self._frame = bytearray()
            return start + 1
        newline = data.find(LF, position)
        restart = data.find(RS, position, newline if newline >= 0 else len(data))
        end = restart if restart >= 0 else newline
        stop = end if end >= 0 else len(data)
        room = MAX_FRAME + 2 - len(self._frame)
        self._frame += data[position : position + min(stop - position, room)]
        if len(self._frame) > MAX_FRAME + 1:
            self._lost(bytes(self._frame))
            self._frame = None
            return min(position + room, stop)
        if end < 0:
            return len(data)
        body, self._frame = bytes(self._frame), None
        if restart >= 0:  # a frame that was cut off by the next one
            self._lost(body)
            return restart
        self._finish(body, at_ns, frames)
        return end + 1

    def _outside(self, data: bytes) -> None:
        if self._output is not None and data:
            self._output.take(data)

    def _lost(self, body: bytes) -> None:
        """What began like a frame and is none. A program may write record separators of its own."""
        self.bad_frames += 1
        self._outside(b"\x1e" + body)

    def _finish(self, body: bytes, at_ns: int, frames: list[Frame]) -> None:
        fields = decode_body(body)
        if fields is None:
            self._lost(body + b"\n")
            return
        self.frames += 1
        event = str(fields.pop("event"))
        if self._output is not None:
            self._output.frame(event, adds_cr=body.endswith(b"\r"))
        frames.append(Frame(event, fields, at_ns))


class OutputCapture:
    """What a program wrote between its `main` frame and its `exit` (or init's `status`), byte for byte, as far as a
    console can tell.

    Consoles that put a carriage return before every line feed (Linux's terminal, Unikraft's driver) do so in our frames
    too: one is taken away before each line feed then. Standard error and kernel messages are among it, for a guest has
    one console. keep: how many bytes of it are kept; length and digest are of all. heard: gets what comes, at once.
    started: the `main` frame came before, to somebody else.
    """

    def __init__(self, keep: int, heard: Callable[[bytes], None] | None = None, *, started: bool = False) -> None:
        self._keep, self._heard = keep, heard
        self._head = bytearray()
        self._digest = hashlib.sha256()
        self._length = 0
        self._started = started
        self._ended = self._adds_cr = self._held = False

    def frame(self, event: str, *, adds_cr: bool) -> None:
        """A frame came. adds_cr: it ended in a carriage return and a line feed."""
        if event == "main":
            self._started, self._adds_cr = True, adds_cr
        elif event in ("exit", "status"):
            self._ended = True

    def take(self, data: bytes) -> None:
        """The next bytes outside frames."""
        if not self._started or self._ended:
            return
        if self._adds_cr:
            data = b"\r" + data if self._held else data
            self._held = data.endswith(b"\r")  # a line feed may follow
            data = (data[:-1] if self._held else data).replace(b"\r\n", b"\n")
        self._add(data)

    def _add(self, data: bytes) -> None:
        self._length += len(data)
        self._digest.update(data)
        self._head += data[: self._keep - len(self._head)]
        if self._heard is not None:
            self._heard(data)

    def done(self) -> ProgramOutput:
        """All of it; nothing more is taken."""
        if self._held:
            self._held = False
            self._add(b"\r")
        self._ended = True
        return ProgramOutput(self._length, self._digest.hexdigest(), bytes(self._head))


def decode_body(body: bytes) -> dict[str, object] | None:  # noqa: PLR0911 — one check, one exit
    """The members of one frame (without crc), or None if anything about it is wrong."""
    body = body.rstrip(b"\r")
    match = _CRC.search(body)
    if match is None or len(body) > MAX_FRAME or not body.isascii():
        return None
    if zlib.crc32(body[: match.start() + 1]) != int(match[1], 16):
        return None
    try:
        fields = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or len(fields) > MAX_MEMBERS or fields.pop("crc", None) is None:
        return None
    if not isinstance(fields.get("event"), str):
        return None
    if not all(_KEY.fullmatch(key) and _bounded(value) for key, value in fields.items()):
        return None
    return {key: clean(value) if isinstance(value, str) else value for key, value in fields.items()}


def encode_frame(event: str, n: int, t: int, tsc: int, **members: object) -> bytes:
    """The bytes of one frame, as guest programs write it (for fakes and tests)."""
    fields = {"event": event, "n": n, "t": t, "tsc": tsc, **members}
    head = json.dumps(fields, separators=(",", ":"), allow_nan=False)[:-1].encode("ascii") + b","
    return b"\x1e" + head + b'"crc":"%08x"}\n' % zlib.crc32(head)


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _bounded(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    if isinstance(value, int):
        return abs(value) < MAX_COUNTER
    if isinstance(value, float):
        return math.isfinite(value) and abs(value) <= MAX_NUMBER
    if isinstance(value, list):
        return len(value) <= MAX_LIST and all(_number(item) for item in value)
    return False


def _number(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool) and _bounded(item)


class _Series:
    """One benchmark while its frames come in."""

    def __init__(self, unit: Unit, loops: int) -> None:
        self.unit, self.loops = unit, loops
        self.values: list[float] = []
        self.warmups: list[float] = []
        self.metadata: dict[str, object] = {}


class _Samples:
    """All benchmarks of one boot; complaints go to lies."""

    def __init__(self, lies: list[str]) -> None:
        self._lies = lies
        self._series: dict[str, _Series] = {}
        self._room = MAX_VALUES

    def take(self, frame: Frame) -> None:
        complaint = self._join(frame)
        if complaint:
            self._lies.append(complaint)

    def _join(self, frame: Frame) -> str:
        name, unit = _text(frame, "benchmark"), _text(frame, "unit")
        values, warmups = _numbers(frame, "values"), _numbers(frame, "warmups", missing=[])
        loops = _integer(frame, "loops", 2**53)
        if not name or values is None or warmups is None or unit not in set(Unit) or not loops:
            return "a samples frame lacks its benchmark, unit, loops or values"
        if any(value < 0 for value in (*values, *warmups)):
            return f"{name}: a negative cost"
        self._room -= len(values) + len(warmups)
        if self._room < 0:
            return f"more than {MAX_VALUES} values"
        if name not in self._series and len(self._series) >= MAX_BENCHMARKS:
            return f"more than {MAX_BENCHMARKS} benchmarks"
        series = self._series.setdefault(name, _Series(Unit(unit), loops))
        if (series.unit, series.loops) != (unit, loops):
            return f"{name}: its unit or loops change from frame to frame"
        series.values += map(float, values)
        series.warmups += map(float, warmups)
        series.metadata |= {key[5:]: v for key, v in frame.fields.items() if key.startswith("meta_") and _scalar(v)}
        return ""

    def done(self) -> tuple[Sample, ...]:
        return tuple(
            Sample(name, s.unit, tuple(s.values), s.loops, tuple(s.warmups), s.metadata)
            for name, s in self._series.items()
        )


def assemble(frames: Sequence[Frame], *, restored: bool = False) -> Report:
    """Put the frames of one boot together: samples joined, checks, the exit status (the kernel's word wins).

    A host does it once for a boot, and its Observation carries the report. restored: of a guest that was restored:
    its `main` frame came before it was saved.
    """
    lies: list[str] = []
    samples = _Samples(lies)
    checks: dict[str, str] = {}
    status: int | None = None
    said: int | None = None
    signal = 0
    error = ""
    for frame in frames:
        if frame.event == "samples":
            samples.take(frame)
        elif frame.event == "check" and len(checks) < MAX_BENCHMARKS:
            name, digest = _text(frame, "name"), _text(frame, "digest")[:128]
            if checks.setdefault(name, digest) != digest:
                lies.append(f"two answers to the check {name}")
        elif frame.event == "error":
            error = _text(frame, "message")
        elif frame.event == "exit":
            said = _integer(frame, "status", 255)
        elif frame.event == "status":
            status, signal = _integer(frame, "status", 255), _integer(frame, "signal", 127) or 0
    lies += _contradictions(frames, restored=restored)
    torn = _torn(frames)
    whole = tuple(sample for sample in samples.done() if sample.benchmark not in torn)
    return Report(tuple(frames), whole, checks, said if status is None else status, signal, error, tuple(lies), torn)


def _torn(frames: Sequence[Frame]) -> tuple[str, ...]:
    """The benchmarks on either side of a gap in the frames' numbers: the frames that are lost may have been theirs."""
    numbered = [frame for frame in frames if frame.event not in _INIT]
    beside = [
        frame
        for before, after in pairwise(numbered)
        if _counter(after, "n") - _counter(before, "n") > 1
        for frame in (before, after)
    ]
    return tuple(dict.fromkeys(_text(frame, "benchmark") for frame in beside if frame.event == "samples"))


def _contradictions(frames: Sequence[Frame], *, restored: bool) -> list[str]:
    """Sequence numbers and clocks only go up; `main` comes once and before `exit`, which has a status."""
    lies = []
    for before, after in pairwise(frames):
        # Our init and the program that it starts number their frames apart; the machine's clocks are the same for both.
        alike = before.event not in _INIT and after.event not in _INIT
        if alike and _counter(after, "n") <= _counter(before, "n"):
            lies.append("frames repeat or run backwards")
            break
        if _counter(after, "tsc") < _counter(before, "tsc") or _counter(after, "t") < _counter(before, "t"):
            lies.append("the guest's clock runs backwards")
            break
    events = [frame.event for frame in frames]
    if events.count("main") > (not restored) or events.count("exit") > 1:
        lies.append("more than one main or exit frame")
    elif "exit" in events and not restored and "main" not in events[: events.index("exit")]:
        lies.append("an exit frame without a main frame before it")
    if any(_integer(frame, "status", 255) is None for frame in frames if frame.event in ("exit", "status")):
        lies.append("an exit frame without a status")
    return lies


def _text(frame: Frame, key: str) -> str:
    value = frame.fields.get(key, "")
    return value if isinstance(value, str) else ""


def _integer(frame: Frame, key: str, most: int) -> int | None:
    value = frame.fields.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _numbers(frame: Frame, key: str, missing: list[float] | None = None) -> list[float] | None:
    value = frame.fields.get(key, missing)
    return value if isinstance(value, list) else None


def _scalar(value: object) -> bool:
    return isinstance(value, str | int | float)


def _counter(frame: Frame, key: str) -> int:
    value = _integer(frame, key, MAX_COUNTER)
    return -1 if value is None else value
