"""libvirtd in name spaces of its own: it sees nothing of the system's libvirt and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Files and sockets of the system's libvirt are hidden under empty file systems before libvirtd can touch them.
_SCRIPT = """
set -e
cp -a /etc "$1/etc"
mkdir -p "$1/etc/libvirt"
cp "$1/qemu.conf" "$1/libvirtd.conf" "$1/etc/libvirt/"
mount --bind "$1/etc" /etc
for folder in /run /var/lib /var/cache /var/log; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /run/lock
mount -t proc proc /proc
[ ! -x "$1/sshd" ] || "$1/sshd"
# The shell stays as the first process of its name space, to reap: libvirt waits for each QEMU's pid to vanish.
libvirtd --listen --config /etc/libvirt/libvirtd.conf &
wait $!
"""
_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
dynamic_ownership = 0
remember_owner = 0
"""
_LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 1
listen_addr = "127.0.0.1"
tcp_port = "{port}"
auth_tcp = "none"
auth_unix_rw = "none"
"""


_NAME_SPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")


class Daemon:
    """A running libvirtd; `uri` is its address."""

    def __init__(self, folder: Path) -> None:
        """folder: for its files. An executable `sshd` in it is run first, inside the same name spaces, as root."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.log = folder / "libvirtd.log"
        (folder / "qemu.conf").write_text(_QEMU_CONF)
        (folder / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(port=self.port))
        with self.log.open("wb") as sink:
            self._process = subprocess.Popen(
                [*_NAME_SPACES, "sh", "-c", _SCRIPT, "sh", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    @property
    def uri(self) -> str:
        return f"qemu+tcp://127.0.0.1:{self.port}/system"

    def wait(self) -> None:
        """Returns when it listens. Raises RuntimeError, with its last words, when it ends instead."""
        for _ in range(600):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        raise RuntimeError(f"libvirtd did not come up: {self.log.read_text(errors='replace')[-500:]}")

    def kill(self) -> None:
        """Ends it and every QEMU that it started, as a power cut would: its pid name space dies with it."""
        self._process.kill()
        self._process.wait()


def missing() -> str | None:
    """Why no daemon can run here, None if one can."""
    if os.geteuid() != 0:
        return "name spaces of its own for a second libvirtd need root"
    tools = [
        tool for tool in ("libvirtd", "unshare") if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None
    ]
    if tools:
        return f"not installed: {', '.join(tools)}"
    tried = subprocess.run([*_NAME_SPACES, "true"], capture_output=True, text=True, check=False)
    return f"no name spaces here: {tried.stderr.strip()}" if tried.returncode else None


@contextlib.contextmanager
def libvirt_daemon() -> Iterator[Daemon]:
    """A libvirtd on loopback, gone afterwards with all that it started."""
    with tempfile.TemporaryDirectory(prefix="ukperf-libvirtd-") as folder:
        daemon = Daemon(Path(folder))
        try:
            daemon.wait()
            yield daemon
        finally:
            daemon.kill()
