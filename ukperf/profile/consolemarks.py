"""What kernels say on the console of their own progress: Linux's initcalls (initcall_debug), and stamped lines.

Under exact counting an instruction is a virtual nanosecond, so a microsecond of the guest's clock stands for 1,000
instructions; where KVM or plain emulation executes a guest, it is time.

Sources: init/main.c (do_one_initcall), drivers/base/dd.c ("probe of"), kernel/printk (stamps); Unikraft's ukdebug,
whose lines have the same stamps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ukperf.stats.addends import Addend, addends
from ukperf.text import clean

MOST_LINES = 200_000
NAME_MAX = 120
_STAMP = r"^(?:<\d{1,3}>)?\[\s*(\d{1,9}\.\d{6})\]\s?"
_CALLING = re.compile(_STAMP + r"calling\s+(\S{1,200}) @ (\d{1,9})")
_DONE = re.compile(
    _STAMP + r"(initcall|probe of) (\S{1,200}) (?:\[\w{1,64}\] )?returned (-?\d{1,6}) after (\d{1,12}) usecs"
)
_STAMPED = re.compile(_STAMP + r"(.*)$")
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
_OFFSET = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+$")


class CallKind(StrEnum):
    INITCALL = "initcall"
    PROBE = "probe"  # of a driver with a device, inside of an initcall
    LINE = "line"  # of any kernel: from a line with a stamp to the next


@dataclass(frozen=True)
class Initcall:
    """One call. name: the function, or a driver's device; begin_us, took_us: of the guest's clock. begin_us: None where
    the kernel's line of its beginning was lost."""

    name: str
    kind: CallKind
    took_us: float
    result: int = 0
    begin_us: float | None = None


@dataclass(frozen=True)
class ConsoleMark:
    """A line with a stamp. at_us: of the guest's clock; took_us: until the next one, 0 of the last."""

    text: str
    at_us: float
    took_us: float


def _lines(text: str) -> Iterable[str]:
    return (line.rstrip("\r") for line in text.split("\n", MOST_LINES)[:MOST_LINES])


def initcalls(text: str) -> tuple[Initcall, ...]:
    """The initcalls and probes of one boot's console, in the order in which they ended.

    What an initcall took is by the stamps of its two lines where both are there: they have the same clock, and no
    rounding down of each. Lines that are damaged are left out.
    """
    begun: dict[str, float] = {}
    calls: list[Initcall] = []
    for line in _lines(text):
        if (match := _CALLING.match(line)) is not None:
            begun[match[2]] = _us(match[1])
        elif (match := _DONE.match(line)) is not None:
            name = clean(_OFFSET.sub("", match[3]), NAME_MAX)
            kind = CallKind.INITCALL if match[2] == "initcall" else CallKind.PROBE
            start = begun.pop(match[3], None) if kind is CallKind.INITCALL else None
            took = float(match[5])
            if start is not None and abs(_us(match[1]) - start - took) <= 2:
                took = _us(match[1]) - start
            calls.append(Initcall(name, kind, took, int(match[4]), start))
    return tuple(calls)


def marks(text: str) -> tuple[ConsoleMark, ...]:
    """All stamped lines of one boot's console, each with the time until the next."""
    seen: list[tuple[str, float]] = []
    for line in _lines(text):
        match = _STAMPED.match(line)
        if match is not None:
            at = _us(match[1])
            if not seen or at >= seen[-1][1]:  # a clock that was set anew begins nothing
                seen.append((clean(match[2].strip(), NAME_MAX), at))
    return tuple(
        ConsoleMark(text, at, seen[i + 1][1] - at if i + 1 < len(seen) else 0.0) for i, (text, at) in enumerate(seen)
    )


def _us(stamp: str) -> float:
    """Whole microseconds, which floats hold exactly."""
    seconds, _, micro = stamp.partition(".")
    return float(int(seconds) * 1_000_000 + int(micro))


def calls_or_lines(text: str) -> tuple[Initcall, ...]:
    """The initcalls of one boot's console; of one that has none, its stamped lines, numbers in them left out:
    addresses and sizes differ between kernels, and each line is what it is by its words."""
    calls = initcalls(text)
    if calls:
        return calls
    lines = ((_NUMBERS.sub("#", mark.text), mark) for mark in marks(text))
    return tuple(Initcall(words, CallKind.LINE, mark.took_us, 0, mark.at_us) for words, mark in lines)


# ---- over boots ----


def by_name(
    boots: Sequence[Sequence[Initcall]], kinds: Sequence[CallKind] = (CallKind.INITCALL, CallKind.LINE)
) -> dict[str, list[float]]:
    """name → µs in each boot, 0 where it was not called; of one that is called several times in a boot all together."""
    rows: dict[str, list[float]] = {}
    for at, boot in enumerate(boots):
        for call in boot:
            if call.kind in kinds:
                rows.setdefault(call.name, [0.0] * len(boots))[at] += call.took_us
    return rows


@dataclass(frozen=True)
class CallChange:
    """What one call, or line, adds to a side, in µs of the guest's clock."""

    name: str
    addend: Addend


def call_changes(side: Mapping[str, Sequence[float]], baseline: Mapping[str, Sequence[float]]) -> list[CallChange]:
    """All of both sides, what adds or takes away most first; one family. Each side has at least one boot."""
    boots = len(next(iter(side.values()), ())), len(next(iter(baseline.values()), ()))
    names = list(dict.fromkeys([*side, *baseline]))
    if not names or not all(boots):
        return []
    nothing = [0.0] * boots[0], [0.0] * boots[1]
    judged = addends([(side.get(name, nothing[0]), baseline.get(name, nothing[1])) for name in names])
    changes = [CallChange(name, one) for name, one in zip(names, judged, strict=True)]
    return sorted(changes, key=lambda change: (-abs(change.addend.difference), change.name))
