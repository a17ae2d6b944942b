"""How tests are shared by workers: every test once, what belongs together in one worker, the longest first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import testorder

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted({*testorder.TOGETHER, *testorder.APART, *testorder.SECONDS}))
def test_what_the_order_names_is_there(name: str) -> None:
    file, _, test = name.partition("::")
    assert (ROOT / file).exists()
    assert not test or f"def {test.partition('[')[0]}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("file", testorder.APART)
def test_tests_that_run_apart_make_nothing_for_their_module(file: str) -> None:
    assert 'scope="module"' not in (ROOT / file).read_text()


def test_a_unit_is_a_file_a_folder_or_a_test() -> None:
    apart = f"{testorder.APART[0]}::test_x[a::b]"
    assert testorder.unit("tests/unit/test_x.py::test_y[a::b]") == "tests/unit/test_x.py"
    assert testorder.unit("tests/xenhost/test_x.py::test_y") == testorder.unit("tests/xenhost/test_z.py::test_y")
    assert testorder.unit(apart) == apart


TEST = """
import os, pathlib, pytest
@pytest.mark.parametrize("n", range(3))
def test(n, request):
    with pathlib.Path(os.environ["SEEN"], os.environ["PYTEST_XDIST_WORKER"]).open("a") as seen:
        seen.write(f"{request.node.nodeid}\\n")
"""


def test_two_workers_run_every_test_once_units_whole_and_the_longest_first(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    files = ["unit/test_a", "unit/test_b", "xenhost/test_c", "xenhost/test_d", "real/test_e"]
    for file in files:
        path = tmp_path / "tests" / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST)
    for name in ("conftest.py", "testorder.py"):
        (tmp_path / "tests" / name).write_bytes((ROOT / "tests" / name).read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = tests\n")
    (seen := tmp_path / "seen").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "SEEN": str(seen)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {path.name: path.read_text().split() for path in seen.iterdir()}
    assert sorted(test for tests in ran.values() for test in tests) == sorted(
        f"tests/{file}.py::test[{n}]" for file in files for n in range(3)
    ), json.dumps(ran)
    homes: dict[str, set[str]] = {}
    for worker, tests in ran.items():
        for test in tests:
            homes.setdefault(testorder.unit(test), set()).add(worker)
    assert all(len(workers) == 1 for workers in homes.values())
    (worker,) = homes["tests/xenhost/"]
    assert all(test.startswith("tests/xenhost/") for test in ran[worker][:6])
