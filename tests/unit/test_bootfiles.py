"""What is booted has the bytes that the record's digest is of, and a run that is resumed is one's own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_guest_kernels import bzimage
from test_session import Stage, broken_off, stage  # noqa: F401

from ukperf import guests
from ukperf.engine import seal
from ukperf.engine.bootfiles import BootFiles, digests_of
from ukperf.engine.journal import JOURNAL, read_journal
from ukperf.engine.plan import PLAN, SEAL, load, load_sealed, refuse_foreign, save
from ukperf.engine.session import resume
from ukperf.errors import HostError, Interrupted, UkperfError
from ukperf.guests.base import BuildOptions
from ukperf.guests.stored import StoredGuest
from ukperf.hosts.fake import good_boot
from ukperf.imaging.cache import Cache
from ukperf.imaging.kernelstore import KernelStore
from ukperf.imaging.programs import boot_program
from ukperf.model import BootSpec, Image, Observation, Outcome


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Files that are named by path are copied.


@pytest.mark.parametrize("name", ["linux", "floor"])
def test_a_kernel_that_is_replaced_after_the_image_was_made_changes_nothing(name: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    kernel = tmp_path / "kernel"
    kernel.write_bytes(bzimage("6.1-test"))
    options = BuildOptions(kernel=kernel)
    image = guests.get(name, cache).build(boot_program(cache), options)
    assert image.kernel is not None and image.kernel_digest == sha256(kernel) == sha256(image.kernel)
    kernel.write_bytes(bzimage("6.1-test") + b"another")
    assert image.kernel_digest == sha256(image.kernel)
    other = guests.get(name, cache).build(boot_program(cache), options)
    assert other.kernel is not None and other.kernel_digest == sha256(kernel) == sha256(other.kernel)
    assert other.digest != image.digest


def test_what_is_in_the_cache_already_is_not_copied(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "kernel").write_bytes(b"bytes")
    assert cache.keep(tmp_path / "kernel") == (tmp_path / "kernel", sha256(tmp_path / "kernel"))
    assert not (tmp_path / "files").exists()


def test_a_file_that_changes_while_it_is_copied_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache")
    path = tmp_path / "kernel"
    path.write_bytes(b"bytes")
    monkeypatch.setattr(cache.digests, "file", lambda _path: "0" * 64)
    with pytest.raises(UkperfError, match="was changed while it was read"):
        cache.keep(path)
    assert not list((tmp_path / "cache" / "files").glob("*"))


def test_a_copy_that_somebody_changed_is_no_longer_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    path = tmp_path / "kernel"
    path.write_bytes(b"bytes")
    kept, _ = cache.keep(path)
    kept.write_bytes(b"other")
    with pytest.raises(UkperfError, match="is damaged"):
        cache.keep(path)


def test_a_kernel_of_the_store_with_other_bytes_than_were_added_is_refused(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "store")
    entry = store.add("unikraft", "1", {"kernel": b"a kernel"})
    guest = guests.get("unikraft", Cache(tmp_path / "cache"))
    assert isinstance(guest, StoredGuest)
    guest.store = store
    kept = guest.kept(BuildOptions())
    assert kept.kernel.read_bytes() == b"a kernel" and not kept.kernel.is_relative_to(store.root)
    entry.path("kernel").write_bytes(b"another!")
    with pytest.raises(UkperfError, match=f"has the digest sha256:{hashlib.sha256(b'another!').hexdigest()}"):
        guest.kept(BuildOptions())


# A run looks at its files before and after each boot.


def test_a_run_stops_where_a_file_is_changed_and_the_boot_under_way_does_not_count(stage: Stage) -> None:  # noqa: F811
    kernel = stage.folder / "kernel"

    def script(_spec: BootSpec, number: int) -> Observation:
        if number == 2:
            kernel.write_bytes(b"other!")
        return good_boot()

    stage.host.script = script
    with pytest.raises(HostError) as caught:
        stage.start()
    assert caught.value.message.startswith(f"{kernel}, which ")
    assert caught.value.message.endswith(" boots from, was changed while the run went on.")
    assert "ukperf resume" in str(caught.value.hint)
    outcomes = [record.outcome for record in read_journal(stage.folder / "run" / JOURNAL).records]
    assert outcomes == [Outcome.OK, Outcome.OK, Outcome.LOST]
    with pytest.raises(UkperfError, match="has the digest sha256:") as refused:
        resume(stage.folder / "run")
    assert str(refused.value.hint).startswith("Put the file back, or start a new run")
    kernel.write_bytes(b"kernel")
    stage.host.script = lambda spec, number: good_boot()
    assert len(resume(stage.folder / "run").records) == 5


def test_a_file_that_is_removed_is_said_too(tmp_path: Path) -> None:
    image = Image("linux", "boot", "", "", guests.get("linux").recipe.protocol, kernel=tmp_path / "k")
    (tmp_path / "k").write_bytes(b"")
    files = BootFiles([image])
    assert files.changed(image) == ""
    (tmp_path / "k").unlink()
    assert files.changed(image) == f"{tmp_path / 'k'}, which linux boots from, was removed while the run went on."


@pytest.mark.parametrize("what", ["kernel", "initrd", "disk"])
def test_the_digest_of_every_file_is_in_the_plan(what: str, stage: Stage, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / what
    path.write_bytes(what.encode())
    image = Image("linux", "boot", "", "", guests.get("linux").recipe.protocol, **{what: path})  # type: ignore[arg-type]
    assert digests_of([image], Cache(tmp_path / "c").digests) == {str(path): sha256(path)}


# Only one's own plans are executed.


def interrupted(stage: Stage) -> Path:  # noqa: F811
    broken_off(stage, 1, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        stage.start()
    stage.host.script = lambda spec, number: good_boot()
    stage.host.booted.clear()
    stage.opened.clear()
    return stage.folder / "run"


def change(data: dict[str, object]) -> None:
    data["delta"] = 0.5


def program(data: dict[str, object]) -> None:
    images: dict[str, dict[str, object]] = data["images"]  # type: ignore[assignment]
    images["linux"] |= {"protocol": "exec", "argv": ["/bin/sh", "-c", "echo"], "kernel": None}


def connection(data: dict[str, object]) -> None:
    data["hosts"] = ["qemu+ext:///system?command=/tmp/evil"]


def unsealed(data: dict[str, object]) -> None:
    del data[SEAL]


def odd_seal(data: dict[str, object]) -> None:
    data[SEAL] = ["\ud800"]


def wrong_seal(data: dict[str, object]) -> None:
    data[SEAL] = "é" * 64


@pytest.mark.parametrize("edit", [change, program, connection, unsealed, odd_seal, wrong_seal])
def test_a_plan_that_is_not_as_ukperf_wrote_it_is_not_executed(
    edit: Callable[[dict[str, object]], None],
    stage: Stage,  # noqa: F811
) -> None:
    run = interrupted(stage)
    data = json.loads((run / PLAN).read_text())
    edit(data)
    (run / PLAN).write_text(json.dumps(data))
    with pytest.raises(UkperfError) as caught:
        resume(run)
    assert caught.value.message.startswith(f"{run / PLAN} is not as your ukperf wrote it here")
    assert f"ukperf report {run}" in str(caught.value.hint)
    assert stage.host.booted == [] and stage.opened == []
    load(run)  # what was measured can be looked at


def test_another_users_plan_is_not_executed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run = interrupted(stage)
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(stage.folder / "another user's"))
    with pytest.raises(UkperfError, match="is somebody else's"):
        resume(run)
    assert stage.opened == []


def test_ones_own_plan_is_executed_wherever_its_folder_is_by_now(stage: Stage) -> None:  # noqa: F811
    run = interrupted(stage)
    moved = run.rename(stage.folder / "moved")
    assert len(resume(moved).records) == 4


def test_a_finished_run_of_anybody_is_shown(stage: Stage) -> None:  # noqa: F811
    run = stage.start().folder
    data = json.loads((run / PLAN).read_text())
    del data[SEAL]
    (run / PLAN).write_text(json.dumps(data))
    assert len(resume(run).records) == 4


def test_the_key_is_made_once_and_for_its_user_alone(stage: Stage) -> None:  # noqa: F811
    plan = stage.start().plan
    (key,) = (stage.folder / "cache").glob("plan-key-*")
    before = key.read_bytes()
    assert (key.stat().st_mode & 0o777, len(before)) == (0o600, 32)
    save(plan, stage.folder / "run")
    assert key.read_bytes() == before
    assert load_sealed(stage.folder / "run") == (plan, True)


def test_a_key_that_is_damaged_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    (tmp_path / f"plan-key-{os.geteuid()}").write_bytes(b"short")
    with pytest.raises(UkperfError, match="cannot be used: it is damaged"):
        seal.seal_of({})
    assert not seal.is_sealed({}, "0" * 64)


def test_a_plan_that_is_not_there_or_broken_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UkperfError, match="is no run of ukperf"):
        refuse_foreign(tmp_path)


# What the dead left.


def test_a_resume_that_has_nothing_to_do_clears_what_killed_ones_left(stage: Stage) -> None:  # noqa: F811
    run = stage.start().folder
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    capabilities = stage.folder / "cache" / "libvirt-capabilities"
    capabilities.mkdir()
    (capabilities / f".abc.xml.{gone.pid}").touch()
    (run / f".{PLAN}.{gone.pid}.tmp").touch()
    resume(run)
    assert list(capabilities.iterdir()) == []
    assert not list(run.glob("*.tmp")) and not list(run.glob(".*.tmp"))


SCRATCH = """
import time
from ukperf import signals
from ukperf.hosts.ownership import scratch
signals.SECOND_S = 0.05
signals.install()
with scratch() as folder:
    try:
        print(folder, flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(600)
"""


def test_two_interrupts_leave_no_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UKPERF_CACHE_DIR", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", SCRATCH], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    assert process.returncode == 130
    assert not folder.exists()
