"""A libvirt daemon without its storage driver, which is a package of its own since Debian 13."""

from __future__ import annotations

from typing import Any

import pytest

from ukperf.errors import HostError
from ukperf.hosts.connection import load_libvirt
from ukperf.hosts.storage import Pool


class Connection:
    """What libvirt 11.3 answers where the driver is not there: as to any call that a connection does not support."""

    def storagePoolLookupByName(self, name: str) -> Any:
        raise error("this function is not supported by the connection driver: virStoragePoolLookupByName")

    def storagePoolCreateXML(self, xml: str, flags: int) -> Any:
        raise error("this function is not supported by the connection driver: virStoragePoolCreateXML")


def error(text: str) -> Exception:
    libvirt = load_libvirt()
    made: Exception = libvirt.libvirtError(text)
    made.err = (libvirt.VIR_ERR_NO_SUPPORT, 0, text, 2, None, None, None, -1, -1)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("uri", ["qemu+ssh://host/system", "qemu+ssh://host/session"])
def test_a_host_without_a_storage_driver_is_told_which_package_it_lacks(uri: str) -> None:
    with pytest.raises(HostError, match="has no storage driver") as raised:
        Pool(Connection(), uri)
    assert "libvirt-daemon-driver-storage" in str(raised.value.hint)
