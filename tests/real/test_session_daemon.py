"""A libvirt daemon of the user's own (qemu:///session): it starts by itself, runs guests, and strays are found there.

Root has no session of its own (libvirt takes the system's then), so root runs these tests as `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator

import pytest
from realrun import ROOT, World, journal, processes, wait_for, world

pytestmark = pytest.mark.real

SESSION = ("--connect", "qemu:///session", "--accel", "tcg", "-g", "floor", "--baseline", "floor")


@pytest.fixture(scope="module")
def session(libvirt_here: None) -> Iterator[World]:
    """A world with a home and a runtime folder of its own; the daemon that comes up in it is ended afterwards."""
    if shutil.which("libvirtd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("libvirtd is not installed: sudo apt-get install libvirt-daemon")
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    with world(user=user) as ours:
        folders = {"HOME": "home", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "home/c", "XDG_CACHE_HOME": "home/k"}
        ours.extra = {name: str(ours.path(folder)) for name, folder in folders.items()}
        for path in ours.cache.iterdir():  # links into a home that `nobody` may not enter
            if path.is_symlink():
                path.unlink()
        for path in (ours.path("home"), ours.path("run")):
            path.mkdir(mode=0o700)
        if user is not None:
            for path in (ours.folder, *ours.folder.rglob("*")):
                os.chown(path, user, -1)
        if not (usable(ours) or usable_with_system_python(ours)):
            pytest.skip(f"the user nobody may not read {sys.executable} or {ROOT}")
        try:
            yield ours
        finally:
            end_daemon(ours)


def usable(ours: World) -> bool:
    """May that user run this Python, load libvirt and read the checkout?"""
    with contextlib.suppress(OSError):
        process = ours.start("--version")
        process.communicate(timeout=60)
        if process.returncode == 0:
            words = [ours.python, "-c", "import libvirt, scipy, ukperf.resources as r; r.data('images').iterdir()"]
            done = subprocess.run(
                words, env=ours.environment, cwd="/", user=ours.user, capture_output=True, check=False, timeout=60
            )
            return done.returncode == 0
    return False


def usable_with_system_python(ours: World) -> bool:
    """Where the interpreter is in somebody's home, the system's may do, with our packages."""
    ours.python = "/usr/bin/python3"
    ours.extra = {**ours.extra, "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
    return usable(ours)


def end_daemon(ours: World) -> None:
    pid_file = ours.path("run") / "libvirt" / "libvirtd.pid"
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text(encoding="ascii"))
        os.kill(pid, signal.SIGTERM)
        for _ in range(500):
            if pid not in [number for number, _ in processes()]:
                return
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)


def domains(ours: World) -> list[int]:
    """QEMU processes of this daemon: their monitor is below its home."""
    home = str(ours.path("home"))
    return [pid for pid, argv in processes() if "qemu" in argv[0] and any(home in word for word in argv[1:])]


def test_guests_boot_on_the_users_own_daemon(session: World) -> None:
    run = session.path("run1")
    run.mkdir()
    if session.user is not None:
        os.chown(run, session.user, -1)
    answer = session.json("boot-time", *SESSION, "--boots", "2", "--run", run)
    assert answer["facts"]["host"] == "qemu:///session"
    for record in journal(run):
        assert record["outcome"] == "ok" and record["host_calls_ns"] > 0
        assert {"vmm", "kernel", "total"} <= set(record["phases"])
    log = (run / "console" / "00000-floor.log").read_bytes()
    assert log.count(b'"event":"main"') == 1 and log.count(b'"event":"exit"') == 1, "the stream lost or repeated bytes"
    assert domains(session) == []


def test_direct_launch_is_refused_there_in_one_sentence(session: World) -> None:
    said = session.run("boot-time", *SESSION, "--launch", "direct", status=2)
    assert "--launch direct runs QEMU on this machine, not on qemu:///session" in said


def test_the_domain_of_a_killed_run_goes_and_a_strangers_stays(session: World) -> None:
    stranger = start_stranger(session)
    process = session.start("boot-time", *SESSION, "--append", "floor=hang")
    wait_for(lambda: len(domains(session)) == 2, "guest", process)
    process.kill()
    process.communicate()
    (stray,) = (pid for pid in domains(session) if pid != stranger)
    session.run("boot-time", *SESSION, "--boots", "1")
    assert domains(session) == [stranger], f"{stray} should be gone"


def start_stranger(session: World) -> int:
    """A domain that is not ukperf's, on the same daemon; goes with the daemon's end. Returns its pid."""
    xml = "<domain type='qemu'><name>stranger</name><memory unit='MiB'>16</memory><os><type>hvm</type></os></domain>"
    script = f"""
import libvirt
connection = libvirt.open("qemu:///session")
connection.createXML({xml!r}, libvirt.VIR_DOMAIN_START_PAUSED)
"""
    environment, user = session.environment, session.user
    subprocess.run([session.python, "-c", script], env=environment, cwd="/", user=user, check=True, timeout=120)
    (pid,) = domains(session)
    return pid


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(session: World) -> Iterator[None]:
    yield
    for pid in domains(session):
        os.kill(pid, signal.SIGKILL)
