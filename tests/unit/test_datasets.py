"""The stand-in for 20 newsgroups: the same bytes everywhere, its shape, and classes that can be told apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging import datasets


def test_random_numbers_are_splitmix64s_own() -> None:
    # The first outputs for seed 0 (Vigna's splitmix64.c).
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert datasets.splitmix64(0, 3).tolist() == expected


def test_same_scale_gives_the_same_bytes_on_every_machine(tmp_path: Path) -> None:
    digest = datasets.write(datasets.synthetic(0.01), tmp_path / "a")
    assert digest == datasets.write(datasets.synthetic(0.01), tmp_path / "b")
    assert digest == "17ad17fdf7bc3ff11222d5da772b2eabefaeb9f0dc3b665e147de9303d12c3de"
    assert json.loads((tmp_path / "a" / "facts.json").read_text())["digest"] == digest


@settings(max_examples=10, deadline=None)
@given(st.floats(0.001, 0.05))
def test_arrays_are_sound_csr_matrices_of_unit_rows(scale: float) -> None:
    data = datasets.synthetic(scale)
    for part in (data.train, data.test):
        m = part.rows
        assert m.data is not None and m.indices is not None and m.indptr is not None
        assert len(m.indptr) == m.shape[0] + 1
        assert m.indptr[-1] == len(m.indices) == len(m.data)
        assert m.indices.min() >= 0 and m.indices.max() < m.shape[1]
        for row in range(0, m.shape[0], 50):
            cells = slice(m.indptr[row], m.indptr[row + 1])
            assert (np.diff(m.indices[cells]) > 0).all()
            assert abs(float((m.data[cells] ** 2).sum()) - 1) < 1e-4
        assert set(part.labels.tolist()) == set(range(20))
    assert data.train.rows.shape[1] == data.test.rows.shape[1]


def test_classes_can_be_learned_but_not_perfectly() -> None:
    from scipy.sparse import csr_matrix
    from sklearn.naive_bayes import MultinomialNB

    data = datasets.synthetic(0.05)
    x, y = (
        csr_matrix((p.rows.data, p.rows.indices, p.rows.indptr), shape=p.rows.shape) for p in (data.train, data.test)
    )
    accuracy = MultinomialNB().fit(x, data.train.labels).score(y, data.test.labels)
    assert 0.6 < accuracy < 0.9


@pytest.mark.parametrize("scale", [0, -1, 5, float("nan")])
def test_scales_that_make_no_sense_are_refused(scale: float) -> None:
    with pytest.raises(UkperfError, match="makes no sense"):
        datasets.synthetic(scale)
