"""Models that are made on the host: the same weights in every format by runtimes' own word, and the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.imaging import models, modelscripts
from ukperf.imaging.cache import Cache
from ukperf.imaging.decoders import decoder
from ukperf.imaging.distributions import Site, is_installed, own_site, site_of
from ukperf.imaging.models import MODELS, Model, ModelFormat
from ukperf.imaging.nets import NETS

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).parent / "ml_runner.py"
# Who has the runtimes, where ukperf's own environment has not.
ML = os.environ.get("UKPERF_ML_PYTHON")
RUNTIMES = {  # distribution → format that it reads, and its function in ml_runner.py
    "onnxruntime": (ModelFormat.ONNX, "onnx"),
    "openvino": (ModelFormat.ONNX, "openvino"),
    "ai-edge-litert": (ModelFormat.TFLITE, "tflite"),
    "torch": (ModelFormat.TORCHSCRIPT, "torchscript"),
    "scikit-learn": (ModelFormat.SKLEARN, "sklearn"),
    "lightgbm": (ModelFormat.LIGHTGBM, "lightgbm"),
    "xgboost-cpu": (ModelFormat.XGBOOST, "xgboost"),
    "llama-cpp-python": (ModelFormat.GGUF, "gguf"),
}
UNREAD = {("trees", "openvino")}  # it knows no operators of ai.onnx.ml
CASES = [
    (name, runtime)
    for runtime, (form, _) in RUNTIMES.items()
    for name, kind in MODELS.items()
    if form in kind.formats and (name, runtime) not in UNREAD
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def site_with(*distributions: str) -> Site:
    """Where all of them are installed; the test is skipped where they are nowhere."""
    for site in (own_site(), *([site_of(Path(ML))] if ML else [])):
        if all(is_installed(name, site) for name in distributions):
            return site
    pytest.skip(f"{' and '.join(distributions)}: not installed")


def writers_site(form: ModelFormat, *more: str) -> Site:
    library = [models.WRITERS[form].library] if form in models.WRITERS else []
    return site_with(*library, *more)


def farthest(model: Model, function: str, site: Site) -> float:
    words = [str(site.executable), "-B", str(RUNNER), function, str(model.path), str(model.inputs), str(model.expected)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


@pytest.mark.parametrize(("name", "runtime"), CASES)
def test_a_runtime_gives_what_numpy_does(name: str, runtime: str, kept: Cache) -> None:
    form, function = RUNTIMES[runtime]
    site = writers_site(form, runtime)
    model = models.made(name, form, kept, site=site)
    assert model.expected is not None and np.load(model.expected).std() > 0.01
    assert farthest(model, function, site) <= model.tolerance / 10


@pytest.mark.parametrize(("name", "form"), [(name, form) for name, kind in MODELS.items() for form in kind.formats])
def test_two_processes_make_the_same_bytes(name: str, form: ModelFormat, kept: Cache, tmp_path: Path) -> None:
    site = writers_site(form)
    here = models.made(name, form, kept, site=site)
    code = (
        "import sys; from pathlib import Path; from ukperf.imaging import cache, distributions, models;"
        "name, form, root, python = sys.argv[1:]; site = distributions.site_of(Path(python));"
        "made = models.made(name, models.ModelFormat(form), cache.Cache(Path(root)), site=site);"
        "print(made.digest, made.path.parent)"
    )
    words = [sys.executable, "-c", code, name, form, str(tmp_path), str(site.executable)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    digest, folder = done.stdout.split()
    assert digest == here.digest
    for file in (models.INPUTS_FILE, models.EXPECTED_FILE):
        assert Path(folder, file).read_bytes() == (here.path.parent / file).read_bytes()


def test_a_model_is_made_once(kept: Cache) -> None:
    site = writers_site(ModelFormat.ONNX)
    said: list[str] = []
    first = models.made("mlp", ModelFormat.ONNX, kept, said.append, site)
    said.clear()
    assert models.made("mlp", ModelFormat.ONNX, kept, said.append, site) == first
    assert said == []


WEIGHTS = {
    "mlp": "61dd9064131511bd",
    "cnn": "c18aba2d5a1381bb",
    "transformer": "454e800446cd5e7f",
    "decoder": "d17703c43d07d403",
}


@pytest.mark.parametrize("name", [*NETS, "decoder"])
def test_weights_are_what_they_always_were(name: str) -> None:
    """Runs on other machines and with other versions of NumPy had these."""
    made = decoder() if name == "decoder" else NETS[name]()
    total = hashlib.sha256(b"".join(array.tobytes() for array in made.weights.values()))
    assert total.hexdigest().startswith(WEIGHTS[name])


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("resnet", ModelFormat.ONNX, r"There is no model 'resnet'\. There are: mlp"),
        ("mlp", ModelFormat.GGUF, "not made as gguf"),
    ],
)
def test_what_is_not_made_is_said(name: str, form: ModelFormat, said: str, tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match=said):
        models.made(name, form, Cache(tmp_path))


def test_a_missing_library_is_one_sentence_with_the_line_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscripts, "own_site", lambda: Site(Path(sys.executable), (str(tmp_path),)))
    with pytest.raises(
        UkperfError, match=r"^onnx, which writes such models, is not installed where ukperf is"
    ) as caught:
        models.made("mlp", ModelFormat.ONNX, Cache(tmp_path / "c"))
    assert caught.value.hint == f"Type: {hints.extra('onnx')}"
    other = Site(Path("/there/python"), (str(tmp_path),))
    with pytest.raises(UkperfError, match=r"not installed for /there/python.*/there/python -m pip install onnx"):
        models.made("mlp", ModelFormat.ONNX, Cache(tmp_path / "c"), site=other)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('odd\\x1b[1m')", "could not write a model: ValueError: odd"),
        ("import os; os._exit(3)", "status 3"),
    ],
)
def test_a_writer_that_fails_is_one_sentence_and_nothing_is_kept(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "onnx-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnx\nVersion: 9\n")
    bad = tmp_path / "bad.py"
    bad.write_text(code)
    own = modelscripts.data
    monkeypatch.setattr(modelscripts, "data", lambda *parts: bad if parts[-1] == "write_onnx.py" else own(*parts))
    site = Site(Path(sys.executable), (str(tmp_path / "site"),))
    for _ in range(2):
        with pytest.raises(UkperfError, match=said) as caught:
            models.made("mlp", ModelFormat.ONNX, Cache(tmp_path / "c"), site=site)
        assert "\x1b" not in str(caught.value)
    assert not any((tmp_path / "c" / "models").glob("*"))
