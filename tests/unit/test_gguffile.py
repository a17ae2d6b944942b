"""GGUF files, which come from anywhere: what they tell is read, and what is wrong is a sentence."""

from __future__ import annotations

import struct
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging import modelfile
from ukperf.imaging.cache import Cache
from ukperf.imaging.decoders import Decoder, decoder
from ukperf.imaging.gguffile import GgufFacts, read_gguf
from ukperf.imaging.models import ModelFormat

STRING, ARRAY, U32, F32 = 8, 9, 4, 6


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def words(*values: str) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


NAMED = entry("general.architecture", STRING, text("qwen2"))
TOKENS = entry("tokenizer.ggml.tokens", ARRAY, words("a", "b", "c"))
SCORES = entry("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", F32, 3, 0, 1, 2))
SIZE = entry("qwen2.vocab_size", U32, struct.pack("<I", 7))
TENSOR = text("w") + struct.pack("<IQQIQ", 2, 4, 4, 0, 0)


def gguf(*entries: bytes, tensors: tuple[bytes, ...] = (), version: int = 3, rest: bytes = b"") -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    return head + b"".join((*entries, *tensors)) + rest


def facts(content: bytes) -> GgufFacts:
    return read_gguf(BufferedReader(BytesIO(content)), len(content))  # type: ignore[arg-type]


def test_a_vocabulary_is_counted_by_its_words_or_by_its_number() -> None:
    assert facts(gguf(NAMED, TOKENS, SCORES)) == GgufFacts("qwen2", 3)
    assert facts(gguf(SIZE, NAMED)) == GgufFacts("qwen2", 7)
    assert facts(gguf(NAMED)) == GgufFacts("qwen2", 0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gguf(NAMED, version=1), "GGUF of version 1, and known are 2, 3"),
        (gguf(NAMED, TOKENS)[:-1], "cut off"),
        (gguf(NAMED, tensors=(TENSOR,), rest=bytes(1)), "its weights are cut off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "it claims 1,152,921,504,606,846,976 of what 100,000 are many"),
        (gguf(entry("a", ARRAY, struct.pack("<IQ", STRING, 1 << 50))), "it claims"),
        (gguf(entry("a", 99, b"")), "no GGUF file"),
        (gguf(text("x") + struct.pack("<IQ", STRING, 1 << 62)), "it claims"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        facts(content)


def test_weights_that_are_there_are_enough() -> None:
    assert facts(gguf(NAMED, tensors=(TENSOR,), rest=bytes(64))).architecture == "qwen2"


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200), places=st.dictionaries(st.integers(0, 150), st.integers(0, 255), max_size=6))
@example(content=b"", places={})
def test_any_bytes_are_facts_or_a_sentence(content: bytes, places: dict[int, int]) -> None:
    damaged = bytearray(gguf(NAMED, TOKENS, SCORES, SIZE, tensors=(TENSOR,)) + content)
    for place, value in places.items():
        damaged[4 + place] = value
    try:
        assert facts(bytes(damaged)).vocabulary >= 0
    except ValueError as error:
        assert str(error)


def test_a_language_model_is_asked_tokens_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(NAMED, SIZE))
    model = modelfile.given(tmp_path / "m.gguf", cache=Cache(tmp_path / "cache"))
    rows = np.load(model.inputs)
    assert model.format is ModelFormat.GGUF and rows.shape == (8, 16)
    assert set(rows.ravel()) <= set(range(7)) and len(set(rows.ravel())) == 7


@pytest.mark.parametrize("rows", [[[0, 7]], [[0.5]], [[-1]], [[float("nan")]], [0, 1]], ids=str)
def test_a_language_model_is_asked_no_rows_that_are_no_tokens(rows: list[object], tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(NAMED, SIZE))
    np.save(tmp_path / "rows.npy", np.array(rows, np.float32))
    with pytest.raises(UkperfError, match="no rows of token numbers below 7"):
        modelfile.given(tmp_path / "m.gguf", tmp_path / "rows.npy", Cache(tmp_path / "cache"))


def test_a_language_model_without_a_vocabulary_wants_rows(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(NAMED))
    with pytest.raises(UkperfError, match="does not tell what one row"):
        modelfile.given(tmp_path / "m.gguf", cache=Cache(tmp_path / "cache"))


def test_a_decoder_sees_no_token_that_comes_later() -> None:
    """Logits after a prefix are those of the prefix alone; where the last place changes, so do they."""
    model = decoder()
    row = model.rows()[:1]
    other = row.copy()
    other[0, -1] = (other[0, -1] + 1) % model.vocabulary
    assert not np.allclose(model.outputs(row), model.outputs(other))
    short = Decoder(**{**vars(model), "places": 5})
    assert np.array_equal(short.outputs(row[:, :5]), short.outputs(other[:, :5]))
