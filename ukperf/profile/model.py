"""A profile: instructions by function and window, of one boot and over boots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

WHOLE = ""  # stands for all windows together
START = "start"  # what the window before the first event is called


class CodePart(StrEnum):
    """Whose code it is, in the order of a boot."""

    FIRMWARE = "firmware"
    LOADER = "loader"  # what unpacks or loads a kernel: a boot sector, the decompressor of a bzImage
    KERNEL = "kernel"
    MODULE = "module"
    PROGRAM = "program"
    LIBRARY = "library"
    UNNAMED = "unnamed"  # in no file that is known


_ORDER = {part: at for at, part in enumerate(CodePart)}


@dataclass(frozen=True, slots=True)
class Function:
    """file: what it is in, like `libc.so.6`; "" where nobody knows. name: its own where `named`, else a place in the
    file (`+0x1a20`), or in memory."""

    part: CodePart
    file: str
    name: str
    named: bool = True

    @property
    def path(self) -> str:
        """`kernel/memcpy`, `library/libc.so.6/malloc`: what patterns match besides the name."""
        return "/".join(filter(None, (self.part.value, self.file, self.name)))

    @property
    def order(self) -> tuple[int, str, str]:
        return _ORDER[self.part], self.file, self.name


@dataclass(frozen=True, slots=True)
class CallSum:
    """Of one system call: how often it was made, and instructions from there until the program went on."""

    times: int = 0
    instructions: int = 0

    def __add__(self, other: CallSum) -> CallSum:
        return CallSum(self.times + other.times, self.instructions + other.instructions)


@dataclass(frozen=True)
class CallTree:
    """Who called whom in a boot, by function. parents: of each node, its caller's, which stands before it; the first
    is the root, that of nobody. spent: window → node → its own instructions; times: how often it was called, as far as
    calls were seen. truncated: window → instructions that found no place."""

    parents: tuple[int, ...]
    functions: tuple[Function | None, ...]
    spent: Mapping[str, Mapping[int, int]]
    times: Mapping[str, Mapping[int, int]]
    truncated: Mapping[str, int]

    def in_window(self, what: Mapping[str, Mapping[int, int]], window: str = WHOLE) -> Mapping[int, int]:
        """node → count. Raises KeyError for no window."""
        if window != WHOLE:
            return what[window]
        sums: dict[int, int] = {}
        for inside in what.values():
            for node, count in inside.items():
                sums[node] = sums.get(node, 0) + count
        return sums


@dataclass(frozen=True)
class Profile:
    """Instructions of one boot. rows: function → instructions in each window; total: of each window, all of them;
    rest: of those, what stands in no row, since its blocks found no place in memory. counter: window → how far the
    guest's own instruction counter went in it, where that is known; what it has more is idle time, which leaps, and
    what it has less are blocks that faults broke off: they began twice. calls: window → system call → its sum.
    tree: None where call stacks were not followed."""

    windows: tuple[str, ...]
    rows: Mapping[Function, tuple[int, ...]]
    total: tuple[int, ...]
    rest: tuple[int, ...]
    counter: Mapping[str, int] = field(default_factory=dict)
    calls: Mapping[str, Mapping[str, CallSum]] = field(default_factory=dict)
    tree: CallTree | None = None

    def of(self, window: str = WHOLE) -> dict[Function, int]:
        """function → instructions, those that have any; WHOLE: over all windows. Raises KeyError for no window."""
        pick = self._pick(window)
        return {function: count for function, counts in self.rows.items() if (count := pick(counts))}

    def instructions(self, window: str = WHOLE) -> int:
        return self._pick(window)(self.total)

    def lost(self, window: str = WHOLE) -> int:
        return self._pick(window)(self.rest)

    def idle(self, window: str = WHOLE) -> int | None:
        """What the instruction counter has more than was executed; below 0: blocks that began twice. None where nobody
        read it."""
        if window not in self.counter:
            return None
        return self.counter[window] - self.instructions(window)

    def calls_in(self, window: str = WHOLE) -> dict[str, CallSum]:
        """system call → its sum; empty where none were counted. Raises KeyError for no window."""
        self._pick(window)
        sums: dict[str, CallSum] = {}
        for inside in self.calls.values() if window == WHOLE else [self.calls.get(window, {})]:
            for name, one in inside.items():
                sums[name] = sums.get(name, CallSum()) + one
        return sums

    def _pick(self, window: str) -> Callable[[tuple[int, ...]], int]:
        if window == WHOLE:
            return sum
        try:
            at = self.windows.index(window)
        except ValueError:
            raise KeyError(window) from None
        return lambda counts: counts[at]


@dataclass(frozen=True)
class Coverage:
    """Instructions by what is known of them. named: a symbol names their function; placed: only their file is known;
    unknown: neither."""

    named: int
    placed: int
    unknown: int

    @property
    def total(self) -> int:
        return self.named + self.placed + self.unknown

    @property
    def share(self) -> float:
        """Of all instructions those that are named; 1 where there are none."""
        return self.named / self.total if self.total else 1.0


def coverage(profile: Profile, window: str = WHOLE, parts: Iterable[CodePart] = CodePart) -> Coverage:
    """Of a profile's instructions in these parts; with all parts, what found no place is unknown."""
    wanted = set(parts)
    named = placed = unknown = 0
    for function, count in profile.of(window).items():
        if function.part not in wanted:
            continue
        if function.part is CodePart.UNNAMED:
            unknown += count
        elif function.named:
            named += count
        else:
            placed += count
    return Coverage(named, placed, unknown + (profile.lost(window) if CodePart.UNNAMED in wanted else 0))


@dataclass(frozen=True)
class Profiled:
    """Boots of one setting, at least one. label: whose. notes: sentences about files that could not be used."""

    label: str
    boots: tuple[Profile, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def stacks(self) -> dict[str, object]:
        """What `calltrees` has made of windows already."""
        return {}

    @cached_property
    def windows(self) -> tuple[str, ...]:
        """The windows that every boot has, in the order of the first."""
        return tuple(w for w in self.boots[0].windows if all(w in boot.windows for boot in self.boots))

    def series(self, window: str = WHOLE) -> Mapping[Function, tuple[int, ...]]:
        """function → its instructions in each boot; 0 in those that did not come to it."""
        if window not in self._series:
            seen = [boot.of(window) for boot in self.boots]
            functions = dict.fromkeys(function for boot in seen for function in boot)
            self._series[window] = {f: tuple(boot.get(f, 0) for boot in seen) for f in functions}
        return self._series[window]

    @cached_property
    def _series(self) -> dict[str, dict[Function, tuple[int, ...]]]:
        return {}

    def totals(self, window: str = WHOLE) -> tuple[int, ...]:
        return tuple(boot.instructions(window) for boot in self.boots)

    def varying(self, window: str = WHOLE) -> dict[Function, tuple[int, ...]]:
        """The functions that are not the same in all boots."""
        return {function: counts for function, counts in self.series(window).items() if len(set(counts)) > 1}
