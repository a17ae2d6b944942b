"""The paper's two classifiers, small: fitted by scikit-learn in a process of its own, on data that is made here.

Their pickle is for guests, and never loaded on this machine; what all other formats are made from are arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ukperf.imaging.datasets import splitmix64, uniform
from ukperf.imaging.forests import Forest
from ukperf.imaging.nets import ROWS, Net, Step, Weights

TRAIN_ROWS = 600
PICKLE, X_FILE, Y_FILE = "model.pkl", "x.npy", "y.npy"
WORDS, TOPICS = 64, 5  # of nb: columns and classes
COLUMNS, CLASSES = 16, 4  # of trees

Labels = npt.NDArray[np.int32]


def _documents(stream: int, count: int) -> tuple[Weights, Labels]:
    """Counts of words, as MultinomialNB wants them; each topic has some words a little more often."""
    labels = (np.arange(count) % TOPICS).astype(np.int32)
    own = np.arange(WORDS)[None, :] % TOPICS == labels[:, None]
    u = uniform(stream, count * WORDS).reshape(count, WORDS)
    return np.floor(u * u * u * np.where(own, 2.6, 1.8)).astype(np.float32), labels


def _points(stream: int, count: int) -> tuple[Weights, Labels]:
    """Rows in [-1, 1) whose class is the quadrant of two of their curves; a quarter are of any class."""
    x = (uniform(stream, count * COLUMNS) * 2 - 1).astype(np.float32).reshape(count, COLUMNS)
    quadrant = 2 * (x[:, 0] + x[:, 1] * x[:, 2] > 0) + (x[:, 3] > x[:, 4])
    stray = (splitmix64(stream + 1, count) >> np.uint64(33)).astype(np.int64)
    return x, np.where(uniform(stream + 2, count) < 0.25, stray % CLASSES, quadrant).astype(np.int32)


_DATA: Mapping[str, Callable[[int, int], tuple[Weights, Labels]]] = {"nb": _documents, "trees": _points}


def save_training(name: str, folder: Path) -> None:
    """What workloads/models/fit.py fits to. Raises OSError."""
    x, y = _DATA[name](200, TRAIN_ROWS)
    np.save(folder / X_FILE, x, allow_pickle=False)
    np.save(folder / Y_FILE, y, allow_pickle=False)


def rows_of(name: str) -> Weights:
    """Rows to predict, which were not trained on."""
    return _DATA[name](300, ROWS)[0]


def read(name: str, folder: Path) -> Net | Forest:
    """The classifier as data, from the arrays that fit.py left. Raises OSError and ValueError."""

    def array(part: str) -> npt.NDArray[np.generic]:
        loaded: npt.NDArray[np.generic] = np.load(folder / f"{part}.npy", allow_pickle=False)
        return loaded

    if name == "trees":
        parts = {part: array(part) for part in ("column", "threshold", "left", "right", "leaves", "roots")}
        return Forest(name, COLUMNS, **parts)  # type: ignore[arg-type]
    weights = {"w": array("w").astype(np.float32), "b": array("b").astype(np.float32)}
    # log P(class) + Σ count · log P(word | class), and its share of all classes': a dense layer and a softmax
    steps = (Step("dense", ("x",), "joint", (TOPICS,), ("w", "b")), Step("softmax", ("joint",), "shares", (TOPICS,)))
    return Net(name, (WORDS,), steps, weights)
