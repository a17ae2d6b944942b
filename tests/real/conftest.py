"""What the real tests need of this machine; where it is missing, they are skipped with one line that says what."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from realrun import World, quick_linux, world

from ukperf import guests
from ukperf.errors import UkperfError
from ukperf.hosts.connection import EMBED
from ukperf.hosts.libvirt_host import LibvirtHost, open_host


@pytest.fixture(scope="session")
def libvirt_here() -> None:
    """Skips unless embedded libvirt and QEMU work here and there is a kernel for the linux guest."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed: sudo apt-get install qemu-system-x86")
    try:
        with open_host(EMBED):
            pass
        guests.get("linux").obtain()  # type: ignore[attr-defined]
    except UkperfError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def short_boots() -> Iterator[None]:
    with quick_linux():
        yield


@pytest.fixture
def uk(libvirt_here: None) -> Iterator[World]:
    """A world for one test, which must leave nothing in it: no process, socket or temporary file."""
    with world() as ours:
        yield ours
        assert ours.left_behind() == []


@pytest.fixture(scope="module")
def host(libvirt_here: None) -> Iterator[LibvirtHost]:
    with open_host(EMBED) as opened:
        yield opened
