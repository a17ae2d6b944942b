"""Data of the user's own: read where it is sound, refused in a sentence where it is not, and never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array, save_npz
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.datasets import Matrix
from ukperf.imaging.datasources import dataset_folder, read_npz, read_svmlight


def scipy_of(m: Matrix) -> Any:
    return csr_matrix((m.data, m.indices, m.indptr), shape=m.shape)


def test_svmlight_is_read_as_scikit_learn_reads_it(tmp_path: Path) -> None:
    rows = random_array((50, 30), density=0.2, rng=np.random.default_rng(1), format="csr").astype(np.float32)
    labels = np.arange(50) % 3
    dump_svmlight_file(rows, labels, str(tmp_path / "x.svmlight"), zero_based=False, comment="a comment")
    d = read_svmlight(tmp_path / "x.svmlight")
    expected, y = load_svmlight_file(str(tmp_path / "x.svmlight"), dtype=np.float32)
    assert (d.train.rows.shape[0], d.test.rows.shape[0]) == (30, 20)
    assert abs(scipy_of(d.train.rows) - expected[:30]).max() < 1e-6
    assert abs(scipy_of(d.test.rows) - expected[30:]).max() < 1e-6
    assert d.test.labels.tolist() == y[30:].tolist()


def test_npz_layouts_are_understood(tmp_path: Path) -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    np.savez(tmp_path / "whole.npz", X=x, y=y)
    whole = read_npz(tmp_path / "whole.npz")
    assert whole.train.rows.dense is not None
    assert whole.train.rows.dense.tolist() == x[:6].tolist()
    np.savez(tmp_path / "parts.npz", X_train=x, y_train=y, X_test=x[:3], y_test=y[:3])
    assert read_npz(tmp_path / "parts.npz").test.labels.tolist() == [0, 1, 0]
    save_npz(tmp_path / "s.npz", csr_matrix(x))
    with np.load(tmp_path / "s.npz") as sparse:
        np.savez(tmp_path / "sparse.npz", **{k: v for k, v in sparse.items() if k != "format"}, y=y)
    d = read_npz(tmp_path / "sparse.npz")
    assert scipy_of(d.test.rows).toarray().tolist() == x[6:].tolist()


BAD = {
    "widths": {"X_train": np.ones((4, 3)), "y_train": np.ones(4), "X_test": np.ones((2, 2)), "y_test": np.ones(2)},
    "labels": {"X": np.ones((4, 3)), "y": np.ones(3)},
    "nothing known": {"Z": np.ones(3)},
    "not finite": {"X": np.full((4, 3), np.nan), "y": np.ones(4)},
    "objects": {"X": np.asarray([[1, "x"], [2, None]], dtype=object), "y": np.ones(2)},
    "unsound": {
        "data": np.ones(2),
        "indices": np.asarray([0, 9]),
        "indptr": np.asarray([0, 1, 2]),
        "shape": np.asarray([2, 3]),
        "y": np.ones(2),
    },
}


@pytest.mark.parametrize("name", BAD)
def test_unsound_arrays_are_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "bad.npz", **BAD[name])
    with pytest.raises(UkperfError) as caught:
        read_npz(tmp_path / "bad.npz")
    assert str(tmp_path) in caught.value.message


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_no_bytes_make_the_readers_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("d") / "x.npz"
    path.write_bytes(data)
    for reader in (read_npz, read_svmlight):
        try:
            reader(path)
        except UkperfError as e:
            assert str(path) in e.message


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    for name in ("mnist", "x.csv"):
        with pytest.raises(UkperfError, match="no data set") as caught:
            dataset_folder(name, cache=Cache(tmp_path))
        assert "synthetic" in (caught.value.hint or "")
