"""What a failed compiler says, and what it is told to do about it: gcc is not missing because a disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from ukperf.errors import UkperfError
from ukperf.imaging.compiler import Compiler, compile_c

FULL = "a.c:1:1: fatal error: error closing /t/I.s: No space left on device\n    1 | int x;\ncompilation terminated."


def failure(tmp_path: Path, says: str, status: str = "exit 1") -> UkperfError:
    """What compile_c raises for a compiler that says this and ends so."""
    fake = tmp_path / "cc"
    (tmp_path / "says").write_text(says + "\n")
    fake.write_text(f"#!/bin/sh\ncat {tmp_path}/says >&2\n{status}\n")
    fake.chmod(0o755)
    with pytest.raises(UkperfError) as caught:
        compile_c([tmp_path / "a.c"], tmp_path / "a", (), base=tmp_path, compiler=Compiler(str(fake), "fake"))
    return caught.value


@pytest.mark.parametrize(
    ("says", "reason", "hint"),
    [
        (FULL, "No space left on device", "Make room"),
        (
            "/usr/bin/ld: final link failed: No space left on device\ncollect2: error: ld returned 1 exit status",
            "No space left on device",
            "Make room",
        ),
        ("Cannot create temporary file in /tmp/: Read-only file system", "Read-only file system", "TMPDIR"),
        ("gcc: fatal error: Killed signal terminated program cc1", "Killed signal", "memory"),
        ("a.c:1:10: fatal error: stdio.h: No such file or directory", "stdio.h", "apt-get install gcc"),
        ("/usr/bin/ld: cannot find -lc: No such file or directory", "cannot find -lc", "apt-get install gcc"),
        ("gcc: fatal error: cannot execute 'cc1'", "cc1", "apt-get install gcc"),
    ],
)
def test_the_hint_follows_from_what_the_compiler_says(tmp_path: Path, says: str, reason: str, hint: str) -> None:
    error = failure(tmp_path, says)
    assert reason in error.message and "\n" not in error.message
    assert hint in (error.hint or "")
    assert ("install" in (error.hint or "")) is ("install" in hint)


def test_an_error_in_the_source_is_mended_by_no_package(tmp_path: Path) -> None:
    assert failure(tmp_path, "a.c:1:5: error: expected identifier").hint is None


def test_a_compiler_that_was_killed_says_so(tmp_path: Path) -> None:
    error = failure(tmp_path, "", "kill -9 $$")
    assert "killed by signal 9" in error.message and "memory" in (error.hint or "")
