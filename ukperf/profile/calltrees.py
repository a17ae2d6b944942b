"""Call stacks as they are drawn and listed: trees of who calls whom, of several guests on the same nodes, and functions
with all that they call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ukperf.profile.figures import figure, percent
from ukperf.profile.hierarchy import REST, Bough
from ukperf.profile.model import WHOLE, Function, Profiled
from ukperf.profile.stacks import Growing, Stacks, joined, with_calls
from ukperf.reports.page import Cell, Column, Line, Part, Table, Tone

LEVELS = 48  # that are drawn; what is called below belongs to the last
_SAME = 0.001  # of all instructions: stacks and counts are as good as the same


def stacks_of(side: Profiled, window: str = WHOLE) -> Stacks | None:
    """The mean over boots; None where they were not followed in every boot."""
    trees = [boot.tree for boot in side.boots]
    known = [tree for tree in trees if tree is not None]
    if not known or len(known) < len(trees):
        return None
    kept = side.stacks.get(window)
    if not isinstance(kept, Stacks):
        kept = side.stacks[window] = joined(known, window)
    return kept


def together(sides: Sequence[Stacks], same: Callable[[Function], Function]) -> list[Stacks]:
    """With the same nodes. same: what a function is compared as."""
    growing = Growing()
    places: list[list[int]] = []
    for side in sides:
        mine = [0]
        for parent, function in zip(side.parents[1:], side.functions[1:], strict=True):
            assert function is not None
            mine.append(growing.below(mine[parent], same(function)))
        places.append(mine)
    size = len(growing.parents)
    return [
        Stacks(
            growing.parents,
            growing.functions,
            _moved(side.own, mine, size),
            _moved(side.calls, mine, size),
            side.truncated,
        )
        for side, mine in zip(sides, places, strict=True)
    ]


def _moved(values: Sequence[float], places: Sequence[int], size: int) -> list[float]:
    sums = [0.0] * size
    for value, place in zip(values, places, strict=True):
        sums[place] += value
    return sums


def tree_drawn(name: str, stacks: Stacks, least: float, changes: Sequence[tuple[float, float]] = ()) -> Bough:
    """The tree without what has fewer instructions than `least`. changes: of each node what it adds, and to what."""
    totals = stacks.totals()
    below: dict[int, list[int]] = {}
    for node in range(1, len(totals)):
        if totals[node] > 0:
            below.setdefault(stacks.parents[node], []).append(node)

    def node_drawn(node: int, level: int) -> Bough:
        function = stacks.functions[node]
        called = below.get(node, []) if level < LEVELS else []
        kept = [child for child in called if totals[child] >= least]
        small = [child for child in called if totals[child] < least]
        boughs = sorted((node_drawn(child, level + 1) for child in kept), key=lambda b: (-b.instructions, b.name))
        if small:
            boughs.append(_rest(small, totals, changes))
        return Bough(
            name if function is None else function.name or "(no symbols)",
            totals[node],
            tuple(boughs),
            leaves=len(called),
            part=None if function is None else function.part,
            change=changes[node] if changes else None,
        )

    return node_drawn(0, 0)


def _rest(nodes: Sequence[int], totals: Sequence[float], changes: Sequence[tuple[float, float]]) -> Bough:
    change = None
    if changes:
        change = sum(changes[node][0] for node in nodes), sum(changes[node][1] for node in nodes)
    return Bough(f"{len(nodes):,} {REST}", sum(totals[node] for node in nodes), leaves=len(nodes), change=change)


# ---- functions with what they call ----


def boots_with_calls(side: Profiled, window: str) -> dict[Function, tuple[int, ...]]:
    """function → its instructions with all that it calls, recursion counted once, in each boot."""
    each = [{f: round(w.instructions) for f, w in with_calls(joined([boot.tree], window)).items()}
            for boot in side.boots if boot.tree is not None]  # fmt: skip
    return {f: tuple(boot.get(f, 0) for boot in each) for f in dict.fromkeys(f for boot in each for f in boot)}


def called_parts(
    sides: Sequence[Profiled], window: str, most: int, cells: Callable[[Function], tuple[Cell, Cell]]
) -> Iterator[Part]:
    """The table of functions with what they call; nothing where no stacks were followed. cells: a function's name, and
    what it is in."""
    rows: list[tuple[Cell, ...]] = []
    said: list[Line] = []
    for side in sides:
        stacks = stacks_of(side, window)
        if stacks is None:
            continue
        whole = side.totals(window)
        own = with_calls(stacks)
        listed = sorted(boots_with_calls(side, window).items(), key=lambda row: (-sum(row[1]), row[0].order))
        for function, counts in listed[:most]:
            mine = percent(own[function].own * len(counts) / max(1, sum(whole))) if function in own else ""
            times = f"{own[function].calls:,.0f}" if function in own and own[function].calls else "–"
            value, spread, share = figure(counts, whole)
            rows.append((Cell(side.label), *cells(function), value, spread, share, Cell(mine), Cell(times)))
        said.append(Line(_agreeing(side, window, stacks), Tone.DIM))
    if not rows:
        return
    columns = (
        Column("guest", cuts=True),
        Column("function", cuts=True, least=16),
        Column("in", cuts=True),
        Column("with what it calls", right=True),
        Column("95 % interval", stays=True),
        Column("share", right=True),
        Column("own", right=True),
        Column("calls", right=True),
    )
    yield Table(columns, tuple(rows), grouped=True, corner="guest", keys=2)
    yield from said


def _agreeing(side: Profiled, window: str, stacks: Stacks) -> str:
    """How near the functions' own sums are to the counts."""
    share = apart(side, window, stacks)
    text = f"{side.label}: call stacks give "
    text += "every function" if share < _SAME else f"functions, but for {percent(share)} of the instructions,"
    text += " what the counts do."
    if stacks.truncated:
        text += f" {stacks.truncated:,.0f} instructions found no place in memory."
    return text


def apart(side: Profiled, window: str, stacks: Stacks) -> float:
    """The share of instructions that stacks give to another function than the counts."""
    counts = side.series(window)
    whole = max(1, sum(side.totals(window))) / len(side.boots)
    own = {function: one.own for function, one in with_calls(stacks).items()}
    off = sum(abs(sum(counts.get(f, (0,))) / len(side.boots) - own.get(f, 0.0)) for f in {*counts, *own})
    return off / 2 / whole


def called_said(side: Profiled, window: str) -> Mapping[str, object]:
    """For JSON: functions with what they call, and every chain of calls that has a thousandth."""
    stacks = stacks_of(side, window)
    if stacks is None:
        return {}
    totals = stacks.totals()
    own = with_calls(stacks)
    listed = sorted(boots_with_calls(side, window).items(), key=lambda row: (-sum(row[1]), row[0].order))
    chains = [node for node in range(1, len(totals)) if totals[node] >= totals[0] * _SAME]
    return {
        "apart": apart(side, window, stacks),
        "no_place": stacks.truncated,
        "functions": [
            {
                "part": f.part,
                "file": f.file,
                "name": f.name,
                "boots": counts,
                "own": own[f].own if f in own else 0.0,
                "calls": own[f].calls if f in own else 0.0,
            }
            for f, counts in listed
        ],
        "chains": [
            {
                "functions": [f.path for f in stacks.path(node)],
                "instructions": totals[node],
                "own": stacks.own[node],
                "calls": stacks.calls[node],
            }
            for node in chains
        ],
    }
