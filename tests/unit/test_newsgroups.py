"""scikit-learn's copy of 20 newsgroups is read as scikit-learn reads it, and nothing in it is ever unpickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils import Bunch

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.datasets import Matrix
from ukperf.imaging.datasources import dataset_folder
from ukperf.imaging.newsgroups import FILE, read_newsgroups
from ukperf.imaging.pickledata import Made, Named, describe

ROOT = Path(__file__).parents[2]
TEXTS = {"train": ["The cat sat; the CAT rané x", "dogs run", "a b c", "cat dogs"], "test": ["unseen cat", "run"]}


def part(docs: list[str], **more: Any) -> Bunch:
    """As sklearn.datasets.load_files makes it."""
    names = np.asarray([f"/tmp/{n}" for n in range(len(docs))])
    return Bunch(data=docs, target=np.arange(len(docs)), target_names=["a"], filenames=names, DESCR=None, **more)


def write(path: Path, stored: object, protocol: int = pickle.DEFAULT_PROTOCOL) -> Path:
    path.write_bytes(zlib.compress(pickle.dumps(stored, protocol)))
    return path


def scipy_of(m: Matrix) -> Any:
    return csr_matrix((m.data, m.indices, m.indptr), shape=m.shape)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_newsgroups_are_counted_as_scikit_learn_counts_them(tmp_path: Path, protocol: int) -> None:
    d = read_newsgroups(write(tmp_path / FILE, {name: part(docs) for name, docs in TEXTS.items()}, protocol))
    vectorizer = CountVectorizer()
    train = normalize(vectorizer.fit_transform(TEXTS["train"]).astype(float))
    test = normalize(vectorizer.transform(TEXTS["test"]).astype(float))
    assert abs(scipy_of(d.train.rows) - train).max() < 1e-6
    assert abs(scipy_of(d.test.rows) - test).max() < 1e-6
    assert d.train.labels.tolist() == [0, 1, 2, 3]


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


WATCHED = """
    import pickle, sys
    from pathlib import Path
    seen = []
    sys.addaudithook(lambda event, _: seen.append(event) if event in ("pickle.find_class", "os.mkdir") else None)
    from ukperf.errors import UkperfError
    from ukperf.imaging.newsgroups import newsgroups_file, read_newsgroups
    import unicodedata  # lower() may want it
    seen.clear()
    try:
        print(read_newsgroups(newsgroups_file()).train.rows.shape)
    except UkperfError as e:
        print(e)
    print("seen:", *seen)
    if "--unpickle" in sys.argv:  # a watch that cannot see anything would prove nothing
        pickle.loads(__import__("zlib").decompress(newsgroups_file().read_bytes()))
        print("seen:", *seen)
"""


def watched(folder: Path, *words: str) -> list[str]:
    environment = {**os.environ, "SCIKIT_LEARN_DATA": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(WATCHED), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize("place", ["whole", "part", "texts", "one text", "labels", "beside"])
def test_a_trap_in_the_cache_does_not_go_off_and_nothing_is_unpickled(tmp_path: Path, place: str) -> None:
    trap = Trap(tmp_path / "trapped")
    stored: Any = {name: part(list(docs)) for name, docs in TEXTS.items()}
    if place == "whole":
        stored = trap
    elif place == "part":
        stored["train"] = trap
    elif place == "one text":
        stored["train"]["data"][1] = trap
    else:
        stored["train"][{"texts": "data", "labels": "target", "beside": "DESCR"}[place]] = trap
    write(tmp_path / FILE, stored)
    first, *rest = watched(tmp_path)
    assert rest == ["seen:"]
    assert not (tmp_path / "trapped").exists()
    assert ("is not scikit-learn's copy" in first) is (place != "beside"), first


def test_the_watch_for_unpickling_sees_it(tmp_path: Path) -> None:
    write(tmp_path / FILE, {"train": Trap(tmp_path / "trapped")})
    *_, last = watched(tmp_path, "--unpickle")
    assert last == "seen: pickle.find_class os.mkdir"
    assert (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({}, "no data in its part train"),
        ({"train": part(["a word"])}, "no data in its part test"),
        ({"train": part(["a word"]), "test": Bunch(data=[1], target=[1])}, "no list of texts"),
        ({"train": part(["a word"]), "test": Bunch(data=["x"], target=[1, 2])}, "1 texts and 2 labels"),
        ({"train": part(["a word"]), "test": Bunch(data=["x"], target=np.ones(1))}, "no integers"),
        ({"train": part(["a word"]), "test": Bunch(data=["x"], target=np.ones((1, 1), int))}, "one dimension"),
        ({"train": part(["a word"]), "test": Bunch(data=["x"], target=np.asarray([-1]))}, "no class numbers"),
        ({"train": part(["a word"]), "test": {1, 2}}, "something else than plain values"),
    ],
)
def test_what_is_wrong_with_a_cache_is_said(tmp_path: Path, stored: object, message: str) -> None:
    with pytest.raises(UkperfError, match=message) as caught:
        read_newsgroups(write(tmp_path / FILE, stored))
    assert str(tmp_path) in caught.value.message
    assert "synthetic" in (caught.value.hint or "")


def test_a_cache_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ukperf.imaging.newsgroups.UNPACKED_MAX", 1 << 20)
    (tmp_path / FILE).write_bytes(zlib.compress(bytes(2 << 20)))
    with pytest.raises(UkperfError, match="too large"):
        read_newsgroups(tmp_path / FILE)


def test_a_cache_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="no words"):
        read_newsgroups(write(tmp_path / FILE, {"train": part(["a"]), "test": part(["b"])}))


@settings(max_examples=60)
@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_make_the_reader_fail_otherwise(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("d") / FILE
    path.write_bytes(zlib.compress(data) if packed else data)
    with pytest.raises(UkperfError) as caught:
        read_newsgroups(path)
    assert str(path) in caught.value.message


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.binary().map(bytearray)
    ),
    max_leaves=20,
)


@given(PLAIN, st.sampled_from([3, 4, 5]))
def test_plain_values_are_described_by_themselves(value: object, protocol: int) -> None:
    if protocol < 5 and "bytearray" in repr(value):  # made by a call there
        return
    assert describe(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=60), st.integers(0, 200), st.binary(max_size=4))
def test_damaged_pickles_are_value_errors(data: bytes, at: int, patch: bytes) -> None:
    whole = pickle.dumps({"train": part(["a word"]), "more": [data, (1, 2.5)]})
    for damaged in (data, whole[:at] + patch + whole[at + len(patch) :], whole[:at]):
        try:
            describe(damaged)
        except ValueError:
            pass


def test_calls_and_names_are_only_described(tmp_path: Path) -> None:
    made = describe(pickle.dumps(Trap(tmp_path / "trapped")))
    assert made == Made(Named("posix", "mkdir"), (str(tmp_path / "trapped"),))
    assert not (tmp_path / "trapped").exists()


def test_missing_newsgroups_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    with pytest.raises(UkperfError, match="no 20 newsgroups"):
        dataset_folder("newsgroups", cache=Cache(tmp_path))


def test_the_folder_of_newsgroups_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    write(tmp_path / FILE, {name: part(docs) for name, docs in TEXTS.items()})
    folder = dataset_folder("newsgroups", cache=Cache(tmp_path / "cache"))
    assert (folder / "train_data.npy").is_file()
    monkeypatch.setattr("ukperf.imaging.datasources.read_newsgroups", lambda _: pytest.fail("read again"))
    assert dataset_folder("newsgroups", cache=Cache(tmp_path / "cache")) == folder
