"""Bytecode files depend on the source alone."""

from __future__ import annotations

import importlib.util
import json
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from ukperf.imaging import bytecode

SOURCE = b"""
import os
def area(r, *, pi=3.25, names=("a b", "c", frozenset({"x", "y"}))):
    'docstring'
    def inner(): return r * pi, names
    return [inner() for _ in range(2) if _ in {"k", "l", 1}]
class Shape:
    kind: str = "shape"
"""


def run_compiler(jobs: list[tuple[str, str, str]], seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-S", bytecode.__file__],
        input=json.dumps(jobs),
        text=True,
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": seed},
    )
    return list(json.loads(done.stdout))


def test_same_source_gives_the_same_bytes_whatever_was_compiled_before(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_bytes(SOURCE)
    other = tmp_path / "other.py"
    other.write_bytes(SOURCE.replace(b"area", b"inner").replace(b"kind", b"pi"))
    run_compiler([(str(source), str(tmp_path / "1"), "/m.py")], "1")
    run_compiler([(str(other), str(tmp_path / "o"), "/o.py"), (str(source), str(tmp_path / "2"), "/m.py")], "2")
    here = bytecode.bytecode(SOURCE, "/m.py")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == here


def test_bytecode_runs_and_is_never_checked_against_a_source() -> None:
    data = bytecode.bytecode(SOURCE, "/guest/m.py")
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\x01\0\0\0"
    names: dict[str, object] = {"__name__": "m"}
    exec(marshal.loads(data[16:]), names)
    area = names["area"]
    assert callable(area)
    assert area(2)[0][0] == 6.5
    assert area.__code__.co_filename == "/guest/m.py"


def test_invalid_sources_are_listed_and_the_rest_compiled(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("print 'two'")
    (tmp_path / "good.py").write_text("x = 1")
    jobs = [(str(tmp_path / f"{n}.py"), str(tmp_path / f"{n}.pyc"), f"/{n}.py") for n in ("bad", "good")]
    assert run_compiler(jobs, "0") == [str(tmp_path / "bad.py")]
    assert (tmp_path / "good.pyc").exists()
    assert not (tmp_path / "bad.pyc").exists()


def test_syntax_errors_are_raised() -> None:
    with pytest.raises(SyntaxError):
        bytecode.bytecode(b"def", "x")
