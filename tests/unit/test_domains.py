"""Which domains of a connection are ours, and which of these may be removed."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
import pytest

from ukperf.hosts import domains, ownership
from ukperf.hosts.domainxml import Owner, metadata


class Domain:
    """A libvirt domain; gone: it ended since it was listed."""

    def __init__(self, name: str, xml: str, gone: bool = False) -> None:
        self._name, self._xml, self.gone, self.destroyed = name, xml, gone, False

    def name(self) -> str:
        return self._name

    def XMLDesc(self, flags: int) -> str:
        if self.gone:
            raise libvirt.libvirtError("no domain")
        return self._xml

    def destroy(self) -> None:
        self.destroyed = True
        raise libvirt.libvirtError("it ended by itself")


class Connection:
    def __init__(self, *domains: Domain) -> None:
        self._domains = domains

    def listAllDomains(self, flags: int) -> Any:
        return list(self._domains)


class Unwilling:
    def listAllDomains(self, flags: int) -> Any:
        raise libvirt.libvirtError("not supported")


def domain(name: str, owner: Owner | None, **more: bool) -> Domain:
    element = ET.Element("domain")
    if owner is not None:
        element.append(metadata(owner))
    return Domain(name, ET.tostring(element, encoding="unicode"), **more)


def test_only_domains_of_dead_processes_of_this_machine_are_removed() -> None:
    mine = domains.own("0123456789abcdef")
    assert mine.hostname == socket.gethostname() and ownership.is_alive(mine.pid, mine.start)
    dead = replace(mine, start=mine.start + 1)  # the number was given to another process since
    before = replace(mine, boot_id="another boot of this machine")
    elsewhere = replace(dead, hostname="another.example.org")
    there = [
        domain("alive", mine),
        domain("dead", dead),
        domain("before", before),
        domain("elsewhere", elsewhere),
        domain("somebodys", None),
        domain("gone", dead, gone=True),
    ]
    assert domains.remove_strays(Connection(*there)) == ["dead", "before"]
    assert [one.name() for one in there if one.destroyed] == ["dead", "before"]
    assert domains.running(Connection(*there)) == ["alive", "dead", "before", "elsewhere"]


def test_a_host_that_lists_no_domains_keeps_them() -> None:
    assert domains.remove_strays(Unwilling()) == []
    with pytest.raises(libvirt.libvirtError):
        domains.running(Unwilling())
