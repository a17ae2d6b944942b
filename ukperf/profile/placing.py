"""Where in memory files of code lie, found by what was executed: the first bytes of each block against the file's own.

Kernels move themselves, loaders choose addresses, firmware copies itself. What a guest says of that need not be asked:
a block whose bytes stand in a file says how far the file was moved, and a few hundred blocks agree or do not. Files
that a loader maps move by whole pages, so of each block only every 4,096th place of a file is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ukperf.profile.elfcode import Segment

PAGE = 0x1000
CODE = 16  # bytes of a block that are known
MOST_PLACES = 8  # of one file
_SAMPLES = 4000  # blocks that vote, one a page
_BLOB_SAMPLES = 192  # of files that move by any number of bytes
_SEARCHED_MAX = 400 << 20  # bytes that are searched of one such file, over all samples
_LOW = 1 << 32  # where firmware and loaders run
_CANDIDATES = 24
_LEAST_BYTES = 48  # of code that must agree before a place is believed
_LEAST_BLOCKS = 3
_LEAST_COPY = 12  # the same of a file that was seen at another place: it is there, and may have been copied
_LEAST_VOTE = 8  # bytes of a block that may vote


@dataclass(frozen=True)
class Blocks:
    """Blocks as placing needs them. code: shape (n, 16); size: bytes of each; weight: how much each was executed."""

    address: NDArray[np.uint64]
    size: NDArray[np.uint32]
    code: NDArray[np.uint8]
    weight: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.address)

    def some(self, which: NDArray[np.bool_]) -> Blocks:
        return Blocks(self.address[which], self.size[which], self.code[which], self.weight[which])


@dataclass(frozen=True)
class FilePlace:
    """A file at a place: an address in memory is that in the file and `shift` (modulo 2⁶⁴)."""

    shift: int
    blocks: int  # that agree
    share: float  # of those that lie in it


def agreeing(blocks: Blocks, segment: Segment, shift: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(blocks in the segment, those of them whose bytes are the segment's) if the file lies there."""
    low = (segment.address + shift) % (1 << 64)
    high = min(low + len(segment.data), (1 << 64) - 1)
    inside = (blocks.address >= np.uint64(low)) & (blocks.address < np.uint64(high))
    same = np.zeros(len(blocks), bool)
    at = np.flatnonzero(inside)
    if len(at):
        text = np.frombuffer(segment.data, np.uint8)
        offset = (blocks.address[at] - np.uint64(low)).astype(np.int64)
        where = offset[:, None] + np.arange(CODE)
        known = np.minimum(blocks.size[at], CODE)[:, None] > np.arange(CODE)
        there = where < len(text)
        equal = text[np.minimum(where, len(text) - 1)] == blocks.code[at]
        same[at] = (~known | (equal & there)).all(axis=1)
    return inside, same


def locate(blocks: Blocks, segments: Sequence[Segment], *, paged: bool = True, known: bool = False) -> list[FilePlace]:
    """The places of a file, the surest first; none where too little of it was executed to say.

    paged: it can only be moved by whole pages. known: it was seen at another place, so that little is enough.
    """
    least_blocks, least_bytes = (1, _LEAST_COPY) if known else (_LEAST_BLOCKS, _LEAST_BYTES)
    votes = _paged_votes(blocks, segments) if paged else _blob_votes(blocks, segments)
    places: list[FilePlace] = []
    taken = np.zeros(len(blocks), bool)
    tried = [(shift, *_agreement(blocks, segments, shift)) for shift, _ in votes.most_common(_CANDIDATES)]
    tried.sort(key=lambda one: -int(one[2].sum()))
    for shift, inside, same in tried:
        new = same & ~taken
        distinct = _distinct_bytes(blocks, new)
        if int(new.sum()) >= least_blocks and distinct >= least_bytes and len(places) < MOST_PLACES:
            places.append(FilePlace(shift, int(new.sum()), int(same.sum()) / int(inside.sum())))
            taken |= same
    return places


def _agreement(blocks: Blocks, segments: Sequence[Segment], shift: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    inside, same = np.zeros(len(blocks), bool), np.zeros(len(blocks), bool)
    for segment in segments:
        here, equal = agreeing(blocks, segment, shift)
        inside |= here
        same |= equal
    return inside, same


def _distinct_bytes(blocks: Blocks, which: NDArray[np.bool_]) -> int:
    """Bytes of code of the blocks, each way of beginning counted once: padding and stubs prove little."""
    if not which.any():
        return 0
    _, first = np.unique(blocks.code[which], axis=0, return_index=True)
    return int(np.minimum(blocks.size[which][first], CODE).sum())


def _sampled(blocks: Blocks, most: int, page: int) -> NDArray[np.int64]:
    """Of each page its longest block; of the pages those that executed most."""
    at = np.flatnonzero(blocks.size >= _LEAST_VOTE)
    if not len(at):
        return at
    pages = blocks.address[at] // np.uint64(page)
    order = at[np.lexsort((-np.minimum(blocks.size[at], CODE).astype(np.int64), pages))]
    ordered = blocks.address[order] // np.uint64(page)
    first = np.ones(len(order), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    heads = order[first]
    return heads[np.argsort(-blocks.weight[heads].astype(np.float64), kind="stable")][:most]


def _paged_votes(blocks: Blocks, segments: Sequence[Segment]) -> Counter[int]:
    votes: Counter[int] = Counter()
    keys = np.ascontiguousarray(blocks.code[:, :8]).view("<u8").reshape(-1)
    samples = _sampled(blocks, _SAMPLES, PAGE)
    for segment in segments:
        data = segment.data + bytes(CODE)
        for at in samples:
            start = (int(blocks.address[at]) - segment.address) % PAGE
            if start + 8 > len(data):
                continue
            words = np.frombuffer(data, "<u8", (len(data) - start) // 8, start)[:: PAGE // 8]
            hits = np.flatnonzero(words == keys[at])
            size = min(int(blocks.size[at]), CODE)
            code = blocks.code[at, :size].tobytes()
            agreed = [int(hit) for hit in hits[:64] if data.startswith(code, start + PAGE * int(hit))]
            for hit in agreed[:8]:  # what stands everywhere says nothing
                votes[(int(blocks.address[at]) - segment.address - start - PAGE * hit) % (1 << 64)] += size
    return votes


def _blob_votes(blocks: Blocks, segments: Sequence[Segment]) -> Counter[int]:
    votes: Counter[int] = Counter()
    low = blocks.some(blocks.address < np.uint64(_LOW))
    size_of_all = sum(len(segment.data) for segment in segments)
    most = max(16, min(_BLOB_SAMPLES, _SEARCHED_MAX // max(1, size_of_all)))
    for at in _sampled(low, most, 256):
        size = min(int(low.size[at]), CODE)
        code = low.code[at, :size].tobytes()
        for segment in segments:
            place, seen = segment.data.find(code), 0
            while place >= 0 and seen < 4:
                votes[(int(low.address[at]) - segment.address - place) % (1 << 64)] += size
                place, seen = segment.data.find(code, place + 1), seen + 1
    return votes
