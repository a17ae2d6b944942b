"""`ukperf run` as a person types it: unmodified programs of Debian's in real guests, and docs/run.md's examples."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
from cprograms import compiled
from realrun import ROOT, World, journal

from ukperf import guests
from ukperf.guests.base import BuildOptions
from ukperf.imaging.kernelstore import KernelStore

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]
SQL = "create table t(x); insert into t values (3), (4); select 'rows ' || count(*), sum(x * x) from t;"


def needs(program: str) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return program


def here(*names: str) -> list[str]:
    return [name for name in names if guests.get(name).availability(BuildOptions()).ok]


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_one_program_in_every_guest_is_timed_and_did_the_same_work(uk: World) -> None:
    sqlite, names = needs("sqlite3"), here("linux", "linux-lean", "nanos", "unikraft")
    uk.path("data").mkdir(exist_ok=True)
    uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    chosen = [word for name in names for word in ("-g", name)]
    asked = ("--accel", "icount", "--boots", "1", *chosen, "--metric", "rows=rows ([0-9]+)", "--json")
    page = json.loads(uk.run("run", *asked, "--", sqlite, ":memory:", SQL))
    records = journal(Path(page["run"]))
    assert {record["trial"]["guest"] for record in records} == set(names)
    for record in records:
        samples = {sample["benchmark"]: sample["values"] for sample in record["samples"]}
        assert record["outcome"] == "ok" and samples["rows"] == [2.0]
        assert 100_000 < samples["run"][0] < 50_000_000
    assert len({record["checks"]["output"] for record in records}) == 1
    assert page["notes"] == ["run: from before the program's first constructor to after its last exit handler."]


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_a_data_file_of_50_mb_is_read_alike_in_every_guest(uk: World) -> None:
    names = here("linux", "linux-lean", "nanos", "unikraft")
    uk.path("data").mkdir(exist_ok=True)
    uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    data = uk.path("big")
    with data.open("wb") as file:
        file.write(b"ukperf")
        file.truncate(50 << 20)
    chosen = [word for name in names for word in ("-g", name)]
    asked = ("--accel", "tcg", "--boots", "1", *chosen, "--file", f"{data}:/big", "--json")
    page = json.loads(uk.run("run", *asked, "--", needs("sha256sum"), "/big"))
    records = journal(Path(page["run"]))
    assert [record["outcome"] for record in records] == ["ok"] * len(names)
    assert len({record["checks"]["output"] for record in records}) == 1
    assert any("unikraft has" in note for note in page["notes"]) == ("unikraft" in names)


SLOW = pytest.mark.skipif("UKPERF_SLOW_TESTS" not in os.environ, reason="takes a minute; UKPERF_SLOW_TESTS=1 runs it")


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
@pytest.mark.parametrize(
    ("guest", "size"),
    [
        ("linux", 5 << 15),
        pytest.param(
            "linux",
            5 << 20,
            marks=pytest.mark.skipif(
                "UKPERF_SLOW_TESTS" not in os.environ, reason="takes a minute; UKPERF_SLOW_TESTS=1 runs it"
            ),
        ),
        ("nanos", 5 << 20),
        ("unikraft", 5 << 20),
    ],
)
def test_megabytes_of_output_come_through_every_guests_console(uk: World, guest: str, size: int) -> None:
    if not here(guest):  # linux-lean's console is linux's
        pytest.skip(f"no {guest} kernel here: ukperf images pull {guest}")
    uk.path("data").mkdir(exist_ok=True)
    uk.path("data").joinpath("kernels").symlink_to(KernelStore().root)
    written = b"".join(b"line %010d\n" % number for number in range(size // 16))
    (data := uk.path("five")).write_bytes(written)
    asked = ("--accel", "tcg", "--boots", "1", "-g", guest, "--baseline", guest, "--file", f"{data}:/five", "--json")
    uk.patience_s = 600
    page = json.loads(uk.run("run", *asked, "--", needs("cat"), "/five"))
    (record,) = journal(Path(page["run"]))
    assert record["checks"]["output"] == hashlib.sha256(written).hexdigest()


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_a_program_that_dies_or_answers_otherwise_in_one_guest_is_told_of_that_one(uk: World) -> None:
    code = """
    #include <signal.h>
    #include <stdio.h>
    int main(int words, char **word) { printf("answer %d\\n", words); return words > 2 ? raise(SIGSEGV) : 0; }"""
    program = compiled(uk.path("program"), code)
    variants = ("--variant", f"other=linux,program={program} x", "--variant", f"dies=linux,program={program} x y")
    page = json.loads(
        uk.run("run", "--accel", "tcg", "--boots", "1", "--no-retry", *variants, "--json", "--", str(program))
    )
    outcomes = {record["trial"]["guest"]: record["outcome"] for record in journal(Path(page["run"]))}
    assert outcomes == {"linux": "ok", "other": "ok", "dies": "crashed"}
    assert "other does not write what linux does: first 'answer 1', then 'answer 2'." in page["notes"]


def examples() -> list[list[str]]:
    """The lines of docs/run.md that run programs of this machine as processes."""
    lines = (ROOT / "docs" / "run.md").read_text().splitlines()
    typed = [shlex.split(line[2:]) for line in lines if line.startswith("$ ukperf run ")]
    return [words[1:] for words in typed if "native" in words]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_the_pages_examples_run_on_this_machine(uk: World, words: list[str]) -> None:
    needs(words[words.index("--") + 1])
    out = uk.run(words[0], "--boots", "1", *words[1:])
    assert ("\n  run " in out or "\n  until ready " in out) and "Run: " in out
