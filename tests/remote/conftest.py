"""Daemons for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from realrun import quick_linux

from remote.daemon import Daemon, libvirt_daemon, missing


@pytest.fixture(scope="module", autouse=True)
def short_boots() -> Iterator[None]:
    with quick_linux():
        yield


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    why = missing()
    if why is not None:
        pytest.skip(why)
    with libvirt_daemon() as running:
        yield running
