"""How nanos writes tuples (its maps), vectors, integers and strings to disk: version 5 of its file system's encoding.

A value is a header byte, more bytes of the header's number, then the value's own bytes. Header: bit 7 set for a value
written out, clear for a reference to an earlier one; bits 6–4 the type; bit 3 set when the number goes on in further
bytes, seven bits each, the high bit set on all but the last; bits 2–0 the number's first bits. The number is a count
(tuple, vector), a length (symbol, string), a sign (integer) or, in a reference, the index of the earlier value. Tuples,
vectors and symbols are numbered from 1 in the order in which their headers are met. Read off nanos's own sources
(src/runtime/tuple.c, src/runtime/buffer.h).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

Value: TypeAlias = "str | bytes | int | Sequence[Value] | Mapping[str, Value]"


class Type(IntEnum):
    BUFFER = 0  # as a tuple's key: a symbol
    TUPLE = 1
    VECTOR = 2
    INTEGER = 3
    STRING = 4


def varint(number: int) -> bytes:
    """Seven bits a byte, the highest first, the high bit set on all but the last."""
    out = [number & 0x7F]
    number >>= 7
    while number:
        out.append(0x80 | (number & 0x7F))
        number >>= 7
    return bytes(reversed(out))


def header(kind: Type, number: int, *, reference: bool = False) -> bytes:
    """A value's header, for one written out or for a reference to value `number`."""
    first = (0 if reference else 0x80) | kind << 4
    if number < 8:
        return bytes((first | number,))
    more = (number.bit_length() - 3 + 6) // 7
    out = bytearray((first | 0x08 | number >> (7 * more),))
    for place in range(more - 1, -1, -1):
        out.append((number >> (7 * place)) & 0x7F | (0x80 if place else 0))
    return bytes(out)


@dataclass
class Encoder:
    """Collects one encoded value; the numbering of symbols, tuples and vectors is its state."""

    out: bytearray = field(default_factory=bytearray)
    numbered: int = 0
    symbols: dict[bytes, bytes] = field(default_factory=dict)  # name → the bytes that refer to it

    def tuple(self, count: int) -> None:
        """Begins a tuple of count pairs: that many times symbol() and a value must follow."""
        self.numbered += 1
        self.out += header(Type.TUPLE, count)

    def symbol(self, name: bytes) -> None:
        known = self.symbols.get(name)
        if known is not None:
            self.out += known
            return
        self.numbered += 1
        self.symbols[name] = header(Type.BUFFER, self.numbered, reference=True)
        self.out += header(Type.BUFFER, len(name)) + name

    def string(self, text: bytes) -> None:
        self.out += header(Type.STRING, len(text)) + text

    def integer(self, number: int) -> None:
        self.out += header(Type.INTEGER, 1 if number < 0 else 0) + varint(abs(number))

    def value(self, value: Value) -> None:
        """Any nesting of mappings, sequences, numbers and text, in the order given."""
        if isinstance(value, Mapping):
            self.tuple(len(value))
            for key, item in value.items():
                self.symbol(key.encode("utf-8", "surrogateescape"))
                self.value(item)
        elif isinstance(value, bytes):
            self.string(value)
        elif isinstance(value, str):
            self.string(value.encode("utf-8", "surrogateescape"))
        elif isinstance(value, int):
            self.integer(value)
        else:
            self.numbered += 1
            self.out += header(Type.VECTOR, len(value))
            for item in value:
                self.value(item)
