"""The 20 newsgroups that scikit-learn has downloaded, as word counts. Its cache is a pickle, and is never unpickled:
pickledata.py describes what is in it."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ukperf.errors import UkperfError
from ukperf.files import read_bytes, reason
from ukperf.imaging import datasets
from ukperf.imaging.datasets import Dataset, Matrix, Part
from ukperf.imaging.pickledata import Made, Named, describe
from ukperf.text import clean

FILE = "20news-bydate_py3.pkz"
UNPACKED_MAX = 256 << 20  # the real one has 36 MB
TEXT_MAX = 64 << 20  # characters of one part; the real ones have 14 and 8 million
DOCUMENTS_MAX = 200_000
_WORD = re.compile(r"(?u)\b\w\w+\b")  # CountVectorizer's
_INTEGERS = re.compile(r"[iu][1248]")


def newsgroups_file() -> Path:
    """scikit-learn's cached download (SCIKIT_LEARN_DATA or ~/scikit_learn_data). Raises UkperfError without one."""
    home = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser()
    path = home / FILE
    if not path.is_file():
        raise UkperfError(
            f"scikit-learn has no 20 newsgroups in {home}.",
            hint="Let it download them (python -c 'import sklearn.datasets as d; d.fetch_20newsgroups(subset=\"all\")')"
            " or use --data synthetic.",
        )
    return path


def read_newsgroups(path: Path) -> Dataset:
    """Word counts of both parts, rows of length 1, as fetch_20newsgroups_vectorized makes them: words of two letters or
    more in lower case, the vocabulary of the training part. Raises UkperfError for anything but scikit-learn's file."""
    try:
        stored = describe(_unpacked(path))
        texts = {part: _texts(_member(stored, part, "data")) for part in ("train", "test")}
        labels = {part: _numbers(_member(stored, part, "target")) for part in ("train", "test")}
        for part, messages in texts.items():
            if len(messages) != len(labels[part]):
                raise ValueError(f"its part {part} has {len(messages)} texts and {len(labels[part])} labels")
    except (OSError, ValueError, zlib.error) as e:
        raise UkperfError(
            f"{path} is not scikit-learn's copy of 20 newsgroups: {clean(reason(e), 100)}.",
            hint="Remove it and let scikit-learn download it again, or use --data synthetic.",
        ) from e
    words = {part: [_WORD.findall(text.lower()) for text in messages] for part, messages in texts.items()}
    vocabulary = {word: column for column, word in enumerate(sorted({w for doc in words["train"] for w in doc}))}
    if not vocabulary:
        raise UkperfError(f"{path} holds no words.", hint="Use --data synthetic.")
    parts = {part: Part(_word_counts(words[part], vocabulary), labels[part]) for part in words}
    return Dataset("newsgroups", parts["train"], parts["test"])


def _unpacked(path: Path) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(read_bytes(path, UNPACKED_MAX), UNPACKED_MAX)
    if not unpacker.eof:
        raise ValueError("it is cut off or too large")
    return data


def _member(stored: object, part: str, name: str) -> object:
    """stored[part][name]; parts are plain mappings or scikit-learn's Bunch."""
    whole = stored.get(part) if isinstance(stored, dict) else None
    members = whole.items if isinstance(whole, Made) else whole
    if not isinstance(members, dict) or name not in members:
        raise ValueError(f"it has no {name} in its part {part}")
    return members[name]


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError("its texts are no list of texts")
    # Also a list that names one text again and again must stay within bounds.
    if len(value) > DOCUMENTS_MAX or sum(map(len, value)) > TEXT_MAX:
        raise ValueError("it is too large")
    return value


def _numbers(value: object) -> npt.NDArray[np.int32]:
    """Class numbers: a list, or a NumPy array of one dimension as pickle protocols 3 to 5 describe it."""
    if isinstance(value, list) and all(isinstance(n, int) and 0 <= n < 1 << 31 for n in value):
        return np.asarray(value, dtype=np.int32)
    if not isinstance(value, Made) or not isinstance(value.by, Named):
        raise ValueError("its labels are no numbers")
    numbers = np.frombuffer(*_array(value))
    if not numbers.size or numbers.min() < 0 or numbers.max() >= 1 << 31:
        raise ValueError("its labels are no class numbers")
    return numbers.astype(np.int32)


def _array(value: Made) -> tuple[bytes, np.dtype[Any]]:
    """(bytes, type of a number) of a described array."""
    assert isinstance(value.by, Named)
    match value.by.name, value.arguments, value.state:
        case "_reconstruct", _, (1, (int(), *_rest), dtype, bool(), bytes() as data) if not _rest:
            return data, _type(dtype)
        case "_frombuffer", ((bytes() | bytearray()) as data, dtype, (int(), *_rest), str()), _ if not _rest:
            return bytes(data), _type(dtype)
    raise ValueError("its labels are no array of one dimension")


def _type(described: object) -> np.dtype[Any]:
    """numpy.dtype('i8', …) and its state (version, byte order, …)."""
    match described:
        case Made(Named("numpy", "dtype"), (str(code), *_), _, (int(), ("<" | ">" | "|") as order, *_)):
            if _INTEGERS.fullmatch(code):
                return np.dtype(order + code)
    raise ValueError("its labels are no integers")


def _word_counts(documents: list[list[str]], vocabulary: dict[str, int]) -> Matrix:
    width = len(vocabulary)
    keys = [row * width + vocabulary[w] for row, doc in enumerate(documents) for w in doc if w in vocabulary]
    return datasets.counted(np.asarray(keys, dtype=np.int64), len(documents), width)
