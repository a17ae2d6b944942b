"""Model files of users: the format is what is in them, whatever is wrong is a sentence, and nothing is loaded."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ukperf.errors import UkperfError
from ukperf.imaging import modelfile, models
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import is_installed, own_site
from ukperf.imaging.models import ModelFormat


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(number: int, content: int | bytes | str) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def sizes_of(*sizes: int | str) -> bytes:
    dims = b"".join(part(1, part(1, size) if isinstance(size, int) else part(2, size)) for size in sizes)
    return part(2, part(1, part(1, 1) + part(2, dims)))


def node(name: str, domain: str = "", more: bytes = b"") -> bytes:
    return part(1, part(4, name) + (part(7, domain) if domain else b"") + more)


WEIGHT = part(5, part(1, 4) + part(2, 1) + part(8, "w") + part(9, bytes(16)))
EXTERNAL = part(5, part(8, "w") + part(13, part(1, "location") + part(2, "w.bin")) + part(14, 1))


def onnx(graph: bytes = node("Gemm"), shape: tuple[int | str, ...] = ("n", 4), weights: bytes = WEIGHT) -> bytes:
    value = part(11, part(1, "x") + sizes_of(*shape))
    return part(1, 8) + part(2, "us") + part(7, graph + weights + value) + part(8, part(2, 17))


def torch_archive(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return made.getvalue()


class Trap:
    """What a pickle would run; it leaves a file."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch trapped",)


SCRIPT = torch_archive("model/data.pkl", "model/code/__torch__.py", "model/constants.pkl", "model/data/0")
WEIGHTS = torch_archive("model/data.pkl", "model/data/0", "model/version")
EXPORTED = torch_archive("model/archive_format", "model/models/model.json")
TREES = b"tree\nversion=v4\nnum_class=1\nmax_feature_idx=6\n\nTree=0\nnum_leaves=1\n\nend of trees\n"
BOOSTED = b'{"learner":{"learner_model_param":{"num_feature":"5"}},"version":[3,2,0]}'
PICKLE = pickle.dumps(Trap())
FILES = {
    "m.onnx": (onnx(), ModelFormat.ONNX, ".onnx", (None, 4)),
    "fixed.onnx": (onnx(shape=(1, 3, 8)), ModelFormat.ONNX, ".onnx", (1, 3, 8)),
    "m.pt": (SCRIPT, ModelFormat.TORCHSCRIPT, ".pt", None),
    "m.pt2": (EXPORTED, ModelFormat.TORCHSCRIPT, ".pt2", None),
    "m.txt": (TREES, ModelFormat.LIGHTGBM, ".txt", (None, 7)),
    "m.json": (BOOSTED, ModelFormat.XGBOOST, ".json", (None, 5)),
    "m.pkl": (PICKLE, ModelFormat.SKLEARN, ".joblib", None),
    "m.gguf": (b"GGUF\3\0\0\0" + bytes(16), ModelFormat.GGUF, ".gguf", None),
    "no-suffix": (onnx(), ModelFormat.ONNX, ".onnx", (None, 4)),
    "m.bin": (TREES, ModelFormat.LIGHTGBM, ".txt", (None, 7)),
}


@pytest.mark.parametrize("name", FILES)
def test_the_format_is_what_is_in_the_file(name: str, tmp_path: Path) -> None:
    content, *expected = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    about = modelfile.examined(path)
    assert [about.format, about.suffix, about.shape] == expected


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("m.onnx", TREES, "is called as onnx files are, and is lightgbm. Give it its own name: mv "),
        ("m.tflite", onnx(), "is called as tflite files are, and is onnx"),
        ("m.json", SCRIPT, "is called as xgboost files are, and is torchscript"),
        ("m.onnx", onnx()[:-20], "it is cut off, or no ONNX file"),
        ("m.onnx", b"<html>not here</html>", "no ONNX file"),
        ("m.dat", b"<html>not here</html>", "it is of no format that is known here"),
        ("m.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("m.onnx", b"", "is empty"),
        ("m.onnx", onnx(node("Fancy", "my.ops")), "runtimes have not by themselves: my.ops:Fancy."),
        ("m.onnx", onnx(weights=EXTERNAL), "its weights are in other files (w.bin)"),
        ("m.onnx", onnx(shape=("n", "length")), "does not tell what one row of float32 for it looks like"),
        ("m.onnx", onnx(shape=(1 << 20, 1 << 20)), "takes rows of 1048576 × 1048576 numbers"),
        ("m.pt", WEIGHTS, "it has weights and no program (torch.save)"),
        ("m.pt", PICKLE, "it is a pickle (torch.save)"),
        ("m.pt", SCRIPT[:-30], "its archive is cut off"),
        ("m.pt", torch_archive("word/document.xml"), "none of PyTorch's"),
        ("m.txt", TREES[:60], "its trees are cut off"),
        ("m.json", BOOSTED[:-4], "it is cut off"),
        ("m.tflite", b"\x1c\0\0\0TFL3", "cut off, or no TFLite file"),
        ("m.onnx", b"\x78\x9c1234", "it is compressed"),
        ("m.model", b"binf1234", "XGBoost's old binary format"),
        ("m.pt", SCRIPT, "does not tell what one row of float32 for it looks like. Give rows of yours"),
    ],
)
def test_what_is_no_model_is_a_sentence(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UkperfError) as raised:
        modelfile.given(path, cache=Cache(tmp_path / "cache"))
    assert sentence in str(raised.value)


def test_operators_that_the_file_defines_itself_are_no_strangers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx(node("Mine", "my.ops")) + part(25, part(1, "Mine") + part(10, "my.ops")))
    assert modelfile.examined(path).format is ModelFormat.ONNX


def test_operators_in_branches_are_seen(tmp_path: Path) -> None:
    branch = part(5, part(6, node("Hidden", "my.ops")))
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx(node("If", more=branch)))
    with pytest.raises(UkperfError, match=r"my\.ops:Hidden"):
        modelfile.examined(path)


def test_graphs_without_end_are_refused(tmp_path: Path) -> None:
    graph = node("Gemm")
    for _ in range(40):
        graph = node("If", more=part(5, part(6, graph)))
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx(graph))
    with pytest.raises(UkperfError, match="nested too deeply"):
        modelfile.examined(path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing", "device"])
def test_what_is_no_file_is_said_and_hangs_nobody(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(UkperfError, match="cannot be read: "):
        modelfile.given(path, cache=Cache(tmp_path / "cache"))


@pytest.mark.parametrize(("size", "sentence"), [(4 << 30, "more than 2 GiB"), (1 << 30, "no ONNX file")])
def test_a_huge_file_is_not_read(size: int, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(size)
    start = time.monotonic()
    with pytest.raises(UkperfError, match=sentence):
        modelfile.given(path, cache=Cache(tmp_path / "cache"))
    assert time.monotonic() - start < 2
    assert not (tmp_path / "cache" / "models").exists()


def test_weights_are_passed_over(tmp_path: Path) -> None:
    """One gigabyte of them, as a hole, in the middle of a whole file."""
    length = 1 << 30
    weight = part(1, 1) + part(2, 1) + part(8, "w") + varint(9 << 3 | 2) + varint(length)
    graph = node("Gemm") + part(11, part(1, "x") + sizes_of("n", 4))
    head = varint(5 << 3 | 2) + varint(len(weight) + length) + weight
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.write(part(1, 8) + varint(7 << 3 | 2) + varint(len(graph) + len(head) + length) + graph + head)
        file.seek(length, os.SEEK_CUR)
        file.write(part(8, part(2, 17)))
    start = time.monotonic()
    assert modelfile.examined(path).shape == (None, 4)
    assert time.monotonic() - start < 2


def test_a_pickle_is_looked_at_and_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.joblib"
    path.write_bytes(PICKLE)
    np.save(tmp_path / "rows.npy", np.ones((3, 2), np.float32))
    model = modelfile.given(path, tmp_path / "rows.npy", Cache(tmp_path / "cache"))
    assert model.format in modelfile.CODE
    assert not (tmp_path / "trapped").exists()


def test_what_is_given_is_kept_as_it_is_now(tmp_path: Path) -> None:
    path, cache = tmp_path / "mine.onnx", Cache(tmp_path / "cache")
    path.write_bytes(onnx())
    model = modelfile.given(path, cache=cache)
    path.write_bytes(onnx(node("MatMul")))
    assert model.path.read_bytes() == onnx() and model.path.suffix == ".onnx" and model.name == "mine.onnx"
    assert np.load(model.inputs, allow_pickle=False).shape == (modelfile.ROWS, 4)
    assert model.expected is None
    assert modelfile.given(path, cache=cache).digest != model.digest


@pytest.mark.parametrize(
    "rows", [np.ones((2, 4)), np.ones((0, 4), np.float32), np.float32(1), np.array([None])], ids=str
)
def test_rows_are_of_float32(rows: object, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx())
    np.save(tmp_path / "rows.npy", np.asarray(rows), allow_pickle=True)
    with pytest.raises(UkperfError, match=r"rows"):
        modelfile.given(tmp_path / "m.onnx", tmp_path / "rows.npy", Cache(tmp_path / "cache"))


MAGICS = [b"", b"\x1c\0\0\0TFL3", b"GGUF", b"PK\x03\x04", b"\x80\4", b"tree\nversion=v4\n", b'{"learner"', onnx()]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from(MAGICS), rest=st.binary(max_size=300), suffix=st.sampled_from([".onnx", ".pt", ""]))
@example(start=onnx(), rest=varint(7 << 3 | 2) + varint((1 << 64) - 1), suffix=".onnx")
def test_any_bytes_are_a_model_or_a_sentence(start: bytes, rest: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(start + rest)
    try:
        modelfile.examined(path)
    except UkperfError as error:
        assert str(path) in error.message


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.dictionaries(st.integers(0, len(SCRIPT) - 1), st.integers(0, 255), min_size=1, max_size=12))
def test_a_damaged_archive_is_a_model_or_a_sentence(places: dict[int, int], tmp_path: Path) -> None:
    damaged = bytearray(SCRIPT)
    for place, value in places.items():
        damaged[-1 - place] = value  # its list of contents is at the end
    path = tmp_path / "m.pt"
    path.write_bytes(damaged)
    try:
        modelfile.examined(path)
    except UkperfError as error:
        assert str(path) in error.message


@pytest.mark.parametrize("form", [ModelFormat.ONNX, ModelFormat.TFLITE])
def test_a_real_file_is_read_and_a_part_of_it_is_not_taken(form: ModelFormat, tmp_path: Path) -> None:
    if not is_installed(models.WRITERS[form].library, own_site()):
        pytest.skip(f"{models.WRITERS[form].library} is not installed")
    made = models.made("mlp", form, Cache(tmp_path / "cache"))
    about = modelfile.examined(made.path)
    assert about.format is form and about.shape == (None, *np.load(made.inputs, allow_pickle=False).shape[1:])
    whole = made.path.read_bytes()
    path = tmp_path / made.path.name
    # The end of a TFLite file may be nothing but zeros that fill it up.
    for end in [*range(0, len(whole) - 64, len(whole) // 40), len(whole) - 64]:
        path.write_bytes(whole[:end])
        with pytest.raises(UkperfError):
            modelfile.examined(path)
    flipped = np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(whole)
        for place in flipped.integers(0, len(whole), 20) if flipped.random() < 0.5 else flipped.integers(0, 400, 4):
            damaged[place] ^= int(flipped.integers(1, 256))
        path.write_bytes(damaged)
        try:
            modelfile.examined(path)
        except UkperfError as error:
            assert str(path) in error.message


def test_what_lightgbm_and_xgboost_write_tells_its_columns(tmp_path: Path) -> None:
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    rows = np.arange(400, dtype=np.float32).reshape(80, 5) % 7
    trees = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, rows[:, 0].copy()), 2)
    trees.save_model(tmp_path / "m.txt")
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, rows[:, 0].copy()), 2)
    for name in ("m.json", "m.ubj"):
        booster.save_model(tmp_path / name)
    for name in ("m.txt", "m.json", "m.ubj"):
        assert modelfile.examined(tmp_path / name).shape == (None, 5), name
