"""Opening libvirt connections, and the event loop that they need."""

from __future__ import annotations

import atexit
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ukperf import hints
from ukperf.errors import HostError
from ukperf.hosts import DEFAULT
from ukperf.hosts.embed import embedded_root, private_environment

SYSFS = Path("/sys/devices/system/cpu")
EMBED = DEFAULT
_DRIVERS = ("qemu", "xen")
# What ssh and libvirt say when a host refuses, and what to do then; {host} is what ssh takes for the address,
# {known} what it calls the host in known_hosts.
_REFUSALS = (
    ("HOST IDENTIFICATION HAS CHANGED", "If you know why, forget the old key: ssh-keygen -R '{known}'"),
    ("Host key verification failed", "Compare the host's key and accept it: ssh {host} true"),
    ("Permission denied", "Bring your key there: ssh-copy-id {host}"),
    ("authentication failed", "Log in by hand to see why: virsh -c {uri} version"),
    ("Connection refused", "Is libvirtd there, and does it listen? For ssh nothing needs to: say …+ssh://…"),
    ("Cannot read CA certificate", "Without +ssh or +tcp libvirt wants TLS certificates; say …+ssh://… to use ssh."),
)

MOST_OPENINGS = 10  # of the embedded driver, after which it stays open

_loop_started = threading.Event()


def load_libvirt() -> Any:
    """The libvirt module, its chatter silenced.

    Raises HostError where libvirt-python or libvirt's library is missing.
    """
    try:
        import libvirt
    except ImportError as error:
        raise HostError(
            f"libvirt cannot be loaded ({error}).",
            hint=hints.setup("libvirt-daemon-driver-qemu"),
        ) from error
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    return libvirt


def _start_event_loop(libvirt: Any) -> None:
    if _loop_started.is_set():
        return
    libvirt.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=turn, name="libvirt-events", daemon=True).start()
    _loop_started.set()


def is_local(uri: str) -> bool:
    """True where guests of this connection are processes of this machine."""
    parts = _parts(uri)
    return "+" not in parts.scheme and not parts.netloc and parts.scheme in ("qemu", "xen")


def runs_as_us(uri: str) -> bool:
    """True where QEMU runs as this user: it may read what we may. The system's daemon runs it as a user of its own."""
    return is_local(uri) and (is_embedded(uri) or _parts(uri).path == "/session")


def _parts(uri: str) -> SplitResult:
    try:
        return urlsplit(uri)
    except ValueError:  # an address like qemu+tcp://[
        return urlsplit("")


def is_embedded(uri: str) -> bool:
    return uri.split("?", 1)[0] == EMBED


class _Embedded:
    """The libvirt inside this process, of which there is one at a time.

    Each opening registers libvirt's driver once more, and libvirt has room for some twenty in all ("Too many drivers,
    cannot register QEMU"). So from the last opening that it may make, a process keeps its libvirt until it ends.
    """

    def __init__(self) -> None:
        self._connection: Any = None
        self._stack = ExitStack()
        self._openings = 0
        self._in_use = self._kept = False

    @contextmanager
    def used(self, uri: str) -> Iterator[Any]:
        """A connection for the length of a with block. Raises HostError where it cannot be opened."""
        if self._in_use:  # beside it, in the same root: libvirt takes no other
            with self._another(uri) as connection:
                yield connection
            return
        if self._connection is not None and not self._connection.ukperf_root.is_dir():
            self._close()  # somebody emptied the cache
        if self._connection is None:
            self._open(uri)
        self._in_use = True
        try:
            yield self._connection
        finally:
            self._in_use = False
            if self._openings < MOST_OPENINGS:
                self._close()
            elif not self._kept:
                self._kept = True
                atexit.register(self._close)

    @contextmanager
    def _another(self, uri: str) -> Iterator[Any]:
        self._openings += 1
        root = self._connection.ukperf_root
        with private_environment(root), _open(f"{EMBED}?root={root}", uri) as connection:
            connection.ukperf_root = root
            yield connection

    def _open(self, uri: str) -> None:
        self._openings += 1
        with ExitStack() as stack:
            root = stack.enter_context(embedded_root())
            with private_environment(root):
                self._connection = stack.enter_context(_open(f"{EMBED}?root={root}", uri))
            self._connection.ukperf_root = root
            self._stack = stack.pop_all()

    def _close(self) -> None:
        self._connection = None
        self._stack.close()


_embedded = _Embedded()


@contextmanager
def connect(uri: str) -> Iterator[Any]:
    """An open virConnect with a running event loop.

    Raises HostError with a sentence if the address is no libvirt URI, or the other side refuses.
    """
    if _parts(uri).scheme.partition("+")[0] not in _DRIVERS:
        raise HostError(
            f"{uri!r} is no libvirt connection to QEMU or Xen.",
            hint="Say for example qemu:///system, qemu+ssh://user@host/system or xen+ssh://root@host/.",
        )
    if is_embedded(uri):
        if not SYSFS.is_dir():
            raise HostError(
                "/sys is not there, and without it libvirt starts no guest.",
                hint="In a chroot: mount -t sysfs sysfs /sys",
            )
        with _embedded.used(uri) as connection:
            yield connection
    else:
        with _open(uri, uri) as connection:
            yield connection


@contextmanager
def _open(address: str, shown: str) -> Iterator[Any]:
    libvirt = load_libvirt()
    _start_event_loop(libvirt)
    try:
        connection = libvirt.open(address)
    except libvirt.libvirtError as error:
        raise HostError(f"libvirt does not open {shown}: {first_line(error)}.", hint=_advice(shown, error)) from error
    try:
        yield connection
    finally:
        try:
            connection.close()
        except libvirt.libvirtError:
            pass  # the other side is gone already


def _advice(uri: str, error: Exception) -> str:
    if is_local(uri):
        return "`ukperf doctor` says what is missing."
    host = _for_ssh(urlsplit(uri))
    for words, advice in _REFUSALS:
        if words in str(error):
            return advice.format(host=host, uri=uri, known=_known_as(urlsplit(uri)))
    return f"Try: virsh -c {uri} version"


def _for_ssh(parts: SplitResult) -> str:
    """The address as ssh wants it on its command line: the port is an option."""
    user, at, _ = parts.netloc.rpartition("@")
    try:
        port = f"-p {parts.port} " if parts.port else ""
    except ValueError:  # no number
        return parts.netloc
    return f"{port}{user}{at}{parts.hostname or ''}"


def _known_as(parts: SplitResult) -> str:
    try:
        return f"[{parts.hostname}]:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return parts.netloc


def first_line(error: Exception) -> str:
    """libvirt's own words, one line, without the closing dot."""
    lines = [line for text in str(error).splitlines() if (line := re.sub("@{2,}", "", text).strip(" @\t"))]
    if len(lines) > 1 and lines[0].endswith(":"):  # ssh draws a frame of @ around what matters most
        lines[0] += f" {lines[1]}"
    return (lines[0] if lines else type(error).__name__).rstrip(".:! ")
