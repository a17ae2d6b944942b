"""Names by address: sorted ranges, looked up for many addresses at once; and Linux's own list of them, kallsyms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ukperf.text import clean

LINES_MAX = 2_000_000  # of a kallsyms
NAME_MAX = 512
_LEAP = 1 << 20  # bytes that a function without a size has at most
_PAGE = 0x1000


@dataclass(frozen=True)
class Symbols:
    """starts, ends: shape (n,), ascending, each range [start, end) apart from the others. names: "" where it is only
    known that a function begins there. owners: whose each is, like a module; empty: all are the file's own."""

    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    names: tuple[str, ...]
    owners: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def lookup(self, addresses: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The index of each address's range; -1: it is in none."""
        if not len(self.names):
            return np.full(len(addresses), -1, np.int64)
        at = np.searchsorted(self.starts, addresses, "right").astype(np.int64) - 1
        inside = (at >= 0) & (addresses < self.ends[np.maximum(at, 0)])
        return np.where(inside, at, -1)

    def over(self, other: Symbols) -> Symbols:
        """These, and of the other ones those that begin where these have nothing."""
        new = self.lookup(other.starts) < 0
        starts = np.concatenate([self.starts, other.starts[new]])
        ends = np.concatenate([self.ends, other.ends[new]])
        names = [*self.names, *(name for name, kept in zip(other.names, new, strict=True) if kept)]
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        ends[:-1] = np.minimum(ends[:-1], starts[1:])
        return Symbols(starts, ends, tuple(names[at] for at in order))


NO_SYMBOLS = Symbols(np.empty(0, np.uint64), np.empty(0, np.uint64), ())


def symbols_from(
    starts: NDArray[np.uint64],
    sizes: NDArray[np.uint64],
    names: Sequence[str],
    limits: Sequence[tuple[int, int]],
    *,
    ranks: NDArray[np.uint8] | None = None,
    unnamed: NDArray[np.uint64] | None = None,
) -> Symbols:
    """Ranges of symbols as files have them: several at one address, some without a size, some inside of others.

    A symbol ends where its size says, or where the next begins; what is behind one that lies inside of another is the
    other's again. One without a size reaches to the next, within the limits (low, high) that code lies in. Of several
    at one address the one of lowest rank counts. unnamed: where functions begin that nothing names; they count where
    no symbol does.
    """
    unnamed = np.empty(0, np.uint64) if unnamed is None else np.unique(unnamed)
    ranks = np.zeros(len(starts), np.uint8) if ranks is None else ranks
    order = np.lexsort((-sizes.astype(np.int64), ranks, starts))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(starts[order]) != 0
    order = order[first]
    begin, size = starts[order], sizes[order]
    called = [clean(names[at], NAME_MAX) for at in order]
    bounds = sorted(limits)
    edges = np.unique(np.concatenate([begin, unnamed, np.array([high for _, high in bounds], np.uint64)]))

    def behind(address: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The next place where anything begins or code ends."""
        at = np.searchsorted(edges, address, "right")
        far = address + np.uint64(_LEAP)
        return np.where(at < len(edges), np.minimum(edges[np.minimum(at, len(edges) - 1)], far), far)

    end = np.where(size > 0, begin + size, behind(begin)) if len(begin) else begin
    pieces = _apart(begin.tolist(), end.tolist(), called)
    own = Symbols(
        np.array([piece[0] for piece in pieces], np.uint64),
        np.array([piece[1] for piece in pieces], np.uint64),
        tuple(piece[2] for piece in pieces),
    )
    rest = unnamed[own.lookup(unnamed) < 0]
    return own if not len(rest) else own.over(Symbols(rest, behind(rest), ("",) * len(rest)))


def _apart(begin: list[int], end: list[int], names: list[str]) -> list[tuple[int, int, str]]:
    """Ranges that may lie in or over each other → ranges that do not: the one that begins last has an address."""
    pieces: list[tuple[int, int, str]] = []
    open_: list[tuple[int, str]] = []  # (end, name) of those that are not over, the innermost last
    place = 0

    def until(stop: int) -> None:
        nonlocal place
        while open_ and place < stop:
            last, name = open_[-1]
            if last > place:
                pieces.append((place, min(last, stop), name))
                place = min(last, stop)
            if last <= stop:
                open_.pop()
        place = stop

    for start, stop, name in zip(begin, end, names, strict=True):
        until(start)
        open_.append((stop, name))
    until(max(end, default=0))
    return pieces


# ---- kallsyms ----

_LINE = re.compile(r"([0-9a-f]{1,16}) ([A-Za-z?]) (\S{1,512})(?:[ \t]+\[([^\]\s]{1,64})\])?")
_CODE = frozenset("TtWw")
# Marks of the linker's, and the padding before functions: no function is called so.
_MARKS = re.compile(
    r"_text|_stext|_etext|_s?einittext|_sinittext|__pfx_.*|__cfi_.*|.*_text_(start|end)|__.*_(begin|end)"
)
_ENDS = re.compile(r"_etext|_einittext|__.*text_end")


@dataclass(frozen=True)
class KernelSymbols:
    """Linux's code, as /proc/kallsyms lists it. text: [low, high) of the kernel's own; alias: what an address is less
    than its name's while the kernel runs before it has its own page tables."""

    symbols: Symbols
    text: tuple[int, int]
    alias: int = 0xFFFFFFFF80000000
    modules: tuple[str, ...] = field(default=())


def parse_kallsyms(lines: Iterable[str]) -> KernelSymbols:
    """Raises ValueError for what is no list of symbols, or one whose addresses the kernel keeps to itself."""
    best: dict[int, tuple[tuple[int, int, str], str]] = {}
    marks: dict[int, str] = {}
    for number, line in enumerate(lines):
        if number >= LINES_MAX:
            raise ValueError(f"it has more than {LINES_MAX:,} lines")
        match = _LINE.fullmatch(line.strip())
        if match is None:
            if line.strip():
                raise ValueError(f"its line {number + 1} names no symbol")
            continue
        address, kind, name, module = int(match[1], 16), match[2], match[3], match[4] or ""
        if kind not in _CODE:
            continue
        if not module and _MARKS.fullmatch(name):
            if _ENDS.fullmatch(name) or name in ("_text", "_stext", "_sinittext"):
                marks[address] = name
            continue
        rank = (kind not in "T", len(name) - len(name.lstrip("_")), name)
        if address not in best or rank < best[address][0]:
            best[address] = rank, module
    if not best:
        raise ValueError("it names no code")
    if max(best) == 0:
        raise ValueError("the kernel keeps its addresses to itself (kptr_restrict)")
    return _kernel_symbols(best, marks)


def _kernel_symbols(best: dict[int, tuple[tuple[int, int, str], str]], marks: dict[int, str]) -> KernelSymbols:
    starts = sorted(best)
    own = [address for address in starts if not best[address][1]]
    edges = sorted({*starts, *(address for address, name in marks.items() if _ENDS.fullmatch(name))})
    begin = np.array(starts, np.uint64)
    stops = np.array(edges, np.uint64)
    at = np.searchsorted(stops, begin, "right")
    far = begin + np.uint64(_LEAP)
    ends = np.where(at < len(stops), np.minimum(stops[np.minimum(at, len(stops) - 1)], far), far)
    owners = [best[address][1] for address in starts]
    # of a module's last function nobody says where it ends
    for i, owner in enumerate(owners):
        if owner and (i + 1 == len(owners) or owners[i + 1] != owner):
            ends[i] = min(int(ends[i]), starts[i] + 16 * _PAGE)
    names = tuple(clean(best[address][0][2], NAME_MAX) for address in starts)
    low = min([*own, *(a for a, name in marks.items() if name in ("_text", "_stext"))], default=starts[0])
    high = max([a for a, name in marks.items() if _ENDS.fullmatch(name)] or [own[-1] if own else starts[-1]])
    modules = tuple(sorted({owner for owner in owners if owner}))
    return KernelSymbols(Symbols(begin, ends, names, tuple(owners)), (low, high), modules=modules)
