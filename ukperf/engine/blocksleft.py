"""Which blocks of a run over machines are done, which are nobody's, and which workers keep for a dead asker."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class BlocksLeft:
    """most: blocks of the run. had: block → the guests that the journal has of it. hopeful: those that each needs."""

    most: int
    had: dict[int, set[str]]
    hopeful: Collection[str]
    done: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self.done = {block for block, had in self.had.items() if had >= set(self.hopeful)}
        self._next = 0
        self._again = sorted(self.had.keys() - self.done)  # cut off in the journal, or lost by a worker
        self._kept: dict[str, list[int]] = {}

    @property
    def some_again(self) -> bool:
        """Is there one that was begun, and has to be done again?"""
        return bool(self._again)

    def keeps(self, worker: str, blocks: Iterable[int]) -> list[int]:
        """What a worker has kept; those of it that nobody needs any more."""
        told = list(blocks)
        self._kept[worker] = [block for block in told if block not in self.done and block < self.most]
        return [block for block in told if block in self.done]

    def kept_by(self, worker: str) -> bool:
        """Has a worker kept blocks that may be needed?"""
        return bool(self._kept.get(worker))

    def gone(self, worker: str) -> None:
        """What it kept is gone with it."""
        self._kept.pop(worker, None)

    def lost(self, block: int) -> None:
        """A block that a worker did not finish."""
        if block not in self.done and block not in self._again:
            self._again.append(block)

    def has(self, block: int, guests: Iterable[str]) -> None:
        """The journal has a block."""
        self.had.setdefault(block, set()).update(guests)
        self.done.add(block)

    def missing(self, block: int, hopeful: Sequence[str]) -> list[str]:
        """The guests that a block still lacks, of those that are not given up."""
        had = self.had.get(block, set())
        return [guest for guest in hopeful if guest not in had]

    def from_kept(self, worker: str, flying: Collection[int]) -> tuple[int | None, list[int]]:
        """A block that this worker has kept and nobody else does or did; those that somebody does, on the way to it."""
        kept, of_others = self._kept.get(worker, []), []
        while kept:
            block = kept.pop()
            if block in self.done or block in flying:
                of_others.append(block)
                continue
            if block in self._again:
                self._again.remove(block)
            return block, of_others
        return None, of_others

    def following(self, flying: Collection[int]) -> int | None:
        """The next block that nobody does. Those that workers may still have kept come last."""
        if self._again:
            return self._again.pop(0)
        taken = {block for blocks in self._kept.values() for block in blocks} | set(flying)
        while self._next < self.most and self._next in self.done:
            self._next += 1
        return next((b for b in range(self._next, self.most) if b not in self.done and b not in taken), None)
