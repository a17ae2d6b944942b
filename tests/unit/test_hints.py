"""Hints fit the way in which ukperf was installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest

from ukperf import hints

WANTED = [
    "numpy>=1",
    "onnxruntime>=1.18; extra == 'onnx'",
    'onnx>=1.16 ; extra == "onnx"',
    "torch>=2; extra == 'torch'",
]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Python says that it is installed."""
    folder = tmp_path / "venvs" / "ukperf"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setattr(sys, "executable", str(folder / "bin" / "python"))
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: WANTED)
    return folder


def test_in_an_environment_with_pip_its_own_python_is_named(environment: Path) -> None:
    python = environment / "bin" / "python"
    assert hints.extra("onnx") == f"{python} -m pip install 'ukperf[onnx]'"
    assert hints.distributions(("odd-runtime",)) == f"{python} -m pip install odd-runtime"
    assert hints.pip("--force-reinstall", "numpy") == f"{python} -m pip install --force-reinstall numpy"


def test_an_environment_of_uvs_has_no_pip(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    python = environment / "bin" / "python"
    assert hints.extra("onnx") == f"uv pip install --python {python} 'ukperf[onnx]'"


def test_pipx_is_given_the_packages_of_an_extra(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pipx inject ukperf 'ukperf[onnx]'` does nothing: ukperf is there."""
    (environment / "pipx_metadata.json").write_text("{}")
    assert hints.extra("onnx") == "pipx inject ukperf 'onnxruntime>=1.18' 'onnx>=1.16'"
    assert hints.distributions(("odd-runtime",)) == "pipx inject ukperf odd-runtime"
    assert hints.pip("--force-reinstall", "numpy") == "pipx runpip ukperf install --force-reinstall numpy"

    def lost(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", lost)
    assert hints.extra("onnx") == "pipx inject ukperf 'ukperf[onnx]'"


def test_every_extra_of_ours_is_one_that_pip_knows() -> None:
    """The requirements of this very installation are read, in whichever way they are written."""
    assert {line.partition(">")[0] for line in hints._packages_of("onnx")} == {"onnxruntime", "onnx"}
