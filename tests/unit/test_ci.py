"""`.ci/run` says no when any part of it does, and runs the parts in their order."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["test.sh", "ruff check", "ruff format", "mypy --strict"]


def run(folder: Path, failing: str) -> tuple[int, list[str]]:
    """The exit status of `.ci/run` beside stand-ins of which `failing` fails, and the parts that ran."""
    calls = folder / "calls"
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    for name in ("scripts/test.sh", ".venv/bin/ruff", ".venv/bin/mypy"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        program = path.name
        path.write_text(
            f'#!/bin/sh\necho "{program} $1" >>{calls}\ncase "{program} $1" in "{failing or "-"}"*) exit 3 ;; esac\n'
        )
        path.chmod(0o755)
    done = subprocess.run(["bash", str(folder / ".ci" / "run")], cwd="/", check=False)
    return done.returncode, calls.read_text().splitlines()


def test_all_parts_run_and_pass(tmp_path: Path) -> None:
    status, ran = run(tmp_path, "")
    assert status == 0
    assert [call.strip() for call in ran] == PARTS


@pytest.mark.parametrize("part", PARTS)
def test_a_failing_part_fails_the_whole(tmp_path: Path, part: str) -> None:
    status, ran = run(tmp_path, part)
    assert status != 0
    assert ran[-1].strip() == part
