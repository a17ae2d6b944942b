"""Boots the emulated Xen host, prints its URI and keeps it until ^C: `python -m xenhost [SHARED-FOLDER…]`."""

import signal
import sys
import time
from pathlib import Path

from xenhost.run import xen_host

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that QEMU does not outlive us
with xen_host([Path(name) for name in sys.argv[1:]]) as running:
    print(f"{running.uri}  (up after {running.boot_s:.0f} s, log {running.log})", flush=True)
    try:
        while running.process is not None and running.process.poll() is None:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
