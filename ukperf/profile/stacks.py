"""Call stacks of a boot as a tree of functions, from what the plugin followed (`flows`) and whose code it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ukperf.profile.flows import FIRST, WINDOWS, Flow
from ukperf.profile.model import START, CallTree, Function

_BACK = 8  # blocks before a place that may reach to it


@dataclass(frozen=True)
class Owned:
    """Counted blocks and whose each is, an index of `functions`. executed: instructions, [windows, blocks]."""

    address: NDArray[np.uint64]
    size: NDArray[np.uint32]
    executed: NDArray[np.uint64]
    owner: NDArray[np.int64]
    functions: Sequence[Function]

    def at(self, places: NDArray[np.uint64], windows: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Whose code lies at these places in these windows; -1: no block reaches there.

        Of several blocks at one address, which processes have one after the other, the one that was executed most in
        the window counts.
        """
        if not len(self.address):
            return np.full(len(places), -1, np.int64)
        order = np.lexsort((self.executed.sum(axis=0), self.address))
        address, size, owner = self.address[order], self.size[order].astype(np.uint64), self.owner[order]
        last = np.searchsorted(address, places, "right").astype(np.int64) - 1
        block = np.full(len(places), -1, np.int64)
        for back in range(_BACK):
            at = last - back
            near = np.maximum(at, 0)
            block = np.where((block < 0) & (at >= 0) & (places - address[near] < size[near]), at, block)
        owners = np.where(block >= 0, owner[np.maximum(block, 0)], -1)
        first = np.searchsorted(address, address, "left")  # of those at the same address
        mixed = np.zeros(len(address), bool)
        np.logical_or.at(mixed, first, owner != owner[first])
        for place in np.flatnonzero((block >= 0) & mixed[first[np.maximum(block, 0)]]).tolist():
            low = int(first[block[place]])
            high = int(np.searchsorted(address, address[block[place]], "right"))
            window = min(int(windows[place]), len(self.executed) - 1)
            owners[place] = owner[low + int(np.argmax(self.executed[window, order[low:high]]))]
        return owners


def tree_of_calls(flow: Flow, owned: Owned, windows: Sequence[str], unnamed: Function) -> CallTree | None:
    """None where no stacks were followed. windows: of the same boot's counts; where those are fewer, the last has all
    that follows. unnamed: stands for code of which nothing is known."""
    if not flow.followed:
        return None
    sites = np.concatenate([flow.nodes["site"], flow.leaves["site"]])
    seen = np.concatenate([flow.nodes["window"], flow.leaves["window"]])
    places, inverse = np.unique(sites, return_inverse=True)
    keys, inverse = np.unique(inverse.reshape(-1) * WINDOWS + seen, return_inverse=True)
    whose = owned.at(places[keys // WINDOWS], (keys % WINDOWS).astype(np.uint32))
    owners = whose[inverse.reshape(-1)].tolist()
    functions = [*owned.functions, unnamed]  # -1 is the last
    growing = Growing()
    of_node = [0] * len(flow.nodes)
    for node, parent in enumerate(flow.nodes["parent"][FIRST:].tolist(), FIRST):
        of_node[node] = growing.below(of_node[parent], functions[owners[node]])
    names = tuple(window or START for window in windows)
    spent: dict[str, dict[int, int]] = {name: {} for name in names}
    times: dict[str, dict[int, int]] = {name: {} for name in names}
    calls = {(p, s): node for node, (s, p, _) in enumerate(flow.nodes.tolist()) if node >= FIRST}
    callee: dict[int, int] = {}  # a chain of calls → the function that was called, by what it executed first
    leaves = flow.leaves.tolist()
    at = [
        growing.below(of_node[leaf[3]], functions[owner])
        for leaf, owner in zip(leaves, owners[len(flow.nodes) :], strict=True)
    ]
    for leaf, place in zip(leaves, at, strict=True):
        if leaf[0]:
            callee.setdefault(leaf[3], place)
    at = [callee.get(leaf[3], place) if not leaf[0] else place for leaf, place in zip(leaves, at, strict=True)]
    for (site, instructions, events, node, window), place in zip(leaves, at, strict=True):
        name = names[min(window, len(names) - 1)]
        spent[name][place] = spent[name].get(place, 0) + instructions
        called = callee.get(calls.get((node, site), -1))
        if called is not None:
            times[name][called] = times[name].get(called, 0) + events
    truncated = dict.fromkeys(names, 0)
    for window, count in enumerate(flow.truncated.tolist()):
        truncated[names[min(window, len(names) - 1)]] += count
    return CallTree(tuple(growing.parents), tuple(growing.functions), spent, times, truncated)


class Growing:
    def __init__(self) -> None:
        self.parents = [-1]
        self.functions: list[Function | None] = [None]
        self._known: dict[tuple[int, Function], int] = {}

    def below(self, parent: int, function: Function) -> int:
        """Code without names is one function: what it calls of itself says nothing."""
        if not function.named and self.functions[parent] == function:
            return parent
        key = parent, function
        if key not in self._known:
            self._known[key] = len(self.parents)
            self.parents.append(parent)
            self.functions.append(function)
        return self._known[key]


@dataclass(frozen=True)
class Stacks:
    """Call trees of boots as one, in a window. parents: of each node, before it; the first is the root. own, calls:
    means over boots."""

    parents: Sequence[int]
    functions: Sequence[Function | None]
    own: Sequence[float]
    calls: Sequence[float]
    truncated: float

    def totals(self) -> list[float]:
        """Of each node with all that it calls."""
        sums = list(self.own)
        for node in range(len(sums) - 1, 0, -1):
            sums[self.parents[node]] += sums[node]
        return sums

    def path(self, node: int) -> list[Function]:
        """The outermost first."""
        names: list[Function] = []
        while (function := self.functions[node]) is not None:
            names.append(function)
            node = self.parents[node]
        return names[::-1]

    def outermost(self) -> Iterator[int]:
        """The nodes whose function is not among those that called it."""
        above: list[frozenset[Function]] = []
        for parent, function in zip(self.parents, self.functions, strict=True):
            inherited = above[parent] if parent >= 0 else frozenset()
            if function is not None and function not in inherited:
                yield len(above)
                inherited = inherited | {function}
            above.append(inherited)


def joined(trees: Sequence[CallTree], window: str) -> Stacks:
    """Mean over boots; window: WHOLE: all. Raises KeyError for no window."""
    growing = Growing()
    own: dict[int, int] = {}
    calls: dict[int, int] = {}
    for tree in trees:
        places = [0]
        for parent, function in zip(tree.parents[1:], tree.functions[1:], strict=True):
            assert function is not None
            places.append(growing.below(places[parent], function))
        for node, count in tree.in_window(tree.spent, window).items():
            own[places[node]] = own.get(places[node], 0) + count
        for node, count in tree.in_window(tree.times, window).items():
            calls[places[node]] = calls.get(places[node], 0) + count
    boots, size = max(1, len(trees)), len(growing.parents)
    lost = sum(sum(tree.truncated.values()) if not window else tree.truncated[window] for tree in trees)
    return Stacks(
        growing.parents,
        growing.functions,
        [own.get(node, 0) / boots for node in range(size)],
        [calls.get(node, 0) / boots for node in range(size)],
        lost / boots,
    )


@dataclass(frozen=True)
class WithCalls:
    """A function with all that it calls, recursion counted once."""

    function: Function
    instructions: float
    own: float
    calls: float


def with_calls(stacks: Stacks) -> dict[Function, WithCalls]:
    totals = stacks.totals()
    sums: dict[Function, float] = {}
    for node in stacks.outermost():
        function = stacks.functions[node]
        assert function is not None
        sums[function] = sums.get(function, 0.0) + totals[node]
    own: dict[Function, float] = {}
    calls: dict[Function, float] = {}
    for function, spent, times in zip(stacks.functions, stacks.own, stacks.calls, strict=True):
        if function is not None:
            own[function] = own.get(function, 0.0) + spent
            calls[function] = calls.get(function, 0.0) + times
    return {f: WithCalls(f, count, own[f], calls[f]) for f, count in sums.items() if count}
