"""Models for runtimes inside guests, made on this host: the same weights in every format (docs/models.md).

A network is data (nets.py), and a format is written by a script of workloads/models, run by an interpreter that has the
library for it: ukperf itself imports none of them.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ukperf.errors import UkperfError
from ukperf.imaging.cache import Cache
from ukperf.imaging.distributions import Site, own_site
from ukperf.resources import data
from ukperf.text import clean

FORMAT = 1  # of what is kept
TIMEOUT_S = 300.0  # of a writer: importing torch alone takes up to ten seconds
TOLERANCE = 1e-4  # single precision is off by 4e-6 here, and half precision by 1e-2
INPUTS_FILE, EXPECTED_FILE = "inputs.npy", "expected.npy"
# Nothing that a writer imports may tell the world that it runs.
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


class ModelFormat(StrEnum):
    """What a model's file is."""

    ONNX = "onnx"
    TFLITE = "tflite"
    TORCHSCRIPT = "torchscript"
    SKLEARN = "sklearn"
    LIGHTGBM = "lightgbm"
    XGBOOST = "xgboost"
    GGUF = "gguf"


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
class KnownModel:
    """A model that can be made: what it is, and in which formats."""

    summary: str
    formats: tuple[ModelFormat, ...]


@dataclass(frozen=True)
class Writer:
    """A script that writes one format. library: what it needs; extra: of ukperf, which installs that."""

    script: str
    suffix: str
    library: str
    extra: str


_OF_NETS = (ModelFormat.ONNX, ModelFormat.TFLITE, ModelFormat.TORCHSCRIPT)
MODELS: Mapping[str, KnownModel] = {
    "mlp": KnownModel("three dense layers, 8 → 512 → 512 → 10", _OF_NETS),
    "cnn": KnownModel("two convolutions over pictures of 28 × 28 points", _OF_NETS),
    "transformer": KnownModel("one block of an encoder, 16 places of 64 numbers, 4 heads", _OF_NETS),
}
WRITERS: Mapping[ModelFormat, Writer] = {
    ModelFormat.ONNX: Writer("write_onnx.py", ".onnx", "onnx", "onnx"),
    ModelFormat.TFLITE: Writer("write_tflite.py", ".tflite", "ai-edge-litert", "litert"),
    ModelFormat.TORCHSCRIPT: Writer("write_torchscript.py", ".pt", "torch", "torch"),
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
    writer = WRITERS[format]
    key = {
        "format": FORMAT,
        "model": name,
        "written": format,
        "library": f"{writer.library} {_version(writer, site)}",
        "sources": [cache.digests.file(path) for path in (*_sources(), data("workloads", "models", writer.script))],
    }

    def fill(folder: Path) -> None:
        if say is not None:
            say(f"Making the model {name} as {format}, once.")
        _make(name, writer, folder, site or own_site())

    folder = cache.entry("models", cache.key(key), fill)
    path = folder / f"model{writer.suffix}"
    digest = cache.digests.file(path)
    return Model(name, format, path, digest, folder / INPUTS_FILE, folder / EXPECTED_FILE, TOLERANCE)


def _sources() -> tuple[Path, ...]:
    """What decides what a model is, besides the writer of its format."""
    here = Path(__file__).parent
    return here / "nets.py", here / "datasets.py", data("workloads", "models", "netfile.py")


def _version(writer: Writer, site: Site | None) -> str:
    """The version of the writer's library. Raises UkperfError where it is not installed."""
    where = site or own_site()
    for distribution in importlib.metadata.distributions(name=writer.library, path=list(where.path)):
        return distribution.version
    hint = f"pip install 'ukperf[{writer.extra}]'" if site is None else site.installing([writer.library])
    raise UkperfError(
        f"{writer.library} is not installed {'where ukperf is' if site is None else f'for {site.executable}'}, and "
        f"writes {writer.suffix} files.",
        hint=f"Type: {hint}",
    )


def _make(name: str, writer: Writer, folder: Path, site: Site) -> None:
    import numpy as np

    from ukperf.imaging.nets import NETS

    net = NETS[name]()
    rows = net.inputs()
    np.save(folder / INPUTS_FILE, rows, allow_pickle=False)
    np.save(folder / EXPECTED_FILE, net.outputs(rows), allow_pickle=False)
    with tempfile.TemporaryDirectory(prefix="ukperf-model-") as work:
        net.write(Path(work))
        _run(writer, Path(work), folder / f"model{writer.suffix}", site)


def _run(writer: Writer, net: Path, target: Path, site: Site) -> None:
    command = [str(site.executable), "-B", str(data("workloads", "models", writer.script)), str(net), str(target)]
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env={**os.environ, **QUIET},
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise UkperfError(f"{writer.library} took more than {TIMEOUT_S:.0f} s to write a model.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()
        what = clean(said[-1], 300) if said else f"it ended with status {error.returncode}"
        raise UkperfError(f"{writer.library} could not write a model: {what}.") from error
    except OSError as error:
        raise UkperfError(f"{site.executable} cannot be run: {error.strerror}.") from error
