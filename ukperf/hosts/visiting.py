"""A visit to a guest while its console is watched: a thread of its own, which is over before the guest is ended."""

from __future__ import annotations

import os
import threading
import time

from ukperf.hosts.network import LOOPBACK
from ukperf.model import BootSpec, Door, Visit

# A visitor that has been told to end does so at once; one that does not is a fault of ours.
END_S = 10.0


class Visiting:
    """A context manager. fileno(): readable once the visit is over; `close` ends it before that."""

    def __init__(self, spec: BootSpec, started_ns: int) -> None:
        assert spec.visitor is not None
        assert spec.network is not None
        self._spec, self._visitor = spec, spec.visitor
        self._over, self._ending = os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)
        self._door = Door(LOOPBACK, spec.network.host_port, started_ns, self._ending)
        self._visit: Visit | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="visit", daemon=True)

    def __enter__(self) -> Visiting:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end()
        if self._thread.is_alive():
            return  # it has our descriptors, so they stay open
        os.close(self._over)
        os.close(self._ending)

    def fileno(self) -> int:
        return self._over

    def close(self) -> Visit:
        """What came of it; a visit that is not over is ended. Raises what the visitor raised."""
        self._end()
        if self._error is not None:
            raise self._error
        return self._visit or Visit(fault="what visits it did not end when it was told to")

    def _end(self) -> None:
        os.eventfd_write(self._ending, 1)
        deadline = time.monotonic() + END_S
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.05)

    def _run(self) -> None:
        try:
            self._visit = self._visitor(self._spec, self._door)
        except BaseException as error:
            self._error = error
        finally:
            os.eventfd_write(self._over, 1)
