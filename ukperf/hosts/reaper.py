"""Reaping the VMMs that libvirt starts inside our process.

Embedded libvirt starts QEMU as a daemon: a child of init, not ours. libvirt then waits for its pid to vanish, which
takes as long as that init pleases (containers' inits take seconds). As child subreaper (prctl(2)) we become the parent
and can wait for it at once. Only while a domain is created: libvirt starts daemons of its own when it asks QEMU for its
capabilities, and would wait for ever for those, since nobody would reap them.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_CHILD_SUBREAPER = 36


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """This process becomes the parent of descendants that are orphaned meanwhile, unless the kernel refuses."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def reap_when_done(pid: int) -> threading.Thread:
    """Wait for one adopted process in a thread of its own; ends at once if it is not our child."""

    def wait() -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # not adopted: its init reaps it

    thread = threading.Thread(target=wait, name=f"reap-{pid}", daemon=True)
    thread.start()
    return thread
