"""The gate: where a program of ours waits until the host, after the template was saved, lets it go on.

The program has a page of memory (docs/wire.md, "The gate") that begins with 64 bytes that stand nowhere else, and turns
round a word behind them: no sleep and no system call, so that nothing of the guest's kernel or devices is involved. The
host stops the machine, saves it, looks for those bytes in the file of its memory, and opens the gate there: every guest
that is restored from the file goes on within one turn. Under icount that is exact, and no guest needs any input.

The program makes the bytes at run time of two halves, straight into the page. So they stand neither in its file nor in
a cache of that. What is there twice, or not at the beginning of a page, or with another word behind it, is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ukperf.errors import HostError
from ukperf.files import descriptor_of, patch_own
from ukperf.hosts.template import PAGE, blocks

# workloads/common/gate.h and ukperf_gate.py have the same two halves, and tests compare them.
FIRST = bytes.fromhex(
    "75d9ba2de0756b3120df8164fb5c9e5c4861dd368f903f3013c5c1f98674a8fa"
    "26c1657c534a8452e65514214cc975646b6133cebeb009450273dae9fe27685e"
)
SECOND = bytes.fromhex(
    "3202e304a26462160f4b9021c4c84730bd580c4a443c4b16cc3c00672fcdd59a"
    "ffd928829e740864274d613aa881326409eb6d2599a78174839700622b0d6169"
)
CLOSED, OPEN = (1).to_bytes(8, "little"), bytes(8)


def magic() -> bytes:
    """What the page begins with."""
    return bytes(a ^ b for a, b in zip(FIRST, SECOND, strict=True))


def open_gate(memory: Path, *, pages: bool = True) -> int:
    """Open the one gate in a file of a guest's memory; its offset there. pages: the memory's pages are the file's; in
    what libvirt saves they stand anywhere.

    Raises HostError where there is none, more than one, or what is no closed gate; and OSError.
    """
    places = list(_places(memory))
    if len(places) != 1:
        what = "no gate is" if not places else "more than one gate is"
        raise HostError(f"The program said that it is ready, but {what} in its memory.")
    offset, word = places[0]
    if (pages and offset % PAGE) or word != CLOSED:
        raise HostError("The program said that it is ready, but what looks like its gate is none.")
    offset += len(magic())
    patch_own(memory, memory.stat().st_size, {offset: OPEN})
    return offset


def _places(memory: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, the word behind) of each place where a gate's bytes are, also one across two blocks."""
    wanted = magic()
    descriptor = descriptor_of(memory)
    try:
        before, before_end = b"", -1
        for offset, block in blocks(descriptor):
            joined = before if before_end == offset else b""
            text = joined + block
            at = text.find(wanted)
            while at >= 0:
                place = offset - len(joined) + at
                yield place, os.pread(descriptor, len(CLOSED), place + len(wanted))
                at = text.find(wanted, at + 1)
            before, before_end = block[1 - len(wanted) :], offset + len(block)
    finally:
        os.close(descriptor)
