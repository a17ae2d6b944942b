"""Directed graphs as SVG and as DOT: boxes in columns from left to right, an arrow from each to what it needs.

Layers by the longest path, rows by the mean of the neighbours' rows (Sugiyama, Tagawa and Toda 1981), in pure Python:
graphviz need not be there, and the one pure-Python layout on PyPI (grandalf) is under the GPL or EPL and has had no
release since 2023. Meant for up to a few hundred boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from ukperf.reports.svg import tag, text, title
from ukperf.text import clean

_SWEEPS = 12
_ROW, _GAP, _BOX, _LETTER = 26, 64, 20, 7.1  # px: between rows, between columns, a box's height, a letter's width
_MOST_LETTERS = 44


@dataclass(frozen=True)
class Node:
    """label: what stands in its box; note: what a browser shows besides; group: its kind, which has a colour."""

    name: str
    label: str
    group: str = ""
    note: str = ""


@dataclass(frozen=True)
class Graph:
    """edges: from → to, by names. Those of unknown names are left out. groups: kind → CSS class of its boxes."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    groups: Mapping[str, str]

    def known_edges(self) -> list[tuple[str, str]]:
        names = {node.name for node in self.nodes}
        return [(a, b) for a, b in dict.fromkeys(self.edges) if a in names and b in names and a != b]


def dot(graph: Graph, name: str) -> str:
    """For graphviz: all edges."""
    lines = [f"digraph {_quoted(name)} {{", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    lines += [
        f"  {_quoted(node.name)} [label={_quoted(node.label)}, class={_quoted(node.group)}, "
        f"tooltip={_quoted(node.note)}];"
        for node in graph.nodes
    ]
    lines += [f"  {_quoted(a)} -> {_quoted(b)};" for a, b in graph.known_edges()]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(word: str) -> str:
    return json.dumps(clean(word), ensure_ascii=False)


def svg(graph: Graph, label: str) -> str:
    """The whole drawing. An arrow that follows from others is left out: what a needs by way of b is reached by way of
    b."""
    edges = _reduced([node.name for node in graph.nodes], _acyclic(graph.known_edges()))
    columns = _ordered(_layers([node.name for node in graph.nodes], edges), edges)
    nodes = {node.name: node for node in graph.nodes}
    places, width, height = _placed(columns, nodes)
    drawn = [_arrow(_path(edge, places)) for edge in edges]
    drawn += [_box(nodes[name], place, graph.groups) for name, place in places.items() if name in nodes]
    head = tag("path", d="M0 0L8 4L0 8z", class_="head")
    marker = tag(
        "marker", head, id="arrow", viewBox="0 0 8 8", refX=8, refY=4, markerWidth=7, markerHeight=7, orient="auto"
    )
    keys = [_key(group, css, 8 + 150 * i, height + 18) for i, (group, css) in enumerate(graph.groups.items())]
    width = max(width, 16 + 150 * len(keys))
    return tag(
        "svg",
        "".join([tag("defs", marker), *drawn, *keys]),
        viewBox=f"0 0 {width:.0f} {height + 34:.0f}",
        style=f"width:{width:.0f}px;max-width:none",
        class_="graph",
        role="img",
        aria_label=label,
        xmlns="http://www.w3.org/2000/svg",
    )


# ---- layout ----

_Edge = tuple[str, str]
_Place = tuple[float, float, float]  # x, y of the middle of its left side, width


def _acyclic(edges: Iterable[_Edge]) -> list[_Edge]:
    """Without edges that lead back: libc and its loader ask for each other."""
    kept: list[_Edge] = []
    reach: dict[str, set[str]] = {}
    for a, b in edges:
        if a == b or a in reach.get(b, ()):
            continue
        kept.append((a, b))
        below = {b, *reach.get(b, ())}
        for name, known in [*reach.items(), (a, reach.get(a, set()))]:
            if name == a or a in known:
                reach[name] = known | below
    return kept


def _reduced(names: Sequence[str], edges: Sequence[_Edge]) -> list[_Edge]:
    """Without edges that another way replaces."""
    after: dict[str, set[str]] = {name: set() for name in names}
    for a, b in edges:
        after[a].add(b)
    reach: dict[str, set[str]] = {}

    def below(name: str) -> set[str]:
        if name not in reach:
            reach[name] = set()
            reach[name] = after[name].union(*(below(other) for other in after[name]))
        return reach[name]

    return [(a, b) for a, b in edges if not any(b in below(other) for other in after[a] if other != b)]


def _layers(names: Sequence[str], edges: Sequence[_Edge]) -> list[list[str]]:
    """Each as far left as those that need it allow."""
    depth = dict.fromkeys(names, 0)
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            if depth[b] <= depth[a]:
                depth[b] = depth[a] + 1
                changed = True
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    return layers


def _bend(edge: _Edge, layer: int) -> str:
    return f"{edge[0]}\0{edge[1]}\0{layer}"


def _ordered(layers: list[list[str]], edges: Sequence[_Edge]) -> list[list[str]]:
    """The layers with the bends of long edges in between, each in an order with few crossings."""
    depth = {name: i for i, layer in enumerate(layers) for name in layer}
    columns = [list(layer) for layer in layers]
    beside: dict[str, list[str]] = {}
    for edge in edges:
        bends = [_bend(edge, layer) for layer in range(depth[edge[0]] + 1, depth[edge[1]])]
        for bend, layer in zip(bends, range(depth[edge[0]] + 1, depth[edge[1]]), strict=True):
            columns[layer].append(bend)
        way = [edge[0], *bends, edge[1]]
        for a, b in pairwise(way):
            beside.setdefault(a, []).append(b)
            beside.setdefault(b, []).append(a)
    for sweep in range(_SWEEPS):
        right = sweep % 2 == 0
        for i in range(1, len(columns)) if right else reversed(range(len(columns) - 1)):
            near = columns[i - 1 if right else i + 1]
            rows = {name: row / len(near) for row, name in enumerate(near)}
            means = {
                name: _mean(rows, beside.get(name, ()), row / len(columns[i])) for row, name in enumerate(columns[i])
            }
            columns[i].sort(key=means.__getitem__)
    return columns


def _mean(rows: Mapping[str, float], names: Iterable[str], otherwise: float) -> float:
    there = [rows[name] for name in names if name in rows]
    return sum(there) / len(there) if there else otherwise


def _shown(label: str) -> str:
    return label if len(label) <= _MOST_LETTERS else label[: _MOST_LETTERS - 1] + "…"


def _placed(columns: Sequence[Sequence[str]], nodes: Mapping[str, Node]) -> tuple[dict[str, _Place], float, float]:
    tallest = max((len(column) for column in columns), default=0) * _ROW
    places: dict[str, _Place] = {}
    x = 8.0
    for column in columns:
        boxes = {name: len(_shown(nodes[name].label)) * _LETTER + 14 for name in column if name in nodes}
        width = max(boxes.values(), default=0.0)
        top = 8 + (tallest - len(column) * _ROW) / 2
        for row, name in enumerate(column):
            places[name] = (x, top + row * _ROW + _ROW / 2, boxes.get(name, width))
        x += width + _GAP
    return places, x - _GAP + 8, tallest + 16


def _path(edge: _Edge, places: Mapping[str, _Place]) -> list[tuple[float, float]]:
    """From the right side of one box by the bends to the left side of the other."""
    start, end = places[edge[0]], places[edge[1]]
    points = [(start[0] + start[2], start[1])]
    bends = sorted(place for name, place in places.items() if name.startswith(f"{edge[0]}\0{edge[1]}\0"))
    for x, y, width in bends:
        points += [(x, y), (x + width, y)]
    return [*points, (end[0], end[1])]


def _arrow(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = points
    way = f"M{x:.0f} {y:.0f}"
    for i, (u, v) in enumerate(rest):
        middle = (x + u) / 2
        # between columns a curve, through a column a straight line
        way += f"C{middle:.0f} {y:.0f} {middle:.0f} {v:.0f} {u:.0f} {v:.0f}" if i % 2 == 0 else f"L{u:.0f} {v:.0f}"
        x, y = u, v
    return tag("path", d=way, class_="edge", marker_end="url(#arrow)")


def _box(node: Node, place: _Place, groups: Mapping[str, str]) -> str:
    x, y, width = place
    label = clean(_shown(node.label))
    rect = tag("rect", x=x, y=y - _BOX / 2, width=width, height=_BOX, rx=4, class_=f"box {groups.get(node.group, '')}")
    return tag("g", title(clean(node.note or node.label)) + rect + text(x + 7, y + 4, label))


def _key(group: str, css: str, x: float, y: float) -> str:
    swatch = tag("rect", x=x, y=y - 9, width=12, height=12, rx=3, class_=f"box {escape(css)}")
    return swatch + text(x + 17, y + 2, group, class_="t dim")
