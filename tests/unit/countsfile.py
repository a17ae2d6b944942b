"""The file that the counting plugin writes, made here by plugin.c's struct definitions."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    address: int
    instructions: int
    code: bytes
    begun: tuple[int, ...]  # in each window


def plugin_file(
    blocks: list[Block], windows: int, *, rest: tuple[int, ...], room: int = 16, marks: int = 0, entries: int = 400
) -> bytes:
    windows_room = 24
    numbers = (1, 4096, room, windows_room, entries, len(blocks) + 1, windows, 1, 1, 0, 3, marks)
    head = struct.pack("<8s10I2Q", b"ukcounts", *numbers)
    table = struct.pack("<QIHH16s", 0, 0, 1, 0, b"")
    for block in blocks:
        table += struct.pack("<QIHH16s", block.address, 77, block.instructions, len(block.code), block.code[:16])
    begun = [sum(rest), *(sum(block.begun) for block in blocks)]
    log, ends = list[int](), list[int]()
    for w in range(windows - 1):
        counts = [rest[w], *(block.begun[w] for block in blocks)]
        log += [count << 19 | slot for slot, count in enumerate(counts) if count]
        ends.append(len(log))
    return b"".join(
        (
            head.ljust(4096, b"\0"),
            table.ljust(32 * room, b"\0"),
            struct.pack(f"<{room}Q", *begun, *[0] * (room - len(begun))),
            struct.pack(f"<{windows_room}Q", *ends, *[0] * (windows_room - len(ends))),
            struct.pack(f"<{entries}Q", *log, *[0] * (entries - len(log))),
        )
    )
