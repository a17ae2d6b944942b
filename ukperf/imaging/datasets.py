"""Data sets for the scikit-learn workload, as folders of .npy arrays that guests read without a pickle.

`synthetic` stands in for 20 newsgroups (scikit-learn's fetch_20newsgroups_vectorized): its shape, sparsity, Zipf-like
columns and 20 classes, and hard enough that classifiers differ. It is made from a counter by integer arithmetic
(splitmix64) and correctly rounded operations only, so every machine and every NumPy makes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from ukperf.decode import SHA256, decode_stored, encode
from ukperf.errors import UkperfError
from ukperf.files import open_regular, read_json, reason
from ukperf.text import shell

TRAIN_ROWS, TEST_ROWS, COLUMNS, CLASSES = 11_314, 7_532, 130_107, 20  # 20 newsgroups, by date
FACTS = "facts.json"
FORMAT = 1  # of it

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Matrix:
    """Rows of one part. CSR arrays (float32 values, int32 indices sorted in each row), or `dense` (float32, 2-D)."""

    shape: tuple[int, int]
    data: npt.NDArray[np.float32] | None = None
    indices: npt.NDArray[np.int32] | None = None
    indptr: npt.NDArray[np.int32] | None = None
    dense: npt.NDArray[np.float32] | None = None

    @property
    def nnz(self) -> int:
        """Stored values."""
        return int(self.data.size if self.data is not None else self.shape[0] * self.shape[1])


@dataclass(frozen=True)
class Part:
    rows: Matrix
    labels: npt.NDArray[np.int32]  # one class number a row


@dataclass(frozen=True)
class Dataset:
    name: str
    train: Part
    test: Part

    @property
    def classes(self) -> int:
        """Number of different labels."""
        return int(np.unique(np.concatenate([self.train.labels, self.test.labels])).size)


@dataclass(frozen=True)
class DataFacts:
    """facts.json: what a record says of the data. train, test: rows, columns."""

    digest: Annotated[str, SHA256]  # over names and contents of the arrays
    name: str
    train: tuple[int, int]
    test: tuple[int, int]
    train_values: int  # that are stored
    test_values: int
    classes: int


# -- random numbers ----------------------------------------------------------------------------------------------------


def splitmix64(start: int, count: int) -> Words:
    """count 64-bit numbers of the stream `start`, by position (Steele, Lea, Flood 2014: SplitMix)."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(start << 34)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: Words = z ^ (z >> np.uint64(31))
        return mixed


def uniform(stream: int, count: int) -> Floats:
    """count numbers in [0, 1), 53 bits each."""
    numbers: Floats = (splitmix64(stream, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def zipf_cdf(columns: int, shift: float) -> Floats:
    """Cumulative probabilities of ranks under Zipf–Mandelbrot's law with exponent 1: p ∝ 1 / (rank + shift)."""
    total = np.cumsum(1.0 / (np.arange(columns, dtype=np.float64) + shift))
    cdf: Floats = total / total[-1]
    return cdf


# -- synthetic ---------------------------------------------------------------------------------------------------------

TOPICAL = 0.17  # share of a document's words that come from a topic's vocabulary, not from everybody's
STRAY = 0.46  # share of its topical words that belong to another topic
TOPIC_SHARE = 0.05  # of all columns, the vocabulary of one topic


def check_scale(scale: float) -> None:
    """Raises UkperfError outside (0, 4]."""
    if not 0 < scale <= 4:
        raise UkperfError(f"A scale of {scale:g} makes no sense.", hint="Give a number above 0 and up to 4.")


def synthetic(scale: float = 1.0, seed: int = 20) -> Dataset:
    """The stand-in; scale multiplies rows and columns. Raises UkperfError for a scale outside (0, 4]."""
    check_scale(scale)
    columns = max(200, round(COLUMNS * scale))
    # Fewer documents teach less: a small set gets clearer topics, so that accuracy still means something.
    topical = min(0.6, TOPICAL / math.sqrt(math.sqrt(scale)))
    train = _documents(max(4 * CLASSES, round(TRAIN_ROWS * scale)), columns, topical, seed * 16)
    test = _documents(max(2 * CLASSES, round(TEST_ROWS * scale)), columns, topical, seed * 16 + 8)
    return Dataset(f"synthetic-{scale:g}", train, test)


def _documents(count: int, columns: int, topical: float, stream: int) -> Part:
    labels = (np.arange(count, dtype=np.int64) * 7 + np.arange(count) // CLASSES) % CLASSES
    # Heavy-tailed lengths, as in a newsgroup: 1/u - 1 has no mean; cut at 3,000 words.
    u = uniform(stream, count)
    lengths = (46 + np.minimum(26.0 / (1.0 - u), 3000.0)).astype(np.int64)
    owner = np.repeat(np.arange(count, dtype=np.int64), lengths)
    words = owner.size
    kind = uniform(stream + 1, words)
    common = np.searchsorted(zipf_cdf(columns, 2.7), uniform(stream + 2, words), side="right")
    vocabulary = max(20, round(columns * TOPIC_SHARE))
    rank = np.searchsorted(zipf_cdf(vocabulary, 30.0), uniform(stream + 3, words), side="right")
    stray = uniform(stream + 4, words) < STRAY
    other = (splitmix64(stream + 5, words) >> np.uint64(33)).astype(np.int64) % CLASSES
    topic = np.where(stray, other, labels[owner])
    # Each topic's vocabulary is its own scatter of columns; topics overlap where scatters do.
    of_topic = (rank * (2 * CLASSES + 1) + topic * 7919 + topic * topic * 104_729) % columns
    column = np.where(kind >= topical, np.minimum(common, columns - 1), of_topic)
    return Part(counted(owner * columns + column, count, columns), labels.astype(np.int32))


def counted(keys: npt.NDArray[np.int64], rows: int, columns: int) -> Matrix:
    """Word counts per document, each row of length 1 (Euclid), from one key row * columns + column for each word."""
    cells, counts = np.unique(keys, return_counts=True)
    row = cells // columns
    squares = np.bincount(row, weights=(counts * counts).astype(np.float64), minlength=rows)
    data = (counts / np.sqrt(squares)[row]).astype(np.float32)
    indptr = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(np.bincount(row, minlength=rows), out=indptr[1:])
    return Matrix((rows, columns), data, (cells % columns).astype(np.int32), indptr)


# -- folders -----------------------------------------------------------------------------------------------------------


def arrays(dataset: Dataset) -> Mapping[str, npt.NDArray[np.generic]]:
    """File names without .npy and their arrays, as workloads/sklearn/bench.py reads them."""
    out: dict[str, npt.NDArray[np.generic]] = {}
    for name, part in (("train", dataset.train), ("test", dataset.test)):
        m = part.rows
        out[f"{name}_y"] = part.labels
        if m.dense is not None:
            out[f"{name}_dense"] = m.dense
            continue
        assert m.data is not None and m.indices is not None and m.indptr is not None
        out |= {f"{name}_data": m.data, f"{name}_indices": m.indices, f"{name}_indptr": m.indptr}
        out[f"{name}_shape"] = np.asarray(m.shape, dtype=np.int64)
    return out


def write(dataset: Dataset, folder: Path) -> str:
    """Write the arrays and facts.json; returns the data's sha256 (over names and contents, in the order of names)."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for name, array in sorted(arrays(dataset).items()):
        path = folder / f"{name}.npy"
        np.save(path, np.ascontiguousarray(array), allow_pickle=False)
        with open_regular(path) as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    train, test = dataset.train.rows, dataset.test.rows
    facts = DataFacts(digest.hexdigest(), dataset.name, train.shape, test.shape, train.nnz, test.nnz, dataset.classes)
    (folder / FACTS).write_text(json.dumps(encode(facts, FORMAT)))
    return digest.hexdigest()


def stored_facts(folder: Path) -> DataFacts:
    """The facts.json of a folder that write() filled. Raises UkperfError where it is gone or damaged."""
    try:
        return decode_stored(DataFacts, read_json(folder / FACTS), FORMAT)
    except (OSError, ValueError) as error:
        raise UkperfError(
            f"The data set in {folder} cannot be read: {reason(error)}.", hint=f"Remove it: rm -r {shell(folder)}"
        ) from error
