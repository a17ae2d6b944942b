"""One emulated Xen host for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from debpackages import CannotBuild
from realrun import quick_linux

from ukperf.hosts.libvirt_host import LibvirtHost, open_host
from xenhost.build import build
from xenhost.run import XenHost, xen_host


@pytest.fixture(scope="session")
def xen() -> Iterator[XenHost]:
    try:
        build()
    except CannotBuild as error:
        pytest.skip(f"no Xen host can be made here: {error}")
    with xen_host() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def short_boots() -> Iterator[None]:
    with quick_linux():
        yield


@pytest.fixture
def host(xen: XenHost) -> Iterator[LibvirtHost]:
    with open_host(xen.uri) as opened:
        yield opened
