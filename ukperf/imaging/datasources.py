"""Where data sets come from: the synthetic stand-in, scikit-learn's cached 20 newsgroups, a user's own file.

Always a folder in the cache, by the digest of what it was made from. No pickle is loaded: the cached newsgroups are
one, so it is read by an unpickler that knows lists, text and NumPy's integers and refuses everything else.
"""

from __future__ import annotations

import codecs
import io
import os
import pickle
import re
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

FORMAT = 1
NEWSGROUPS = "20news-bydate_py3.pkz"
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


# -- 20 newsgroups -----------------------------------------------------------------------------------------------------


def newsgroups_file() -> Path:
    """scikit-learn's cached download (SCIKIT_LEARN_DATA or ~/scikit_learn_data). Raises UkperfError without one."""
    home = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser()
    path = home / NEWSGROUPS
    if not path.is_file():
        raise UkperfError(
            f"scikit-learn has no 20 newsgroups in {home}.",
            hint="Let it download them (python -c 'import sklearn.datasets as d; d.fetch_20newsgroups(subset=\"all\")')"
            " or use --data synthetic.",
        )
    return path


class _Mapping(dict[str, Any]):
    """In the place of scikit-learn's Bunch."""

    def __setstate__(self, state: object) -> None:
        """A Bunch has no state besides its items."""


class _PlainUnpickler(pickle.Unpickler):
    """Knows the four names that the cache needs; nothing that it can build runs code of the file's choosing."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Bunch" and module in ("sklearn.utils", "sklearn.utils._bunch"):
            return _Mapping
        core = module.replace("numpy._core.", "numpy.core.")
        allowed = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
        if (core, name) in allowed | {("_codecs", "encode"), ("numpy.core.numeric", "_frombuffer")}:
            return codecs.encode if name == "encode" else super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_newsgroups(path: Path) -> Dataset:
    """Word counts of both parts, rows of length 1, as fetch_20newsgroups_vectorized makes them: words of two letters or
    more in lower case, the vocabulary of the training part."""
    try:
        stored = _PlainUnpickler(io.BytesIO(codecs.decode(path.read_bytes(), "zlib_codec"))).load()
        texts = {part: [str(t) for t in stored[part]["data"]] for part in ("train", "test")}
        labels = {part: np.asarray(stored[part]["target"], dtype=np.int32) for part in ("train", "test")}
    except Exception as e:  # a damaged pickle can raise anything
        raise UkperfError(
            f"{path} is not scikit-learn's copy of 20 newsgroups: {type(e).__name__}: {e}.",
            hint="Remove it and let scikit-learn download it again, or use --data synthetic.",
        ) from e
    words = {part: [_WORD.findall(text.lower()) for text in texts[part]] for part in texts}
    vocabulary = {word: column for column, word in enumerate(sorted({w for doc in words["train"] for w in doc}))}
    if not vocabulary:
        raise UkperfError(f"{path} holds no words.")
    parts = {part: Part(_word_counts(words[part], vocabulary), labels[part]) for part in words}
    return _checked(Dataset("newsgroups", parts["train"], parts["test"]), path)


_WORD = re.compile(r"(?u)\b\w\w+\b")  # CountVectorizer's


def _word_counts(documents: list[list[str]], vocabulary: dict[str, int]) -> Matrix:
    width = len(vocabulary)
    keys = [row * width + vocabulary[w] for row, doc in enumerate(documents) for w in doc if w in vocabulary]
    return datasets.counted(np.asarray(keys, dtype=np.int64), len(documents), width)
