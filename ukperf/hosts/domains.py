"""Whose domains are these? Each of ours has its run and its process in its metadata (domainxml.Owner)."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from ukperf.hosts import ownership
from ukperf.hosts.connection import load_libvirt
from ukperf.hosts.domainxml import Owner, owner_of


def own(run_id: str) -> Owner:
    """This process, as the owner of a run's domains."""
    pid, start = ownership.identity()
    return Owner(run_id, socket.gethostname(), boot_id(), pid, start)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def remove_strays(connection: Any) -> list[str]:
    """Destroy the domains of dead ukperf processes of this machine, and name them; nobody else's are touched."""
    gone = load_libvirt().libvirtError
    removed = []
    with suppress(gone):  # a host that does not list its domains: they stay
        for domain, owner in _ours(connection):
            if _is_dead(owner):
                with suppress(gone):  # it ended by itself meanwhile
                    domain.destroy()
                removed.append(str(domain.name()))
    return removed


def running(connection: Any) -> list[str]:
    """The names of the domains that belong to ukperf, of whatever machine. Raises libvirt's error if it cannot tell."""
    return [str(domain.name()) for domain, _ in _ours(connection)]


def _ours(connection: Any) -> list[tuple[Any, Owner]]:
    ours = []
    for domain in connection.listAllDomains(0):
        with suppress(load_libvirt().libvirtError):  # it ended since
            owner = owner_of(domain.XMLDesc(0))
            if owner is not None:
                ours.append((domain, owner))
    return ours


def _is_dead(owner: Owner) -> bool:
    if owner.hostname != socket.gethostname():
        return False
    return owner.boot_id != boot_id() or not ownership.is_alive(owner.pid, owner.start)
