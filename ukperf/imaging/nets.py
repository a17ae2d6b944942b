"""Networks as data: steps, weights, and what they give by NumPy in double precision.

Each writer of a format knows the steps and no network, so a network is written down once and every format has the same
weights. These come from a counter by integer arithmetic (`datasets.uniform`): every machine makes the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ukperf.imaging.datasets import uniform

ROWS = 256  # of inputs: as many as single predictions go round
NET_FILE, WEIGHTS_FILE = "net.json", "weights.bin"

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One operation. inputs, output: names of tensors; weights: of arrays. shape: the output's, of one row.

    dense: x·wᵀ + b over the last axis. relu.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class Net:
    """shape: of one row of the tensor `x`, with which it begins; the last step's output is what it gives."""

    name: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    weights: Mapping[str, Weights]

    def write(self, folder: Path) -> None:
        """As writers read it: what it is as JSON, and all weights after one another, little endian."""
        table, offset = {}, 0
        for name, array in self.weights.items():
            table[name] = {"shape": array.shape, "offset": offset}
            offset += array.nbytes
        steps = [asdict(step) for step in self.steps]
        about = {"name": self.name, "shape": self.shape, "steps": steps, "weights": table}
        (folder / NET_FILE).write_text(json.dumps(about), encoding="utf-8")
        little = (array.astype("<f4").tobytes() for array in self.weights.values())
        (folder / WEIGHTS_FILE).write_bytes(b"".join(little))

    def inputs(self) -> Weights:
        """Rows in [-1, 1)."""
        return _numbers(0, (ROWS, *self.shape), 1.0)

    def outputs(self, rows: Weights) -> Weights:
        """What it gives for rows: computed in double precision, rounded once."""
        tensors: dict[str, Floats] = {"x": rows.astype(np.float64)}
        for step in self.steps:
            parts = [tensors[name] for name in step.inputs]
            parts += [self.weights[name].astype(np.float64) for name in step.weights]
            tensors[step.output] = _REFERENCE[step.op](*parts)
        return tensors[self.steps[-1].output].astype(np.float32)


def _dense(x: Floats, w: Floats, b: Floats) -> Floats:
    product: Floats = x @ w.T + b
    return product


_REFERENCE: Mapping[str, Callable[..., Floats]] = {
    "dense": _dense,
    "relu": lambda x: np.maximum(x, 0.0),
}


def _numbers(stream: int, shape: tuple[int, ...], limit: float) -> Weights:
    """Numbers in [-limit, limit), the same wherever they are made."""
    numbers = (uniform(stream, math.prod(shape)) * 2.0 - 1.0) * limit
    return numbers.astype(np.float32).reshape(shape)


class _Builder:
    """Adds steps one behind the other, and makes the weights that they need."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.at, self.here = shape, "x", shape
        self.steps: list[Step] = []
        self.weights: dict[str, Weights] = {}

    def add(self, op: str, shape: tuple[int, ...], *weights: str, also: str | None = None) -> str:
        inputs = (self.at,) if also is None else (self.at, also)
        self.at, self.here = f"t{len(self.steps)}", shape
        self.steps.append(Step(op, inputs, self.at, shape, weights))
        return self.at

    def weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        """Scaled so that what comes out has the spread of what goes in (He et al. 2015, uniform)."""
        name = f"w{len(self.weights)}"
        self.weights[name] = _numbers(1 + len(self.weights), shape, math.sqrt(6.0 / fan_in))
        return name

    def dense(self, width: int) -> str:
        here = self.here[-1]
        weights = self.weight((width, here), here), self.weight((width,), 100)
        return self.add("dense", (*self.here[:-1], width), *weights)

    def relu(self) -> str:
        return self.add("relu", self.here)

    def net(self, name: str) -> Net:
        return Net(name, self.shape, tuple(self.steps), self.weights)


def mlp() -> Net:
    """8 → 512 → 512 → 10 with ReLU: 272,394 weights."""
    made = _Builder((8,))
    for width in (512, 512):
        made.dense(width)
        made.relu()
    made.dense(10)
    return made.net("mlp")


NETS: Mapping[str, Callable[[], Net]] = {"mlp": mlp}
