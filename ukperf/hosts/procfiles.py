"""Files of /proc and /sys, which every trial reads some of: whole, in few system calls."""

from __future__ import annotations

import os
import re
from pathlib import Path

_CHUNK = 1 << 16
_MEMINFO = Path("/proc/meminfo")


def text_of(path: Path | str) -> str | None:
    """What such a file says now, without white space at its end; None where it is not there or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, _CHUNK):
            parts.append(part)
    except OSError:  # its process is gone, or it is a folder
        return None
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "replace").rstrip()


def available_mib() -> int:
    """Memory that programs of this machine may still take. What is free alone is little where files are cached."""
    told = re.search(r"^MemAvailable: *(\d+) kB", text_of(_MEMINFO) or "", re.M)
    if told is not None:
        return int(told[1]) >> 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
