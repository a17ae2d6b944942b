"""What libvirt's event thread tells the thread that watches a guest: console bytes, and the end of a domain."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any


class DomainStop:
    """Readable when libvirt said that the domain stopped, or that its host is gone; written by the event thread."""

    def __init__(self) -> None:
        self.host_gone = False
        self._at: int | None = None
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def stopped_at(self) -> int | None:
        return self._at

    def stop(self, at: int) -> None:
        if self._at is None:
            self._at = at
            os.eventfd_write(self._descriptor, 1)

    def gone(self, at: int) -> None:
        """The connection broke: nothing more will be heard of the domain."""
        self.host_gone = True
        self.stop(at)

    def close(self) -> None:
        os.close(self._descriptor)


class StreamConsole:
    """A libvirt console stream; bytes are stamped in the event thread, where they arrive."""

    # The end of a domain and its last bytes reach us by different ways; libvirt closes the stream of an ended domain.
    quiet_s = 2.0

    def rest(self, taken: int) -> bytes:
        # A pty's last bytes are gone when its writer is, and libvirt ends QEMU as soon as the guest has powered off.
        return b"" if self._whole is None else self._whole()[taken:]

    def __init__(self, libvirt: Any, stream: Any, whole: Callable[[], bytes] | None = None) -> None:
        """whole: reads the host's own log of this console, where it keeps one."""
        self._libvirt, self._stream, self._whole = libvirt, stream, whole
        self._queue: deque[tuple[int, bytes]] = deque()
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open = True
        events = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_HANGUP | libvirt.VIR_STREAM_EVENT_ERROR
        stream.eventAddCallback(events, self._arrived, None)

    def _arrived(self, stream: Any, _events: int, _opaque: object) -> None:
        try:
            data = stream.recv(65_536)
        except self._libvirt.libvirtError:
            data = b""
        if data == -2 or not self._open:  # nothing to read after all
            return
        self._queue.append((time.monotonic_ns(), data or b""))
        os.eventfd_write(self._descriptor, 1)
        if not data:
            self._open = False
            stream.eventRemoveCallback()

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> tuple[int, bytes] | None:
        try:
            got = self._queue.popleft()
        except IndexError:
            return None
        if not self._queue:
            try:
                os.eventfd_read(self._descriptor)
            except BlockingIOError:
                pass
            if self._queue:  # arrived between the look and the read
                os.eventfd_write(self._descriptor, 1)
        return got

    def close(self) -> None:
        try:
            if self._open:
                self._open = False
                self._stream.eventRemoveCallback()
            self._stream.abort()
        except self._libvirt.libvirtError:
            pass  # the domain is gone, and the stream with it
