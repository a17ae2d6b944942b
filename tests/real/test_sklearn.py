"""The Python tree and the scikit-learn workload for real: a bare chroot, the host, a Linux guest, unikernels."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

import joblib
import pytest
from sklearn.naive_bayes import MultinomialNB

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.hosts.native import NativeHost
from ukperf.imaging import closure
from ukperf.imaging.datasources import dataset_folder
from ukperf.imaging.pythontree import python_tree
from ukperf.model import Accelerator, BootSpec, Machine, Observation, Outcome
from ukperf.resources import data
from ukperf.workloads import learning
from ukperf.workloads.learning import Repetitions, Work

pytestmark = pytest.mark.real
SCALE = 0.005
ROWS = {"multinomialnb single-row": Repetitions(20, 1, 0)}


@pytest.fixture(scope="module")
def work() -> Work:
    return Work(("multinomialnb",), dataset_folder("synthetic", SCALE))


def run_native(work: Work, settings: Mapping[str, Repetitions] = ROWS) -> Observation:
    program = learning.program(work, Accelerator.NATIVE, settings)
    image = guests.get("native").build(program, BuildOptions(accelerator=Accelerator.NATIVE))
    return NativeHost().boot(BootSpec(image, Machine(), Accelerator.NATIVE, timeout_s=120))


def in_chroot(root: Path, code: str) -> subprocess.CompletedProcess[str]:
    enter = ["chroot"] if os.geteuid() == 0 else ["unshare", "-r", "chroot"]
    command = [*enter, str(root), "/prog/python", "-S", "-B", "-c", textwrap.dedent(code)]
    environment = {"PYTHONHOME": "/prog", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_tree_is_a_closure_that_runs_in_a_bare_chroot() -> None:
    tree = python_tree()
    done = in_chroot(
        tree.root,
        """
        import sys, ctypes, ssl, sqlite3, lzma, bz2, zlib, hashlib, decimal
        import scipy.optimize, scipy.stats, scipy.sparse.linalg, sklearn.ensemble, sklearn.svm, pyperf
        import numpy as np
        np.linalg.svd(np.eye(3))
        print(sklearn.__version__, sys.path)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert tree.size < 300e6
    assert not list(tree.home.rglob("*.py"))
    assert not [p for p in tree.home.rglob("tests") if p.is_dir()]


def test_the_same_environment_gives_the_same_tree(tmp_path: Path) -> None:
    inputs = closure.collect()
    (tmp_path / "root").mkdir()
    again = closure.build(inputs, tmp_path / "root", data("workloads", "python", "launcher.c"))
    assert again.digest == python_tree().digest


def test_an_unchanged_tree_is_found_without_building(monkeypatch: pytest.MonkeyPatch) -> None:
    first = python_tree()
    monkeypatch.setattr(closure, "collect", lambda *_: pytest.fail("looked through the whole environment again"))
    assert python_tree() == first


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no Python of the system's")
def test_a_python_with_a_fixed_address_gets_a_launcher_or_a_sentence(tmp_path: Path) -> None:
    """Debian's python3 is no PIE; its libpython is a package of its own."""
    python = Path("/usr/bin/python3").resolve()
    done = subprocess.run([python, "-c", "import elftools, platformdirs"], capture_output=True, check=False)
    from ukperf.imaging.elf import read_elf

    if not read_elf(python).fixed_address:
        pytest.skip(f"{python} is position independent")
    code = f"""
        import sys; sys.path[:0] = {[str(p) for p in (Path(__file__).parents[2], *map(Path, _site()))]!r}
        from ukperf.imaging.python_env import find_interpreter
        from ukperf.errors import UkperfError
        try: print(find_interpreter().launcher)
        except UkperfError as e: print(e)
    """
    done = subprocess.run([python, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert "True" in done.stdout or "not position independent" in done.stdout, done.stderr


def _site() -> list[str]:
    import platformdirs

    return [str(Path(platformdirs.__file__).parents[1])]


def test_native_runs_the_whole_workload_and_repeats_its_answers(work: Work) -> None:
    first, second = run_native(work), run_native(work)
    assert first.outcome is Outcome.OK, first.console_tail
    report = first.report
    names = {s.benchmark for s in report.samples}
    assert {"import", "multinomialnb train", "multinomialnb test", "multinomialnb single-row p50"} <= names
    assert "multinomialnb single-row p99" not in names  # 20 calls do not have one
    assert report.checks == second.report.checks
    assert 0.3 < float(report.checks["multinomialnb accuracy"]) < 1
    phases = [f.fields["name"] for f in first.frames if f.event == "phase"]
    assert phases[:3] == ["read files", "import", "load"]


def test_an_unknown_package_and_a_missing_model_are_sentences(work: Work) -> None:
    with pytest.raises(UkperfError, match="not installed"):
        python_tree(roots=("scikit-learn", "no-such-package-xyz"))
    with pytest.raises(UkperfError, match="only ever loaded inside a guest"):
        learning.calibrate(Work((), work.data, model_file=work.data / "facts.json"))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"no pickle", "cannot be unpickled"),
        (b"cno_such_module_xyz\nthing\n.", "needs the module no_such_module_xyz"),
        (b"\x80\x04K\x05.", "holds a int, which cannot predict"),
    ],
)
def test_models_that_do_not_load_fail_the_boot_in_a_sentence(
    work: Work, tmp_path: Path, contents: bytes, message: str
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(contents)
    seen = run_native(Work((), work.data, model_file=path))  # these files are ours, so the host may load them
    assert seen.outcome is Outcome.FAILED
    assert message in seen.reason


def test_a_model_of_another_width_is_told_from_its_data(work: Work, tmp_path: Path) -> None:
    joblib.dump(MultinomialNB().fit([[1, 2, 3], [3, 1, 0]], [0, 1]), tmp_path / "model.joblib")
    seen = run_native(Work((), work.data, model_file=tmp_path / "model.joblib"))
    assert "The model expects 3 columns and the data has" in seen.reason
