"""Hosts: where images boot. Drivers are found by entry points (`ukperf.hosts`), by the scheme of a connection's URI.

Ours: `qemu` and `xen` by libvirt, `native` for programs of this machine itself, `command` for guests that a command
line boots; fake.py has no VM. The watch, the truth check and the host's noise belong here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ukperf.errors import HostError, UkperfError
from ukperf.model import BootProtocol
from ukperf.registry import OURS, Registry
from ukperf.text import clean

if TYPE_CHECKING:
    from ukperf.hosts.base import Host
    from ukperf.model import MachineKind

DEFAULT = "qemu:///embed"  # where guests boot unless --connect says otherwise
THIS_MACHINE = "native"  # where programs run that need no guest
COMMANDS = "command"  # where command lines boot guests
# The protocols whose images are processes of this machine → who boots them.
_LOCAL = {BootProtocol.EXEC: THIS_MACHINE, BootProtocol.COMMAND: COMMANDS}

# (URI, the run's id, may the host see our files under the same paths?) → a host for the length of a with block
Driver = Callable[[str, str, bool], "AbstractContextManager[Host]"]
DRIVERS: Registry[Driver] = Registry("ukperf.hosts", "host driver")


def _driver_of(uri: str) -> str:
    """The driver's name in a URI: `qemu` of qemu+ssh://host/system, `native` of native."""
    return uri.partition(":")[0].partition("+")[0]


def parts_of(uri: str) -> tuple[str, str]:
    """User and host in a connection's URI; "" for what is not in it."""
    try:
        parts = urlsplit(uri)
        return parts.username or "", parts.hostname or ""
    except ValueError:
        return "", ""


@contextmanager
def open_host(uri: str, run_id: str = "", *, shared_path: bool = False) -> Iterator[Host]:
    """A host for the length of a with block.

    Raises HostError where no driver knows the URI, UkperfError where the driver is broken, and as the driver does.
    """
    name = _driver_of(uri)
    if name not in DRIVERS.names():
        known = ", ".join(name for name in DRIVERS.names() if DRIVERS.origin(name) != OURS)
        raise HostError(
            f"{clean(uri, 200)!r} is no libvirt connection to QEMU or Xen{f', nor one of {known}' if known else ''}.",
            hint="Say for example qemu:///system, qemu+ssh://user@host/system or xen+ssh://root@host/.",
        )
    driver = DRIVERS.get(name)
    with ExitStack() as stack:
        try:
            host = stack.enter_context(driver(uri, run_id, shared_path))
        except UkperfError:
            raise
        except Exception as error:
            if DRIVERS.origin(name) == OURS:
                raise
            raise DRIVERS.fault(name, f"failed: {type(error).__name__}: {clean(str(error), 200)}") from error
        if DRIVERS.origin(name) != OURS and (missing := _missing(host)):
            raise DRIVERS.fault(name, f"gave {type(host).__name__}, which has no {', '.join(missing)}")
        yield host


def _missing(host: object) -> list[str]:
    """The members of a host that it does not have."""
    from inspect import getattr_static

    from ukperf.hosts.base import Host

    wanted = (member for member in vars(Host) if not member.startswith("_"))
    return [member for member in wanted if getattr_static(host, member, None) is None]


def this_machine(protocol: BootProtocol | None = None) -> Host:
    """The host of images that need no connection, by their protocol; default: of programs that need no guest. Nothing
    is held that would have to be closed."""
    if protocol is not None and _LOCAL[protocol] == COMMANDS:
        from ukperf.hosts.command import CommandHost

        return CommandHost()
    from ukperf.hosts.native import NativeHost

    return NativeHost()


def runs_here(protocol: BootProtocol) -> bool:
    """Are images of this protocol processes of this machine, whatever the run's other guests are booted by?"""
    return protocol in _LOCAL


def booting(protocol: BootProtocol, host: Host) -> Host:
    """Who boots an image of this protocol in a run on `host`."""
    return this_machine(protocol) if runs_here(protocol) else host


def machine_facts(uri: str, kinds: Mapping[str, MachineKind]) -> Mapping[str, str]:
    """`Host.machine_facts` for runs whose plans do not have them: of libvirt's connections, since there were no others.

    kinds: guest → machine type.
    """
    from ukperf.hosts import machines

    return machines.machine_facts(uri, kinds)
