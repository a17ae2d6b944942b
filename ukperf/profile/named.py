"""From counted blocks to a profile: which file each block lies in, and which function it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ukperf.profile.flows import Flow
from ukperf.profile.model import START, CallTree, CodePart, Function, Profile
from ukperf.profile.placing import PAGE, Blocks, agreeing, locate
from ukperf.profile.sources import VDSO, CodeFile, Sources
from ukperf.profile.stacks import Owned, tree_of_calls
from ukperf.profile.symbols import KernelSymbols

_KERNEL_HALF = 1 << 63  # where addresses of 64-bit kernels begin
_ROM = (0xC0000, 0x100000)  # adapters' and the system's read-only memory, as PCs have always had it
_FLASH = ((1 << 32) - (16 << 20), 1 << 32)  # the system's, where the CPU starts
_BEHIND = 1 << 20  # bytes behind Linux's last symbol that are its own: alternatives that have no names
_ROUNDS = 4  # that are asked for a file's copies
_UNCHANGED = (CodePart.PROGRAM, CodePart.LIBRARY)
_MOST_ALIKE = 0.5  # of the blocks in a file's place that must have its bytes, before the others are believed too


class Counted(Protocol):
    """What `counts.Counts` has."""

    @property
    def address(self) -> NDArray[np.uint64]: ...
    @property
    def instructions(self) -> NDArray[np.uint32]: ...
    @property
    def size(self) -> NDArray[np.uint32]: ...
    @property
    def code(self) -> NDArray[np.uint8]: ...
    @property
    def windows(self) -> tuple[str, ...]: ...
    @property
    def executed(self) -> NDArray[np.uint64]: ...
    @property
    def rest(self) -> NDArray[np.uint64]: ...
    @property
    def total(self) -> NDArray[np.uint64]: ...


@dataclass(frozen=True)
class _Place:
    """A file where it was found."""

    file: CodeFile
    shift: int
    share: float


def name_counts(
    counts: Counted, sources: Sources, counter: Mapping[str, int] | None = None, flow: Flow | None = None
) -> Profile:
    """The profile of one boot. counter: window (WHOLE: all) → how far the guest's instruction counter went in it. flow:
    its call stacks, if they were followed."""
    spent = counts.executed * counts.instructions.astype(np.uint64)
    blocks = Blocks(counts.address, counts.size, counts.code, spent.sum(axis=0, dtype=np.uint64))
    functions: dict[Function, int] = {}
    owner = np.full(len(blocks), -1, np.int64)
    _by_kernel(blocks, sources.linux, owner, functions)
    places = _places(blocks, sources.files, owner)
    for believed in (False, True):  # what has a file's own bytes is that file's before anything is believed of another
        for place in places:
            _by_place(blocks, place, owner, functions, believed=believed)
    if sources.linux is not None:
        _by_alias(blocks, sources.linux, owner, functions)
    _by_address(blocks, sources.linux, owner, functions)
    sums = np.zeros((len(counts.windows), len(functions)), np.uint64)
    for at in range(len(counts.windows)):
        np.add.at(sums[at], owner, spent[at])
    rows = {
        function: tuple(sums[:, at].tolist()) for function, at in sorted(functions.items(), key=lambda f: f[0].order)
    }
    return Profile(
        tuple(window or START for window in counts.windows),
        {function: row for function, row in rows.items() if any(row)},
        tuple(counts.total.tolist()),
        tuple(counts.rest.tolist()),
        dict(counter or {}),
        tree=None
        if flow is None
        else _tree(flow, counts, Owned(blocks.address, blocks.size, spent, owner, [*functions])),
    )


def _tree(flow: Flow, counts: Counted, owned: Owned) -> CallTree | None:
    return tree_of_calls(flow, owned, counts.windows, Function(CodePart.UNNAMED, "", "", named=False))


def _own(functions: dict[Function, int], known: Sequence[Function]) -> NDArray[np.int64]:
    """The numbers of functions, new ones numbered on."""
    return np.array([functions.setdefault(function, len(functions)) for function in known], np.int64)


# ---- Linux ----


def _linux(linux: KernelSymbols, addresses: NDArray[np.uint64], functions: dict[Function, int]) -> NDArray[np.int64]:
    """The functions' numbers at these addresses, -1 where there is none."""
    at = linux.symbols.lookup(addresses)
    seen, inverse = np.unique(at, return_inverse=True)
    known = [_of_linux(linux, int(index)) for index in seen if index >= 0]
    numbers = np.concatenate([np.full(int((seen < 0).sum()), -1, np.int64), _own(functions, known)])
    return numbers[inverse.reshape(-1)]


def _of_linux(linux: KernelSymbols, index: int) -> Function:
    owner, name = linux.symbols.owners[index], linux.symbols.names[index]
    return Function(CodePart.MODULE, owner, name) if owner else Function(CodePart.KERNEL, "", name)


def _by_kernel(
    blocks: Blocks, linux: KernelSymbols | None, owner: NDArray[np.int64], functions: dict[Function, int]
) -> None:
    high = np.flatnonzero(blocks.address >= np.uint64(_KERNEL_HALF))
    if linux is not None and len(high):
        owner[high] = _linux(linux, blocks.address[high], functions)


def _by_alias(blocks: Blocks, linux: KernelSymbols, owner: NDArray[np.int64], functions: dict[Function, int]) -> None:
    """Linux before it has its own page tables: its text at the address where it was loaded."""
    low, high = (end - linux.alias for end in linux.text)
    there = (blocks.address >= np.uint64(max(low, 0))) & (blocks.address < np.uint64(max(high, 0)))
    early = np.flatnonzero((owner < 0) & there)
    if len(early):
        owner[early] = _linux(linux, blocks.address[early] + np.uint64(linux.alias), functions)


# ---- files ----


def _places(blocks: Blocks, files: Sequence[CodeFile], owner: NDArray[np.int64]) -> list[_Place]:
    places: list[_Place] = []
    open_ = owner < 0
    for file in files:
        known = False
        for _ in range(_ROUNDS):  # what is seen of a file leaves others of its copies to be seen
            located = locate(blocks.some(open_), file.segments, paged=file.paged, known=known)
            for one in located:
                places.append(_Place(file, one.shift, one.share))
                for segment in file.segments:  # of what is clearly this file's nothing is asked again
                    inside, same = agreeing(blocks, segment, one.shift)
                    sure = not file.paged and one.share >= _MOST_ALIKE
                    open_ &= ~(_between(blocks, inside, same) if sure else same)
            if not located:
                break
            known = True
    return places


def _by_place(
    blocks: Blocks, place: _Place, owner: NDArray[np.int64], functions: dict[Function, int], *, believed: bool
) -> None:
    """believed: the blocks that have other bytes than the file. Kernels patch themselves and their vDSO; in a program's
    place it is another program's code."""
    if believed and (place.share < _MOST_ALIKE or (place.file.part in _UNCHANGED and place.file.name != VDSO)):
        return
    for segment in place.file.segments:
        mine, same = agreeing(blocks, segment, place.shift)
        if not believed:
            mine = same
        elif not place.file.paged:
            mine = _between(blocks, mine, same)
        at = np.flatnonzero(mine & (owner < 0))
        if len(at):
            owner[at] = _in_file(place, blocks.address[at], functions)


def _between(blocks: Blocks, inside: NDArray[np.bool_], same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The blocks inside of a file that is no code all through: from the first to the last that has its bytes."""
    if not same.any():
        return same
    low, high = np.uint64(blocks.address[same].min()), np.uint64(blocks.address[same].max())
    near: NDArray[np.bool_] = inside & (blocks.address >= low) & (blocks.address <= high)
    return near


def _in_file(place: _Place, addresses: NDArray[np.uint64], functions: dict[Function, int]) -> NDArray[np.int64]:
    file = place.file
    own = addresses - np.uint64(place.shift)  # modulo 2⁶⁴
    at = file.symbols.lookup(own)
    # where nothing is known of functions, pages stand for them
    starts = file.symbols.starts[np.maximum(at, 0)] if len(file.symbols) else own
    pages = own & np.uint64(~(PAGE - 1) % (1 << 64))
    # 2⁶³ and more: no index of a symbol
    unknown = pages | np.uint64(_KERNEL_HALF) if file.paged else np.full(len(own), _KERNEL_HALF, np.uint64)
    keys = np.where(at >= 0, at.astype(np.uint64), unknown)
    seen, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    known = []
    for key, index in zip(seen.tolist(), first.tolist(), strict=True):
        name = file.symbols.names[key] if key < _KERNEL_HALF else ""
        where = int(starts[index]) if key < _KERNEL_HALF else int(pages[index])
        if name:
            known.append(Function(file.part, file.name, name))
        else:
            known.append(Function(file.part, file.name, f"+{where:#x}" if file.paged else "", named=False))
    return _own(functions, known)[inverse.reshape(-1)]


# ---- what is left ----


def _by_address(
    blocks: Blocks, linux: KernelSymbols | None, owner: NDArray[np.int64], functions: dict[Function, int]
) -> None:
    left = np.flatnonzero(owner < 0)
    if not len(left):
        return
    low, high = (0, 0) if linux is None else linux.text
    pages, inverse = np.unique(blocks.address[left] // np.uint64(PAGE), return_inverse=True)
    known = [_unnamed(page * PAGE, (low, high + _BEHIND)) for page in pages.tolist()]
    owner[left] = _own(functions, known)[inverse.reshape(-1)]


def _unnamed(page: int, linux: tuple[int, int]) -> Function:
    if _ROM[0] <= page < _ROM[1] or _FLASH[0] <= page < _FLASH[1]:
        return Function(CodePart.FIRMWARE, "", "", named=False)
    if linux[0] <= page < linux[1] and linux[0]:
        return Function(CodePart.KERNEL, "", f"{page:#x}", named=False)
    half = "kernel's half " if page >= _KERNEL_HALF else ""
    return Function(CodePart.UNNAMED, "", f"{half}{page:#x}", named=False)
