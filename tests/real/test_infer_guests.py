"""`ukperf infer` in real guests: the same engine and the same bits, or no comparison; no runtime opens a connection.

Runtimes are optional: they are tested where ukperf's own Python has them, or the one that UKPERF_ML_PYTHON names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from realrun import ROOT, World, journal, world

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.imaging import runtimes
from ukperf.imaging.distributions import Site, own_site, resolve, site_of, wanted_packages
from ukperf.model import Accelerator, Program
from ukperf.paths import data_dir
from ukperf.registry import OURS
from ukperf.workloads import inferring
from ukperf.workloads.infer import InferOptions, model_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
OWN = [name for name in runtimes.RUNTIMES.names() if runtimes.RUNTIMES.origin(name) == OURS]
PYTHON = os.environ.get("UKPERF_ML_PYTHON")
ELSEWHERE = ("--interpreter", PYTHON) if PYTHON else ()
# Engines and outputs are looked at here, not times: ten thousand single rows were most of each boot.
HOW = ("--accel", "tcg", "--boots", "1", "--calls", "20", "--share-host", *ELSEWHERE)
needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")


def site() -> Site | None:
    return site_of(Path(PYTHON)) if PYTHON else None


def wanted(name: str) -> runtimes.Runtime:
    """The runtime, if it is installed."""
    runtime = runtimes.get(name)
    try:
        resolve(wanted_packages(runtime.distributions), site() or own_site())
    except UkperfError:
        pytest.skip(f"{name} is not installed: {runtimes.installing(runtime)}")
    return runtime


def here(*names: str) -> list[str]:
    """Of these guests, those whose kernels are in the user's store."""
    return [n for n in names if n == "linux" or guests.get(n).availability(BuildOptions()).ok]


def named(names: list[str]) -> list[str]:
    return [word for name in names for word in ("-g", name)]


@pytest.fixture
def inferrer(libvirt_here: None) -> Iterator[World]:
    """A world with the user's own kernels."""
    with world(extra={"UKPERF_DATA_DIR": str(data_dir())}, patience_s=840) as ours:
        yield ours
        assert ours.left_behind() == []


def engine(record: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in record["checks"].items() if name.startswith("engine ")}


@needs_qemu
def test_onnxruntime_gives_the_same_bits_by_the_same_engine_in_every_guest(inferrer: World) -> None:
    wanted("onnxruntime")
    there = here("linux", "nanos", "unikraft")
    answer = inferrer.json("infer", "onnxruntime", *named(there), *HOW, "--run", inferrer.path("run"))
    assert not any(answer["failures"].values())
    records = journal(inferrer.path("run"))
    assert sorted(r["trial"]["guest"] for r in records) == sorted(there)
    assert len({r["checks"]["outputs"] for r in records}) == 1 and len({str(engine(r)) for r in records}) == 1
    for record in records:
        assert record["checks"]["expected outputs"] == "yes"
        samples = {s["benchmark"]: s for s in record["samples"]}
        assert {"import", "load", "first prediction", "single row", "batch", "create to first prediction"} <= {*samples}
        own = record["trial"]["guest"] == "linux"
        assert samples["import"]["metadata"]["cpuinfo"] == ("own" if own else "made")


@needs_qemu
def test_a_guest_without_cpuinfo_runs_another_engine_and_is_not_compared(inferrer: World) -> None:
    """LiteRT without XNNPACK: slower by a factor that is no kernel's."""
    wanted("litert")
    there = here("nanos") or here("unikraft")
    if not there:
        pytest.skip("no nanos or unikraft kernel here: ukperf images pull nanos")
    words = ("infer", "litert", "-g", "linux", *named(there), *HOW)
    given = inferrer.json(*words, "--run", inferrer.path("given"))
    assert {str(engine(r)) for r in journal(inferrer.path("given"))} == {
        str(engine(journal(inferrer.path("given"))[0]))
    }
    assert {c["verdict"] for c in given["comparisons"]} == {"inconclusive"}  # one boot: comparable, and too few
    bare = inferrer.json(*words, "--bare", "--run", inferrer.path("bare"))
    assert {c["verdict"] for c in bare["comparisons"]} == {"not comparable"}
    reasons = {warning for c in bare["comparisons"] for warning in c["warnings"]}
    assert f"another engine: xnnpack is no in {there[0]}, yes in linux" in reasons


def program(name: str) -> Program:
    """The runtime's program for this machine itself, with the model that it has by default."""
    runtime = wanted(name)
    model = model_for(InferOptions(name), runtime, site(), print)
    work = inferring.Inference(runtime, model, site())
    return inferring.packed(work, Accelerator.NATIVE, {}).program


def run_here(name: str, *before: str) -> subprocess.CompletedProcess[str]:
    image = guests.get("native").build(program(name), BuildOptions(accelerator=Accelerator.NATIVE))
    return subprocess.run(
        [*before, *image.argv], env=dict(image.env), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("name", OWN)
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_runtime_opens_a_connection(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    done = run_here(name, "strace", "-f", "-qq", "-e", "trace=socket,connect,execve,openat", "-o", str(trace))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    calls = trace.read_text().splitlines()
    assert any("openat(" in call for call in calls)  # it did see something
    assert [call for call in calls if "socket(" in call or "connect(" in call] == []
    assert sum("execve(" in call for call in calls) == 1  # nothing else was started
    assert [call for call in calls if "Microsoft" in call or "openvino_telemetry" in call] == []


def test_torchs_tree_is_small_and_runs_by_itself(tmp_path: Path) -> None:
    made = program("torch")
    size = sum(path.stat().st_size for path in made.path.rglob("*") if path.is_file())
    assert size <= 450e6
    done = run_here("torch")
    assert done.returncode == 0 and '"expected outputs","digest":"yes"' in done.stdout


def test_a_strangers_runtime_answers_as_ours_do(tmp_path: Path) -> None:
    """The one of docs/extending.md, from a package outside of ours, on this machine itself."""
    wanted("onnxruntime")  # its model is in the same format, and is written by the same library
    source = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", source, re.DOTALL)
    files = {"evaluator.py": "def predict", "evaluator.toml": "reference evaluator", "my_runtime.py": "def evaluator"}
    for name, word in files.items():
        (tmp_path / name).write_text(next(text for text in blocks if word in text))
    info = tmp_path / "my_runtime-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_runtime\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ukperf.runtimes]\nevaluator = my_runtime:evaluator\n")
    with world(extra={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as ours:
        words = ("-g", "native", "--baseline", "native", "--boots", "1", "--calls", "20", "--share-host", *ELSEWHERE)
        answer = ours.json("infer", "evaluator", *words, "--run", ours.path("run"))
        assert not any(answer["failures"].values())
        (record,) = journal(ours.path("run"))
        assert record["checks"]["expected outputs"] == "yes" and record["checks"]["engine precision"] == "float32"


@needs_qemu
def test_the_papers_page_has_each_runtime_in_each_guest_and_boots_nothing_twice(inferrer: World) -> None:
    wanted("onnxruntime")
    there = here("linux", "nanos", "unikraft")
    words = ("paper", "--part", "runtimes", "--runtime", "onnxruntime", *named(there), *HOW)
    run, page = inferrer.path("paper"), inferrer.path("paper.html")
    answer = inferrer.json(*words, "--run", run)
    rows = {line["guest"]: line for line in answer["runtimes"]}
    assert set(rows) == set(there) and {line["running"] for line in rows.values()} == {"runs"}
    assert all({"import", "load", "first prediction"} <= {*line["costs"]} for line in rows.values())
    claims = {claim["name"]: claim["verdict"] for claim in answer["claims"]}
    assert claims["unikraft cannot run"] == ("does not hold" if "unikraft" in there else "not measured here")
    assert claims["advantage in its tables"] == "does not hold" and claims["boot"] == "not measured here"
    booted = journal(run / "infer" / "onnxruntime-mlp")
    again = inferrer.json(*words, "--run", run, "--html", page)
    assert again == answer and journal(run / "infer" / "onnxruntime-mlp") == booted
    assert "inability to run machine learning libraries" in page.read_text()
