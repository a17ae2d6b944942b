"""libvirt's system daemon (qemu:///system): QEMU runs as a user of the daemon's own, who may not read our files.

The daemon and its clients have namespaces of their own, so nothing of this machine's is touched. That takes root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from realrun import World, journal, world

pytestmark = pytest.mark.real

SYSTEM = ("--connect", "qemu:///system", "--accel", "tcg")
PATH = f"{os.environ['PATH']}:/usr/sbin"


@pytest.fixture(scope="module")
def system(libvirt_here: None) -> Iterator[World]:
    """A world whose `ukperf` sees a system daemon of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can start libvirt's system daemon")
    for tool in ("libvirtd", "virtlogd", "unshare", "nsenter"):
        if shutil.which(tool, path=PATH) is None:
            pytest.skip(f"{tool} is not installed: sudo apt-get install libvirt-daemon util-linux")
    with daemon() as pid, world() as ours:
        python = ours.path("python")
        # --root: these tests may run in a chroot, and a mount name space begins outside of it
        words = f"nsenter --target {pid} --mount --root --pid"
        python.write_text(f'#!/bin/sh\nexec {words} -- {ours.python} "$@"\n')
        python.chmod(0o755)
        ours.python = str(python)
        yield ours


@contextmanager
def daemon() -> Iterator[int]:
    """The pid of the first process of the daemon's namespaces. Skips where this machine does not allow them."""
    script = Path(__file__).with_name("system_daemon.sh")
    command = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", str(script)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, "PATH": PATH}, **pipes) as outer:  # type: ignore[call-overload]
        try:
            if outer.stdout.readline() != b"up\n":
                pytest.skip(f"no system daemon here: {outer.stderr.read().decode(errors='replace').strip()[-300:]}")
            yield int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text(encoding="ascii"))
        finally:
            with suppress(OSError):
                outer.stdin.close()
            outer.wait(timeout=30)


def domains(system: World) -> str:
    script = "import libvirt; print(len(libvirt.open('qemu:///system').listAllDomains()))"
    done = subprocess.run([system.python, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_guests_boot_on_the_systems_daemon_from_files_that_its_user_may_not_read(system: World) -> None:
    run = system.path("run")
    assert run.parent.stat().st_mode & 0o077 == 0, "this test wants a folder that others may not enter"
    four = ("-g", "linux", "-g", "floor")
    answer = system.json("boot-time", *SYSTEM, *four, "--boots", "2", "--run", run)
    assert answer["facts"]["host"] == "qemu:///system"
    assert "peak memory" in answer["facts"]["left out"]
    for record in journal(run):
        assert record["outcome"] == "ok" and record["host_calls_ns"] > 0
        assert {"vmm", "kernel", "total"} <= set(record["phases"])
    assert domains(system) == "0"


def test_doctor_says_how_files_get_there(system: World) -> None:
    said = system.run("doctor", "--connect", "qemu:///system")
    assert "qemu:///system opens" in said and "uploaded into the storage pool" in said
    assert "There is no /dev/kvm" in said or "did not boot the floor guest" in said


def test_only_the_embedded_daemons_qemu_can_be_launched_directly(system: World) -> None:
    said = system.run("boot-time", *SYSTEM, "-g", "floor", "--baseline", "floor", "--launch", "direct", status=2)
    assert "--launch direct runs QEMU on this machine, not on qemu:///system" in said
