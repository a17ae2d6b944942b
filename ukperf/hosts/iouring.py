"""May QEMU use io_uring here? Containers and careful administrators forbid it."""

from __future__ import annotations

import ctypes
import functools
import os

_IO_URING_SETUP = 425  # x86-64's number; glibc has no function for it
_PARAMS_BYTES = 120  # struct io_uring_params


@functools.cache
def io_uring_works() -> bool:
    """Asks the kernel for a ring with one entry and gives it back."""
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(_PARAMS_BYTES))
    if ring < 0:
        return False
    os.close(ring)
    return True
