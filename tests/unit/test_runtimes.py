"""Runtimes of models: their recipes, what of a package is packed, and /proc/cpuinfo for guests that have none."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ukperf import hints
from ukperf.errors import UkperfError
from ukperf.imaging import closure, runtimes
from ukperf.imaging.cache import Cache
from ukperf.imaging.closure import Pruning
from ukperf.imaging.distributions import Site, own_site
from ukperf.imaging.pythontree import environment, python_tree
from ukperf.registry import OURS
from ukperf.resources import data, data_root

OWN = [name for name in runtimes.RUNTIMES.names() if runtimes.RUNTIMES.origin(name) == OURS]


def installed(folder: Path, name: str, files: dict[str, str | bytes]) -> Site:
    """A distribution in a folder, as pip leaves it."""
    info = f"{name}-1.0.dist-info"
    files = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Site(own_site().executable, (str(folder),))


def library(folder: Path, name: str, *words: str) -> bytes:
    """A shared object of nothing."""
    source = folder / "empty.c"
    source.write_text("int nothing;\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(folder / name), str(source), *words], check=True)
    return (folder / name).read_bytes()


def test_a_recipe_leaves_out_keeps_sources_and_drops_plugins_whose_libraries_are_missing(tmp_path: Path) -> None:
    library(tmp_path, "libnowhere.so")
    plugin = library(tmp_path, "plugin.so", f"-L{tmp_path}", "-lnowhere", "-Wl,--no-as-needed", "-lnowhere")
    (tmp_path / "libnowhere.so").unlink()
    files: dict[str, str | bytes] = {
        "mine/__init__.py": "VALUE = 3\n",
        "mine/config.py": "def one():\n    return 1  # said in the source alone\n",
        "mine/big/data.py": "raise RuntimeError\n",
        "mine/plugins/plugin.so": plugin,
    }
    site = installed(tmp_path / "site", "mine", files)
    with pytest.raises(UkperfError, match=r"plugin\.so needs libnowhere\.so"):
        python_tree(Cache(tmp_path / "c"), ["mine"], site)
    pruning = Pruning(("mine/big/*",), ("mine/config.py",), ("mine/plugins/*",))
    python = python_tree(Cache(tmp_path / "c"), ["mine"], site, pruning)
    assert "plugin.so: libnowhere.so is not on this machine" in python.left_out
    packed = {str(path.relative_to(python.home)) for path in (python.home / "mine").rglob("*") if path.is_file()}
    tag = f"__pycache__/config.cpython-{python.version.replace('.', '')}.pyc"
    assert packed == {"mine/__init__.pyc", "mine/config.py", f"mine/{tag}"}
    code = "import inspect, mine.config as c; print(c.__cached__, c.one(), inspect.getsource(c))"
    home = {"PYTHONHOME": str(python.root / "prog")}
    folders = {"LD_LIBRARY_PATH": f"{python.root}{dict(environment(python))['LD_LIBRARY_PATH']}"}
    done = subprocess.run(
        [str(python.root / "prog" / "python"), "-S", "-B", "-c", code],
        env={**os.environ, **home, **folders},
        capture_output=True,
        text=True,
        check=True,
    )
    assert tag in done.stdout and "said in the source alone" in done.stdout


def test_a_tree_with_another_recipe_is_another_tree(tmp_path: Path) -> None:
    site = installed(tmp_path / "site", "mine", {"mine/__init__.py": "", "mine/big.py": "X = 1\n"})
    cache = Cache(tmp_path / "c")
    whole, pruned = python_tree(cache, ["mine"], site), python_tree(cache, ["mine"], site, Pruning(("mine/big.py",)))
    assert (whole.home / "mine" / "big.pyc").exists() and not (pruned.home / "mine" / "big.pyc").exists()
    assert python_tree(cache, ["mine"], site).digest == whole.digest != pruned.digest


def test_packages_that_change_while_they_are_packed_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = installed(tmp_path / "site", "mine", {"mine/__init__.py": "A = 1\n"})
    build = closure.build

    def slow(inputs: closure.Inputs, root: Path, launcher: Path) -> closure.PythonTree:
        made = build(inputs, root, launcher)
        (tmp_path / "site" / "mine" / "__init__.py").write_text("A = 1000\n")
        return made

    monkeypatch.setattr(closure, "build", slow)
    with pytest.raises(UkperfError, match="changed while they were packed"):
        python_tree(Cache(tmp_path / "c"), ["mine"], site)
    assert not list((tmp_path / "c" / "python").glob("*"))


@pytest.mark.parametrize("name", OWN)
def test_a_runtime_of_ours_has_an_adapter_and_an_extra_that_installs_it(name: str) -> None:
    runtime = runtimes.get(name)
    functions = {node.name for node in ast.parse(runtime.adapter.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert {"import_", "load", "predict", "engine"} <= functions
    extras = tomllib.loads((data_root() / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(line.startswith(runtime.distributions[0]) for line in extras[runtime.extra])
    assert (runtime.extra in extras["ml"][0]) is (name != "llama")  # which pip compiles, for minutes


def test_a_runtime_that_is_not_installed_is_one_sentence_with_the_line_to_type() -> None:
    runtime = runtimes.get("onnxruntime")
    missing = replace(runtime, distributions=("there-is-no-such-runtime",))
    with pytest.raises(UkperfError, match=r"^onnxruntime is not installed where ukperf is\.") as caught:
        runtimes.tree_of(missing)
    assert caught.value.hint == f"Type: {hints.extra('onnx')}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("summary = 3\ndistributions = ['x']\nformats = []", "summary"),
        ("summary = 'x'\nformats = ['onnx']\n", "distributions"),
        ("summary = ", "Invalid value"),
        ("summary = 'x'\ndistributions = ['x']\nformats = []\nodd = 1", "odd"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_in_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text)
    with pytest.raises(UkperfError, match=said):
        runtimes.read(recipe)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, data("workloads", "infer", f"{name}.py"))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_made_cpuinfo_says_what_this_machines_own_does(tmp_path: Path) -> None:
    cpuinfo = module("cpuinfo")
    cpu = cpuinfo.Cpu()
    stanzas = [
        dict(line.split(":", 1) for line in stanza.replace("\t", "").splitlines())
        for stanza in cpuinfo.text(cpu, 2).strip().split("\n\n")
    ]
    own = {}
    for line in Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        own[key.strip()] = value
    assert [s["processor"].strip() for s in stanzas] == ["0", "1"]
    for key in ("vendor_id", "cpu family", "model", "stepping", "model name"):
        assert stanzas[0][key].strip() == own[key].strip()
    made, there = set(stanzas[0]["flags"].split()), set(own["flags"].split())
    # Linux also has words of its own, and hides some that a CPU has.
    assert {"sse2", "fxsr", "cx16"} <= made and len(made & there) >= 0.9 * len(made)
    assert ("avx2" in made) == ("avx2" in there)


def test_a_cpuinfo_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = module("cpuinfo")
    monkeypatch.setattr(cpuinfo, "PATH", tmp_path / "proc" / "cpuinfo")
    cpu = cpuinfo.Cpu()
    assert cpuinfo.provide(cpu, 1) == "made"
    first = (tmp_path / "proc" / "cpuinfo").read_text()
    assert first.count("processor") == 1
    assert cpuinfo.provide(cpu, 2) == "own" and (tmp_path / "proc" / "cpuinfo").read_text() == first
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(cpuinfo, "PATH", blocked / "cpuinfo")
    assert cpuinfo.provide(cpu, 1).startswith("not written: ")
