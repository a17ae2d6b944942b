"""How one boot went through its code: system calls by number, and call stacks, as workloads/profile/flow.c writes them.

The plugin's file is a mapping of fixed size, mostly holes; what is kept has the same layout without the room that
nothing is in, compressed.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ukperf.files import open_regular, write_atomically

MAGIC = b"ukflow\0\0"
VERSION = 1
HEADER = 4096
WINDOWS, NUMBERS, NODES, LEAVES = 512, 512, 1 << 20, 1 << 20  # as the plugin has them
UNKNOWN = NUMBERS - 1  # stands for numbers that the plugin could not see
ROOT, TRUNCATED, FIRST = 0, 1, 2  # nodes: that of who called nobody knows; of what found no place; the first call
DEEPEST = 4096  # calls in one chain: the plugin keeps 512 of a stack, and a kernel's stack goes on a program's
# magic, version, header's bytes, room for windows, numbers, nodes and leaves; windows, nodes and leaves in use, more,
# total, settled, cut, stacks
_HEADER = struct.Struct("<8s10I4Q")
_TALLY = np.dtype([("times", "<u8"), ("instructions", "<u8")])
_NODE = np.dtype([("site", "<u8"), ("parent", "<u4"), ("window", "<u4")])
_LEAF = np.dtype([("site", "<u8"), ("instructions", "<u8"), ("times", "<u8"), ("node", "<u4"), ("window", "<u4")])
_ROOM = HEADER + 8 * WINDOWS + 16 * WINDOWS * NUMBERS + 16 * NODES + 32 * LEAVES
_MOST = 1 << 62  # instructions: more have never been executed by anything


@dataclass(frozen=True)
class Flow:
    """calls: [windows, NUMBERS] of (times, instructions). nodes: a chain of calls each: the site of the last call, the
    chain before it, and in which window it came up; their first two are no calls. leaves: instructions and events by
    (window, node, site): those that ended at `site`, called by the chain `node`; site 0: somewhere in what that chain
    called. truncated: [windows] instructions that
    found no place. total: instructions; what of them is in no leaf, nor truncated, came after the last event. cut:
    calls too deep to be followed; stacks: how many were seen, 0 where none were followed."""

    calls: NDArray[np.void]
    nodes: NDArray[np.void]
    leaves: NDArray[np.void]
    truncated: NDArray[np.uint64]
    total: int
    cut: int = 0
    stacks: int = 0

    @property
    def followed(self) -> bool:
        """Were call stacks followed?"""
        return len(self.nodes) > 0


def read_flow(path: Path) -> Flow:
    """Raises ValueError for what neither the plugin nor `write_flow` wrote, OSError for what is no regular file or
    cannot be read."""
    with open_regular(path) as file:
        packed = file.read(2)
        file.seek(0)
        data = file.read(_ROOM + 1)
    return _decoded(_unpacked(data) if packed == b"\x1f\x8b" else data)


def _unpacked(data: bytes) -> bytes:
    try:
        inflating = zlib.decompressobj(wbits=31)
        text = inflating.decompress(data, _ROOM + 1)
    except zlib.error as error:
        raise ValueError(f"the flow is damaged: {error}") from error
    if not inflating.eof:
        raise ValueError("the flow is cut short, or too large")
    return text


def _decoded(data: bytes) -> Flow:
    if len(data) < HEADER:
        raise ValueError(f"{len(data)} bytes are no flow")
    magic, version, header, windows_room, numbers, nodes_room, leaves_room, *rest = _HEADER.unpack_from(data)
    windows, nodes, leaves, more, total, settled, cut, stacks = rest
    if (magic, version, header, numbers, more) != (MAGIC, VERSION, HEADER, NUMBERS, 0):
        raise ValueError("the flow is not of the plugin's format")
    if not (
        0 < windows <= windows_room <= WINDOWS and nodes <= nodes_room <= NODES and leaves <= leaves_room <= LEAVES
    ):
        raise ValueError(f"{windows} windows, {nodes} nodes and {leaves} leaves cannot be")
    if len(data) != HEADER + (8 + 16 * NUMBERS) * windows_room + 16 * nodes_room + 32 * leaves_room:
        raise ValueError("the flow's length is not what its beginning says")
    if not settled <= total <= _MOST or 0 < nodes < FIRST:
        raise ValueError("the flow's sums cannot be")
    at = HEADER
    truncated = np.frombuffer(data, "<u8", windows, at)
    at += 8 * windows_room
    calls = np.frombuffer(data, _TALLY, windows * NUMBERS, at).reshape(windows, NUMBERS)
    at += 16 * NUMBERS * windows_room
    flow = Flow(
        calls,
        np.frombuffer(data, _NODE, nodes, at),
        np.frombuffer(data, _LEAF, leaves, at + 16 * nodes_room),
        truncated,
        total,
        cut,
        stacks,
    )
    _check_sums(flow)
    _check_chains(flow, windows)
    return flow


def _check_sums(flow: Flow) -> None:
    """Raises ValueError for more than was executed; as floats, which do not run over."""
    leaves = float(flow.leaves["instructions"].astype(np.float64).sum() + flow.truncated.astype(np.float64).sum())
    events = float(flow.leaves["times"].astype(np.float64).sum())
    calls = [float(flow.calls[name].astype(np.float64).sum()) for name in ("times", "instructions")]
    if max(leaves, events, *calls) > flow.total * (1 + 1e-9) + 1:
        raise ValueError("the flow has more instructions than were executed")


def _check_chains(flow: Flow, windows: int) -> None:
    """Raises ValueError where chains of calls do not end, or name what is not there."""
    nodes, leaves = flow.nodes, flow.leaves
    if not flow.followed:
        if len(leaves):
            raise ValueError("the flow has leaves without nodes")
        return
    parents = nodes["parent"][FIRST:]
    if (parents >= np.arange(FIRST, len(nodes))).any() or (parents == TRUNCATED).any():
        raise ValueError("a call in the flow comes before its caller's")
    if (nodes["window"] >= windows).any() or (leaves["window"] >= windows).any():
        raise ValueError("the flow names windows that are not there")
    if (leaves["node"] >= len(nodes)).any() or (leaves["node"] == TRUNCATED).any():
        raise ValueError("the flow names calls that are not there")
    depth = np.zeros(len(nodes), np.int64)
    for at, parent in enumerate(parents.tolist(), FIRST):
        depth[at] = depth[parent] + 1
    if depth.max() > DEEPEST:
        raise ValueError("calls in the flow are too deep")


def write_flow(flow: Flow, path: Path) -> None:
    """Keeps a flow: some KiB without stacks, some MiB with them."""
    write_atomically(path, encoded(flow))


def encoded(flow: Flow) -> bytes:
    """The bytes of that file: the same for the same flow."""
    windows = len(flow.truncated)
    rooms = (windows, NUMBERS, len(flow.nodes), len(flow.leaves), windows, len(flow.nodes), len(flow.leaves), 0)
    head = _HEADER.pack(MAGIC, VERSION, HEADER, *rooms, flow.total, flow.total, flow.cut, flow.stacks)
    arrays = (flow.truncated.astype("<u8"), flow.calls, flow.nodes, flow.leaves)
    return gzip.compress(head.ljust(HEADER, b"\0") + b"".join(a.tobytes() for a in arrays), 6, mtime=0)
