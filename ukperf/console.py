"""Decodes frames from a guest that may lie (docs/wire.md).

The decoder never raises on any bytes, keeps a bounded amount of memory, and never lets one bad frame spoil the next.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ukperf.model import Frame, Sample, Unit

RS = 0x1E
LF = 0x0A
MAX_FRAME = 16_384  # bytes between RS and LF
MAX_FRAMES = 100_000
MAX_MEMBERS = 64
MAX_KEY = 64
MAX_TEXT = 512
MAX_LIST = 4_096
MAX_NUMBER = 1e18
MAX_COUNTER = 2**64  # tsc and t are 64-bit counters
MAX_VALUES = 1_000_000  # per trial
MAX_BENCHMARKS = 512
TAIL = 4_096

_CRC = re.compile(rb'"crc":"([0-9a-f]{8})"}\Z')


class FrameDecoder:
    """Push parser: feed it what was read, get the frames that this completed.

    limit: bytes after which the console counts as flooded; decoding stops there, counting goes on.
    """

    def __init__(self, limit: int = 8 << 20) -> None:
        self._limit = limit
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
        text = bytes(self._tail[-TAIL:]).decode("utf-8", "replace")
        return "".join(c if c.isprintable() or c in "\n\t" else ("" if c == "\r" else "·") for c in text)

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
        found: list[Frame] = []
        position = 0
        while position < len(data):
            position = self._step(data, position, at_ns, found)
        return found

    def _step(self, data: bytes, position: int, at_ns: int, found: list[Frame]) -> int:
        """Consume up to the next RS (outside a frame) or the next LF or RS (inside one)."""
        if self._frame is None:
            start = data.find(RS, position)
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
            self.bad_frames += 1
            self._frame = None
            return min(position + room, stop)
        if end < 0:
            return len(data)
        body, self._frame = bytes(self._frame), None
        if restart >= 0:  # a frame that was cut off by the next one
            self.bad_frames += 1
            return restart
        self._finish(body, at_ns, found)
        return end + 1

    def _finish(self, body: bytes, at_ns: int, found: list[Frame]) -> None:
        fields = decode_body(body)
        if fields is None:
            self.bad_frames += 1
            return
        self.frames += 1
        found.append(Frame(str(fields.pop("event")), fields, at_ns))


def decode_body(body: bytes) -> dict[str, object] | None:
    """The members of one frame (without crc), or None if anything about it is wrong."""
    body = body.rstrip(b"\r")
    match = _CRC.search(body)
    if match is None or len(body) > MAX_FRAME or zlib.crc32(body[: match.start()]) != int(match[1], 16):
        return None
    try:
        fields = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or len(fields) > MAX_MEMBERS or not isinstance(fields.get("event"), str):
        return None
    del fields["crc"]
    if not all(len(key) <= MAX_KEY and _bounded(value) for key, value in fields.items()):
        return None
    return fields


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


@dataclass(frozen=True)
class Report:
    """What the frames of one boot say, put together; lies lists sentences about what cannot be true."""

    samples: tuple[Sample, ...]
    checks: Mapping[str, str]
    exit_status: int | None
    signal: int
    error: str
    lies: tuple[str, ...]


def assemble(frames: Sequence[Frame]) -> Report:
    """Put the frames of one boot together: samples joined, checks, the exit status (the kernel's word wins)."""
    lies: list[str] = []
    samples: dict[str, Sample] = {}
    checks: dict[str, str] = {}
    status: int | None = None
    said: int | None = None
    signal = 0
    error = ""
    for frame in frames:
        if frame.event == "samples":
            _join(frame, samples, lies)
        elif frame.event == "check" and len(checks) < MAX_BENCHMARKS:
            checks[_text(frame, "name")] = _text(frame, "digest")[:128]
        elif frame.event == "error":
            error = _text(frame, "message")
        elif frame.event == "exit":
            said = _integer(frame, "status", 255)
        elif frame.event == "status":
            status, signal = _integer(frame, "status", 255), _integer(frame, "signal", 127) or 0
    lies += _contradictions(frames)
    return Report(tuple(samples.values()), checks, said if status is None else status, signal, error, tuple(lies))


def _join(frame: Frame, samples: dict[str, Sample], lies: list[str]) -> None:
    name, values, unit = _text(frame, "benchmark"), frame.fields.get("values"), frame.fields.get("unit")
    loops = _integer(frame, "loops", 2**53)
    if not name or not isinstance(values, list) or unit not in set(Unit) or not loops:
        lies.append("a samples frame lacks its benchmark, unit, loops or values")
        return
    if any(value < 0 for value in values):
        lies.append(f"{name}: a negative cost")
        return
    if name not in samples and len(samples) >= MAX_BENCHMARKS:
        lies.append(f"more than {MAX_BENCHMARKS} benchmarks")
        return
    if sum(len(sample.values) for sample in samples.values()) + len(values) > MAX_VALUES:
        lies.append(f"more than {MAX_VALUES} values")
        return
    warmups = frame.fields.get("warmups", [])
    meta = {key[5:]: value for key, value in frame.fields.items() if key.startswith("meta_")}
    before = samples.get(name)
    samples[name] = Sample(
        name,
        Unit(str(unit)),
        (before.values if before else ()) + tuple(float(v) for v in values),
        loops,
        (before.warmups if before else ()) + tuple(float(w) for w in (warmups if isinstance(warmups, list) else [])),
        {**(before.metadata if before else {}), **meta},
    )


def _contradictions(frames: Sequence[Frame]) -> list[str]:
    """Sequence numbers and clocks only go up; `main` comes once and before `exit`."""
    lies = []
    for before, after in pairwise(frames):
        if before.event in ("init", "status") or after.event in ("init", "status"):
            continue  # another program, with numbers of its own
        if _counter(after, "n") <= _counter(before, "n"):
            lies.append("frames repeat or run backwards")
            break
        if _counter(after, "tsc") < _counter(before, "tsc") or _counter(after, "t") < _counter(before, "t"):
            lies.append("the guest's clock runs backwards")
            break
    events = [frame.event for frame in frames]
    if events.count("main") > 1 or events.count("exit") > 1:
        lies.append("more than one main or exit frame")
    elif "exit" in events and "main" not in events[: events.index("exit")]:
        lies.append("an exit frame without a main frame before it")
    return lies


def _text(frame: Frame, key: str) -> str:
    value = frame.fields.get(key, "")
    return value if isinstance(value, str) else ""


def _integer(frame: Frame, key: str, most: int) -> int | None:
    value = frame.fields.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _counter(frame: Frame, key: str) -> int:
    value = _integer(frame, key, MAX_COUNTER)
    return -1 if value is None else value
