"""Model files of somebody's own: which format one is by what is in it, what it asks of a runtime, and rows for it.

Nothing is loaded: a pickle, and TorchScript, run what their author wrote (`CODE`), and only guests may.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ukperf.errors import UkperfError
from ukperf.files import copy, open_regular, read_bytes, reason
from ukperf.imaging.cache import Cache
from ukperf.imaging.datasets import uniform
from ukperf.imaging.decoders import tokens
from ukperf.imaging.gguffile import read_gguf
from ukperf.imaging.models import INPUTS_FILE, TOLERANCE, Model, ModelFormat
from ukperf.imaging.onnxfile import FLOAT, read_onnx
from ukperf.imaging.tflitefile import FLOAT32, read_tflite
from ukperf.text import clean, shell

CODE = frozenset({ModelFormat.SKLEARN, ModelFormat.TORCHSCRIPT})
SIZE_MAX = 2 << 30  # what a protocol buffer may have, and more than a guest here takes
ROWS = 32  # that are made where the model takes any number
PROMPTS, PROMPT_TOKENS = 8, 16  # that a language model is asked
NUMBERS_MAX = 1 << 26  # in all of them
_ENDS = 1 << 20  # bytes read at the beginning and at the end of a file
_LIST_MAX = 16 << 20  # bytes of an archive's list of contents
_NAMES: Mapping[ModelFormat, tuple[str, ...]] = {
    ModelFormat.ONNX: (".onnx",),
    ModelFormat.TFLITE: (".tflite",),
    ModelFormat.TORCHSCRIPT: (".pt", ".pth", ".pt2", ".torchscript"),
    ModelFormat.SKLEARN: (".pkl", ".pickle", ".joblib"),
    ModelFormat.LIGHTGBM: (".txt", ".lightgbm"),
    ModelFormat.XGBOOST: (".json", ".ubj", ".xgboost"),
    ModelFormat.GGUF: (".gguf",),
}
# Operators of these domains are in the runtimes themselves.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
Rows = npt.NDArray[np.float32]
_COMPRESSED = (b"\x78\x01", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")  # joblib's


@dataclass(frozen=True)
class ModelFile:
    """shape: of rows of float32 that it takes, None for a size that is open; None where it does not say.

    suffix: the one by which runtimes know what it is. operators: DOMAIN:NAME, of ONNX. vocabulary: rows are tokens
    below this; 0: any numbers. written_for: versions that it asks of a runtime, for people.
    """

    format: ModelFormat
    suffix: str
    shape: tuple[int | None, ...] | None = None
    operators: frozenset[str] = frozenset()
    vocabulary: int = 0
    written_for: str = ""


@dataclass(frozen=True)
class _Content:
    file: BufferedReader
    size: int
    head: bytes
    tail: bytes


def given(path: Path, inputs: Path | None = None, cache: Cache | None = None) -> Model:
    """A model file with rows to ask it, both kept in the cache as they are now.

    inputs: a .npy of float32 rows; where there is none they are made, from the shape that the file tells. Raises
    UkperfError for what is no model file, is another than its name says, is not whole, asks for more than runtimes
    have, or does not tell its shape.
    """
    cache = cache or Cache()
    _check_size(path)
    about = examined(path)
    rows = _read_rows(inputs, about.vocabulary) if inputs is not None else _made_rows(about, path)
    digest = cache.digests.file(path)

    def fill(folder: Path) -> None:
        target = folder / f"model{about.suffix}"
        try:
            copy(path, target)
        except OSError as error:
            raise UkperfError(f"The model {path} cannot be copied into the cache: {reason(error)}.") from error
        if cache.digests.file(target) != digest:
            raise UkperfError(f"{path} was changed while it was read.", hint="Try again when nobody writes to it.")
        np.save(folder / INPUTS_FILE, rows, allow_pickle=False)

    asked = f"{rows.shape} {hashlib.sha256(rows.tobytes()).hexdigest()}"
    folder = cache.entry("models", cache.key({"given": digest, "suffix": about.suffix, "rows": asked}), fill)
    model = folder / f"model{about.suffix}"
    return Model(clean(path.name, 80), about.format, model, digest, folder / INPUTS_FILE, None, TOLERANCE)


def format_by_name(path: Path) -> ModelFormat | None:
    """The format that a file is called by; None where its name tells none."""
    return next((form for form, suffixes in _NAMES.items() if path.suffix.lower() in suffixes), None)


def examined(path: Path) -> ModelFile:
    """What a file is by its content, checked against its name. Raises UkperfError."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(_ENDS)
            file.seek(max(0, size - _ENDS))
            about = _of_content(_Content(file, size, head, file.read(_ENDS)), path)
    # the last two are zipfile's words for damage, too
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise UkperfError(f"{path} is no model that can be loaded: {clean(reason(error), 300)}.") from error
    claimed = format_by_name(path)
    if claimed is not None and about.format is not claimed:
        raise UkperfError(
            f"{path} is called as {claimed.value} files are, and is {about.format.value}.",
            hint=f"Give it its own name: {shell('mv', path, path.with_suffix(about.suffix))}",
        )
    return about


def _check_size(path: Path) -> None:
    """Raises UkperfError where the file cannot be opened, is empty or too large: before all of it is read."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise UkperfError(f"The model {path} cannot be read: {reason(error)}.") from error
    if not size:
        raise UkperfError(f"The model {path} is empty.")
    if size > SIZE_MAX:
        raise UkperfError(f"The model {path} has more than {SIZE_MAX >> 30} GiB, which no guest here takes.")


def _of_content(content: _Content, named: Path) -> ModelFile:
    """Raises ValueError with what is wrong, and OSError."""
    head = content.head
    if head.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS, and the model is elsewhere (git lfs pull)")
    if head.startswith(b"binf"):
        raise ValueError("it is XGBoost's old binary format; save it as .ubj or .json")
    for fits, read in _READERS:
        if fits(head):
            return read(content, named)
    return _onnx(content, named)


def _tflite(content: _Content, _named: Path) -> ModelFile:
    facts = read_tflite(content.file, content.size)
    if facts.custom:
        raise ValueError(f"it asks for operators that LiteRT has not: {', '.join(sorted(facts.custom)[:5])}")
    kinds = facts.inputs
    sizes = tuple(None if size < 0 else size for size in kinds[0][1]) if kinds else ()
    return ModelFile(ModelFormat.TFLITE, ".tflite", sizes if len(kinds) == 1 and kinds[0][0] == FLOAT32 else None)


def _onnx(content: _Content, named: Path) -> ModelFile:
    """The one format without a mark of its own, so whatever has no other is read as it."""
    try:
        facts = read_onnx(content.file, content.size)
    except ValueError as error:
        if named.suffix.lower() not in _NAMES[ModelFormat.ONNX]:
            raise ValueError("it is of no format that is known here, or not whole") from error
        raise
    if facts.external:
        places = ", ".join(sorted(facts.external)[:3])
        raise ValueError(
            f"its weights are in other files ({places}), and only one file is taken: save it anew by onnx.save_model"
        )
    strange = sorted(f"{d}:{name}" for d, name in facts.operators if d not in _DOMAINS | facts.functions)
    if strange:
        raise ValueError(f"it asks for operators that runtimes have not by themselves: {', '.join(strange[:5])}")
    kinds = list(facts.inputs.values())
    shape = kinds[0][1] if len(kinds) == 1 and kinds[0][0] == FLOAT else None
    operators = frozenset(f"{domain or 'ai.onnx'}:{name}" for domain, name in facts.operators)
    opsets = [f"opset {version} of {domain or 'ai.onnx'}" for domain, version in sorted(facts.opsets.items())[:5]]
    versions = ", ".join([f"IR version {facts.ir_version}", *opsets])
    return ModelFile(ModelFormat.ONNX, ".onnx", shape, operators, written_for=versions)


def _gguf(content: _Content, _named: Path) -> ModelFile:
    facts = read_gguf(content.file, content.size)
    shape = (PROMPTS, PROMPT_TOKENS) if facts.vocabulary else None
    return ModelFile(ModelFormat.GGUF, ".gguf", shape, vocabulary=facts.vocabulary)


def _archive(content: _Content, _named: Path) -> ModelFile:
    """What PyTorch writes: TorchScript has its source inside, torch.export its graph as JSON, weights alone neither."""
    at = content.tail.rfind(b"PK\x05\x06")
    if at < 0 or len(content.tail) < at + 22:
        raise ValueError("its archive is cut off")
    if int.from_bytes(content.tail[at + 12 : at + 16], "little") > _LIST_MAX:
        raise ValueError("its archive's list of contents is too large")
    with zipfile.ZipFile(content.file) as archive:
        names = archive.namelist()
    if any(re.search(r"(^|/)(archive_format|serialized_exported_program\.json)$", name) for name in names):
        return ModelFile(ModelFormat.TORCHSCRIPT, ".pt2")
    if any(re.fullmatch(r"[^/]+/code/.+\.py", name) for name in names):
        return ModelFile(ModelFormat.TORCHSCRIPT, ".pt")
    if any(re.fullmatch(r"[^/]+/data\.pkl", name) for name in names):
        raise ValueError("it has weights and no program (torch.save); save it by torch.jit.save or torch.export.save")
    raise ValueError("it is an archive, and none of PyTorch's")


def _pickle(_content: _Content, named: Path) -> ModelFile:
    if named.suffix.lower() in _NAMES[ModelFormat.TORCHSCRIPT]:
        raise ValueError("it is a pickle (torch.save); save it by torch.jit.save or torch.export.save")
    return ModelFile(ModelFormat.SKLEARN, ".joblib")


def _compressed(content: _Content, named: Path) -> ModelFile:
    if named.suffix.lower() not in _NAMES[ModelFormat.SKLEARN]:
        raise ValueError("it is compressed: unpack it")
    return _pickle(content, named)


def _lightgbm(content: _Content, _named: Path) -> ModelFile:
    if b"\nend of trees" not in content.tail and b"\nend of trees" not in content.head:
        # What follows the trees is short: parameters, importances of columns.
        raise ValueError("its trees are cut off")
    last = re.search(rb"^max_feature_idx=(\d{1,9})$", content.head, re.MULTILINE)
    return ModelFile(ModelFormat.LIGHTGBM, ".txt", (None, int(last[1]) + 1) if last else None)


def _xgboost(content: _Content, _named: Path) -> ModelFile:
    binary = content.head.startswith(b"{L")
    if not content.tail.rstrip().endswith(b"}") or b"version" not in content.tail:
        raise ValueError("it is cut off")
    pattern = rb"num_featureSL.{8}(\d{1,9})" if binary else rb'"num_feature"\s*:\s*"(\d{1,9})"'
    columns = re.search(pattern, content.tail, re.DOTALL)
    return ModelFile(ModelFormat.XGBOOST, ".ubj" if binary else ".json", (None, int(columns[1])) if columns else None)


_Reader = Callable[[_Content, Path], ModelFile]
_READERS: tuple[tuple[Callable[[bytes], bool], _Reader], ...] = (
    (lambda head: head[4:8] == b"TFL3", _tflite),
    (lambda head: head.startswith(b"GGUF"), _gguf),
    (lambda head: head.startswith(b"PK\x03\x04"), _archive),
    (lambda head: head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"), _pickle),
    (lambda head: head.startswith(_COMPRESSED), _compressed),
    (lambda head: head.startswith(b"tree\n") and b"version=v" in head[:100], _lightgbm),
    (lambda head: re.match(rb'\{(L.{8}|\s*")(learner|version)', head, re.DOTALL) is not None, _xgboost),
)


def _shape(about: ModelFile, path: Path) -> tuple[int, ...]:
    """The shape of rows to make. Raises UkperfError where the file does not tell."""
    hint = "Give rows of yours: a .npy of float32."
    if about.shape is None or not about.shape or None in about.shape[1:]:
        raise UkperfError(f"{path} does not tell what one row of float32 for it looks like.", hint=hint)
    shape = tuple(ROWS if size is None else size for size in about.shape)
    if min(shape) < 1 or math.prod(shape) > NUMBERS_MAX:
        raise UkperfError(f"{path} takes rows of {' × '.join(map(str, shape))} numbers.", hint=hint)
    return shape


def _made_rows(about: ModelFile, path: Path) -> Rows:
    """Numbers between -1 and 1, or of tokens; the same every time. Raises UkperfError where the file does not tell."""
    shape = _shape(about, path)
    if about.vocabulary:
        return tokens(shape[0], shape[1], about.vocabulary)
    rows: Rows = (uniform(0, math.prod(shape)) * 2.0 - 1.0).astype(np.float32).reshape(shape)
    return rows


def _read_rows(path: Path, vocabulary: int) -> Rows:
    """Raises UkperfError for what is no .npy of float32 with a row, or has other than tokens where those are asked."""
    try:
        rows = np.load(io.BytesIO(read_bytes(path, 4 * NUMBERS_MAX)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UkperfError(f"The rows {path} cannot be read: {clean(reason(error), 200)}.") from error
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.ndim < 1 or not rows.size:
        raise UkperfError(f"{path} has no rows of float32.", hint="Write it by numpy.save('rows.npy', rows).")
    if vocabulary and (
        rows.ndim != 2 or (rows != np.floor(rows)).any() or not (0 <= rows.min() <= rows.max() < vocabulary)
    ):
        raise UkperfError(
            f"{path} has no rows of token numbers below {vocabulary:,}, which this model is asked.",
            hint="A row is a prompt, all of one length: whole numbers as float32.",
        )
    return np.ascontiguousarray(rows)
