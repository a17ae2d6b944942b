"""QEMU guests on a remote host, reached by qemu+tcp://, with files uploaded and consoles streamed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from costs import measured

from remote.daemon import Daemon, libvirt_daemon
from ukperf import guests, workloads
from ukperf.cli.output import show
from ukperf.engine.session import start
from ukperf.errors import HostError
from ukperf.guests.base import BuildOptions
from ukperf.hosts import libvirt_host
from ukperf.hosts.domains import running
from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from ukperf.hosts.storage import Pool, file_digest
from ukperf.imaging.programs import boot_program
from ukperf.model import Accelerator, BootSpec, Event, Limits, Machine, MachineKind, Observation, Outcome, Request
from ukperf.workloads.base import Finished, NoOptions
from ukperf.workloads.costs import cost_program
from ukperf.workloads.syscall_cost import CostOptions

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def boot(
    host: LibvirtHost,
    guest: str,
    accelerator: Accelerator = Accelerator.TCG,
    *,
    cmdline: str = "",
    timeout_s: float = 90,
) -> Observation:
    builder = guests.get(guest)
    machine = host.fit(Machine(memory_mib=builder.recipe.memory_mib), builder.recipe.machines)
    image = builder.build(boot_program(), BuildOptions(machine.kind, accelerator, cmdline=cmdline))
    return host.boot(BootSpec(image, machine, accelerator, timeout_s=timeout_s, name=f"ukperf-test-{guest}"))


@pytest.mark.parametrize("guest", ["floor", "linux", "nanos"])
def test_a_guest_boots_from_uploaded_files(daemon: Daemon, guest: str) -> None:
    there = guests.get(guest).availability(BuildOptions())
    if not there.ok:
        pytest.skip(f"{there.sentence} {there.hint}")
    with open_host(daemon.uri) as host:
        seen = boot(host, guest)
        assert seen.outcome is Outcome.OK, f"{seen.reason}\n{seen.console_tail}"
        assert seen.bad_frames == 0
        assert host._connection.listAllDomains(0) == []
        pool = host._files.pool
        pool._pool.refresh(0)
        assert not [volume for volume in pool._pool.listVolumes() if volume.startswith(("log-", "boot-"))]
        assert pool.remove_all() > 0


def test_what_was_uploaded_is_removed_when_asked_and_not_under_a_run(daemon: Daemon) -> None:
    with open_host(daemon.uri) as host, open_host(daemon.uri) as other:
        assert boot(host, "floor").outcome is Outcome.OK
        run = threading.Thread(target=boot, args=(host, "floor"), kwargs={"cmdline": "hang", "timeout_s": 10})
        run.start()
        try:
            while run.is_alive() and not running(other._connection):
                time.sleep(0.05)
            with pytest.raises(HostError, match=r"ukperf is at work on .*: ukperf-test-floor"):
                other.clean()
        finally:
            run.join()
        assert other.clean() > 0
        assert other._files.pool._pool.listVolumes() == []
        assert boot(host, "floor").outcome is Outcome.OK  # uploaded again


def test_nothing_is_removed_where_a_run_might_go_on(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_host(daemon.uri) as host:
        assert boot(host, "floor").outcome is Outcome.OK

        def refused(_connection: object) -> list[str]:
            raise host._libvirt.libvirtError("no right to list domains")

        with monkeypatch.context() as patch:
            patch.setattr(libvirt_host, "running", refused)
            with pytest.raises(HostError, match="does not say whether ukperf is at work"):
                host.clean()
        assert host.clean() > 0


class Busy:
    """A libvirt object that cannot be refreshed, nor its pool, as long as a disk is copied there."""

    def __init__(self, real: Any, error: type[Exception]) -> None:
        self._real, self._error = real, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def storagePoolLookupByName(self, name: str) -> Busy:
        return Busy(self._real.storagePoolLookupByName(name), self._error)

    def refresh(self, _flags: int) -> None:
        raise self._error("internal error: pool 'ukperf' has asynchronous jobs running")


def test_files_arrive_while_somebody_elses_disk_is_copied(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"bytes" * 1000)
    with open_host(daemon.uri) as host:
        assert host._files.pool.put(file).endswith(file_digest(file))
        assert host.clean() > 0
        pool = Pool(Busy(host._connection, host._libvirt.libvirtError), daemon.uri)
        assert pool.put(file).endswith(file_digest(file))
        assert pool.remove_all() > 0


def test_what_a_guest_said_last_is_not_lost_however_soon_it_powers_off(daemon: Daemon) -> None:
    with open_host(daemon.uri) as host:  # without the log one boot in eight lost its last bytes
        assert [boot(host, "floor").outcome for _ in range(12)] == [Outcome.OK] * 12


def test_a_host_that_sees_the_same_paths_gets_nothing_uploaded(daemon: Daemon) -> None:
    with open_host(daemon.uri, shared_path=True) as host:
        assert boot(host, "floor").outcome is Outcome.OK
        assert host._files.pool._pool.listVolumes() == []
        with pytest.raises(HostError, match="Nothing is uploaded to"):
            host.clean()


def test_instructions_are_the_same_on_a_remote_host_to_one_in_a_thousand(daemon: Daemon) -> None:
    ticks = []  # not to the instruction: firmware sees files under other names there
    for uri in ("qemu:///embed", daemon.uri):
        with open_host(uri) as host:
            seen = boot(host, "floor", Accelerator.ICOUNT)
            assert seen.outcome is Outcome.OK, seen.reason
            ticks.append(seen.ticks[Event.MAIN])
    assert ticks[0] == pytest.approx(ticks[1], rel=1e-3)


def test_a_machine_of_xens_is_refused_by_a_qemu_host(daemon: Daemon) -> None:
    with open_host(daemon.uri) as host, pytest.raises(HostError, match="cannot be xenpv"):
        host.fit(Machine(MachineKind.XENPV), guests.get("linux").recipe.machines)


def test_a_host_that_dies_loses_the_trial_and_says_so_before_the_next(daemon: Daemon) -> None:
    with open_host(daemon.uri) as host:
        assert boot(host, "floor").outcome is Outcome.OK
        cut = threading.Timer(4, daemon.kill)
        cut.start()
        try:
            seen = boot(host, "floor", cmdline="hang", timeout_s=120)
        finally:
            cut.join()
        assert seen.outcome is Outcome.LOST
        with pytest.raises(HostError, match="went away"):
            boot(host, "floor")


def test_two_hosts_are_open_at_once(daemon: Daemon, tmp_path: Path) -> None:
    with libvirt_daemon() as other, open_host(daemon.uri) as first, open_host(other.uri) as second:
        assert first.uri != second.uri
        assert [boot(host, "floor").outcome for host in (first, second)] == [Outcome.OK, Outcome.OK]


def test_a_campaign_on_two_hosts_balances_blocks_and_answers_for_each(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with libvirt_daemon() as other:
        request = Request(
            boot_program(),
            ("floor",),
            baseline="floor",
            accelerator=Accelerator.TCG,
            connect=(daemon.uri, other.uri),
            limits=Limits(boots=4),
            folder=tmp_path / "run",
            share_host=True,
        )
        result = start(request, say=lambda _sentence: None)
    assert [record.host for record in result.records] == [daemon.uri, other.uri] * 2
    show(workloads.get("boot"), Finished(result), NoOptions(), as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert [host["host"] for host in page["hosts"]] == [daemon.uri, other.uri]
    assert [guest["boots"] for host in page["hosts"] for guest in host["guests"]] == [2, 2]


def test_what_calls_cost_is_found_out_on_each_of_two_hosts_and_answered_for_each(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with libvirt_daemon() as other:
        request = Request(
            cost_program(),
            ("floor",),
            baseline="floor",
            accelerator=Accelerator.TCG,
            connect=(daemon.uri, other.uri),
            limits=Limits(boots=4),
            folder=tmp_path / "run",
            share_host=True,
        )
        costs = measured(request, "call.direct", vsyscall=False, say=lambda _sentence: None)
    assert [(host, tuple(found)) for host, found in costs.scouted.findings.items()] == [
        (daemon.uri, ("floor",)),
        (other.uri, ("floor",)),
    ]
    show(workloads.get("syscall_cost"), Finished(costs.result), CostOptions(cycles=True), as_json=True)
    page = json.loads(capsys.readouterr().out)
    assert [host["host"] for host in page["hosts"]] == [daemon.uri, other.uri]
    assert [host["guests"][0]["estimates"]["call.direct"]["n"] for host in page["hosts"]] == [2, 2]
