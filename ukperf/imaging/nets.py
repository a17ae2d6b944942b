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

    dense: x·wᵀ + b over the last axis. conv: 3 × 3 around each point, weights (out, in, 3, 3), zeros beyond the edge.
    pool: the greatest of each 2 × 2. flatten. relu. softmax, norm: over the last axis; norm with 1e-5 added to the
    variance. add, matmul: of two tensors. scores: a·bᵀ · value. split: (s, h·d) → (h, s, d), value: h. merge: back.
    mean: over the first axis of a row.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    weights: tuple[str, ...] = ()
    value: float = 0.0


@dataclass(frozen=True)
class Net:
    """shape: of one row of the tensor `x`, with which it begins; the last step's output is what it gives."""

    name: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    weights: Mapping[str, Weights]

    def write(self, folder: Path) -> None:
        """As writers read it (workloads/models/netfile.py). Raises OSError."""
        steps = [asdict(step) for step in self.steps]
        write_down({"name": self.name, "shape": self.shape, "steps": steps}, self.weights, folder)

    def outputs(self, rows: Weights) -> Weights:
        """What it gives for rows: computed in double precision, rounded once."""
        tensors: dict[str, Floats] = {"x": rows.astype(np.float64)}
        for step in self.steps:
            parts = [tensors[name] for name in step.inputs]
            parts += [self.weights[name].astype(np.float64) for name in step.weights]
            value = (step.value,) if step.op in _VALUED else ()
            tensors[step.output] = _REFERENCE[step.op](*parts, *value)
        return tensors[self.steps[-1].output].astype(np.float32)


def write_down(about: Mapping[str, object], arrays: Mapping[str, npt.NDArray[np.generic]], folder: Path) -> None:
    """What a model is as JSON, and all its arrays after one another, little endian. Raises OSError."""
    table: dict[str, object] = {}
    parts: list[bytes] = []
    for name, array in arrays.items():
        content = array.astype(array.dtype.newbyteorder("<"))
        table[name] = {"shape": array.shape, "type": content.dtype.str, "offset": sum(map(len, parts))}
        parts.append(content.tobytes())
    (folder / NET_FILE).write_text(json.dumps({**about, "weights": table}), encoding="utf-8")
    (folder / WEIGHTS_FILE).write_bytes(b"".join(parts))


# -- what steps do -----------------------------------------------------------------------------------------------------


def _conv(x: Floats, w: Floats, b: Floats) -> Floats:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums: Floats = np.moveaxis(np.tensordot(windows, w, axes=([1, 4, 5], [1, 2, 3])), 3, 1)
    return sums + b[:, None, None]


def _pool(x: Floats) -> Floats:
    rows, channels, height, width = x.shape
    greatest: Floats = x.reshape(rows, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    return greatest


def _softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _norm(x: Floats, gain: Floats, bias: Floats) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled: Floats = centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * gain + bias


def _split(x: Floats, heads: float) -> Floats:
    rows, places, width = x.shape
    return x.reshape(rows, places, int(heads), width // int(heads)).transpose(0, 2, 1, 3)


def _merge(x: Floats) -> Floats:
    rows, heads, places, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(rows, places, heads * width)


_REFERENCE: Mapping[str, Callable[..., Floats]] = {
    "dense": lambda x, w, b: x @ w.T + b,
    "conv": _conv,
    "pool": _pool,
    "flatten": lambda x: x.reshape(len(x), -1),
    "relu": lambda x: np.maximum(x, 0.0),
    "softmax": _softmax,
    "norm": _norm,
    "add": lambda x, y: x + y,
    "matmul": lambda x, y: x @ y,
    "scores": lambda x, y, factor: x @ y.swapaxes(-1, -2) * factor,
    "split": _split,
    "merge": _merge,
    "mean": lambda x: x.mean(axis=1),
}
_VALUED = ("scores", "split")  # operations that want the step's value


# -- networks ----------------------------------------------------------------------------------------------------------


def inputs(shape: tuple[int, ...]) -> Weights:
    """Rows in [-1, 1), each of this shape."""
    return _numbers(0, (ROWS, *shape), 1.0)


def _numbers(stream: int, shape: tuple[int, ...], limit: float) -> Weights:
    """Numbers in [-limit, limit), the same wherever they are made."""
    numbers = (uniform(stream, math.prod(shape)) * 2.0 - 1.0) * limit
    return numbers.astype(np.float32).reshape(shape)


class _Builder:
    """Adds steps one behind the other, and makes the weights that they need. at: the last one's output."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.at, self.here = shape, "x", shape
        self.steps: list[Step] = []
        self.weights: dict[str, Weights] = {}

    def add(self, op: str, shape: tuple[int, ...], *weights: str, also: str | None = None, value: float = 0.0) -> str:
        """A step behind the last one. also: its second input. Returns the name of its output."""
        inputs = (self.at,) if also is None else (self.at, also)
        self.at, self.here = f"t{len(self.steps)}", shape
        self.steps.append(Step(op, inputs, self.at, shape, weights, value))
        return self.at

    def back(self, name: str) -> None:
        """The next step is behind that of this output."""
        self.at = name
        self.here = next((step.shape for step in self.steps if step.output == name), self.shape)

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

    def conv_relu_pool(self, channels: int) -> None:
        before, height, width = self.here
        weights = self.weight((channels, before, 3, 3), 9 * before), self.weight((channels,), 100)
        self.add("conv", (channels, height, width), *weights)
        self.relu()
        self.add("pool", (channels, height // 2, width // 2))

    def norm(self) -> str:
        name = self.weight(self.here[-1:], 100)
        self.weights[name] = 1 + self.weights[name]
        return self.add("norm", self.here, name, self.weight(self.here[-1:], 100))

    def attention(self, heads: int) -> None:
        """Every place looks at every place, in each of the heads."""
        start, (places, width) = self.at, self.here
        each = width // heads
        parts = []
        for _ in range(3):
            self.back(start)
            self.dense(width)
            parts.append(self.add("split", (heads, places, each), value=heads))
        queries, keys, values = parts
        self.back(queries)
        self.add("scores", (heads, places, places), also=keys, value=1 / math.sqrt(each))
        self.add("softmax", self.here)
        self.add("matmul", (heads, places, each), also=values)
        self.add("merge", (places, width))
        self.dense(width)

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


def cnn() -> Net:
    """Pictures of 28 × 28 points through two convolutions, as for handwritten digits: 9,098 weights."""
    made = _Builder((1, 28, 28))
    made.conv_relu_pool(8)
    made.conv_relu_pool(16)
    made.add("flatten", (math.prod(made.here),))
    made.dense(10)
    return made.net("cnn")


def transformer() -> Net:
    """One block of an encoder (Vaswani et al. 2017) over 16 places of 64 numbers, with 4 heads, and a classifier."""
    made = _Builder((16, 64))
    made.attention(4)
    made.add("add", made.here, also="x")
    middle = made.norm()
    made.dense(256)
    made.relu()
    made.dense(64)
    made.add("add", made.here, also=middle)
    made.norm()
    made.add("mean", made.here[1:])
    made.dense(10)
    return made.net("transformer")


NETS: Mapping[str, Callable[[], Net]] = {"mlp": mlp, "cnn": cnn, "transformer": transformer}
