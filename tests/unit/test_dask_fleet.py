"""A run over Dask's workers, for real: a scheduler and three workers on loopback, guests without a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")
UKPERF = [sys.executable, "-c", "from ukperf.cli.main import run; run()"]
BLOCKS = 16
LONGEST_S = 900.0  # for what takes a second or two where nobody else computes


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        names = ("CACHE", "DATA", "CONFIG")
        self.env = {**os.environ, **{f"UKPERF_{name}_DIR": str(folder / name) for name in names}}
        self.started: list[subprocess.Popen[bytes]] = []
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.workers = [
            self.start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", "ukperf=1")
            for _ in range(3)
        ]

    def start(self, what: str, *words: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{what}.log").open("ab")
        module = ["-m", f"distributed.cli.dask_{what}", *words, "--scheduler-file", str(self.file)]
        process = subprocess.Popen([sys.executable, *module], env=self.env, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def begin(self, run: Path) -> subprocess.Popen[bytes]:
        words = ["run", "-g", "native", "--variant", "other=native", "--baseline", "native", "--boots", str(BLOCKS)]
        more = ["--fleet", str(self.file), "--share-host", "--run", str(run), "--", "sleep", "0.2"]
        log = (self.folder / "asker.log").open("ab")
        process = subprocess.Popen([*UKPERF, *words, *more], env=self.env, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    try:
        yield made
    finally:
        made.end()


def trials(run: Path) -> list[tuple[int, str]]:
    journal = run / "journal.ndjson"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [(trial["block"], trial["guest"]) for trial in (json.loads(line)["trial"] for line in lines)]


def wait_for(count: int, run: Path, asker: subprocess.Popen[bytes], log: Path) -> None:
    """Until so many boots are in the journal."""
    end = time.monotonic() + LONGEST_S
    while len(trials(run)) < count:
        assert asker.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.mark.timeout(1800)
def test_a_worker_and_then_the_asker_are_killed_and_every_block_is_in_the_journal_once(fleet: Fleet) -> None:
    run, log = fleet.folder / "run", fleet.folder / "asker.log"
    asker = fleet.begin(run)
    wait_for(2, run, asker, log)
    fleet.workers[0].send_signal(signal.SIGKILL)
    wait_for(len(trials(run)) + 4, run, asker, log)
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    before = trials(run)
    assert 0 < len(before) < 2 * BLOCKS
    again = [*UKPERF, "resume", str(run), "--share-host"]
    resumed = subprocess.run(again, env=fleet.env, capture_output=True, timeout=LONGEST_S, check=False)
    assert resumed.returncode == 0, resumed.stderr.decode()
    after = trials(run)
    assert after[: len(before)] == before
    assert sorted(after) == [(block, guest) for block in range(BLOCKS) for guest in ("native", "other")]
    assert b"other" in resumed.stdout and b"native" in resumed.stdout
