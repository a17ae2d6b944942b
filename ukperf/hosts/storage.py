"""Files on hosts that do not see ours: uploaded by libvirt into a storage pool of ours, by digest, once.

A volume is named by the sha256 of its bytes. It counts only when the volume `DIGEST.whole` stands beside it, which is
made after the last byte: an upload that was cut off is done again over the same volume, and two at once write the same
bytes. Guests may write to their disks, so each boot gets a clone of the disk's volume, made on the host.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from ukperf import hints
from ukperf.errors import HostError
from ukperf.files import open_regular
from ukperf.hosts.connection import first_line, load_libvirt
from ukperf.model import Image

POOL = "ukperf"
POOL_PATH = "/var/lib/libvirt/ukperf"  # system daemons; a session's pool is made by its user, who knows a good place
_WHOLE = ".whole"
_CHUNK = 1 << 20
_OURS = re.compile(r"[0-9a-f]{64}(\.whole)?|(boot|log)-.+")


class Pool:
    """Our storage pool on one connection. Raises HostError from every method when the host refuses, in one sentence."""

    def __init__(self, connection: Any, uri: str) -> None:
        self._libvirt = load_libvirt()
        self._connection, self._uri = connection, uri
        self._pool = self._open()

    def describe(self) -> str:
        """The pool and its room, for people."""
        try:
            left = self._pool.info()[3]
        except self._libvirt.libvirtError as error:
            raise self._trouble("the pool cannot be asked", error) from error
        return f"uploaded into the storage pool {POOL}, where {_mib(left)} are free"

    def put(self, path: Path) -> str:
        """The path on the host of a file with these bytes, uploaded if it is not there yet."""
        try:
            return self._put(path, file_digest(path))
        except self._libvirt.libvirtError as error:
            raise self._trouble(f"{path.name} did not reach the pool", error) from error

    def put_image(self, image: Image) -> Image:
        """The image with its kernel, initrd and disks on the host."""
        return image.with_files(lambda path: Path(self.put(path)))

    @contextlib.contextmanager
    def clone(self, path: Path, name: str) -> Iterator[Path]:
        """A copy of a volume on the host that a guest may write to; gone afterwards.

        path: what `put` returned. name: of the domain, unique on the host.
        """
        target = "<target><format type='raw'/></target>"
        xml = f"<volume><name>boot-{escape(name)}</name><capacity>1</capacity>{target}</volume>"
        try:
            copy = self._pool.createXMLFrom(xml, self._connection.storageVolLookupByPath(str(path)), 0)
        except self._libvirt.libvirtError as error:
            raise self._trouble("a disk could not be copied for a boot", error) from error
        try:
            yield Path(copy.path())
        finally:
            with contextlib.suppress(self._libvirt.libvirtError):  # the host went away
                copy.delete(0)

    @property
    def folder(self) -> str:
        """The pool's folder on the host."""
        xml: str = self._pool.XMLDesc(0)
        return ET.fromstring(xml).findtext("target/path") or POOL_PATH

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a file in the pool's folder; empty where it cannot be had."""
        data = bytearray()
        with contextlib.suppress(self._libvirt.libvirtError):
            self._refresh(self._pool)  # it was made without libvirt's storage driver
            volume = self._find(name)
            if volume is not None:
                stream = self._connection.newStream(0)
                volume.download(stream, 0, min(limit, volume.info()[1]), 0)
                stream.recvAll(lambda _stream, chunk, sink: sink.extend(chunk), data)
                stream.finish()
        return bytes(data)

    def remove_clone(self, name: str) -> None:
        """Delete the disk and the log that a boot of the domain `name` had, if they are still there."""
        with contextlib.suppress(self._libvirt.libvirtError):
            self._refresh(self._pool)
            for volume in (self._find(f"boot-{name}"), self._find(f"log-{name}")):
                if volume is not None:
                    volume.delete(0)

    def remove_all(self) -> int:
        """Delete what ukperf put there; returns bytes freed. Volumes with other names are none of our business."""
        freed = 0
        try:
            self._refresh(self._pool)  # logs were made without libvirt's storage driver
            for volume in self._pool.listAllVolumes(0):
                if _OURS.fullmatch(volume.name()):
                    freed += volume.info()[2]
                    volume.delete(0)
        except self._libvirt.libvirtError as error:
            raise self._trouble("a volume could not be deleted", error) from error
        return freed

    def _open(self) -> Any:
        flags = self._libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD
        try:
            try:
                pool = self._connection.storagePoolLookupByName(POOL)
                if not pool.isActive():
                    pool.create(flags)
                self._refresh(pool)
                return pool
            except self._libvirt.libvirtError as error:
                if self._has_no_driver(error):
                    raise
            if urlsplit(self._uri).path == "/session":
                raise HostError(
                    f"{self._uri} has no storage pool named {POOL} for the guests' files.",
                    hint=f"Make one: virsh -c {self._uri} pool-create-as {POOL} dir --target FOLDER --build, "
                    "or say --shared-path where the host sees the same files under the same path.",
                )
            xml = f"<pool type='dir'><name>{POOL}</name><target><path>{POOL_PATH}</path></target></pool>"
            return self._connection.storagePoolCreateXML(xml, flags)
        except self._libvirt.libvirtError as error:
            raise self._trouble("the pool could not be made", error) from error

    def _refresh(self, pool: Any) -> None:
        """Let libvirt look at the pool's folder. Not while a disk is copied there: then its list is a little old."""
        with contextlib.suppress(self._libvirt.libvirtError):
            pool.refresh(0)

    def _put(self, path: Path, digest: str) -> str:
        volume, whole = self._find(digest), self._find(digest + _WHOLE)
        if volume is not None and whole is not None:
            return str(volume.path())
        size = path.stat().st_size
        if volume is None:
            self._check_room(path, size)
            volume = self._create(digest, size)
        stream = self._connection.newStream(0)
        volume.upload(stream, 0, size, 0)
        with open_regular(path) as source:
            stream.sendAll(lambda _stream, _bytes, file: file.read(_CHUNK // 4), source)
        stream.finish()
        if self._find(digest + _WHOLE) is None:
            self._create(digest + _WHOLE, 1)
        return str(volume.path())

    def _create(self, name: str, size: int) -> Any:
        target = "<target><format type='raw'/><permissions><mode>0644</mode></permissions></target>"
        xml = f"<volume><name>{name}</name><capacity>{size}</capacity><allocation>0</allocation>{target}</volume>"
        try:
            return self._pool.createXML(xml, 0)
        except self._libvirt.libvirtError:
            volume = self._find(name)  # another ukperf was first
            if volume is None:
                raise
            return volume

    def _find(self, name: str) -> Any:
        try:
            return self._pool.storageVolLookupByName(name)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != self._libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return None

    def _check_room(self, path: Path, size: int) -> None:
        self._refresh(self._pool)
        left = self._pool.info()[3]
        if size > left:
            raise HostError(
                f"The pool {POOL} of {self._uri} is full: {path.name} needs {_mib(size)}, {_mib(left)} are left.",
                hint=f"Remove what older runs brought there: ukperf images clean --connect {self._uri}",
            )

    def _has_no_driver(self, error: Any) -> bool:
        return bool(error.get_error_code() == self._libvirt.VIR_ERR_NO_SUPPORT)

    def _trouble(self, what: str, error: Any) -> HostError:
        if self._has_no_driver(error):
            return HostError(
                f"libvirt at {self._uri} has no storage driver, and guests' files are brought there by it.",
                hint="Install its package on that machine and restart its daemon. "
                f"{hints.packages('libvirt-daemon-driver-storage')} (where there is none: libvirt-daemon). Or "
                "say --shared-path where the host sees the same files under the same path.",
            )
        return HostError(
            f"{self._uri}: {what}: {first_line(error)}.", hint=f"Look at it: virsh -c {self._uri} pool-info {POOL}"
        )


def file_digest(path: Path) -> str:
    """sha256 of a file, hex; remembered as long as the file is not changed."""
    facts = path.stat()
    return _digest(os.fspath(path), facts.st_ino, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, _inode: int, _size: int, _mtime: int) -> str:
    with open_regular(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
