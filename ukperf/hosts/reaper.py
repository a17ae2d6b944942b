"""Reaping the VMMs that libvirt starts inside our process.

Embedded libvirt starts QEMU as a daemon: a child of init, not ours. libvirt then waits for its pid to vanish, which
takes as long as that init pleases (containers' inits take seconds). As child subreaper (prctl(2)) we become the parent
and can wait for it at once.
"""

from __future__ import annotations

import ctypes
import os
import threading

PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of its orphaned descendants; without effect where the kernel refuses."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


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
