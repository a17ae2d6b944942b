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
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.005


@contextmanager
def adopting_orphans(pid_file: Path) -> Iterator[None]:
    """This process becomes the parent of descendants that are orphaned meanwhile, unless the kernel refuses.

    pid_file: where libvirt writes the VMM's pid; that process, and no other, is reaped when it ends, also one that ends
    before it was ready: libvirt, which wants to see it gone, would else knock on a zombie for half a minute.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    over = threading.Event()
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    threading.Thread(target=_reap, args=(pid_file, over), name="reaper", daemon=True).start()
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        over.set()


def _reap(pid_file: Path, over: threading.Event) -> None:
    """Wait for the process of the pid file once it is our child; give up when none turned up while there was time."""
    last = False
    while not last:
        last = over.is_set()
        try:
            os.waitpid(int(pid_file.read_text(encoding="ascii")), 0)
            return
        except (OSError, ValueError):  # no file yet, no child of ours yet, or an older boot's file
            over.wait(POLL_S)
