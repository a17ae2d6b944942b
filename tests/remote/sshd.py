"""An ssh daemon in the name spaces of the second libvirtd: Debian's own, unpacked and not installed, on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from debpackages import closure, download, extract, need

from remote.daemon import Daemon

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
"""
# In the name spaces of daemon.py /etc is a copy and /run is empty: the system's users and folders are not touched.
_START = """\
#!/bin/sh
set -e
mkdir -p /run/sshd
grep -q '^sshd:' /etc/passwd || echo 'sshd:x:499:65534::/run/sshd:/usr/sbin/nologin' >>/etc/passwd
sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow
LD_LIBRARY_PATH={libraries} {sshd} -f {folder}/sshd_config -E {folder}/sshd.log
"""
# Since OpenSSH 9.8 the daemon is three programs, which it expects where they would be installed; older ones know no
# such words.
_PROGRAMS = {"sshd-session": "SshdSessionPath", "sshd-auth": "SshdAuthPath"}
_CLIENT = """\
Host *
  IdentityFile {folder}/{key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/{known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
"""
_SYSTEMS_OWN = ("libc6", "libc-", "libgcc", "libcrypt1")  # theirs must fit the loader that is here


def sshd_tree() -> Path:
    """Debian's openssh-server and its libraries in the cache, without anything that belongs to the C library.

    Raises:
        CannotBuild: a tool, the package or its mirror is missing.
    """
    need("apt-get", "dpkg-deb", "tar", "ssh", "ssh-keygen")
    cache = platformdirs.user_cache_path("ukperf") / "sshd"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=cache) as name:
        work = Path(name)
        debs = closure(work, ["openssh-server"])
        target = cache / hashlib.sha256("".join(deb.digest for deb in debs).encode()).hexdigest()
        if not target.is_dir():
            files = download(work, ["openssh-server"])
            extract([file for file in files if not file.name.startswith(_SYSTEMS_OWN)], work / "root")
            with contextlib.suppress(OSError):  # somebody was quicker
                (work / "root").rename(target)
    return target


def new_keys(folder: Path, *names: str) -> None:
    for name in names:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True, timeout=60
        )


def ssh_client(folder: Path, key: str, known: str) -> Path:
    """An `ssh` that looks at nothing of the user's: only at this key and these known hosts, files in folder."""
    client = folder / f"ssh-{key}-{known}"
    config = client.with_suffix(".config")
    config.write_text(_CLIENT.format(folder=folder, key=key, known=known))
    client.write_text(f'#!/bin/sh\nexec ssh -F {config} "$@"\n')
    client.chmod(0o755)
    return client


class SshHost(Daemon):
    """A libvirtd that is reached by ssh as root. Keys, configuration and log are in its folder."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.ssh_port: int = probe.getsockname()[1]
        new_keys(folder, "host_key", "key", "strangers_key", "other_host_key")
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        programs = [(word, tree / "usr/lib/openssh" / name) for name, word in _PROGRAMS.items()]
        paths = "".join(f"{word} {path}\n" for word, path in programs if path.exists())
        (folder / "sshd_config").write_text(_CONFIG.format(port=self.ssh_port, folder=folder) + paths)
        libraries = tree / "usr/lib/x86_64-linux-gnu"
        start = _START.format(libraries=libraries, sshd=tree / "usr/sbin/sshd", folder=folder)
        (folder / "sshd").write_text(start)
        (folder / "sshd").chmod(0o755)
        for known, key in (("known", "host_key"), ("changed", "other_host_key")):
            public = (folder / f"{key}.pub").read_text()
            (folder / known).write_text(f"[127.0.0.1]:{self.ssh_port} {public}")
        (folder / "empty").touch()
        super().__init__(folder)

    def ssh_uri(self, *, key: str = "key", known: str = "known", driver: str = "qemu") -> str:
        """The address with a client that has this key, and these host keys: `known`, `changed` or `empty`."""
        client = ssh_client(self.folder, key, known)
        return f"{driver}+ssh://root@127.0.0.1:{self.ssh_port}/system?command={client}"


@contextlib.contextmanager
def ssh_host() -> Iterator[SshHost]:
    """A host that listens, gone afterwards.

    Raises:
        CannotBuild: there is no sshd, and none can be had.
        RuntimeError: it does not listen.
    """
    tree = sshd_tree()
    with tempfile.TemporaryDirectory(prefix="ukperf-ssh-") as name:
        host = SshHost(Path(name), tree)
        try:
            host.wait()
            _wait_for(host)
            yield host
        finally:
            host.kill()


def _wait_for(host: SshHost) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", host.ssh_port), 1):
            return
        time.sleep(0.1)
    log = host.folder / "sshd.log"
    raise RuntimeError(f"sshd did not come up: {log.read_text(errors='replace')[-500:] if log.exists() else 'no log'}")
