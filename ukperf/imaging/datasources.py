"""Where data sets come from: the synthetic stand-in, scikit-learn's cached 20 newsgroups, a user's own file.

Always a folder in the cache, by the digest of what it was made from. No pickle is ever loaded: of the newsgroups, whose
cache is one, see newsgroups.py.
"""

from __future__ import annotations

import array
import math
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from ukperf.errors import UkperfError
from ukperf.files import open_regular, reason
from ukperf.imaging import datasets
from ukperf.imaging.cache import Cache
from ukperf.imaging.datasets import Dataset, Matrix, Part
from ukperf.imaging.newsgroups import newsgroups_file, read_newsgroups
from ukperf.text import clean

FORMAT = 1
TEST_SHARE = 0.4  # of a file that does not say which rows are for testing: the last ones (20 newsgroups' own share)
MAX_BYTES = 8 << 30
LINE_MAX = 64 << 20  # bytes of a line of svmlight: a row of some million values
INDEX_MAX = (1 << 31) - 2  # columns are 32-bit numbers in guests
_INDEX = re.compile(rb"[0-9]{1,10}")


def dataset_folder(source: str, scale: float = 1.0, cache: Cache | None = None) -> Path:
    """The folder of `synthetic`, `newsgroups`, or a file ending in .npz or .svmlight (.svm, .libsvm).

    Raises UkperfError for anything else, and for files that do not hold what they should.
    """
    cache = cache or Cache()
    if source == "synthetic":
        made: Callable[[], Dataset] = lambda: datasets.synthetic(scale)  # noqa: E731
        key = {"format": FORMAT, "source": source, "scale": scale}
        datasets.check_scale(scale)
    elif source == "newsgroups":
        path = newsgroups_file()
        made = lambda: read_newsgroups(path)  # noqa: E731
        key = {"format": FORMAT, "source": source, "digest": cache.digests.file(path)}
    else:
        path = Path(source)
        reader = {".npz": read_npz, ".svmlight": read_svmlight, ".svm": read_svmlight, ".libsvm": read_svmlight}
        if path.suffix not in reader:
            raise UkperfError(
                f"There is no data set {source!r}.", hint="Name synthetic, newsgroups, or a file.npz or file.svmlight."
            )
        made = lambda: reader[path.suffix](path)  # noqa: E731
        key = {"format": FORMAT, "source": path.suffix, "digest": cache.digests.file(path)}

    def fill(folder: Path) -> None:
        datasets.write(made(), folder)

    return cache.entry("datasets", cache.key(key), fill)


# -- a user's file -----------------------------------------------------------------------------------------------------

_DENSE = ("X_train", "y_train", "X_test", "y_test")
_SPARSE = ("data", "indices", "indptr", "shape", "y")
_NAMES = frozenset({*_DENSE, *_SPARSE, "X"})
# What zipfile and NumPy raise for archives and headers that are not what they should be.
_UNSOUND: tuple[type[Exception], ...] = (
    *(OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, struct.error, RuntimeError, MemoryError),
    *(NotImplementedError, KeyError, TypeError, SyntaxError, tokenize.TokenError, OverflowError),
)


def read_npz(path: Path) -> Dataset:
    """Arrays `X_train`, `y_train`, `X_test`, `y_test`; or `X`, `y`; or scipy.sparse.save_npz's names and `y`."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            there = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {name: info for name, info in there.items() if name in _NAMES}
            if sum(info.file_size for info in wanted.values()) > _memory_max():
                raise UkperfError(f"{path} unpacks to more than fits into memory.", hint="Give fewer rows.")
            arrays = {name: _array(archive, info) for name, info in wanted.items()}
    except _UNSOUND as e:
        raise UkperfError(f"{path} is no .npz file of plain arrays: {clean(reason(e), 100)}.") from e
    if arrays.keys() >= set(_DENSE):
        train = Part(_dense(arrays["X_train"], path), _labels(arrays["y_train"], path))
        test = Part(_dense(arrays["X_test"], path), _labels(arrays["y_test"], path))
        return _checked(Dataset(path.name, train, test), path)
    if {"X", "y"} <= arrays.keys():
        return _split(_dense(arrays["X"], path), _labels(arrays["y"], path), path)
    if arrays.keys() >= set(_SPARSE):
        return _split(_sparse(arrays, path), _labels(arrays["y"], path), path)
    names = clean(", ".join(sorted(there)), 200)
    raise UkperfError(
        f"{path} holds {names or 'nothing'}.",
        hint="It must hold X_train, y_train, X_test and y_test; or X and y; or data, indices, indptr, shape and y.",
    )


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """An array of numbers (or of text: labels). Its header must declare as many bytes as there are, before any is read.

    Source: NEP 1 (the .npy format). Raises ValueError and what else is in _UNSOUND.
    """
    with archive.open(info) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename} is in format {version}")
        header = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
        shape, fortran, kind = header
        count = math.prod(shape)
        sound = kind.kind in "fiubU" and all(0 <= n < 1 << 40 for n in shape) and len(shape) <= 2
        if not sound or count * kind.itemsize != info.file_size - file.tell() or (count and not kind.itemsize):
            raise ValueError(f"{info.filename} declares the shape {shape} of type {kind}, which it has not")
        data = file.read(count * kind.itemsize)
    array = np.frombuffer(data, dtype=kind, count=count)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _memory_max() -> int:
    """Bytes that a data set may take: half of this machine's memory, MAX_BYTES at most."""
    return min(MAX_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


def read_svmlight(path: Path) -> Dataset:
    """`label index:value … # comment` lines; columns count from 1 unless a 0 is seen; qid: is passed over. The last
    40 % of the rows are for testing."""
    labels, values = array.array("d"), array.array("d")
    indices, indptr = array.array("q"), array.array("q", [0])
    number = 0
    try:
        with open_regular(path) as lines:
            most = _memory_max() // 32  # bytes of one value, and of sorting it
            while line := lines.readline(LINE_MAX + 1):
                number += 1
                if len(line) > LINE_MAX:
                    raise ValueError(f"it has more than {LINE_MAX >> 20} MiB")
                _svmlight_row(line, labels, indices, values)
                indptr.append(len(indices))
                if len(indices) + len(labels) > most:
                    raise UkperfError(f"{path} has more values than fit into memory.", hint="Give fewer rows.")
                if len(indptr) - 1 > len(labels):  # nothing but a comment
                    indptr.pop()
    except OSError as e:
        raise UkperfError(f"{path} cannot be read: {reason(e)}.") from e
    except ValueError as e:
        raise UkperfError(f"{path} is no svmlight file: line {number}: {clean(str(e), 100)}.") from e
    columns = np.frombuffer(indices, dtype=np.int64)
    if columns.size and columns.min() > 0:
        columns = columns - 1
    shape = np.asarray([len(labels), int(columns.max()) + 1 if columns.size else 1])
    arrays = {"data": np.frombuffer(values), "indices": columns, "indptr": np.frombuffer(indptr, np.int64)}
    return _split(_sparse({**arrays, "shape": shape}, path), _labels(np.frombuffer(labels), path), path)


def _svmlight_row(
    line: bytes, labels: array.array[float], indices: array.array[int], values: array.array[float]
) -> None:
    words = line.partition(b"#")[0].split()
    if not words:
        return
    labels.append(float(words[0]))
    for word in words[1:]:
        name, _, value = word.partition(b":")
        if name == b"qid":
            continue
        if not _INDEX.fullmatch(name):
            raise ValueError(f"{clean(name.decode('latin-1'), 40)!r} is no column from 0 to {INDEX_MAX:,}")
        indices.append(int(name))
        values.append(float(value))
        if indices[-1] > INDEX_MAX:
            raise ValueError(f"{indices[-1]:,} is no column from 0 to {INDEX_MAX:,}")


def _dense(array: npt.NDArray[Any], path: Path) -> Matrix:
    if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
        raise UkperfError(f"{path} has rows of shape {array.shape} and type {array.dtype}, not a table of numbers.")
    if array.size * 4 > _memory_max():
        raise UkperfError(f"{path} unpacks to more than fits into memory.", hint="Give fewer rows.")
    values = _floats(array)
    if not np.isfinite(values).all():
        raise UkperfError(f"{path} holds values that are not finite, or beyond what 32 bits can say.")
    return Matrix((array.shape[0], array.shape[1]), dense=values)


def _floats(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return np.ascontiguousarray(array, dtype=np.float32)


def _sparse(arrays: dict[str, npt.NDArray[Any]], path: Path) -> Matrix:
    bad = UkperfError(f"{path} is no sound CSR matrix.")
    wanted = {"shape": "iu", "data": "fiub", "indices": "iu", "indptr": "iu"}
    if any(arrays[name].ndim != 1 or arrays[name].dtype.kind not in kinds for name, kinds in wanted.items()):
        raise bad
    if arrays["shape"].size != 2 or any(not 0 <= int(n) <= INDEX_MAX + 1 for n in arrays["shape"]):
        raise bad
    rows, columns = (int(n) for n in arrays["shape"])
    data = _floats(arrays["data"])
    indices, indptr = arrays["indices"].astype(np.int64), arrays["indptr"].astype(np.int64)
    sound = len(indptr) == rows + 1 and indptr[0] == 0 and indptr[-1] == len(indices) == len(data)
    sound = sound and bool((np.diff(indptr) >= 0).all()) and len(data) < 1 << 31
    if not sound or (indices.size and (indices.min() < 0 or indices.max() >= columns)) or not np.isfinite(data).all():
        raise bad
    order = np.lexsort((indices, np.repeat(np.arange(rows), np.diff(indptr))))
    return Matrix((rows, columns), data[order], indices[order].astype(np.int32), indptr.astype(np.int32))


def _labels(array: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int32]:
    if array.ndim != 1 or array.dtype.kind not in "fiubU":
        raise UkperfError(f"{path} has labels of shape {array.shape} and type {array.dtype}; one number a row does.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UkperfError(f"{path} has labels that are not finite.")
    if array.dtype.kind in "iub" and array.size and -(1 << 31) <= int(array.min()) <= int(array.max()) < 1 << 31:
        return np.asarray(array, dtype=np.int32)
    numbers: npt.NDArray[np.int32] = np.unique(array, return_inverse=True)[1].astype(np.int32)
    return numbers


def _split(rows: Matrix, labels: npt.NDArray[np.int32], path: Path) -> Dataset:
    count = rows.shape[0]
    cut = count - max(1, round(count * TEST_SHARE))
    if count != len(labels) or cut < 1:
        raise UkperfError(f"{path} has {count} rows and {len(labels)} labels.", hint="At least two rows are needed.")
    parts = [Part(_slice(rows, a, b), labels[a:b]) for a, b in ((0, cut), (cut, count))]
    return _checked(Dataset(path.name, parts[0], parts[1]), path)


def _slice(m: Matrix, start: int, end: int) -> Matrix:
    if m.dense is not None:
        return Matrix((end - start, m.shape[1]), dense=m.dense[start:end])
    assert m.data is not None and m.indices is not None and m.indptr is not None
    cells = slice(int(m.indptr[start]), int(m.indptr[end]))
    indptr = m.indptr[start : end + 1] - m.indptr[start]
    return Matrix((end - start, m.shape[1]), m.data[cells], m.indices[cells], indptr.astype(np.int32))


def _checked(d: Dataset, path: Path) -> Dataset:
    for part in (d.train, d.test):
        if part.rows.shape[0] != len(part.labels):
            raise UkperfError(f"{path} has {part.rows.shape[0]} rows and {len(part.labels)} labels in one part.")
    if d.train.rows.shape[1] != d.test.rows.shape[1]:
        widths = f"{d.train.rows.shape[1]} columns to train with and {d.test.rows.shape[1]} to test with"
        raise UkperfError(f"{path} has {widths}; they must be the same.")
    return d
