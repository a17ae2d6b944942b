"""Waits until the host has saved this machine and lets the program go on (docs/wire.md, "The gate").

The page's first 64 bytes are made of two halves, one by one, so that they stand nowhere else in memory.
"""

import mmap

FIRST = bytes.fromhex(
    "75d9ba2de0756b3120df8164fb5c9e5c4861dd368f903f3013c5c1f98674a8fa"
    "26c1657c534a8452e65514214cc975646b6133cebeb009450273dae9fe27685e"
)
SECOND = bytes.fromhex(
    "3202e304a26462160f4b9021c4c84730bd580c4a443c4b16cc3c00672fcdd59a"
    "ffd928829e740864274d613aa881326409eb6d2599a78174839700622b0d6169"
)


def wait(wire):
    """Say `ready` and turn round the gate until the host opens it. No sleep and no system call in between."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    for at, (a, b) in enumerate(zip(FIRST, SECOND, strict=True)):
        page[at] = a ^ b
    word = len(FIRST)
    page[word] = 1
    wire.send("ready")
    while page[word]:
        pass
