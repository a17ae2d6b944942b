"""What a TFLite file says of itself, read without its weights: a bounded walk over its flatbuffer.

Fields are numbered as in TensorFlow's schema.fbs; the layout is https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BufferedReader

from ukperf.text import clean

ITEMS_MAX = 100_000  # of one list; large models have ten thousand tensors
TEXT_MAX = 200
FLOAT32 = 0
_CUSTOM = 32  # BuiltinOperator.CUSTOM
_CUT = "it is cut off, or no TFLite file"


@dataclass(frozen=True)
class TfliteFacts:
    """inputs: kind of number and sizes of the first graph's inputs, -1 for a size that is open. custom: names of
    operators that are none of TFLite's."""

    version: int
    inputs: tuple[tuple[int, tuple[int, ...]], ...]
    custom: tuple[str, ...]


def read_tflite(file: BufferedReader, size: int) -> TfliteFacts:
    """Raises ValueError for what is no TFLite file, or is cut off, and OSError."""
    walk = _Walk(file, size)
    root = walk.number(0, "<I")
    version = walk.scalar(root, 0, "<I", 0)
    custom = tuple(walk.text(code, 1) for code in walk.tables(root, 1) if _is_custom(walk, code))
    for buffer in walk.tables(root, 4):
        walk.vector(buffer, 0, 1)  # its end is within the file
    graphs = walk.tables(root, 2)
    if not graphs:
        raise ValueError("it has no graph")
    tensors = walk.tables(graphs[0], 0)
    inputs = []
    for index in walk.numbers(graphs[0], 1):
        if not 0 <= index < len(tensors):
            raise ValueError(_CUT)
        tensor = tensors[index]
        inputs.append((walk.scalar(tensor, 1, "<b", 0), walk.numbers(tensor, 7) or walk.numbers(tensor, 0)))
    return TfliteFacts(version, tuple(inputs), custom)


def _is_custom(walk: _Walk, code: int) -> bool:
    # Older files have a number of one byte.
    return _CUSTOM in (walk.scalar(code, 0, "<b", 0), walk.scalar(code, 3, "<i", 0))


class _Walk:
    """Tables, vectors and numbers by their places; whatever lies outside of the file is refused."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file, self._size = file, size

    def number(self, at: int, form: str) -> int:
        length = struct.calcsize(form)
        self._file.seek(at)
        data = self._file.read(length) if 0 <= at <= self._size - length else b""
        if len(data) < length:
            raise ValueError(_CUT)
        return int(struct.unpack(form, data)[0])

    def field(self, table: int, index: int) -> int:
        """Where a field is; 0 where the table has none."""
        vtable = table - self.number(table, "<i")
        if 4 + 2 * index >= self.number(vtable, "<H"):
            return 0
        offset = self.number(vtable + 4 + 2 * index, "<H")
        return table + offset if offset else 0

    def scalar(self, table: int, index: int, form: str, default: int) -> int:
        at = self.field(table, index)
        return self.number(at, form) if at else default

    def vector(self, table: int, index: int, width: int) -> tuple[int, int]:
        """(where its items begin, how many); width: bytes of one."""
        at = self.field(table, index)
        if not at:
            return 0, 0
        start = at + self.number(at, "<I")
        count = self.number(start, "<I")
        if start + 4 + count * width > self._size:
            raise ValueError(_CUT)
        return start + 4, count

    def tables(self, table: int, index: int) -> list[int]:
        start, count = self.vector(table, index, 4)
        if count > ITEMS_MAX:
            raise ValueError("it has too many parts")
        return [at + self.number(at, "<I") for at in range(start, start + 4 * count, 4)]

    def numbers(self, table: int, index: int) -> tuple[int, ...]:
        start, count = self.vector(table, index, 4)
        if count > 64:  # no tensor has as many directions, no graph as many inputs
            raise ValueError(_CUT)
        return tuple(self.number(at, "<i") for at in range(start, start + 4 * count, 4))

    def text(self, table: int, index: int) -> str:
        start, count = self.vector(table, index, 1)
        self._file.seek(start)
        return clean(self._file.read(min(count, TEXT_MAX)).decode("utf-8", "replace"))
