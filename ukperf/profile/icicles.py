"""Profiles as icicles: a row of slabs for each level, as wide as their instructions, every guest on one scale."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from ukperf.model import Unit
from ukperf.profile.calltrees import together, tree_drawn
from ukperf.profile.hierarchy import Bough, pruned, tree_of
from ukperf.profile.model import CodePart, Function
from ukperf.profile.stacks import Stacks
from ukperf.reports.page import Tone
from ukperf.reports.pictures import Icicle, IcicleRow, Slab, Words
from ukperf.reports.units import with_unit

_LEAST_SHARE = 0.0008  # of the widest guest: a slab that is less than a pixel wide shows nothing
_LEAST_CALLS = 0.002  # the same of call stacks, which are deep: a level that shows nothing only takes place
_PARTS = {part.value: f"s{at}" for at, part in enumerate(CodePart)}
_STEPS = (0.01, 0.1, 0.5)  # of the baseline: what a difference must be to have the next deeper colour
_ABOUT = (
    "From the top: guest, whose code it is, file or group of names, function; as wide as its instructions, all guests "
    "on one scale. There are no call stacks (--stacks follows them): what stands below a name is what it is made of, "
    "not what it calls."
)
_ABOUT_CALLS = (
    "From the top: guest, and who calls whom; as wide as its instructions with all that it calls, all guests on one "
    "scale. What no name stands below is a function's own."
)


def icicle(
    guests: Sequence[tuple[str, Mapping[Function, float]]],
    title: str,
    adds: Mapping[Function, tuple[float, float]] | None = None,
) -> Icicle | None:
    """None where nothing was executed. guests: label → instructions by function. adds: function → (what one side has
    more, what the baseline has), for colours; None: colours say whose code it is."""
    trees = [tree_of(label, counts) for label, counts in guests]
    widest = max((tree.instructions for tree in trees), default=0.0)
    if widest <= 0:
        return None
    drawn = [pruned(tree, widest * _LEAST_SHARE) for tree in trees]
    return _picture(drawn, title, _ABOUT, {f.part for _, counts in guests for f in counts}, adds)


def call_icicle(
    guests: Sequence[tuple[str, Stacks]], title: str, *, same: Callable[[Function], Function] | None = None
) -> Icicle | None:
    """The same of call stacks. same: the first is the baseline, whose difference to the second has colours; what a
    function is compared as."""
    sides = [stacks for _, stacks in guests]
    if same is not None:
        sides = together(sides, same)
    totals = [stacks.totals() for stacks in sides]
    widest = max((each[0] for each in totals), default=0.0)
    if widest <= 0:
        return None
    changes: Sequence[tuple[float, float]] = ()
    if same is not None:
        changes = [(other - one, one) for one, other in zip(*totals, strict=True)]
    labels = [label for label, _ in guests]
    trees = [tree_drawn(*side, widest * _LEAST_CALLS, changes) for side in zip(labels, sides, strict=True)]
    present = {function.part for stacks in sides for function in stacks.functions if function is not None}
    return _picture(trees, title, _ABOUT_CALLS, present, None if same is None else {})


def _picture(
    trees: Sequence[Bough],
    title: str,
    about: str,
    present: Collection[CodePart],
    adds: Mapping[Function, tuple[float, float]] | None,
) -> Icicle:
    widest = max(tree.instructions for tree in trees)
    rows = []
    for tree in trees:
        slabs = tuple(_slabs(tree, 0.0, 0, widest, tree.instructions, "", adds))
        words = (Words(with_unit(tree.instructions, Unit.INSTRUCTIONS), Tone.STRONG),)
        rows.append(IcicleRow(tree.name, slabs, words))
    keys = [(_PARTS[part.value], part.value) for part in CodePart if part in present]
    if adds is not None:
        keys = [("more3", "half as much again, and above"), ("more2", "from 10 % more"), ("more1", "from 1 % more")]
        keys += [("same", "the same within 1 %")]
        keys += [("less1", "from 1 % less"), ("less2", "from 10 % less"), ("less3", "from half less")]
    return Icicle(title.rstrip("."), tuple(rows), about, tuple(keys))


def _slabs(
    node: Bough,
    start: float,
    depth: int,
    widest: float,
    whole: float,
    css: str,
    adds: Mapping[Function, tuple[float, float]] | None,
) -> Iterator[Slab]:
    if node.part is not None:
        css = _PARTS[node.part.value]
    elif depth == 1:
        css = _PARTS.get(node.name, "same")
    share = node.instructions / whole if whole else 0.0
    said = f"{node.name}: {with_unit(node.instructions, Unit.INSTRUCTIONS)}, {100 * share:.2f} %"
    colour = css or "same"
    if adds is not None:
        more, had = _added(node, adds)
        colour = _coloured(more, had)
        said += f"; {'+' if more >= 0 else '−'}{with_unit(abs(more), Unit.INSTRUCTIONS)}" if more else "; no difference"
    yield Slab(start / widest, node.instructions / widest, depth, node.name, said, colour, node.instructions)
    for child in node.below:
        yield from _slabs(child, start, depth + 1, widest, whole, css, adds)
        start += child.instructions


def _added(node: Bough, adds: Mapping[Function, tuple[float, float]]) -> tuple[float, float]:
    """Sums over the functions of a node that are drawn."""
    if node.change is not None:
        return node.change
    if node.function is not None:
        return adds.get(node.function, (0.0, 0.0))
    each = [_added(child, adds) for child in node.below]
    return sum(more for more, _ in each), sum(had for _, had in each)


def _coloured(more: float, had: float) -> str:
    size = abs(more) / had if had > 0 else 1.0 if more else 0.0
    if more < 0:  # half less is a half, as half more is
        size = min(size, 1.0)
    step = sum(size >= least for least in _STEPS)
    return "same" if not step else f"{'more' if more > 0 else 'less'}{step}"
