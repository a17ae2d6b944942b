"""libvirt's embedded driver: libvirt inside our process, no daemon (https://libvirt.org/drvqemu.html#embedded-driver).

Its root is private to the process (places.py says where). libvirt keeps what it learned about the QEMU binary (about
four seconds of probing) in that root; the file is carried over from run to run, and libvirt itself checks that it still
describes the same QEMU, kernel and libvirt before it believes it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ukperf.errors import HostError
from ukperf.files import SMALL, read_bytes, write_atomically
from ukperf.hosts.ownership import scratch
from ukperf.paths import cache_dir

_DAEMON_USER = "libvirt-qemu"  # compiled into Debian's and Ubuntu's libvirt, looked up before any configuration is read

_QEMU_CONF = """\
# Written by ukperf for one process. QEMU runs as the user of ukperf, in QEMU's own seccomp sandbox.
stdio_handler = "file"
security_driver = "none"
namespaces = []
cgroup_controllers = []
seccomp_sandbox = 1
dynamic_ownership = 0
remember_owner = 0
max_core = 0
"""


@contextmanager
def embedded_root() -> Iterator[Path]:
    """A prepared root directory for `qemu:///embed?root=…`.

    Raises HostError where libvirt could not work with it, before libvirt says so in its own words.
    """
    with scratch() as root:
        _check_user()
        (root / "etc").mkdir()
        user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else ""
        extra = f'user = "{user}"\ngroup = "+{os.getegid()}"\n' if user else ""
        (root / "etc" / "qemu.conf").write_text(_QEMU_CONF + extra, encoding="ascii")
        kept = kept_capabilities()
        learned = root / "cache" / "qemu" / "capabilities"
        _copy(kept, learned)
        try:
            yield root
        finally:
            _copy(learned, kept)


def kept_capabilities() -> Path:
    """Where what libvirt learned is kept between runs."""
    return cache_dir() / "libvirt-capabilities"


@contextmanager
def private_environment(root: Path) -> Iterator[None]:
    """Keep libvirt's own files inside the root and its log off the terminal, while it reads its environment.

    It does that once, when it is first opened; what runs later must find the user's own folders again.
    """
    ours = {"LIBVIRT_LOG_OUTPUTS": f"2:file:{root}/libvirt.log"}
    # Unprivileged libvirt makes folders below these, whatever the root is (virHostdevManager does, in 9.0).
    ours |= {name: str(root / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_user() -> None:
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_DAEMON_USER)
        except KeyError as error:
            raise HostError(
                f"libvirt's QEMU driver, when run by root, needs the user {_DAEMON_USER}, which does not exist here.",
                hint=f"Type: useradd --system --no-create-home --shell /usr/sbin/nologin {_DAEMON_USER}",
            ) from error


def _copy(source: Path, target: Path) -> None:
    """Copy capability files, each at once whole; losing one costs four seconds, so failures are of no interest."""
    with contextlib.suppress(OSError):
        for file in source.glob("*.xml"):
            target.mkdir(parents=True, exist_ok=True)
            write_atomically(target / file.name, read_bytes(file, SMALL), durable=False)
