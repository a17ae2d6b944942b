"""Functions in a tree, without call stacks: guest → part → file or group of names → function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ukperf.profile.model import CodePart, Function

_STEM = re.compile(r"_*([A-Za-z][A-Za-z0-9]{1,23})_")
_LEAST_GROUP = 2  # functions that make a group
REST = "others"


@dataclass(frozen=True)
class Bough:
    """A node: its name, its instructions (with all below it), what is below it, the largest first. function: of a
    leaf; leaves: how many functions it stands for. part: whose
    code it is, in trees of calls; change: what one side has more, and what the baseline has."""

    name: str
    instructions: float
    below: tuple[Bough, ...] = ()
    function: Function | None = None
    leaves: int = 1
    part: CodePart | None = None
    change: tuple[float, float] | None = None

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Bough]]:
        """(names from the root on, its own the last, node), each before what is below it."""
        here = (*path, self.name)
        yield here, self
        for node in self.below:
            yield from node.walk(here)


def stem(function: Function) -> str:
    """The group of a function's name: `acpi` of `acpi_ns_lookup`, "" where it has none."""
    match = _STEM.match(function.name) if function.named else None
    return match[1] if match else ""


def tree_of(name: str, counts: Mapping[Function, float]) -> Bough:
    """counts: instructions by function; what has none is left out."""
    parts: dict[CodePart, dict[Function, float]] = {}
    for function, count in counts.items():
        if count > 0:
            parts.setdefault(function.part, {})[function] = count
    below = [_part(part, functions) for part, functions in parts.items()]
    return _node(name, below)


def _part(part: CodePart, functions: Mapping[Function, float]) -> Bough:
    files: dict[str, dict[Function, float]] = {}
    for function, count in functions.items():
        files.setdefault(function.file, {})[function] = count
    boughs: list[Bough] = []
    for file, inside in files.items():
        groups = _groups(inside)
        boughs += [_node(file, groups)] if file else groups
    return _node(part.value, boughs)


def _groups(functions: Mapping[Function, float]) -> list[Bough]:
    by_stem: dict[str, list[Bough]] = {}
    for function, count in functions.items():
        leaf = Bough(function.name or "(no symbols)", count, function=function)
        by_stem.setdefault(stem(function), []).append(leaf)
    boughs: list[Bough] = []
    for name, leaves in by_stem.items():
        if name and len(leaves) >= _LEAST_GROUP:
            boughs.append(_node(f"{name}_*", leaves))
        else:
            boughs += leaves
    return boughs


def _node(name: str, below: list[Bough]) -> Bough:
    ordered = tuple(sorted(below, key=lambda node: (-node.instructions, node.name)))
    return Bough(name, sum(node.instructions for node in ordered), ordered, leaves=sum(n.leaves for n in ordered))


def pruned(tree: Bough, least: float) -> Bough:
    """The tree without what has fewer instructions than `least`: siblings of that kind become one, "others"."""
    kept = [pruned(node, least) for node in tree.below if node.instructions >= least]
    small = [node for node in tree.below if node.instructions < least]
    if small:
        leaves = sum(node.leaves for node in small)
        kept.append(Bough(f"{leaves:,} {REST}", sum(node.instructions for node in small), leaves=leaves))
    return Bough(tree.name, tree.instructions, tuple(kept), tree.function, tree.leaves)
