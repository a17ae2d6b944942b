"""Data of the user's own: read where it is sound, refused in a sentence where it is not, and never unpickled."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array, save_npz
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from ukperf.errors import UkperfError
from ukperf.imaging import datasources
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


def npz(path: Path, **members: bytes | np.ndarray[Any, Any]) -> Path:
    """A .npz file of these arrays, or bytes of them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            out = io.BytesIO()
            if isinstance(content, bytes):
                out.write(content)
            else:
                np.save(out, content)
            archive.writestr(f"{name}.npy", out.getvalue())
    return path


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode("latin-1") + data


X, Y = np.ones((4, 2)), np.arange(4) % 2
HEADERS = {
    "10^12 elements": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}", bytes(80)),
    "10^12 rows of nothing": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 0)}"),
    "a size beyond 64 bits": npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**30}, 2)}}"),
    "a size of too many digits": npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'9' * 6_000}, 2)}}"),
    "negative": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -2)}", bytes(16)),
    "text": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2, 2)}", bytes(64)),
    "text for a number": npy("{'descr': '<f8', 'fortran_order': False, 'shape': ('2', 2)}", bytes(32)),
    "a shape of shapes": npy("{'descr': '<f8', 'fortran_order': False, 'shape': ((2,), 2)}", bytes(32)),
    "long text of nothing": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000, 2)}"),
    "a type of its own": npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2, 2)}", bytes(32)),
    "a type within a type": npy("{'descr': ('<f8', (1000000000,)), 'fortran_order': False, 'shape': (2, 2)}"),
    "an unknown type": npy("{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 2)}"),
    "no header": npy("not Python"),
    "a nested header": npy("[" * 5_000, version=2),
    "a header of a megabyte": npy("{'descr': '<f8'" + " " * (1 << 20), version=2),
    "an unknown version": npy("{}", version=9),
    "no bytes": b"",
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}", b"cos\nsystem\n(S'id'\ntR."),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HEADERS)
def test_an_absurd_header_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    for member in ("X", "y"):
        path = npz(tmp_path / f"{member}.npz", **({"X": X, "y": Y} | {member: HEADERS[name]}))
        with pytest.raises(UkperfError) as caught:
            read_npz(path)
        assert str(path) in caught.value.message and len(str(caught.value)) < 600


SPARSE = {
    "data": np.ones(2), "indices": np.asarray([0, 1]), "indptr": np.asarray([0, 1, 2]),
    "shape": np.asarray([2, 3]), "y": np.ones(2),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", np.asarray(["a", "b"])),
        ("shape", np.asarray([2])),
        ("shape", np.asarray([2, 10**12])),
        ("shape", np.asarray([10**12, 3])),
        ("shape", np.asarray([np.nan, 3.0])),
        ("shape", np.asarray([-2, -3])),
        ("shape", np.asarray(5)),
        ("data", np.asarray(["1", "2"])),
        ("data", np.ones((2, 1))),
        ("data", np.asarray([1e300, 1.0])),
        ("indices", np.asarray([0.0, np.nan])),
        ("indices", np.asarray([0, 2**63], dtype=np.uint64)),
        ("indptr", np.asarray([], dtype=np.int64)),
        ("indptr", np.asarray([0, 2**63, 2], dtype=np.uint64)),
        ("y", np.asarray([np.nan, 1.0])),
        ("y", np.ones((2, 2))),
    ],
)
def test_absurd_parts_of_a_sparse_matrix_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    assert read_npz(npz(tmp_path / "good.npz", **SPARSE)).train.rows.shape == (1, 3)
    with pytest.raises(UkperfError):
        read_npz(npz(tmp_path / "bad.npz", **{**SPARSE, name: value}))


def test_labels_of_any_size_are_classes(tmp_path: Path) -> None:
    for labels in ([2**63, 5, 2**63, 5], [-(2**62), 7, -(2**62), 7], ["a", "b", "a", "b"], [0.5, 1.5, 0.5, 1.5]):
        found = read_npz(npz(tmp_path / "l.npz", X=X, y=np.asarray(labels)))
        assert found.train.labels.tolist() == ([0, 1] if labels[0] != 2**63 else [1, 0])


def test_what_unpacks_to_more_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = npz(tmp_path / "bomb.npz", X=np.zeros((1_000, 1_000)), y=np.zeros(1_000))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(datasources, "_memory_max", lambda: 1 << 20)
    with pytest.raises(UkperfError, match="more than fits into memory"):
        read_npz(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 99999999999999999999999:1\n", "is no column from 0 to"),
        ("1 4294967296:1\n", "is no column from 0 to"),
        ("1 -1:1\n", "is no column from 0 to"),
        ("1 \x1b[31m:1\n", "is no column from 0 to"),
        ("1 1_0:1\n", "is no column from 0 to"),
        ("1 1:1e999\n2 1:1\n", "no sound CSR matrix"),
        ("nan 1:1\n1 1:1\n", "labels that are not finite"),
        ("1 1:\n", "could not convert"),
        ("1 1:" + "x" * 10_000 + "\n", "could not convert"),
        ("a 1:1\n", "could not convert"),
    ],
)
def test_absurd_lines_of_svmlight_are_sentences(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "x.svmlight"
    path.write_text(text * 2)
    with pytest.raises(UkperfError, match=says) as caught:
        read_svmlight(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasources, "LINE_MAX", 1 << 10)
    path = tmp_path / "x.svmlight"
    path.write_text("1 " + "1:1 " * 1_000)
    with pytest.raises(UkperfError, match="line 1: it has more than"):
        read_svmlight(path)


def test_lines_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.svmlight"
    path.write_text("# a comment\n\n1 qid:3 1:0.5 # another\n   \n2\n# the end\n3 2:1\n")
    d = read_svmlight(path)
    assert (d.train.rows.shape, d.test.rows.shape) == ((2, 2), (1, 2))
    assert [*d.train.labels, *d.test.labels] == [0, 1, 2]


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    for name in ("mnist", "x.csv"):
        with pytest.raises(UkperfError, match="no data set") as caught:
            dataset_folder(name, cache=Cache(tmp_path))
        assert "synthetic" in (caught.value.hint or "")
