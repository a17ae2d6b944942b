"""ukperf cold-start as it is typed: what is measured, what two at once do, and that a kill -9 leaves nothing."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from realrun import World, journal, processes, wait_for

pytestmark = pytest.mark.real

HOW = ("--accel", "tcg", "--launch", "direct", "--share-host")
PROGRAM = ("--", shutil.which("lua5.4") or "/bin/echo", *(("-e", "print(1 + 1)") if shutil.which("lua5.4") else ("2",)))


def templates(uk: World) -> list[str]:
    folder = uk.cache / "templates"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_a_program_is_booted_and_restored_and_the_run_is_read_again(uk: World) -> None:
    run = uk.path("run")
    said = json.loads(
        uk.run("cold-start", "-g", "linux", *HOW, "--boots", "2", "--cold", "--run", run, "--json", *PROGRAM)
    )
    assert [guest["guest"] for guest in said["guests"]] == ["linux", "linux@restore"]
    assert [(c["guest"], c["baseline"]) for c in said["comparisons"] if c["benchmark"] == "first answer"] == [
        ("linux@restore", "linux")
    ]
    assert any("Cold: before each boot" in note for note in said["notes"])
    records = journal(run)
    assert len(records) == 4
    assert {record["outcome"] for record in records} == {"ok"}
    (name,) = templates(uk)
    assert {r["facts"].get("template") for r in records} == {None, name}
    assert uk.json("resume", run)["comparisons"] == said["comparisons"]
    assert "linux@restore" in uk.run("report", run)
    page = uk.path("page.html")
    uk.run("report", run, "--output", page)
    assert "From create to the first answer" in page.read_text()
    # a flipped bit: one of ours is made anew
    memory = uk.cache / "templates" / name / "memory"
    with memory.open("r+b") as file:
        file.seek(1 << 20)
        byte = file.read(1)[0]
        file.seek(1 << 20)
        file.write(bytes([byte ^ 1]))
    process = uk.start("cold-start", "-g", "linux", *HOW, "--boots", "1", "--path", "restore", *PROGRAM)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "linux@restore" in out
    assert "its memory is not what was saved" in err
    assert "It is made anew." in err


def test_a_ukperf_that_is_killed_while_it_makes_a_template_leaves_no_guest_and_no_half_of_one(uk: World) -> None:
    words = ("cold-start", "-g", "linux", *HOW, "--boots", "1", "--path", "restore", *PROGRAM)
    process = uk.start(*words)
    (vmm,) = wait_for(uk.vmms, "guest that is to be saved", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: vmm not in [pid for pid, _ in processes()], "end of the guest")
    assert templates(uk) == []
    first, second = uk.start(*words), uk.start(*words)  # at once: one makes it, the other waits
    for one in (first, second):
        out, err = one.communicate(timeout=300)
        assert one.returncode == 0, err
        assert "linux@restore" in out
    (name,) = templates(uk)
    assert not (uk.cache / "tmp" / f"templates-{name}").exists()


def test_a_program_without_a_first_answer_is_a_sentence(uk: World) -> None:
    words = (
        "cold-start",
        "-g",
        "linux",
        *HOW,
        "--boots",
        "1",
        "--no-retry",
        "--timeout",
        "60",
        "--answer",
        "no such line",
        *PROGRAM,
    )
    assert "no line of its output matched --answer" in "".join(uk._ended(words, 2))
