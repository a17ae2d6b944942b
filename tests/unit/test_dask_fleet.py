"""A run over Dask's workers, for real: a scheduler and three workers on loopback, guests without a machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_runner import plan_of
from test_spread import blocks

import ukperf
from ukperf.cluster import open_cluster
from ukperf.engine.atworker import answer
from ukperf.engine.journal import JOURNAL, Journal, read_journal
from ukperf.engine.spread import Spread
from ukperf.model import Plan
from ukperf.stats.machines import summarize_machines

pytest.importorskip("distributed")
UKPERF = [sys.executable, "-c", "from ukperf.cli.main import run; run()"]
BLOCKS = 16
LONGEST_S = 900.0  # for what takes a second or two where nobody else computes


class Fleet:
    def __init__(self, folder: Path, workers: int = 3, env: Mapping[str, str] | None = None, *words: str) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        names = ("CACHE", "DATA", "CONFIG")
        theirs = {f"UKPERF_{name}_DIR": str(folder / name) for name in names}
        self.env = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s", **theirs, **(env or {})}
        self.started: list[subprocess.Popen[bytes]] = []
        self.words, self.count = words, workers
        self.open()

    def open(self) -> None:
        local = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.scheduler = self.start("scheduler", *local, *self.words)
        self.workers = [
            self.start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", "ukperf=1")
            for _ in range(self.count)
        ]

    def start(
        self, what: str, *words: str, within: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """within: what is executed instead, with the command behind it."""
        log = (self.folder / f"{what}.log").open("ab")
        module = ["-m", f"distributed.cli.dask_{what}", *words, "--scheduler-file", str(self.file)]
        command = [*within, sys.executable, *module]
        process = subprocess.Popen(command, env={**self.env, **(env or {})}, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def begin(self, run: Path, blocks: int = BLOCKS, log: str = "asker.log") -> subprocess.Popen[bytes]:
        words = ["run", "-g", "native", "--variant", "other=native", "--baseline", "native", "--boots", str(blocks)]
        more = ["--fleet", str(self.file), "--share-host", "--run", str(run), "--", "sleep", "0.2"]
        said = (self.folder / log).open("ab")
        process = subprocess.Popen([*UKPERF, *words, *more], env=self.env, stdout=said, stderr=said)
        self.started.append(process)
        return process

    def resume(self, run: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
        again = [*UKPERF, "resume", str(run), "--share-host", *words]
        return subprocess.run(again, env=self.env, capture_output=True, timeout=LONGEST_S, check=False)

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


def once(blocks: int) -> list[tuple[int, str]]:
    return [(block, guest) for block in range(blocks) for guest in ("native", "other")]


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
    resumed = fleet.resume(run)
    assert resumed.returncode == 0, resumed.stderr.decode()
    after = trials(run)
    assert after[: len(before)] == before
    assert sorted(after) == once(BLOCKS)
    assert b"other" in resumed.stdout and b"native" in resumed.stdout


@pytest.mark.timeout(1800)
def test_a_scheduler_that_goes_away_ends_the_run_with_a_sentence_and_another_one_goes_on(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 2)
    try:
        run, log = tmp_path / "run", tmp_path / "asker.log"
        asker = fleet.begin(run, 5)
        wait_for(2, run, asker, log)
        for process in (fleet.scheduler, *fleet.workers):
            process.kill()
            process.wait()
        assert asker.wait(LONGEST_S) == 2, log.read_text()
        said = " ".join(log.read_text().split())
        assert "does not answer any more" in said or "No worker of the fleet can take part" in said
        assert "Go on with: ukperf resume" in said and "Traceback" not in said
        before = trials(run)
        fleet.file.unlink(missing_ok=True)
        fleet.file = tmp_path / "another.json"
        fleet.open()
        resumed = fleet.resume(run, "--fleet", str(fleet.file))
        assert resumed.returncode == 0, resumed.stderr.decode()
        assert trials(run)[: len(before)] == before and sorted(trials(run)) == once(5)
    finally:
        fleet.end()


def certificates(folder: Path) -> dict[str, str]:
    """Dask's configuration, as variables, with a certificate and key for everybody."""
    pytest.importorskip("cryptography")
    from distributed.security import Security

    made = Security.temporary()
    variables = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    for role, name, text in (
        ("", "ca-file", made.tls_ca_file),
        *((f"{role}__", what, text) for role in ("CLIENT", "WORKER", "SCHEDULER") for what, text in of(made)),
    ):
        path = folder / f"{role}{name}.pem"
        path.write_text(str(text))
        path.chmod(0o600)
        variables[f"DASK_DISTRIBUTED__COMM__TLS__{role}{name.replace('-', '_').upper()}"] = str(path)
    return variables


def of(made: object) -> Sequence[tuple[str, object]]:
    return [("cert", getattr(made, "tls_client_cert", "")), ("key", getattr(made, "tls_client_key", ""))]


@pytest.mark.timeout(1800)
def test_two_runs_share_a_fleet_with_tls_and_who_has_no_certificate_is_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, 2, certificates(tmp_path), "--protocol", "tls")
    try:
        askers = [(fleet.begin(tmp_path / name, 3, f"{name}.log"), name) for name in ("first", "second")]
        for asker, name in askers:
            assert asker.wait(LONGEST_S) == 0, (tmp_path / f"{name}.log").read_text()
            assert sorted(trials(tmp_path / name)) == once(3)
        fleet.env = {
            name: value for name, value in fleet.env.items() if "__TLS__" not in name and "REQUIRE" not in name
        }
        stranger = fleet.begin(tmp_path / "stranger", 6, "stranger.log")
        assert stranger.wait(LONGEST_S) == 2
        said = " ".join((tmp_path / "stranger.log").read_text().split())
        assert "does not answer: TLS" in said and "docs/fleets.md" in said and "Traceback" not in said
        assert not trials(tmp_path / "stranger")
    finally:
        fleet.end()


def hidden(*folders: Path) -> list[str]:
    """What makes a command see these folders empty."""
    mounts = "".join(f"mount -t tmpfs none {folder} && " for folder in folders)
    return ["unshare", "-Urm", "sh", "-c", f'{mounts}exec "$@"', "sh"]


@pytest.mark.timeout(1800)
def test_two_machines_without_the_askers_files_are_sent_a_program_with_its_libraries(tmp_path: Path) -> None:
    """Each has a home and a cache of its own, and does not see the asker's."""
    if subprocess.run([*hidden(tmp_path), "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    asker = tmp_path / "asker"
    asker.mkdir()
    fleet = Fleet(tmp_path, 0, {f"UKPERF_{name}_DIR": str(asker / name) for name in ("CACHE", "DATA", "CONFIG")})
    try:
        homes = [tmp_path / f"home{n}" for n in range(2)]
        for home in homes:
            own = {
                "HOME": str(home),
                **{f"UKPERF_{name}_DIR": str(home / name) for name in ("CACHE", "DATA", "CONFIG")},
            }
            home.mkdir()
            words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--resources", "ukperf=1")
            fleet.start("worker", *words, within=hidden(asker), env=own)
        run, log = tmp_path / "run", tmp_path / "asker.log"
        assert fleet.begin(run, 4).wait(LONGEST_S) == 0, log.read_text()
        assert sorted(trials(run)) == once(4)
        digests = {path.name for path in (asker / "CACHE/trees").iterdir()}
        sent = [{path.name for path in (home / "CACHE/trees").glob("*")} for home in homes if (home / "CACHE").exists()]
        assert digests in sent, log.read_text()  # of one machine two workers may be sent it once
        assert "Sent " in log.read_text()
    finally:
        fleet.end()


# What a worker of another machine has, as a process of this one: its names, its versions, and a host without guests.
ELSEWHERE = """
import os
import ukperf
from ukperf.engine import atworker
from ukperf.hosts.fake import FakeHost

name, ukperf.__version__, qemu = os.environ["ELSEWHERE"].split()
host = FakeHost(about={"qemu": qemu})
atworker._hostname, atworker._kernel, atworker._host = lambda: name, lambda: name.encode().hex(), lambda plan: host
"""


def on(fleet: Fleet, run: Path, plan: Plan) -> list[str]:
    """A run on a fleet whose workers are known to it; the sentences that it says."""
    said: list[str] = []
    run.mkdir()
    while not fleet.file.exists():
        time.sleep(0.1)
    with open_cluster(str(fleet.file), answer) as cluster, Journal(run / JOURNAL) as journal:
        while len(cluster.workers()) < 4:
            time.sleep(0.1)
        Spread(plan, run, cluster, journal, said.append, alone=False).run()
    return said


@pytest.mark.timeout(1800)
def test_machines_with_another_ukperf_or_qemu_are_refused_or_strata_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    images = {guest: replace(image, argv=()) for guest, image in plan_of(("floor", "linux")).images.items()}
    plan = replace(plan_of(("floor", "linux"), boots=24), images=images, facts={"qemu": "7.2.0"})
    fleet = Fleet(tmp_path, 0)
    try:
        here = ukperf.__version__
        for told in (f"a {here} 7.2.0", f"b {here} 7.2.0", "old 0.0.1 7.2.0", f"new {here} 9.1.0"):
            words = (
                "--no-nanny",
                "--no-dashboard",
                "--resources",
                "ukperf=1",
                "--preload",
                str(tmp_path / "elsewhere.py"),
            )
            fleet.start("worker", "--nthreads", "1", *words, env={"ELSEWHERE": told})
        said = on(fleet, tmp_path / "alike", plan)
        sentences = " ".join(said)
        assert f"takes no part: it has ukperf 0.0.1, and this is {here}." in sentences
        assert "takes no part: it has qemu 9.1.0, and the plan is for 7.2.0." in sentences
        records = read_journal(tmp_path / "alike" / JOURNAL).records
        assert len(blocks(tmp_path / "alike")) == 24 and {record.host for record in records} == {"a", "b"}

        other = replace(plan, strata=True, run_id="fedcba9876543210")
        assert not on(fleet, tmp_path / "unlike", other)
        records = read_journal(tmp_path / "unlike" / JOURNAL).records
        kinds = {record.host: (record.facts["ukperf"], record.facts["qemu"]) for record in records}
        assert kinds == {"a": (here, "7.2.0"), "b": (here, "7.2.0"), "old": ("0.0.1", "7.2.0"), "new": (here, "9.1.0")}
        (summary,) = summarize_machines(records, "floor", 0.01)
        assert sorted(summary.machines) == ["a", "b"]
        assert f"qemu 7.2.0, ukperf {here}" in summary.stratum
        alone = [warning for warning in summary.warnings if "is the only machine with" in warning]
        assert sorted(warning.split()[0] for warning in alone) == ["new", "old"]
    finally:
        fleet.end()
