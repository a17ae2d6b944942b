"""Models for runtimes inside guests, made on this host: the same weights in every format (docs/models.md).

A network is data (nets.py), and a format is written by a script of workloads/models, run by an interpreter that has the
library for it: ukperf itself imports none of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.files import copy
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import Site, is_installed, own_site
from ukperf.imaging.modelscripts import LEARNER, run_script, script, version, version_of

FORMAT = 1  # of what is kept
TOLERANCE = 1e-4  # single precision is off by 4e-6 here, and half precision by 1e-2
INPUTS_FILE, EXPECTED_FILE = "inputs.npy", "expected.npy"


class ModelFormat(StrEnum):
    """What a model's file is."""

    ONNX = "onnx"
    TFLITE = "tflite"
    TORCHSCRIPT = "torchscript"
    SKLEARN = "sklearn"
    LIGHTGBM = "lightgbm"
    XGBOOST = "xgboost"
    GGUF = "gguf"


SUFFIXES = {
    ModelFormat.ONNX: ".onnx",
    ModelFormat.TFLITE: ".tflite",
    ModelFormat.TORCHSCRIPT: ".pt",
    ModelFormat.SKLEARN: ".pkl",
    ModelFormat.LIGHTGBM: ".txt",
    ModelFormat.XGBOOST: ".json",
    ModelFormat.GGUF: ".gguf",
}


@dataclass(frozen=True)
class Model:
    """One model in one format. path: a regular file of the cache; digest: its sha256.

    inputs: rows to predict, float32, as a .npy file; expected: what they give, computed apart from any runtime; None
    where nobody knows. tolerance: the greatest difference from it, of any number, that is still the same answer.
    """

    name: str
    format: ModelFormat
    path: Path
    digest: str
    inputs: Path
    expected: Path | None
    tolerance: float


@dataclass(frozen=True)
class Writer:
    """A script that writes one format. library: what it needs; extra: of ukperf, which installs that."""

    script: str
    library: str
    extra: str


WRITERS: Mapping[ModelFormat, Writer] = {
    ModelFormat.ONNX: Writer("write_onnx.py", "onnx", "onnx"),
    ModelFormat.TFLITE: Writer("write_tflite.py", "ai-edge-litert", "litert"),
    ModelFormat.TORCHSCRIPT: Writer("write_torchscript.py", "torch", "torch"),
    ModelFormat.GGUF: Writer("write_gguf.py", "gguf", "llama"),
}


@dataclass(frozen=True)
class KnownModel:
    """A model that can be made: what it is, and in which formats. fitted: by scikit-learn, and not from a counter.

    tolerance: the greatest difference from its expected output that is still the same answer.
    """

    summary: str
    formats: tuple[ModelFormat, ...]
    fitted: bool = False
    tolerance: float = TOLERANCE


_OF_NETS = (ModelFormat.ONNX, ModelFormat.TFLITE, ModelFormat.TORCHSCRIPT)
_OF_TREES = (ModelFormat.SKLEARN, ModelFormat.ONNX, ModelFormat.LIGHTGBM, ModelFormat.XGBOOST)
MODELS: Mapping[str, KnownModel] = {
    "mlp": KnownModel("three dense layers, 8 → 512 → 512 → 10", _OF_NETS),
    "cnn": KnownModel("two convolutions over pictures of 28 × 28 points", _OF_NETS),
    "transformer": KnownModel("one block of an encoder, 16 places of 64 numbers, 4 heads", _OF_NETS),
    "nb": KnownModel("MultinomialNB, 64 words, 5 classes", (ModelFormat.SKLEARN, *_OF_NETS), fitted=True),
    "trees": KnownModel("ExtraTreesClassifier, 25 trees, 16 columns, 4 classes", _OF_TREES, fitted=True),
    # llama.cpp keeps keys and values in half precision.
    "decoder": KnownModel("two blocks of a language model, 16 tokens of 256", (ModelFormat.GGUF,), tolerance=4e-3),
}


def made(
    name: str,
    format: ModelFormat,
    cache: Cache | None = None,
    say: Callable[[str], None] | None = None,
    site: Site | None = None,
) -> Model:
    """One of MODELS in a format, made when there is none yet. site: whose libraries write it; default ukperf's own.

    Raises UkperfError for a model or a format that there is not, a library that is missing, with the line that installs
    it, and a writer that fails.
    """
    kind = MODELS.get(name)
    if kind is None:
        raise UkperfError(f"There is no model {name!r}.", hint="There are: " + ", ".join(MODELS) + ".")
    if format not in kind.formats:
        raise UkperfError(f"{name} is not made as {format}.", hint="It is as: " + ", ".join(kind.formats) + ".")
    cache = cache or Cache()
    writer = WRITERS.get(format)
    library = f"{writer.library} {version_of(writer.library, writer.extra, site)}" if writer else ""
    fitted = _fitted(name, cache, site or own_site()) if kind.fitted else None
    description = {
        "format": FORMAT,
        "model": name,
        "written": format,
        "library": library,
        "fitted": fitted.name if fitted else "",
        "sources": [cache.digests.file(path) for path in _sources(writer)],
    }

    def fill(folder: Path) -> None:
        if say is not None:
            say(f"Making the model {name} as {format}, once.")
        _make(name, format, folder, fitted, site or own_site())

    folder = cache.entry("models", cache.key(description), fill)
    path = folder / f"model{SUFFIXES[format]}"
    digest = cache.digests.file(path)
    return Model(name, format, path, digest, folder / INPUTS_FILE, folder / EXPECTED_FILE, kind.tolerance)


def _sources(writer: Writer | None) -> tuple[Path, ...]:
    """What decides what a model is."""
    here = Path(__file__).parent
    ours = tuple(here / name for name in ("datasets.py", "nets.py", "forests.py", "decoders.py", "fitted.py"))
    return (*ours, *(script(name) for name in (("netfile.py", writer.script) if writer else ())))


def _fitted(name: str, cache: Cache, site: Site) -> Path:
    """The folder of a classifier: its pickle and its arrays. Fitted by the scikit-learn of the site, whose guests load
    the pickle, or by ukperf's own where there is none."""
    site = site if is_installed(LEARNER, site) else own_site()
    description = {
        "format": FORMAT,
        "model": name,
        "libraries": [f"{library} {version(library, site)}" for library in (LEARNER, "numpy")],
        "sources": [cache.digests.file(path) for path in (*_sources(None), script("fit.py"))],
    }

    def fill(folder: Path) -> None:
        from ukperf.imaging import fitted

        fitted.save_training(name, folder)
        run_script(LEARNER, site, "fit.py", name, str(folder))

    return cache.entry("fitted", cache.key(description), fill)


def _make(name: str, format: ModelFormat, folder: Path, fitted: Path | None, site: Site) -> None:
    import numpy as np

    from ukperf.imaging import decoders, forests, nets
    from ukperf.imaging import fitted as classifiers

    target = folder / f"model{SUFFIXES[format]}"
    model: nets.Net | forests.Forest | decoders.Decoder
    if fitted is not None:
        model, rows = classifiers.read(name, fitted), classifiers.rows_of(name)
    elif name in nets.NETS:
        model = nets.NETS[name]()
        rows = nets.inputs(model.shape)
    else:
        model = decoders.decoder()
        rows = model.rows()
    np.save(folder / INPUTS_FILE, rows, allow_pickle=False)
    np.save(folder / EXPECTED_FILE, model.outputs(rows), allow_pickle=False)
    if fitted is not None and format is ModelFormat.SKLEARN:
        copy(fitted / classifiers.PICKLE, target)
    elif format in WRITERS:
        with tempfile.TemporaryDirectory(prefix="ukperf-model-") as work:
            model.write(Path(work))
            writer = WRITERS[format]
            run_script(writer.library, site, writer.script, work, str(target))
    elif isinstance(model, forests.Forest):
        text = forests.lightgbm_text if format is ModelFormat.LIGHTGBM else forests.xgboost_json
        target.write_text(text(model), encoding="ascii")
