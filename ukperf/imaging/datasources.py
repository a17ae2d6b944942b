"""Where data sets come from: the synthetic stand-in, scikit-learn's cached 20 newsgroups, a user's own file.

Always a folder in the cache, by the digest of what it was made from. No pickle is ever loaded: of the newsgroups, whose
cache is one, see newsgroups.py.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ukperf.errors import UkperfError
from ukperf.imaging import datasets
from ukperf.imaging.cache import Cache
from ukperf.imaging.datasets import Dataset, Matrix, Part
from ukperf.imaging.newsgroups import newsgroups_file, read_newsgroups

FORMAT = 1
TEST_SHARE = 0.4  # of a file that does not say which rows are for testing: the last ones (20 newsgroups' own share)
MAX_BYTES = 8 << 30


def dataset_folder(source: str, scale: float = 1.0, cache: Cache | None = None) -> Path:
    """The folder of `synthetic`, `newsgroups`, or a file ending in .npz or .svmlight (.svm, .libsvm).

    Raises UkperfError for anything else, and for files that do not hold what they should.
    """
    cache = cache or Cache()
    if source == "synthetic":
        made: Callable[[], Dataset] = lambda: datasets.synthetic(scale)  # noqa: E731
        key = {"format": FORMAT, "source": source, "scale": scale}
        if not 0 < scale <= 4:
            datasets.synthetic(scale)  # raises
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


def read_npz(path: Path) -> Dataset:
    """Arrays `X_train`, `y_train`, `X_test`, `y_test`; or `X`, `y`; or scipy.sparse.save_npz's names and `y`."""
    try:
        if sum(member.file_size for member in zipfile.ZipFile(path).infolist()) > MAX_BYTES:
            raise UkperfError(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB.")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as e:
        raise UkperfError(f"{path} is no .npz file of plain arrays: {e}.") from e
    if {"X_train", "y_train", "X_test", "y_test"} <= arrays.keys():
        train = Part(_dense(arrays["X_train"], path), _labels(arrays["y_train"], path))
        test = Part(_dense(arrays["X_test"], path), _labels(arrays["y_test"], path))
        return _checked(Dataset(path.name, train, test), path)
    if {"X", "y"} <= arrays.keys():
        return _split(_dense(arrays["X"], path), _labels(arrays["y"], path), path)
    if {"data", "indices", "indptr", "shape", "y"} <= arrays.keys():
        return _split(_sparse(arrays, path), _labels(arrays["y"], path), path)
    raise UkperfError(
        f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}.",
        hint="It must hold X_train, y_train, X_test and y_test; or X and y; or data, indices, indptr, shape and y.",
    )


def read_svmlight(path: Path) -> Dataset:
    """`label index:value … # comment` lines; columns count from 1 unless a 0 is seen; qid: is passed over. The last
    40 % of the rows are for testing."""
    labels: list[float] = []
    indices: list[int] = []
    values: list[float] = []
    indptr = [0]
    number = 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                number += 1
                words = line.partition(b"#")[0].split()
                if not words:
                    continue
                pairs = [w.partition(b":")[::2] for w in words[1:] if not w.startswith(b"qid:")]
                labels.append(float(words[0]))
                indices += [int(name) for name, _ in pairs]
                values += [float(value) for _, value in pairs]
                indptr.append(len(indices))
    except OSError as e:
        raise UkperfError(f"{path} cannot be read: {e.strerror}.") from e
    except ValueError as e:
        raise UkperfError(f"{path} is no svmlight file: line {number}: {e}.") from e
    columns = np.asarray(indices, dtype=np.int64)
    if columns.size and columns.min() > 0:
        columns -= 1
    shape = np.asarray([len(labels), int(columns.max()) + 1 if columns.size else 1])
    arrays = {"data": np.asarray(values), "indices": columns, "indptr": np.asarray(indptr), "shape": shape}
    return _split(_sparse(arrays, path), _labels(np.asarray(labels), path), path)


def _dense(array: npt.NDArray[Any], path: Path) -> Matrix:
    if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
        raise UkperfError(f"{path} has rows of shape {array.shape} and type {array.dtype}, not a table of numbers.")
    values = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(values).all():
        raise UkperfError(f"{path} holds values that are not finite.")
    return Matrix((array.shape[0], array.shape[1]), dense=values)


def _sparse(arrays: dict[str, npt.NDArray[Any]], path: Path) -> Matrix:
    rows, columns = (int(n) for n in arrays["shape"].ravel()[:2])
    data = np.ascontiguousarray(arrays["data"], dtype=np.float32)
    indices, indptr = arrays["indices"].astype(np.int64), arrays["indptr"].astype(np.int64)
    sound = len(indptr) == rows + 1 and indptr[0] == 0 and indptr[-1] == len(indices) == len(data)
    sound = sound and bool((np.diff(indptr) >= 0).all()) and len(data) < 1 << 31
    if not sound or (indices.size and (indices.min() < 0 or indices.max() >= columns)) or not np.isfinite(data).all():
        raise UkperfError(f"{path} is no sound CSR matrix.")
    order = np.lexsort((indices, np.repeat(np.arange(rows), np.diff(indptr))))
    return Matrix((rows, columns), data[order], indices[order].astype(np.int32), indptr.astype(np.int32))


def _labels(array: npt.NDArray[Any], path: Path) -> npt.NDArray[np.int32]:
    if array.ndim != 1 or array.dtype.kind not in "fiubU":
        raise UkperfError(f"{path} has labels of shape {array.shape} and type {array.dtype}; one number a row does.")
    if array.dtype.kind in "iub" and array.size and abs(array.astype(np.int64)).max() < 1 << 31:
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
