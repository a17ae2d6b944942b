"""The plugin's own C code on this machine, told events: a machine that executes what a test says."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ukperf.imaging.compiler import compile_c
from ukperf.profile.flows import FIRST, Flow, read_flow
from ukperf.resources import data

HERE = Path(__file__).parent
FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover")
Event = tuple[str | int, ...]


def driver(folder: Path) -> Path:
    """flow.c with a main of ours."""
    sources = data("workloads", "profile")
    out = folder / "driver"
    flags = (*FLAGS, f"-I{sources}")
    compile_c([sources / "flow.c", HERE / "flowdriver.c"], out, flags, base=HERE)
    return out


def decoder(folder: Path) -> ctypes.CDLL:
    out = folder / "decode.so"
    compile_c([data("workloads", "profile", "decode.c")], out, ("-shared", "-fPIC", "-O1"), base=HERE)
    return ctypes.CDLL(str(out))


def flow_of(driver: Path, folder: Path, events: Sequence[Event], stacks: bool = True) -> Flow:
    text = "".join(" ".join(map(str, (*event, 0, 0, 0)[:4])) + "\n" for event in events)
    file = folder / "flow"
    command = [str(driver), str(file), *(["stacks"] if stacks else [])]
    subprocess.run(command, input=text.encode(), check=True, timeout=60)
    return read_flow(file)


def chain(flow: Flow, node: int) -> tuple[int, ...]:
    """The sites of its calls, the outermost first."""
    sites: list[int] = []
    while node >= FIRST:
        sites.append(int(flow.nodes[node]["site"]))
        node = int(flow.nodes[node]["parent"])
    return tuple(reversed(sites))


def spent(flow: Flow, window: int | None = None) -> dict[tuple[int, ...], int]:
    """Chain with the site of the event behind it → instructions."""
    sums: dict[tuple[int, ...], int] = {}
    for leaf in flow.leaves:
        if window is None or leaf["window"] == window:
            key = (*chain(flow, int(leaf["node"])), int(leaf["site"]))
            sums[key] = sums.get(key, 0) + int(leaf["instructions"])
    return {key: count for key, count in sums.items() if count}
